//! A client's transmit ring.

use std::os::fd::BorrowedFd;

use valecast_ring::host::TxQueue;

use super::take::{Extras, take_few, take_slots};
use super::{FEW, Special};
use crate::frame::Burst;
use crate::port::Ingress;

/// Slots whose buffers are asked for before their descriptors have come.
pub(super) const EARLY: usize = 8;

/// A client's transmit ring.
pub struct RingIngress {
    pub(super) queue: TxQueue,
    special: Special,
}

impl RingIngress {
    /// Over the switch's side of a ring.
    pub fn new(queue: TxQueue, special: Special) -> Self {
        Self { queue, special }
    }

    #[inline]
    pub(super) fn extras(&self) -> Extras {
        Extras { hdr: self.special.hdr(), steer: self.special.steer }
    }
}

impl Ingress for RingIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        let pending = self.queue.pending();
        if pending == 0 {
            return;
        }
        let slots = self.queue.slots();
        let extras = self.extras();
        if pending <= FEW {
            // SAFETY: as below.
            unsafe { take_few(burst, pending, max, extras, slots) };
            return;
        }
        for i in 0..pending.min(EARLY as u32) {
            slots.prefetch_early(i);
        }
        // SAFETY: buffers are readable while the queue lives, which is longer than the burst.
        unsafe { take_slots(burst, pending, max, extras, slots) };
    }

    fn ring(&mut self) -> Option<&mut RingIngress> {
        Some(self)
    }

    fn complete(&mut self, burst: &Burst, n: usize) {
        self.queue.complete(burst.slots(n));
    }

    fn publish(&mut self) {
        self.queue.publish();
    }

    fn wake(&mut self) {
        self.queue.wake();
    }

    fn arm(&mut self) -> bool {
        self.queue.arm()
    }

    fn missed(&self) -> Option<bool> {
        self.queue.missed()
    }

    fn disarm(&mut self) {
        self.queue.disarm();
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.kick().fd())
    }
}
