//! Which receive buffers belong to which frames, when several workers deliver into one queue.
//!
//! A claim is for positions, not for a number of buffers: how many a frame takes depends on how long the guest made
//! those at hand, which differ (Linux makes them as long as recent frames were). So a claim
//!
//! 1. **reserves** as many consecutive positions as it expects to need, if no other worker came first, and more behind
//!    them if they turn out not to be enough and none came meanwhile;
//! 2. **reads** each buffer's first descriptor and length, once, into this process's own memory: from here on the guest
//!    cannot change its mind;
//! 3. **fits** the frames in, and gives the positions left over back, or if others have reserved behind them keeps them:
//!    those buffers will be returned empty.
//!
//! Delivery fits the same frames into the same positions and so finds the same buffers, writes them, and **commits** the
//! range, in order among all workers ([`Ledger`]). None of it waits for another worker.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use valecast_ring::ledger::Ledger;
use valecast_switch::frame::Note;

use super::chain::{Bad, Use, single, walk};
use super::queue::Queue;
use super::ring::Ring;
use crate::memory::Snapshot;

/// What a buffer is taken to hold before one was seen: a full frame with its header.
const USUAL: u32 = 1526;

/// Descriptors are asked for so many positions ahead.
const AHEAD: u64 = 16;

/// A receive buffer as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// Its chain.
    pub head: u16,
    /// Guest address, if it is in one piece.
    pub address: Option<u64>,
    /// Bytes; 0 if it cannot be used.
    pub len: u32,
}

/// Room for one [`Buffer`]. Only who has reserved its position reads and writes it: atomics are here for the sake of
/// the language, not for order.
#[derive(Debug, Default)]
struct Shadow {
    address: AtomicU64,
    /// Length, head, and whether there is an address.
    rest: AtomicU64,
}

impl Shadow {
    #[inline]
    fn set(&self, b: Buffer) {
        let flag = u64::from(b.address.is_some()) << 48;
        self.address.store(b.address.unwrap_or_default(), Ordering::Relaxed);
        self.rest.store(u64::from(b.len) | u64::from(b.head) << 32 | flag, Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> Buffer {
        let rest = self.rest.load(Ordering::Relaxed);
        let address = (rest >> 48 != 0).then(|| self.address.load(Ordering::Relaxed));
        Buffer { head: (rest >> 32) as u16, address, len: rest as u32 }
    }
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First position.
    pub first: u64,
    /// One past the last.
    pub end: u64,
}

/// Whether a frame has a place among the positions looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Here.
    At(Place),
    /// With more positions it may; those before this one are of no use to anybody.
    Short(u64),
    /// The guest has no buffer, or not as many, as long as it would take.
    Never,
}

/// The book of one receive queue.
#[derive(Debug)]
pub struct Book {
    ledger: Ledger,
    shadow: Box<[Shadow]>,
    mergeable: bool,
    /// Length of the buffer read last.
    usual: AtomicU32,
    /// Highest position that somebody waits for.
    armed: AtomicU64,
    /// Somebody may wait.
    waits: AtomicBool,
    /// First position whose chain, if it is bad, was not counted yet: a claim that came to nothing leaves it to the next.
    counted: AtomicU64,
}

impl Book {
    /// For a queue of `size` entries, a power of two; `exclusive` if one worker alone delivers into it.
    pub fn new(size: u16, mergeable: bool, exclusive: bool) -> Self {
        Self {
            ledger: Ledger::new(size.into(), exclusive),
            shadow: (0..size).map(|_| Shadow::default()).collect(),
            mergeable,
            usual: AtomicU32::new(USUAL),
            armed: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            counted: AtomicU64::new(0),
        }
    }

    fn shadow(&self, pos: u64) -> &Shadow {
        &self.shadow[pos as usize & (self.shadow.len() - 1)]
    }

    /// The buffer at a position that the caller has reserved.
    #[inline]
    pub fn buffer(&self, pos: u64) -> Buffer {
        self.shadow(pos).get()
    }

    /// Buffers that frames of `need` bytes (each with its header) will take, as it seems.
    #[inline]
    pub fn estimate(&self, longest: usize, frames: usize, need: impl Iterator<Item = usize>) -> u32 {
        // ORDERING: Relaxed; a guess.
        let usual = self.usual.load(Ordering::Relaxed).max(1) as usize;
        let many = if longest <= usual || !self.mergeable {
            frames
        } else {
            need.map(|n| n.div_ceil(usual).min(self.shadow.len())).sum()
        };
        many.min(self.shadow.len()) as u32
    }

    /// Buffers that may be reserved from `from` on. `None`: others have reserved meanwhile.
    fn room(&self, queue: &Queue, ring: &Ring<'_>, from: u64) -> Option<u32> {
        let size = u64::from(queue.parts.size);
        let held = from - queue.published().min(from);
        let n = ring.available().wrapping_sub(queue.available_index(from));
        if self.ledger.reserved() != from {
            return None;
        }
        if n > queue.parts.size {
            queue.fail(format_args!("its available index moved by {n}, more than its {size} entries"));
            return Some(0);
        }
        // What a guest claims to have made available again before it was used is not there.
        Some(u64::from(n).min(size.saturating_sub(held)) as u32)
    }

