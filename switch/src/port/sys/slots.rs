//! Frames that were read from the kernel and are not done with yet.

use crate::counters::Cause;
use crate::frame::{Burst, VnetHdr};

/// Frames of one source that can wait at once.
pub const SLOTS: usize = 64;

/// Where a frame lies in its slot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// Its first byte.
    pub at: usize,
    /// Its bytes.
    pub len: usize,
    /// Offloads it needs.
    pub vnet: VnetHdr,
    /// It was longer than the slot, and is lost.
    pub cut: bool,
}

/// A circle of buffers. What is filled stays where it is until it is done with.
pub struct Slots {
    /// One piece, so that pages nobody fills cost nothing.
    slab: Box<[u8]>,
    slots: [Slot; SLOTS],
    stride: usize,
    first: usize,
    filled: usize,
}

impl Slots {
    /// [`SLOTS`] buffers of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        let slab = vec![0; SLOTS * stride].into_boxed_slice();
        Self { slab, slots: [Slot::default(); SLOTS], stride, first: 0, filled: 0 }
    }

    /// Frames waiting.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Free buffers that lie one after another, at most `most`: for reading into, then [`Slots::fill`].
    pub fn free(&mut self, most: usize) -> &mut [u8] {
        let next = (self.first + self.filled) % SLOTS;
        let n = most.min(SLOTS - self.filled).min(SLOTS - next);
        &mut self.slab[next * self.stride..(next + n) * self.stride]
    }

    /// The first free buffer holds a frame.
    pub fn fill(&mut self, slot: Slot) {
        debug_assert!(self.filled < SLOTS && slot.at + slot.len <= self.stride);
        self.slots[(self.first + self.filled) % SLOTS] = slot;
        self.filled += 1;
    }

    /// Gives up to `max` frames from the oldest on. Nothing may be read into buffers before the burst is cleared.
    pub fn give(&self, burst: &mut Burst, max: usize) {
        for i in 0..self.filled.min(max) {
            let i = (self.first + i) % SLOTS;
            let s = self.slots[i];
            if s.cut {
                burst.push_rejected(1, Cause::TooBig);
                continue;
            }
            let frame = &self.slab[i * self.stride + s.at..][..s.len];
            // SAFETY: the slab stays put, and filled slots are written again only after `done`, which sources
            // call when the burst is finished.
            unsafe { burst.push(frame.as_ptr(), frame.len(), 1) };
            if s.vnet.is_needed() {
                let vnet = burst.add_vnet(s.vnet);
                if let Some(f) = burst.last_mut() {
                    f.vnet = vnet;
                }
            }
        }
    }

    /// The oldest `n` are done with.
    pub fn done(&mut self, n: usize) {
        let n = n.min(self.filled);
        self.first = (self.first + n) % SLOTS;
        self.filled -= n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(s: &mut Slots, tag: u8) {
        s.free(1)[1..15].fill(tag);
        s.fill(Slot { at: 1, len: 14, ..Slot::default() });
    }

    #[test]
    fn gives_again_what_is_not_done() {
        let mut s = Slots::new(32);
        let mut burst = Burst::default();
        // Round and round, so that the circle closes at every place.
        for round in 0..200u8 {
            fill(&mut s, round);
            fill(&mut s, round);
            burst.clear();
            s.give(&mut burst, 1000);
            // From the second round on one is left of the round before.
            let left = usize::from(round > 0);
            assert_eq!(burst.taken(), 2 + left);
            assert_eq!(burst.head(0)[..14], [round - left as u8; 14]);
            s.done(1 + left);
            assert_eq!(s.len(), 1);
            burst.clear();
            s.give(&mut burst, 1);
            assert_eq!(burst.head(0)[..14], [round; 14]);
        }
    }

    #[test]
    fn never_offers_a_filled_buffer() {
        let mut s = Slots::new(32);
        for i in 0..SLOTS {
            assert_eq!(s.free(1000).len(), (SLOTS - i) * 32);
            fill(&mut s, i as u8);
        }
        assert!(s.free(1000).is_empty());
        s.done(3);
        assert_eq!(s.free(1000).len(), 3 * 32);
    }

    #[test]
    fn says_what_was_cut_and_what_is_left_to_do() {
        let mut s = Slots::new(32);
        let vnet = VnetHdr { flags: VnetHdr::NEEDS_CSUM, csum_start: 5, ..VnetHdr::default() };
        s.fill(Slot { cut: true, ..Slot::default() });
        s.fill(Slot { at: 0, len: 20, vnet, cut: false });
        let mut burst = Burst::default();
        s.give(&mut burst, 1000);
        assert_eq!(burst.frames[0].reject, Some(Cause::TooBig));
        assert_eq!(burst.vnet(&burst.frames[1]), Some(vnet));
    }
}
