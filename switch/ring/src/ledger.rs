//! Who may write which slots of a destination ring, when several workers deliver into it.
//!
//! A delivery has four steps, none of which waits for another worker:
//!
//! 1. **claim** room, a mere number: it may be given back (a burst cut short by backpressure elsewhere);
//! 2. **reserve** consecutive positions, never more than were claimed;
//! 3. copy the frames into them;
//! 4. **commit** the range. Whoever commits moves the published position over all ranges that are
//!    complete; a range whose worker is still copying holds back those behind it, but nobody spins.
//!
//! Positions count slots since the ring was made (64 bits: they do not wrap), slot = position & mask.
//! VALE takes a lock for steps 2 and 4 and fills what it reserved in vain with zero-length slots; claims
//! make both needless.

use std::sync::atomic::Ordering;

use crate::sync::{AtomicBool, AtomicU64, fence};

/// The book of one destination ring.
#[derive(Debug)]
pub struct Ledger {
    mask: u64,
    /// One worker only: plain loads and stores do.
    exclusive: bool,
    /// Positions given to claims.
    claimed: AtomicU64,
    /// Positions given to reservations; never more than `claimed`.
    reserved: AtomicU64,
    /// Positions that the receiver may read.
    published: AtomicU64,
    /// Positions that the receiver has given back.
    freed: AtomicU64,
    /// `done[start & mask]` = end of a complete range that begins at `start`.
    done: Box<[AtomicU64]>,
    /// Taken while somebody moves `published`.
    publishing: AtomicBool,
}

/// The receiver's head pointed outside what it had been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHead;

impl Ledger {
    /// For a ring of `slots` (a power of two); `exclusive` if one worker alone delivers into it.
    pub fn new(slots: u32, exclusive: bool) -> Self {
        debug_assert!(slots.is_power_of_two());
        let done = if exclusive { 0 } else { slots };
        Self {
            mask: u64::from(slots) - 1,
            exclusive,
            claimed: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            published: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            done: (0..done).map(|_| AtomicU64::new(0)).collect(),
            publishing: AtomicBool::new(false),
        }
    }

    /// The slot of a position.
    #[inline]
    pub fn slot(&self, pos: u64) -> u32 {
        (pos & self.mask) as u32
    }

    /// Published positions so far.
    #[inline]
    pub fn published(&self) -> u64 {
        // ORDERING: Relaxed; readers want a figure, not the frames behind it.
        self.published.load(Ordering::Relaxed)
    }

    /// Slots published and not yet given back.
    #[inline]
    pub fn unread(&self) -> u64 {
        self.published().saturating_sub(self.freed.load(Ordering::Relaxed))
    }

    /// Slots that are free as far as is known.
    #[inline]
    pub fn room(&self) -> u64 {
        // ORDERING: Relaxed, as in `claim`, which finds the truth.
        let used = self.claimed.load(Ordering::Relaxed).wrapping_sub(self.freed.load(Ordering::Relaxed));
        self.mask.saturating_sub(used)
    }

    /// One past the last position that is free as far as is known.
    #[inline]
    pub fn free_to(&self) -> u64 {
        // ORDERING: Relaxed; only a hint.
        self.freed.load(Ordering::Relaxed) + self.mask
    }

    /// Takes note of the receiver's head, a slot number that nobody vouches for and that `head` reads.
    ///
    /// What is known of the ring brackets the reading: `freed` is from before it, `published` from after, so
    /// an honest head lies between them however many other workers take the same note meanwhile.
    #[inline]
    pub fn release_to(&self, head: impl FnOnce() -> u32) -> Result<(), BadHead> {
        // ORDERING: Acquire pairs with the AcqRel exchange in `move_freed`: the head that was read there is
        // the oldest that can be read here.
        let freed = self.freed.load(Ordering::Acquire);
        let head = u64::from(head());
        // ORDERING: Acquire: `head` was read with Acquire, so what the receiver had seen is seen here.
        let unread = self.published.load(Ordering::Acquire).wrapping_sub(freed);
        let delta = head.wrapping_sub(freed) & self.mask;
        if head > self.mask || delta > unread {
            return Err(BadHead);
        }
        if delta != 0 {
            self.move_freed(freed, freed + delta);
        }
        Ok(())
    }

    /// After [`BadHead`]: takes all that was published as read. Returns the head the receiver gets.
    pub fn reset(&self) -> u32 {
        let freed = self.freed.load(Ordering::Acquire);
        let published = self.published.load(Ordering::Acquire);
        if published > freed {
            self.move_freed(freed, published);
        }
        self.slot(published)
    }