    /// Reserves up to `want` positions; start and end.
    pub fn reserve(&self, queue: &Queue, ring: &Ring<'_>, want: u32) -> (u64, u64) {
        loop {
            let from = self.ledger.reserved();
            let Some(room) = self.room(queue, ring, from) else { continue };
            let n = want.min(room);
            if n == 0 || self.ledger.reserve_from(from, n) {
                return (from, from + u64::from(n));
            }
        }
    }

    /// Reserves up to `want` more positions from `end` on; the new end.
    pub fn extend(&self, queue: &Queue, ring: &Ring<'_>, end: u64, want: u32) -> u64 {
        let n = self.room(queue, ring, end).map_or(0, |room| want.min(room));
        if n > 0 && self.ledger.reserve_from(end, n) { end + u64::from(n) } else { end }
    }

    /// Reads the buffers at reserved positions.
    pub fn read(&self, queue: &Queue, ring: &Ring<'_>, memory: &Snapshot, from: u64, end: u64) {
        let mut usual = 0;
        let ask = |pos| ring.prefetch_descriptor(queue.available_index(pos));
        (from..end.min(from + AHEAD)).for_each(ask);
        for pos in from..end {
            if pos + AHEAD < end {
                ask(pos + AHEAD);
            }
            let head = ring.head(queue.available_index(pos));
            let b = match single(ring, head, Use::Write) {
                Some(d) => Buffer { head, address: Some(d.address), len: d.len },
                None => self.chain(queue, ring, memory, (pos, head)),
            };
            usual = usual.max(b.len);
            self.shadow(pos).set(b);
        }
        if usual > 0 {
            self.usual.store(usual, Ordering::Relaxed);
        }
    }

    /// A buffer in several pieces, or none.
    #[cold]
    fn chain(&self, queue: &Queue, ring: &Ring<'_>, memory: &Snapshot, (pos, head): (u64, u16)) -> Buffer {
        let mut len = 0u32;
        let found = walk(ring, memory, queue.parts.features.indirect(), head, Use::Write, |_, n| {
            len = len.checked_add(n).ok_or(Bad::Length(u64::from(len) + u64::from(n)))?;
            Ok(())
        });
        if let Err(bad) = found {
            // ORDERING: Relaxed; positions are reserved by one worker at a time, and it is a count.
            if self.counted.fetch_max(pos + 1, Ordering::Relaxed) <= pos {
                bad.count(&queue.parts.counters);
                tracing::debug!(queue = queue.parts.number, "a receive buffer cannot be used: {bad}");
            }
            len = 0;
        }
        Buffer { head, address: None, len }
    }

    /// A place for `need` bytes among positions `from..end`.
    #[inline]
    pub fn fit(&self, from: u64, end: u64, need: usize) -> Fit {
        let (mut first, mut have) = (from, 0usize);
        for pos in from..end {
            let len = self.buffer(pos).len as usize;
            if len == 0 {
                // Of no use, and what came before it is not followed by more.
                (first, have) = (pos + 1, 0);
                continue;
            }
            have += len;
            if have >= need {
                return Fit::At(Place { first, end: pos + 1 });
            }
            if !self.mergeable {
                return Fit::Never;
            }
        }
        if end - from >= self.shadow.len() as u64 { Fit::Never } else { Fit::Short(first) }
    }

    /// More buffers that it will take after `have` of them did not do.
    pub fn more(&self, need: usize) -> u32 {
        self.estimate(need, 1, std::iter::once(need))
    }

    /// Asks for a kick when there is a buffer that nobody has reserved; true if there is none now, so that one may sleep.
    ///
    /// Several workers ask at once, and there is one event index: the highest position stands, for what somebody has
    /// reserved the guest has made available, so that who asks for less does not sleep.
    pub fn arm(&self, queue: &Queue, ring: &Ring<'_>) -> bool {
        self.waits.store(true, Ordering::Relaxed);
        loop {
            let reserved = self.ledger.reserved();
            let at = self.armed.fetch_max(reserved, Ordering::SeqCst).max(reserved);
            // Fences: with the guest, see `Queue::arm`; and among those who ask, so that who raises the position after
            // the look at it below also writes the event after this.
            fence(Ordering::SeqCst);
            let empty = queue.arm(ring, at);
            if self.armed.load(Ordering::SeqCst) == at {
                return empty && self.ledger.reserved() >= at;
            }
        }
    }

    /// Others may use what was given back unused: the guest will not say so.
    pub fn pass_on(&self, queue: &Queue) {
        // ORDERING: SeqCst fence pairs with the one in `arm`: either we see that somebody waits, or it sees the room.
        fence(Ordering::SeqCst);
        if self.waits.load(Ordering::Relaxed) {
            self.waits.store(false, Ordering::Relaxed);
            queue.kick();
        }
    }

    /// Gives back the positions from `to` up to `end`; whether nobody has reserved behind them.
    pub fn give_back(&self, end: u64, to: u64) -> bool {
        to == end || self.ledger.unreserve(end, to)
    }

    /// The range is written: publishes what can be.
    #[inline]
    pub fn commit(&self, queue: &Queue, ring: &Ring<'_>, start: u64, end: u64) {
        if end > start {
            self.ledger.commit(start, (end - start) as u32, |_| queue.publish(ring, self.ledger.published()));
        }
    }

    /// A note of a claim.
    pub fn note(start: u64, end: u64, frames: usize) -> Note {
        Note { start, end, frames }
    }
}
