//! The guests' driver without a virtual machine: at ports of a daemon, on a thread of this process. It has neither exits
//! nor halts, and so shows what card, switch and driver would do with a processor that has none.

use std::os::fd::AsFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use valecast_guest::dma::{Access, Dma, Span, Unmapped};
use valecast_guest::driver::{Bus, Driver, Options};
use valecast_guest::regs;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::client::Client;
use super::machine::shared_memory;
use super::monitor::{VmError, borrowed};

/// Where the driver's memory begins.
const BASE: u64 = 0x20_0000;
/// Frames that are received, or queued, before it is looked at the other side.
const AT_ONCE: u32 = 256;
/// Before frames are counted.
const WARM: Duration = Duration::from_millis(40);

/// Memory of a card, from guest address 0 on.
struct Ram(Arc<MmapRaw>);

// SAFETY: the mapping lives as long as `self`, is page-aligned, and is only reached by raw copies and atomics.
unsafe impl Dma for Ram {
    #[inline]
    fn span(&self, addr: u64, len: usize, _: Access) -> Option<Span> {
        let at = usize::try_from(addr).ok().filter(|at| *at < self.0.len())?;
        // SAFETY: inside the mapping.
        let ptr = NonNull::new(unsafe { self.0.as_mut_ptr().add(at) })?;
        Some(Span { ptr, len: len.min(self.0.len() - at) })
    }
}

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

/// A driver at a port.
struct End {
    wire: Wire,
    ram: Ram,
    driver: Driver,
    // Nobody waits for it: the driver looks by itself.
    _raise: EventFd,
}

fn lost(_: Unmapped) -> VmError {
    VmError::Guest("its own memory is not there".into())
}

impl End {
    fn new(socket: &Path, descriptors: u32) -> Result<Self, VmError> {
        let port = |e| VmError::Port(socket.to_owned(), e);
        let options = Options { base: BASE, descriptors, csb: true, ..Options::default() };
        let size = (BASE as usize + options.memory()).next_multiple_of(2 << 20);
        let (file, memory) = shared_memory(size)?;
        let raise = EventFd::new(EFD_NONBLOCK).map_err(|e| VmError::Kvm("make eventfds", e))?;
        let mut client = Client::connect(socket).map_err(port)?;
        client.plug(file.as_fd(), size as u64, borrowed(&raise)).map_err(port)?;
        let (mut wire, ram) = (Wire { client, failed: None }, Ram(memory));
        let driver = Driver::start(&mut wire, &ram, options).map_err(lost)?;
        wire.failed.take().map_or(Ok(()), |e| Err(port(e)))?;
        Ok(Self { wire, ram, driver, _raise: raise })
    }

    fn queue(&mut self, len: usize) -> Result<u32, Unmapped> {
        let mut n = 0;
        while n < AT_ONCE && self.driver.queue_filled(&self.ram, len)? {
            n += 1;
        }
        if n > 0 {
            self.driver.flush(&mut self.wire, &self.ram)?;
        }
        Ok(n)
    }
}

/// Frames per second of `len` bytes (without FCS) from one port to another, sent and received in turn by this thread;
/// `macs`: the ports' addresses.
///
/// # Errors
/// A port that cannot be had, or fails meanwhile.
pub fn run(
    sockets: [&Path; 2],
    macs: [[u8; 6]; 2],
    descriptors: u32,
    len: usize,
    time: Duration,
) -> Result<f64, VmError> {
    let [mut a, mut b] = [End::new(sockets[0], descriptors)?, End::new(sockets[1], descriptors)?];
    let mut bytes = vec![0; len];
    bytes[..6].copy_from_slice(&macs[1]);
    bytes[6..12].copy_from_slice(&macs[0]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    a.driver.fill(&a.ram, &bytes).map_err(lost)?;
    // So that the switch knows where the receiver is.
    let (to, from) = bytes.split_at_mut(6);
    to.swap_with_slice(&mut from[..6]);
    b.driver.fill(&b.ram, &bytes).map_err(lost)?;
    b.driver.queue_filled(&b.ram, len).map_err(lost)?;
    b.driver.flush(&mut b.wire, &b.ram).map_err(lost)?;
    b.driver.awake(&b.ram).map_err(lost)?;
    let mut words = 0;
    let mut spend = |time: Duration| {
        let (begun, before) = (Instant::now(), b.driver.did().received);
        while begun.elapsed() < time {
            a.queue(len)?;
            let mem = &b.ram;
            b.driver.poll(&mut b.wire, mem, AT_ONCE, |f| {
                let mut first = [0; 8];
                let _ = f.copy(mem, &mut first);
                words ^= u64::from_le_bytes(first);
            })?;
        }
        Ok((b.driver.did().received - before) as f64 / begun.elapsed().as_secs_f64())
    };
    spend(WARM).map_err(lost)?;
    let rate = spend(time).map_err(lost)?;
    std::hint::black_box(words);
    for (end, socket) in [(&mut a, sockets[0]), (&mut b, sockets[1])] {
        end.driver.stop(&mut end.wire);
        if let Some(e) = end.wire.failed.take() {
            return Err(VmError::Port(socket.to_owned(), e));
        }
    }
    Ok(rate)
}
