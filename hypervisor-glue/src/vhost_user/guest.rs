//! The bare guests' driver ([`valecast_guest::virtio`]) and a pair of queues in one process, and the switch's part played by
//! the caller: what [`crate::e1000::guest::rig`] is for that card. For tests.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use valecast_guest::virtio::{Driver, Fault, Options, RECEIVE, TRANSMIT, doorbell};
use valecast_ring::notify;
use valecast_switch::frame::{Burst, Entry};
use valecast_switch::port::{Egress, Ingress, Tally};

use super::counters::Counters;
use super::features::{Features, Shape};
use super::queue::{Parts, Queue};
use super::ring::Places;
use super::rx::Receiver;
use super::tx::Transmit;
use crate::e1000::dma::Dma;
use crate::e1000::guest::{Bus, rig::bytes_of};
use crate::e1000_port::memory::Mapped;
use crate::event::Bell;
use crate::memory::{DmaTable, Range, Snapshot};
use crate::sys::published::Published;

mod device;
mod tests;
mod threads;

/// Where the driver's memory begins.
const BASE: u64 = 0x20_0000;

/// Guest memory, as guest and port have it.
struct Memory {
    cell: Arc<Published<Snapshot>>,
    _table: DmaTable,
}

impl Memory {
    fn new(size: usize) -> Self {
        let size = size.next_multiple_of(4096);
        let fd = memfd_create(c"guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&fd, size as i64).unwrap();
        let cell = Arc::new(Published::new(Snapshot::default()));
        let mut table = DmaTable::new(cell.clone());
        table.set_master(true);
        let range = Range { start: BASE, size: size as u64, readable: true, writable: true };
        table.add(range, Some((&fd, 0))).unwrap();
        Self { cell, _table: table }
    }

    /// As the guest has it.
    fn with<T>(&self, f: impl FnOnce(&Mapped<'_>) -> T) -> T {
        let guard = crossbeam::epoch::pin();
        // SAFETY: no burst outlives the closure: what the guest does makes none.
        f(&unsafe { Mapped::new(self.cell.load(&guard)) })
    }
}

/// An eventfd, and its count.
fn event() -> Arc<EventFd> {
    Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap())
}

fn count(e: &EventFd) -> u64 {
    e.read().unwrap_or(0)
}

fn share(e: &EventFd) -> OwnedFd {
    e.as_fd().try_clone_to_owned().unwrap()
}

/// The doorbells, by queue.
struct Doorbells([Arc<EventFd>; 2]);

impl Bus for Doorbells {
    fn read(&mut self, _: u32) -> u32 {
        u32::MAX
    }

    fn write(&mut self, at: u32, v: u32) {
        for queue in [RECEIVE, TRANSMIT] {
            if at == doorbell(queue) {
                assert_eq!(v, u32::from(queue));
                self.0[usize::from(queue)].write(1).unwrap();
            }
        }
    }
}

/// The port's queues.
struct Port {
    tx: Transmit,
    rx: Receiver,
    burst: Burst,
    counters: Arc<Counters>,
    queues: [Arc<Queue>; 2],
    /// Of both queues.
    call: Arc<EventFd>,
}

/// All of it.
struct Rig {
    memory: Memory,
    driver: Driver,
    doorbells: Doorbells,
    port: Port,
    /// Whether the worker sleeps until it is kicked.
    asleep: bool,
}

fn offered() -> u64 {
    Shape { pairs: 1, offload: false, mtu: None, mac: [2; 6], exclusive: true }.features()
}

impl Rig {
    /// With rings of so many entries, and nothing sent yet.
    fn new(entries: u16) -> Self {
        let o = Options { base: BASE, entries, offered: offered() };
        let memory = Memory::new(o.memory());
        let driver = memory.with(|m| Driver::start(m, o)).unwrap();
        let setup = driver.setup();
        let (call, kicks) = (event(), [event(), event()]);
        let counters = Arc::new(Counters::default());
        let queue = |i: u16| {
            let p = setup.queues[usize::from(i)];
            Arc::new(Queue::new(Parts {
                number: i,
                size: setup.entries,
                places: Places { descriptors: p.descriptors, available: p.available, used: p.used },
                base: (0, 0),
                features: Features(setup.features),
                memory: memory.cell.clone(),
                kick: Some(Arc::new(share(&kicks[usize::from(i)]))),
                call: Arc::new(Published::new(Some(Bell::new(share(&call)).unwrap()))),
                error: None,
                counters: counters.clone(),
            }))
        };
        let queues = [RECEIVE, TRANSMIT].map(queue);
        let tx = Transmit::new(queues[1].clone());
        let rx = Receiver::new(vec![queues[0].clone()], true, 9000);
        let port = Port { tx, rx, burst: Burst::default(), counters, queues, call };
        Self { memory, driver, doorbells: Doorbells(kicks), port, asleep: false }
    }

