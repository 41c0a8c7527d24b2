//! A client's transmit rings.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::end::End;
use crate::abi::SlotFlags;
use crate::layout::SLOTS_PER_LINE;
use crate::notify::{self, Pairing};
use crate::region::Desc;

/// A transmit ring.
#[derive(Debug)]
pub struct TxRing {
    end: End,
    mask: u32,
    first_buf: u32,
    head: u32,
    published: u32,
    tail: u32,
}

impl TxRing {
    /// As both sides have it at first.
    pub(super) fn new(end: End, mask: u32, first_buf: u32) -> Self {
        Self { end, mask, first_buf, head: 0, published: 0, tail: mask }
    }

    /// Slots in the ring; one always stays empty.
    pub fn slots(&self) -> u32 {
        self.mask + 1
    }

    /// Most bytes in one slot.
    pub fn buf_size(&self) -> usize {
        self.end.view.max_len as usize
    }

    /// Free slots.
    #[inline]
    pub fn room(&mut self) -> u32 {
        self.tail = self.end.tail(self.mask);
        self.tail.wrapping_sub(self.head) & self.mask
    }

    /// Free slots, at least; the switch is asked only if fewer than `enough` are known of. Its answer comes from
    /// another core.
    #[inline]
    pub fn room_for(&mut self, enough: u32) -> u32 {
        let known = self.tail.wrapping_sub(self.head) & self.mask;
        if known >= enough { known } else { self.room() }
    }

    /// Slot number (0 to [`Self::slots`]) of the `i`-th free slot, to know what its buffer still holds.
    #[inline]
    pub fn slot_number(&self, i: u32) -> u32 {
        self.head.wrapping_add(i) & self.mask
    }

    /// The buffer of the `i`-th free slot. It keeps what was last put there.
    ///
    /// # Panics
    /// If `i` is not below the last [`Self::room`].
    #[inline]
    pub fn buffer(&mut self, i: u32) -> &mut [u8] {
        assert!(i < (self.tail.wrapping_sub(self.head) & self.mask), "slot {i} is not free");
        let idx = self.first_buf + self.slot_number(i);
        let len = self.buf_size();
        match self.end.view.buf(idx) {
            // SAFETY: `len` bytes of a buffer in the mapping. The slot is free, so until it is published only
            // this client uses the buffer, and `&mut self` lends it out once.
            Some(p) => unsafe { std::slice::from_raw_parts_mut(p.as_ptr(), len) },
            None => &mut [],
        }
    }

    /// Asks for the buffer of the `i`-th free slot, to be written soon: the switch has read it last.
    #[inline]
    pub fn prefetch(&self, i: u32) {
        // Beyond the free slots lies what the switch reads just now.
        if i < self.tail.wrapping_sub(self.head) & self.mask {
            self.end.view.prefetch_buf_write(self.first_buf + self.slot_number(i));
        }
    }

    /// Fills the descriptor of the `i`-th free slot; `len` beyond the buffer is cut to it.
    #[inline]
    pub fn set(&mut self, i: u32, len: usize, flags: SlotFlags) {
        let (slot, view) = (self.slot_number(i), &self.end.view);
        let len = len.min(view.max_len as usize) as u16;
        let desc = Desc { buf_idx: self.first_buf + slot, len, flags: flags.bits() };
        if view.slot(slot).amend(desc) && slot.is_multiple_of(SLOTS_PER_LINE) {
            // The switch has read these last: bring them back before they are written, one after the other.
            view.prefetch_desc_write(slot.wrapping_add(4 * SLOTS_PER_LINE) & self.mask);
        }
    }

    /// Hands over `n` slots, visible at the next [`Self::publish`].
    ///
    /// # Panics
    /// If there are not so many free ones.
    #[inline]
    pub fn advance(&mut self, n: u32) {
        assert!(n <= (self.tail.wrapping_sub(self.head) & self.mask), "advance beyond the free slots");
        self.head = self.head.wrapping_add(n) & self.mask;
    }

    /// Makes the handed-over slots visible and kicks the switch if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        if self.head != self.published {
            self.published = self.head;
            self.end.publish(self.head);
        }
    }

    /// Copies one frame in, over as many slots as it takes; `false` if there is no room. Call
    /// [`Self::publish`] after the last.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let size = self.buf_size();
        let slots = frame.len().div_ceil(size).max(1) as u32;
        if (self.tail.wrapping_sub(self.head) & self.mask) < slots && self.room() < slots {
            return false;
        }
        for (i, part) in (0..slots).zip(frame.chunks(size)) {
            self.buffer(i)[..part.len()].copy_from_slice(part);
            let more = if i + 1 < slots { SlotFlags::MORE_FRAG } else { SlotFlags::empty() };
            self.set(i, part.len(), more);
        }
        self.advance(slots);
        true
    }

    /// Slots published and not yet consumed.
    pub fn pending(&mut self) -> u32 {
        self.mask - (self.end.tail(self.mask).wrapping_sub(self.published) & self.mask)
    }

    /// Sleeps until `min` slots are free, without polling. `Ok(false)` after the timeout or a signal.
    pub fn wait(&mut self, min: u32, timeout: Option<Duration>) -> io::Result<bool> {
        let (mask, head) = (self.mask, self.head);
        let min = min.min(mask);
        let end = &self.end;
        let ok = end.wait(min, false, timeout, || end.tail(mask).wrapping_sub(head) & mask)?;
        self.room();
        Ok(ok)
    }

    /// Raises need_kick without sleeping, as [`RxRing::arm`](super::RxRing::arm): `true` means that fewer than `min` slots are free, and
    /// [`Self::call_fd`] becomes readable when so many are.
    pub fn arm(&mut self, min: u32) -> bool {
        self.end.call.drain();
        let (mask, head) = (self.mask, self.head);
        let min = min.clamp(1, mask);
        let end = &self.end;
        end.tell_wish(min);
        notify::arm(end.view.atok_need_kick(), Pairing::Fences, || {
            end.tail(mask).wrapping_sub(head) & mask >= min
        })
    }

    /// Lowers need_kick again.
    pub fn disarm(&self) {
        notify::disarm(self.end.view.atok_need_kick());
    }

    /// Readable while there is a call from the switch.
    pub fn call_fd(&self) -> BorrowedFd<'_> {
        self.end.call.fd()
    }
}