    fn move_freed(&self, from: u64, to: u64) {
        if self.exclusive {
            self.freed.store(to, Ordering::Relaxed);
        } else {
            // ORDERING: AcqRel, see `release_to`. Losing the race means another worker took note already.
            let _ = self.freed.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Claims up to `want` slots of room; one slot of the ring always stays empty.
    #[inline]
    pub fn claim(&self, want: u32) -> u32 {
        if !self.exclusive {
            return self.claim_shared(want);
        }
        // ORDERING: Relaxed. A claim is a number; the frames are ordered by `commit`. A stale `freed`
        // only makes the room look smaller.
        let claimed = self.claimed.load(Ordering::Relaxed);
        let used = claimed.wrapping_sub(self.freed.load(Ordering::Acquire));
        let take = u64::from(want).min(self.mask.saturating_sub(used));
        self.claimed.store(claimed + take, Ordering::Relaxed);
        take as u32
    }

    /// Apart, lest it burdens a worker that is alone.
    #[inline(never)]
    fn claim_shared(&self, want: u32) -> u32 {
        // ORDERING: as in `claim`.
        let mut claimed = self.claimed.load(Ordering::Relaxed);
        loop {
            let used = claimed.wrapping_sub(self.freed.load(Ordering::Acquire));
            let take = u64::from(want).min(self.mask.saturating_sub(used));
            if take == 0 {
                return 0;
            }
            match self.claimed.compare_exchange_weak(
                claimed,
                claimed + take,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return take as u32,
                Err(now) => claimed = now,
            }
        }
    }

    /// Gives `n` claimed slots back.
    #[inline]
    pub fn unclaim(&self, n: u32) {
        if n == 0 {
        } else if self.exclusive {
            self.claimed.store(self.claimed.load(Ordering::Relaxed) - u64::from(n), Ordering::Relaxed);
        } else {
            self.claimed.fetch_sub(u64::from(n), Ordering::Relaxed);
        }
    }

    /// Positions reserved so far, for rings whose room is not counted here (virtqueues): see
    /// [`Ledger::reserve_from`].
    #[inline]
    pub fn reserved(&self) -> u64 {
        // ORDERING: Relaxed; `reserve_from` finds out whether it is still so.
        self.reserved.load(Ordering::Relaxed)
    }

    /// Reserves the `n` positions from `from` on, unless others have reserved meanwhile. For rings whose room is not
    /// counted here: no claim comes before it, and the caller sees to it that never more than the ring's slots are
    /// reserved and not published.
    #[inline]
    pub fn reserve_from(&self, from: u64, n: u32) -> bool {
        self.shift(from, from + u64::from(n))
    }

    /// Gives the positions from `to` up to `from` back, unless others have reserved behind them: then they must be
    /// committed.
    #[inline]
    pub fn unreserve(&self, from: u64, to: u64) -> bool {
        self.shift(from, to)
    }

    fn shift(&self, from: u64, to: u64) -> bool {
        if self.exclusive {
            self.reserved.store(to, Ordering::Relaxed);
            return true;
        }
        // ORDERING: Relaxed: who owns a position is all that is settled; what is in it goes by `commit`.
        self.reserved.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Turns `n` claimed slots into consecutive positions; the first is returned.
    #[inline]
    pub fn reserve(&self, n: u32) -> u64 {
        if self.exclusive {
            let r = self.reserved.load(Ordering::Relaxed);
            self.reserved.store(r + u64::from(n), Ordering::Relaxed);
            r
        } else {
            self.reserved.fetch_add(u64::from(n), Ordering::Relaxed)
        }
    }

    /// Marks `start..start + n` complete and publishes all that can be: `tail` is called with the new
    /// tail slot, never concurrently and never backwards.
    #[inline]
    pub fn commit(&self, start: u64, n: u32, tail: impl Fn(u32)) {
        let end = start + u64::from(n);
        if self.exclusive {
            self.published.store(end, Ordering::Relaxed);
            tail(self.slot(end));
            return;
        }
        self.commit_shared(start, end, tail);
    }

    /// Apart, as [`Ledger::claim_shared`].
    #[inline(never)]
    fn commit_shared(&self, start: u64, end: u64, tail: impl Fn(u32)) {
        // ORDERING: Release: whoever sees the mark sees the copied frames.
        self.done[self.slot(start) as usize].store(end, Ordering::Release);
        self.publish(tail);
    }

    fn publish(&self, tail: impl Fn(u32)) {
        loop {
            // ORDERING: SeqCst fence pairs with the one after the release of `publishing`: either we see it
            // free, or its holder sees our mark.
            fence(Ordering::SeqCst);
            if self.publishing.swap(true, Ordering::Acquire) {
                return;
            }
            let from = self.published.load(Ordering::Relaxed);
            let mut to = from;
            while let Some(end) = self.complete(to) {
                to = end;
            }
            if to != from {
                // ORDERING: Release: `release_to` on another worker must not see `freed` pass it.
                self.published.store(to, Ordering::Release);
                tail(self.slot(to));
            }
            // An exchange, not a store: loom cannot order a plain store among the others' exchanges.
            self.publishing.swap(false, Ordering::AcqRel);
            fence(Ordering::SeqCst);
            if self.complete(to).is_none() {
                return;
            }
        }
    }

    /// The end of a complete range that begins at `pos`. Marks of earlier laps are smaller than `pos`.
    fn complete(&self, pos: u64) -> Option<u64> {
        // ORDERING: Acquire pairs with the Release in `commit`.
        let end = self.done[self.slot(pos) as usize].load(Ordering::Acquire);
        (end > pos).then_some(end)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
