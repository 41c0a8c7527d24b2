//! An e1000's driver, with the CSB.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use valecast_guest::dma::Unmapped;
use valecast_guest::driver::{Bus, Driver, Options};
use valecast_guest::nic::Received;
use valecast_guest::regs;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::client::Client;
use super::super::monitor::{VmError, borrowed};
use super::{AT_ONCE, BASE, End, Ram};

/// A card's registers, by its port's socket.
struct Wire {
    client: Client,
    failed: Option<std::io::Error>,
}

impl Bus for Wire {
    fn read(&mut self, at: u32) -> u32 {
        let mut b = [0; 4];
        let done = match at {
            regs::ICR => self.client.read_and_unmask(at.into(), &mut b),
            _ => self.client.read(at.into(), &mut b),
        };
        self.failed = self.failed.take().or(done.err());
        u32::from_le_bytes(b)
    }

    fn write(&mut self, at: u32, v: u32) {
        let done = self.client.post(at.into(), &v.to_le_bytes());
        self.failed = self.failed.take().or(done.err());
    }
}

/// A driver at a port of kind `e1000`.
pub struct Card {
    socket: PathBuf,
    wire: Wire,
    ram: Ram,
    driver: Driver,
    // Nobody waits for it: the driver looks by itself.
    _raise: EventFd,
}

fn lost(_: Unmapped) -> VmError {
    VmError::Guest("its own memory is not there".into())
}

impl Card {
    /// Connects, and sets up the card.
    pub fn new(socket: &Path, descriptors: u32) -> Result<Self, VmError> {
        let port = |e| VmError::Port(socket.to_owned(), e);
        let options = Options { base: BASE, descriptors, csb: true, ..Options::default() };
        let (file, ram) = Ram::new(options.memory())?;
        let raise = EventFd::new(EFD_NONBLOCK).map_err(|e| VmError::Kvm("make eventfds", e))?;
        let mut client = Client::connect(socket).map_err(port)?;
        client.plug(file.as_fd(), ram.len as u64, borrowed(&raise)).map_err(port)?;
        let mut wire = Wire { client, failed: None };
        let driver = Driver::start(&mut wire, &ram, options).map_err(lost)?;
        driver.awake(&ram).map_err(lost)?;
        let mut card = Self { socket: socket.to_owned(), wire, ram, driver, _raise: raise };
        card.fine()?;
        Ok(card)
    }

    /// Whether all accesses to registers could be made.
    fn fine(&mut self) -> Result<(), VmError> {
        self.wire.failed.take().map_or(Ok(()), |e| Err(VmError::Port(self.socket.clone(), e)))
    }
}

impl End for Card {
    fn fill(&mut self, frame: &[u8]) -> Result<(), VmError> {
        self.driver.fill(&self.ram, frame).map_err(lost)
    }

    fn send(&mut self, len: usize, most: u32) -> Result<(), VmError> {
        if self.driver.queue_filled(&self.ram, len, most).map_err(lost)? > 0 {
            self.driver.flush(&mut self.wire, &self.ram).map_err(lost)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<u64, VmError> {
        let (mem, mut words) = (&self.ram, 0);
        let each = |f: &valecast_guest::driver::Frame| words ^= f.word(mem);
        self.driver.poll(&mut self.wire, mem, AT_ONCE, each).map_err(lost)?;
        Ok(words)
    }

    fn received(&self) -> u64 {
        self.driver.did().received
    }

    fn stop(&mut self) -> Result<(), VmError> {
        self.driver.stop(&mut self.wire);
        self.fine()
    }
}
