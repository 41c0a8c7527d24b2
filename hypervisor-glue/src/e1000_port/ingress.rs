//! The guest's frames, by reference into its memory.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crossbeam::epoch::{is_pinned, pin};
use valecast_switch::frame::Burst;
use valecast_switch::port::Ingress;

use super::memory::Mapped;
use super::shared::Shared;
use crate::e1000::tx::TxQueue;

/// The transmit ring of a guest's card.
pub struct E1000Ingress {
    shared: Arc<Shared>,
    queue: TxQueue,
    /// The turn's time.
    now: u64,
}

impl E1000Ingress {
    /// Of a card; there must be one at a time.
    pub fn new(shared: Arc<Shared>) -> Self {
        let queue = TxQueue::new(shared.device.clone());
        Self { shared, queue, now: 0 }
    }
}

/// The memory table of the turn, as `$mem`.
macro_rules! memory {
    ($self:ident, $guard:ident, $mem:ident) => {
        let $guard = pin();
        // SAFETY: workers are pinned from before `take` until after `complete`; this guard is one more.
        let $mem = unsafe { Mapped::new($self.shared.bus.memory(&$guard)) };
    };
}

impl Ingress for E1000Ingress {
    fn take(&mut self, burst: &mut Burst, max: usize, now: u64) {
        debug_assert!(is_pinned(), "frames are given by reference to threads that hold the tables");
        self.now = now;
        self.shared.polled();
        memory!(self, guard, mem);
        if self.queue.take(&mem, burst, max, now) {
            self.shared.hand_on_line();
        }
    }

    fn complete(&mut self, burst: &Burst, n: usize) {
        memory!(self, guard, mem);
        self.queue.complete(&mem, burst, n);
    }

    fn publish(&mut self) {
        self.queue.publish();
    }

    fn wake(&mut self) {
        memory!(self, guard, mem);
        let rose = self.queue.wake(&mem, self.now);
        self.shared.told(rose);
    }

    fn arm(&mut self) -> bool {
        memory!(self, guard, mem);
        // The card's own flag, if it is the CSB, is in guest memory and makes the guest write TDT; the bell's makes the thread
        // that sees the write wake this worker.
        let queue = &mut self.queue;
        let sleeps = self.shared.transmit.arm(|| !queue.arm(&mem));
        if sleeps {
            self.shared.parked();
        }
        sleeps
    }

    fn disarm(&mut self) {
        self.shared.transmit.disarm();
        memory!(self, guard, mem);
        self.queue.disarm(&mem);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.transmit.fd())
    }
}
