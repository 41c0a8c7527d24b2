//! One virtqueue while it is joined to the switch: what its worker and the server's thread share.
//!
//! Positions count chains since then (64 bits: they do not wrap) and are the same in both rings, for a switch is done
//! with frames in their order. The indices that the guest sees are positions plus what they were at the start.
//!
//! `virtio-queue`'s `Queue` is not used: it has one consumer at a time (`&mut self`) where several workers fill one
//! receive queue here; it moves the used index, a word shared with the guest, for each chain where a burst needs it once;
//! and it looks up guest addresses for each word of a ring where here a ring is looked up once a burst.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam::epoch::Guard;

use super::counters::Counters;
use super::features::Features;
use super::ring::{Places, Ring, passed};
use crate::event::Bell;
use crate::memory::Snapshot;
use crate::sys::eventfd::signal;
use crate::sys::published::Published;

/// How the guest is interrupted, or not.
pub type Call = Published<Option<Bell>>;

/// What a queue is made of.
pub struct Parts {
    /// Its number.
    pub number: u16,
    /// Entries, a power of two.
    pub size: u16,
    /// Where it lies.
    pub places: Places,
    /// Indices of the available and used rings at position 0.
    pub base: (u16, u16),
    /// What was agreed on.
    pub features: Features,
    /// Guest memory.
    pub memory: Arc<Published<Snapshot>>,
    /// Rung by the guest; none: it is to be polled.
    pub kick: Option<Arc<OwnedFd>>,
    /// Rung for the guest.
    pub call: Arc<Call>,
    /// Rung when the ring is broken.
    pub error: Option<Arc<Bell>>,
    /// Figures.
    pub counters: Arc<Counters>,
}

/// See the [module](self).
pub struct Queue {
    /// What it is made of.
    pub parts: Parts,
    /// Positions that the guest may see as used.
    published: AtomicU64,
    /// Positions for which it was considered whether to interrupt.
    told: AtomicU64,
    broken: AtomicBool,
}

impl Queue {
    /// At position 0, and quiet: no kicks are asked for.
    pub fn new(parts: Parts) -> Self {
        Self { parts, published: AtomicU64::new(0), told: AtomicU64::new(0), broken: AtomicBool::new(false) }
    }

    /// Its ring in this memory; none if it is broken or its memory is gone.
    #[inline]
    pub fn ring<'g>(&self, memory: &'g Snapshot) -> Option<Ring<'g>> {
        // ORDERING: Relaxed; a flag by itself.
        if self.broken.load(Ordering::Relaxed) {
            return None;
        }
        match Ring::resolve(memory, &self.parts.places, self.parts.size) {
            Ok(ring) => Some(ring),
            Err(e) => {
                self.fail(format_args!("{e}"));
                None
            }
        }
    }

    /// Guest memory as it is now.
    #[inline]
    pub fn memory<'g>(&self, guard: &'g Guard) -> &'g Snapshot {
        self.parts.memory.load(guard)
    }

    /// The guest contradicts itself: nothing is done with the queue until it is set up anew.
    #[cold]
    pub fn fail(&self, why: std::fmt::Arguments<'_>) {
        if self.broken.swap(true, Ordering::Relaxed) {
            return;
        }
        self.parts.counters.memory_errors.add(1);
        tracing::warn!(
            queue = self.parts.number,
            "virtqueue stopped until the guest sets it up again: {why}"
        );
        if let Some(bell) = &self.parts.error {
            bell.ring();
        }
    }

    /// Whether the guest broke it.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Index of the available ring at a position.
    #[inline]
    pub fn available_index(&self, pos: u64) -> u16 {
        self.parts.base.0.wrapping_add(pos as u16)
    }

    /// Index of the used ring at a position.
    #[inline]
    pub fn used_index(&self, pos: u64) -> u16 {
        self.parts.base.1.wrapping_add(pos as u16)
    }

    /// Chains available from `pos` on; none, and the queue is broken, if the guest's index makes no sense. Nobody
    /// else may have gone on from `pos`.
    #[inline]
    pub fn pending(&self, ring: &Ring<'_>, pos: u64) -> u16 {
        let n = ring.available().wrapping_sub(self.available_index(pos));
        if n > self.parts.size {
            self.fail(format_args!(
                "its available index moved by {n}, more than its {} entries",
                ring.size()
            ));
            return 0;
        }
        n
    }

    /// Positions published so far.
    #[inline]
    pub fn published(&self) -> u64 {
        // ORDERING: Acquire, so that what is said of positions below it (their descriptors are the guest's) holds.
        self.published.load(Ordering::Acquire)
    }

    /// Lets the guest see everything before `pos` as used. Never concurrently and never backwards.
    #[inline]
    pub fn publish(&self, ring: &Ring<'_>, pos: u64) {
        ring.publish(self.used_index(pos));
        // ORDERING: Release pairs with `published`.
        self.published.store(pos, Ordering::Release);
    }

    /// Interrupts the guest if it waits for something published since this was last called.
    pub fn tell(&self) {
        let new = self.published();
        // ORDERING: Relaxed; each position is considered by exactly one caller, whichever.
        if self.told.load(Ordering::Relaxed) >= new {
            return;
        }
        // ORDERING: SeqCst fence pairs with the guest's, as in `valecast_ring::notify`. It must come after `new` was
        // read: what another worker has published meanwhile is considered here, and then not by that worker, whose own
        // fence would have come too late for us.
        fence(Ordering::SeqCst);
        let old = self.told.fetch_max(new, Ordering::Relaxed);
        if old >= new {
            return;
        }
        let guard = crossbeam::epoch::pin();
        let Some(ring) = self.ring(self.memory(&guard)) else { return };
        let wanted = if self.parts.features.event_index() {
            // More than a lap since the last look passes any index; 16 bits do not show it.
            new - old > u64::from(u16::MAX)
                || passed(ring.used_event(), self.used_index(new), self.used_index(old))
        } else {
            !ring.no_interrupt()
        };
        if wanted {
            self.call(&guard);
        } else {
            self.parts.counters.suppressed_calls.add(1);
        }
    }

    /// Interrupts the guest.
    pub fn call(&self, guard: &Guard) {
        let Some(bell) = self.parts.call.load(guard) else { return };
        if bell.ring() {
            self.parts.counters.calls.add(1);
        } else {
            self.parts.counters.lost_calls.add(1);
        }
    }

    /// Asks for no kicks.
    pub fn quiet(&self, ring: &Ring<'_>, pos: u64) {
        if self.parts.features.event_index() {
            // The index before the next: it comes round again after 65535 others.
            ring.set_available_event(self.available_index(pos).wrapping_sub(1));
        } else {
            ring.set_no_notify(true);
        }
    }

    /// Asks for a kick when there is a chain from `pos` on; true if there is none now, so that one may sleep. A queue
    /// without a kick is never slept on.
    pub fn arm(&self, ring: &Ring<'_>, pos: u64) -> bool {
        if self.parts.kick.is_none() {
            return false;
        }
        if self.parts.features.event_index() {
            ring.set_available_event(self.available_index(pos));
        } else {
            ring.set_no_notify(false);
        }
        // ORDERING: SeqCst fence pairs with the guest's between its move of the index and its look at the event: the
        // protocol of `valecast_ring::notify`.
        fence(Ordering::SeqCst);
        ring.available() == self.available_index(pos)
    }

    /// Wakes who sleeps on this queue's kick, as the guest would.
    #[cold]
    pub fn kick(&self) {
        if let Some(fd) = &self.parts.kick {
            let _ = signal(fd.as_fd());
        }
    }
}
