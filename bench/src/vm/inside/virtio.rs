//! Virtio-net's driver.

use std::path::{Path, PathBuf};

use valecast_guest::driver::Bus;
use valecast_guest::nic::Received;
use valecast_guest::virtio::{Driver, Fault, Frame, MAX_ENTRIES, Options, doorbell};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::front_end::{FrontEnd, QUEUES};
use super::super::monitor::VmError;
use super::{AT_ONCE, BASE, End, Ram};

/// A driver at a port of kind `vhost-user`.
pub struct Virtio {
    socket: PathBuf,
    bells: Bells,
    ram: Ram,
    driver: Driver,
}

/// Doorbells: the eventfds that the port listens to.
struct Bells(FrontEnd);

impl Bus for Bells {
    fn read(&mut self, _: u32) -> u32 {
        // The driver has nothing to read.
        u32::MAX
    }

    fn write(&mut self, at: u32, _: u32) {
        if let Some(queue) = QUEUES.into_iter().find(|q| doorbell(*q) == at) {
            self.0.ring(queue);
        }
    }
}

fn fault(f: Fault) -> VmError {
    VmError::Guest(f.to_string())
}

impl Virtio {
    /// Connects, and sets up the rings, which have [`MAX_ENTRIES`] at most.
    pub fn new(socket: &Path, descriptors: u32) -> Result<Self, VmError> {
        let port = |e| VmError::Port(socket.to_owned(), e);
        let mut front = FrontEnd::connect(socket).map_err(port)?;
        let entries = u16::try_from(descriptors).map_or(MAX_ENTRIES, |n| n.min(MAX_ENTRIES));
        let options = Options { base: BASE, entries, offered: front.offered() };
        let (file, ram) = Ram::new(options.memory())?;
        // Nobody waits for it: the driver looks by itself.
        let call = EventFd::new(EFD_NONBLOCK).map_err(|e| VmError::Kvm("make eventfds", e))?;
        let mut driver = Driver::start(&ram, options).map_err(fault)?;
        driver.awake(&ram).map_err(fault)?;
        front.share(&ram.mapping, &file, call).and_then(|()| front.begin(&driver.setup())).map_err(port)?;
        Ok(Self { socket: socket.to_owned(), bells: Bells(front), ram, driver })
    }
}

impl End for Virtio {
    fn fill(&mut self, frame: &[u8]) -> Result<(), VmError> {
        self.driver.fill(&self.ram, frame).map_err(fault)
    }

    fn send(&mut self, len: usize, most: u32) -> Result<(), VmError> {
        if self.driver.queue_filled(&self.ram, len, most).map_err(fault)? > 0 {
            self.driver.flush(&mut self.bells, &self.ram).map_err(fault)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<u64, VmError> {
        let (mem, mut words) = (&self.ram, 0);
        let each = |f: &Frame| words ^= f.word(mem);
        self.driver.poll(&mut self.bells, mem, AT_ONCE, each).map_err(fault)?;
        Ok(words)
    }

    fn received(&self) -> u64 {
        self.driver.did().received
    }

    fn stop(&mut self) -> Result<(), VmError> {
        self.bells.0.end().map_err(|e| VmError::Port(self.socket.clone(), e))
    }
}
