//! Writes the slots of a client's receive ring.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use crate::abi::SlotFlags;
use crate::host::RxQueue;
use crate::layout::SLOTS_PER_LINE;
use crate::moves::{copy_head, copy_payload, prefetch_write};
use crate::region::{Desc, RingView};

/// How many positions ahead buffers are asked for. Their slots are asked for twice as far ahead: the line of each four at once,
/// hence a multiple of that.
const AHEAD: u32 = 32;

const _: () = assert!(AHEAD.is_multiple_of(SLOTS_PER_LINE));

/// Writes slots of a [`RxQueue`]. By value, as [`TxSlots`](super::TxSlots).
#[derive(Clone, Copy, Debug)]
pub struct RxWriter<'q> {
    view: RingView,
    mask: u32,
    free_to: u64,
    queue: &'q RxQueue,
}

/// A frame to be written into one slot: what comes first, and the rest.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Where it begins; memory that nobody else writes.
    pub head: *const u8,
    /// Bytes there; nearly always 16.
    pub head_len: usize,
    /// What follows; others may write there.
    pub tail: *const u8,
    /// Bytes of it.
    pub tail_len: usize,
}

impl<'q> RxWriter<'q> {
    #[inline]
    pub(super) fn new(queue: &'q RxQueue) -> Self {
        let view = queue.view;
        Self { view, mask: view.nslots - 1, free_to: queue.ledger.free_to(), queue }
    }

    /// Writes frames of one slot each into reserved positions that lie side by side, from `pos` on: as many of `frames` as
    /// there are positions, at most `n`. How many that were, and their bytes.
    ///
    /// With each it asks for the buffer that comes 32 positions after it. No more at once: a core has only so many lines under way, and
    /// whoever asks for more waits for them, where the frames' other work can be done meanwhile.
    ///
    /// # Safety
    /// `head` and `tail` of each must be readable for `head_len` and `tail_len` bytes, the sum at most
    /// [`RxQueue::max_len`], and `n` positions from `pos` on reserved by the caller and not yet committed.
    #[inline(always)]
    pub unsafe fn write(
        &self,
        pos: u64,
        n: u32,
        flags: SlotFlags,
        frames: impl Iterator<Item = Source>,
    ) -> (u32, u64) {
        let (view, queue) = (self.view, self.queue);
        let (slot, ahead) = (pos as u32 & self.mask, (pos as u32).wrapping_add(AHEAD) & self.mask);
        // Up to where the ring ends, for what is asked for as well.
        let slots = view.side_by_side(slot, n.min(self.mask + 1 - ahead));
        // ORDERING: Relaxed here and below; hints.
        let (differed, mut differs) = (queue.differs.load(Ordering::Relaxed), false);
        let further = self.ask(slot, ahead, pos, slots.len() as u32, differed);
        let (mut begun, mut bytes) = (queue.first_buf + slot, 0);
        let mut buf = view.first_buf(begun);
        for (words, f) in slots.iter().zip(frames) {
            prefetch_write(buf.as_ptr().wrapping_offset(further));
            let len = f.head_len + f.tail_len;
            debug_assert!(len <= view.max_len as usize);
            let (was, mut to) = (words.desc(), buf);
            let mut desc = Desc { buf_idx: begun, len: len as u16, flags: flags.bits() };
            if differed || was.bits() != desc.bits() {
                differs |= was.bits() != desc.bits();
                if was.buf_idx != begun {
                    (desc.buf_idx, to) = self.other(begun, was.buf_idx);
                }
                words.put(desc);
            }
            // SAFETY: the buffer has room for both, and the caller vouches for the sources. The regions of two ports are
            // different mappings, and within one a client only harms itself, so overlap is met with moves that
            // tolerate it where it can happen (own buffers).
            unsafe {
                copy_head(f.head, to.as_ptr(), f.head_len);
                copy_payload(f.tail, to.as_ptr().add(f.head_len), f.tail_len);
            }
            bytes += len as u64;
            begun += 1;
            buf = view.next_buf(buf);
        }
        if differs != differed {
            queue.differs.store(differs, Ordering::Relaxed);
        }
        (slots.len() as u32, bytes)
    }