    /// The driver does something.
    fn guest<T>(&mut self, f: impl FnOnce(&mut Driver, &mut Doorbells, &Mapped<'_>) -> T) -> T {
        let Self { memory, driver, doorbells, .. } = self;
        memory.with(|m| f(driver, doorbells, m))
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        self.guest(|d, bus, m| d.send(bus, m, bytes)).unwrap()
    }

    /// Kicks of a queue since this was last asked.
    fn kicks(&self, queue: u16) -> u64 {
        count(&self.doorbells.0[usize::from(queue)])
    }

    /// Interrupts since this was last asked.
    fn interrupts(&self) -> u64 {
        count(&self.port.call)
    }

    /// The guest looks for frames.
    fn poll(&mut self, max: u32) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        let done = self.guest(|d, bus, m| {
            d.poll(bus, m, max, |f| {
                let mut b = vec![0; f.len];
                assert_eq!(f.copy(m, &mut b), Ok(f.len));
                got.push(b);
            })
        });
        assert_eq!(done, Ok(got.len() as u32));
        got
    }

    /// The worker's turn; a kick wakes it.
    fn turn(&mut self, max: usize) -> Vec<Vec<u8>> {
        let kicked = self.kicks(TRANSMIT);
        if self.asleep && kicked == 0 {
            return Vec::new();
        }
        if std::mem::take(&mut self.asleep) {
            self.port.tx.disarm();
        }
        let got = self.port.take(max);
        if got.is_empty() {
            self.asleep = self.port.tx.arm();
        }
        got
    }
}

impl Port {
    /// Frames that the guest has sent, all of them done with.
    fn take(&mut self, max: usize) -> Vec<Vec<u8>> {
        // Pointers into guest memory are good while it is pinned.
        let _guard = crossbeam::epoch::pin();
        self.burst.clear();
        self.tx.take(&mut self.burst, max, 0);
        let n = self.burst.taken();
        let frames = self.burst.frames.iter().filter(|f| f.reject.is_none());
        let got = frames.map(|f| bytes_of(&self.burst, f)).collect();
        self.tx.complete(&self.burst, n);
        self.tx.publish();
        notify::settle();
        self.tx.wake();
        got
    }

    /// Delivers frames as one burst, as far as there is room.
    fn deliver(&mut self, frames: &[Vec<u8>]) -> (usize, Tally) {
        self.burst.clear();
        for f in frames {
            // SAFETY: `frames` outlives this use of the burst.
            unsafe { self.burst.push(f.as_ptr(), f.len(), 1) };
        }
        let list: Vec<Entry> = (0..self.burst.taken() as u16).map(|i| Entry { orig: i, frame: i }).collect();
        let n = self.rx.claim(&self.burst, &list, 0);
        let tally = if n > 0 { self.rx.put(&self.burst, &list[..n], 0, 0) } else { Tally::default() };
        notify::settle();
        self.rx.wake();
        (n, tally)
    }
}

/// A frame of `len` bytes that is not like its neighbours.
fn frame(n: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (n.wrapping_mul(31) + i * 7 + (n >> 8)) as u8).collect()
}
