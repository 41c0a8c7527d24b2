//! What a device model implements, and what it gets in return.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::epoch::Guard;

use super::irq::Interrupt;
use super::memory::Snapshot;
use super::pci::{Command, Identity};
use super::sys::published::Published;

/// The process at the other end of a connection, as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub pid: i32,
    /// Whose it is.
    pub uid: u32,
    /// As above.
    pub gid: u32,
}

/// A device on the bus, called by the server's thread only. Whatever its workers share with it is its own affair; guest
/// memory and the interrupt are shared by the [`Bus`].
///
/// No call may block: while it runs, the guest's processor waits in its register access.
pub trait Device {
    /// Whether `peer`, who has just connected, may go on.
    ///
    /// # Errors
    /// Why not, for the log; the connection is closed.
    fn admit(&mut self, _peer: &Peer) -> Result<(), String> {
        Ok(())
    }
    /// The guest reads `data.len()` bytes (1 to 64 KiB, inside the BAR, of any alignment) at `offset` of a BAR.
    /// `data` comes zeroed.
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]);
    /// The guest writes, within the same bounds.
    fn write(&mut self, bar: usize, offset: u64, data: &[u8]);
    /// Back to power-on: the guest's machine was reset, or a client has gone. The interrupt's level is down already
    /// and configuration space is reset; memory stays mapped while there is a client.
    fn reset(&mut self);
    /// The guest wrote the PCI command register. Without [`Command::MASTER`] every translation fails.
    fn command(&mut self, _command: Command) {}
    /// Guest memory was mapped or unmapped; addresses that were resolved before must be resolved again. When this is
    /// called for an unmapping, workers have already stopped using the old snapshot.
    fn memory_changed(&mut self) {}
    /// The client has changed how it hears of interrupts. The level was looked at again; nothing need be done.
    fn interrupt_changed(&mut self) {}
    /// A client has come and agreed on a protocol version.
    fn attached(&mut self) {}
    /// It has gone. [`reset`](Self::reset) was called before; memory is unmapped.
    fn detached(&mut self) {}
}

/// What a device and its workers see of the machine they are plugged into. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    memory: Arc<Published<Snapshot>>,
    interrupt: Arc<Interrupt>,
    counters: Counters,
}

impl Bus {
    /// A bus with nobody on it.
    pub fn new(id: &Identity) -> Self {
        Self(Arc::new(Shared {
            memory: Arc::new(Published::new(Snapshot::default())),
            interrupt: Arc::new(Interrupt::new(id.msi)),
            counters: Counters::default(),
        }))
    }

    /// Guest memory as it is now. Pointers from it are good until the guard is re-pinned.
    pub fn memory<'g>(&self, guard: &'g Guard) -> &'g Snapshot {
        self.0.memory.load(guard)
    }

    /// The device's interrupt.
    pub fn interrupt(&self) -> &Interrupt {
        &self.0.interrupt
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(super) fn memory_cell(&self) -> Arc<Published<Snapshot>> {
        Arc::clone(&self.0.memory)
    }

    pub(super) fn interrupt_cell(&self) -> Arc<Interrupt> {
        Arc::clone(&self.0.interrupt)
    }
}

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// What a server has done since it was started, over all clients.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients that came.
    pub clients: Counter,
    /// Clients turned away because there was one, or because they may not connect.
    pub turned_away: Counter,
    /// Messages.
    pub messages: Counter,
    /// Receives that brought messages; messages per receive is the batching.
    pub receives: Counter,
    /// Reads of BARs: each stops a processor of the guest.
    pub reads: Counter,
    /// Writes of BARs.
    pub writes: Counter,
    /// Of these, those that wanted no answer.
    pub posted: Counter,
    /// Requests refused.
    pub refused: Counter,
    /// Memory maps made.
    pub maps: Counter,
    /// Memory maps removed by the client.
    pub unmaps: Counter,
    /// Connections that were cut because their bytes made no sense.
    pub broken: Counter,
}
