//! A client's transmit slots: what they say, each read once and checked.

use std::ptr::NonNull;

use crate::abi::SlotFlags;
use crate::host::TxQueue;
use crate::region::RingView;

/// A slot that a client handed in, its fields read once.
#[derive(Clone, Copy, Debug)]
pub struct RawFrame {
    /// Start of the buffer, valid for `len` bytes as long as the [`TxQueue`] lives. The client may write
    /// there at any time: copy, then look at the copy.
    pub data: NonNull<u8>,
    /// Bytes in this slot.
    pub len: u32,
    /// The slot's flags.
    pub flags: SlotFlags,
}

/// Why a slot was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSlot {
    /// The buffer index lies outside the region.
    Buffer,
    /// The length exceeds the buffer.
    Length,
}

/// The pending slots of a [`TxQueue`]. Everything is held by value: the compiler need not fear that a store
/// elsewhere changes where the ring lies, and keeps it in registers.
#[derive(Clone, Copy, Debug)]
pub struct TxSlots<'q> {
    view: RingView,
    first: u32,
    pending: u32,
    first_buf: u32,
    mask: u32,
    _queue: &'q TxQueue,
}

impl<'q> TxSlots<'q> {
    #[inline]
    pub(super) fn new(queue: &'q TxQueue) -> Self {
        let slots = Self::unasked(queue);
        slots.view.prefetch_first_descs(slots.first, slots.pending);
        slots
    }

    /// Without asking for their descriptors.
    #[inline(always)]
    pub(super) fn unasked(queue: &'q TxQueue) -> Self {
        let (view, first, mask) = (queue.view, queue.hwcur, queue.mask);
        let pending = queue.seen.wrapping_sub(first) & mask;
        Self { view, first, pending, first_buf: queue.first_buf, mask, _queue: queue }
    }

    /// The `i`-th pending slot.
    #[inline(always)]
    pub fn frame(&self, i: u32) -> Result<RawFrame, BadSlot> {
        let d = self.view.desc(self.first.wrapping_add(i) & self.mask);
        let data = self.view.buf(d.buf_idx).ok_or(BadSlot::Buffer)?;
        if u32::from(d.len) > self.view.max_len {
            return Err(BadSlot::Length);
        }
        Ok(RawFrame { data, len: d.len.into(), flags: d.flags() })
    }

    /// The pending slots from the `i`-th on that lie side by side, at most `n`: of each, by its number from there on, where the
    /// frame is, and its length. `None` if a slot is bad, shorter than `least` bytes, or has one of the flags `look`; and
    /// beyond the last.
    #[inline(always)]
    pub fn plain(
        &self,
        i: u32,
        n: u32,
        least: u32,
        look: SlotFlags,
    ) -> impl Fn(u32) -> Option<(NonNull<u8>, u32)> {
        let view = self.view;
        let (longest, look) = (view.max_len - least, u64::from(look.bits()) << 48);
        let slots = self.view.side_by_side(self.first.wrapping_add(i), n);
        move |k| {
            let d = slots.get(k as usize)?.desc();
            // Shorter ones wrap round, so that one comparison does for both ends.
            let fits = u32::from(d.len).wrapping_sub(least) <= longest && d.bits() & look == 0;
            let data = view.buf(d.buf_idx)?;
            fits.then_some((data, d.len.into()))
        }
    }

    /// The `i`-th pending slot in the same way, if its frame has `least` to `longest` bytes.
    #[inline(always)]
    pub fn plain_one(
        &self,
        i: u32,
        (least, longest): (u32, u32),
        look: SlotFlags,
    ) -> Option<(NonNull<u8>, u32)> {
        let d = self.view.desc(self.first.wrapping_add(i) & self.mask);
        let fits =
            (least..=longest.min(self.view.max_len)).contains(&d.len.into()) && !d.flags().intersects(look);
        let data = self.view.buf(d.buf_idx)?;
        fits.then_some((data, d.len.into()))
    }

    /// How many slots lie side by side from the `i`-th pending one to the ring's end.
    #[inline(always)]
    pub fn to_end(&self, i: u32) -> u32 {
        self.mask + 1 - (self.first.wrapping_add(i) & self.mask)
    }

    /// How many bytes it is from what the `i`-th pending slot began with to what the `j`-th did.
    #[inline(always)]
    pub fn distance(&self, i: usize, j: usize) -> isize {
        let slot = |i: usize| self.first.wrapping_add(i as u32) & self.mask;
        self.view.distance(slot(i), slot(j))
    }

    /// When it is the turn of the `n` slots from the `i`-th on: asks for as many that come a while after them.
    #[inline(always)]
    pub fn prefetch_descs(&self, i: u32, n: u32) {
        self.view.prefetch_next_descs(self.first.wrapping_add(i), n, self.pending.saturating_sub(i));
    }

    /// Asks for the buffer of one of the first slots of a burst, whose descriptors are still on their way from the client:
    /// the buffer that the slot began with, which is nearly always the one that it has.
    #[inline(always)]
    pub fn prefetch_early(&self, i: u32) {
        self.view.prefetch_buf(self.first_buf + (self.first.wrapping_add(i) & self.mask));
    }
}