    /// [`RxWriter::write`] for a single frame. Its bytes.
    ///
    /// # Safety
    /// As for [`RxWriter::write`].
    #[inline(always)]
    pub unsafe fn write_one(&self, pos: u64, flags: SlotFlags, f: Source) -> u64 {
        let (view, slot, ahead) =
            (self.view, pos as u32 & self.mask, (pos as u32).wrapping_add(AHEAD) & self.mask);
        // ORDERING: Relaxed; a hint.
        let differed = self.queue.differs.load(Ordering::Relaxed);
        let further = self.ask(slot, ahead, pos, 1, differed && slot.is_multiple_of(SLOTS_PER_LINE));
        let (words, begun, len) = (view.slot(slot), self.queue.first_buf + slot, f.head_len + f.tail_len);
        debug_assert!(len <= view.max_len as usize);
        let (was, mut to) = (words.desc(), view.first_buf(begun));
        prefetch_write(to.as_ptr().wrapping_offset(further));
        let mut desc = Desc { buf_idx: begun, len: len as u16, flags: flags.bits() };
        let differs = was.bits() != desc.bits();
        if differs != differed {
            // ORDERING: Relaxed; a hint.
            self.queue.differs.store(differs, Ordering::Relaxed);
        }
        if differs {
            if was.buf_idx != begun {
                (desc.buf_idx, to) = self.other(begun, was.buf_idx);
            }
            words.put(desc);
        }
        // SAFETY: as in `write`.
        unsafe {
            copy_head(f.head, to.as_ptr(), f.head_len);
            copy_payload(f.tail, to.as_ptr().add(f.head_len), f.tail_len);
        }
        len as u64
    }

    /// The buffer `idx`, which its client gave a slot that began with `begun`.
    #[cold]
    #[inline(never)]
    fn other(&self, begun: u32, idx: u32) -> (u32, NonNull<u8>) {
        // ORDERING: Relaxed; only prefetches go by it.
        self.queue.swapped.store(true, Ordering::Relaxed);
        match self.view.buf(idx) {
            Some(other) => (idx, other),
            None => {
                // The client scribbled over its slot: give it the buffer it began with.
                self.queue.count_reset();
                (begun, self.view.first_buf(begun))
            }
        }
    }

    /// Has `f` write `len` bytes into one slot at a reserved position.
    ///
    /// # Safety
    /// `len` must be at most [`RxQueue::max_len`], and `pos` reserved by the caller and not yet committed; `f` may write
    /// that much where it is told to, and nothing else.
    #[inline(always)]
    pub unsafe fn fill(&self, pos: u64, len: usize, flags: SlotFlags, f: impl FnOnce(*mut u8)) {
        debug_assert!(len <= self.view.max_len as usize);
        let slot = pos as u32 & self.mask;
        let mut idx = self.view.desc(slot).buf_idx;
        if !self.view.has_buf(idx) {
            // The client scribbled over its slot: give it the buffer it began with.
            self.queue.count_reset();
            idx = self.queue.first_buf + slot;
        }
        let Some(buf) = self.view.buf(idx) else { return };
        f(buf.as_ptr());
        self.view.put_desc(slot, Desc { buf_idx: idx, len: len as u16, flags: flags.bits() });
    }

    /// Before `n` slots from `slot` on are written: how far after the buffer of each the one is that is to be asked for with it, that of the
    /// slot from `ahead` on, in this burst or the next. 0, the buffer itself, if the client may not have read yet what is in those.
    ///
    /// If slots `differ`, they come from the client's core, too, and are asked for here. Others are still in this one's cache.
    #[inline(always)]
    fn ask(&self, slot: u32, ahead: u32, pos: u64, n: u32, differ: bool) -> isize {
        if pos + u64::from(AHEAD + n) > self.free_to {
            return 0;
        }
        // ORDERING: Relaxed; a hint.
        let swapped = self.queue.swapped.load(Ordering::Relaxed);
        if differ || swapped {
            self.ask_one_by_one(ahead, n, swapped);
        }
        if swapped { 0 } else { self.view.distance(slot, ahead) }
    }

    #[inline(never)]
    fn ask_one_by_one(&self, ahead: u32, n: u32, swapped: bool) {
        for slot in ahead..ahead + n {
            if swapped {
                self.view.prefetch_buf_write(self.view.desc(slot).buf_idx);
            }
            if slot.is_multiple_of(SLOTS_PER_LINE) {
                self.view.prefetch_desc_write(slot.wrapping_add(AHEAD) & self.mask);
            }
        }
    }
}
