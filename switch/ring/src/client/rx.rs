//! A client's receive rings.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::end::End;
use crate::abi::SlotFlags;
use crate::layout::SLOTS_PER_LINE;
use crate::notify::{self, Pairing};

/// Buffers are asked for so many slots ahead.
const AHEAD: u32 = 8;

/// One slot's share of a received frame.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// [`SlotFlags::MORE_FRAG`]: the frame goes on in the next slot.
    pub flags: SlotFlags,
}

/// A receive ring.
#[derive(Debug)]
pub struct RxRing {
    end: End,
    mask: u32,
    first_buf: u32,
    head: u32,
    published: u32,
    tail: u32,
}

impl RxRing {
    /// As both sides have it at first.
    pub(super) fn new(end: End, mask: u32, first_buf: u32) -> Self {
        Self { end, mask, first_buf, head: 0, published: 0, tail: 0 }
    }

    /// Slots in the ring.
    pub fn slots(&self) -> u32 {
        self.mask + 1
    }

    /// Slots that wait to be read.
    #[inline]
    pub fn pending(&mut self) -> u32 {
        self.pending_to(self.end.tail(self.mask))
    }

    /// The same, if the switch's tail is this.
    #[inline(always)]
    fn pending_to(&mut self, tail: u32) -> u32 {
        let waiting = tail.wrapping_sub(self.head) & self.mask;
        if tail != self.tail {
            self.tail = tail;
            self.end.view.prefetch_first_descs(self.head, waiting);
        }
        waiting
    }

    /// The `i`-th waiting slot.
    ///
    /// # Panics
    /// If `i` is not below the last [`Self::pending`].
    #[inline]
    pub fn frame(&self, i: u32) -> Slot<'_> {
        assert!(i < (self.tail.wrapping_sub(self.head) & self.mask), "slot {i} holds no frame");
        self.at(self.head.wrapping_add(i) & self.mask)
    }

    /// What lies in a slot, which must be a waiting one.
    #[inline(always)]
    fn at(&self, slot: u32) -> Slot<'_> {
        let view = &self.end.view;
        let d = view.desc(slot);
        let len = usize::from(d.len).min(view.max_len as usize);
        let data = match view.buf(d.buf_idx) {
            // SAFETY: `len` bytes of a buffer in the mapping. The switch has published this slot and does not
            // write its buffer until it is released, which takes `&mut self`.
            Some(p) => unsafe { std::slice::from_raw_parts(p.as_ptr(), len) },
            None => &[],
        };
        Slot { data, flags: d.flags() }
    }

    /// Takes up to `max` of the waiting slots and gives them back to the switch: `each` sees one after the other, whose buffers are
    /// asked for ahead. How many there were. The fastest way to receive; the others are for who needs them by number, or for longer.
    #[inline]
    pub fn take(&mut self, max: u32, each: impl FnMut(Slot<'_>)) -> u32 {
        // Most looks of a client that polls find nothing, and need no registers.
        let tail = self.end.tail(self.mask);
        if tail == self.head { 0 } else { self.take_waiting(tail, max, each) }
    }

    #[inline(never)]
    fn take_waiting(&mut self, tail: u32, max: u32, each: impl FnMut(Slot<'_>)) -> u32 {
        let n = self.pending_to(tail).min(max);
        self.show(n, each);
        self.advance(n);
        self.release();
        n
    }

    /// Shows the first `n` slots, of which there are so many.
    #[inline(always)]
    fn show(&self, n: u32, mut each: impl FnMut(Slot<'_>)) {
        let (view, mask, head, first_buf) = (self.end.view, self.mask, self.head, self.first_buf);
        let waiting = self.tail.wrapping_sub(head) & mask;
        debug_assert!(n <= waiting);
        // The buffer that is always this slot's, so that its descriptor, which comes from another core, too, is not waited for.
        let ask = |slot: u32| view.prefetch_buf(first_buf + (slot & mask));
        (0..n.min(AHEAD)).for_each(|i| ask(head.wrapping_add(i)));
        for i in 0..n {
            let slot = head.wrapping_add(i) & mask;
            if slot.is_multiple_of(SLOTS_PER_LINE) {
                view.prefetch_next_descs(slot, 1, waiting - i);
            }
            if i + AHEAD < n {
                ask(slot + AHEAD);
            }
            each(self.at(slot));
        }
    }

    /// Asks for the buffer of the `i`-th waiting slot to be fetched.
    #[inline]
    pub fn prefetch(&self, i: u32) {
        // Beyond the tail lies what the switch writes just now: asking for it would only take it away.
        let waiting = self.tail.wrapping_sub(self.head) & self.mask;
        if i >= waiting {
            return;
        }
        let slot = self.head.wrapping_add(i) & self.mask;
        if slot.is_multiple_of(SLOTS_PER_LINE) {
            self.end.view.prefetch_next_descs(slot, 1, waiting - i);
        }
        // A slot of this ring always has the same buffer, so its descriptor, which comes from another core, too, is not
        // waited for.
        self.end.view.prefetch_buf(self.first_buf + slot);
    }

    /// Done with `n` slots; the switch hears of it at the next [`Self::release`].
    ///
    /// # Panics
    /// If fewer are waiting.
    #[inline]
    pub fn advance(&mut self, n: u32) {
        assert!(n <= (self.tail.wrapping_sub(self.head) & self.mask), "advance beyond the waiting slots");
        self.head = self.head.wrapping_add(n) & self.mask;
    }

    /// Gives slots back to the switch, and kicks it if it waits for room.
    #[inline]
    pub fn release(&mut self) {
        if self.head != self.published {
            self.published = self.head;
            self.end.publish(self.head);
        }
    }

    /// Sleeps until `min` slots wait, without polling. `Ok(false)` after the timeout or a signal, or when the
    /// switch has nothing more to deliver for now and fewer wait.
    pub fn wait(&mut self, min: u32, timeout: Option<Duration>) -> io::Result<bool> {
        let (mask, head) = (self.mask, self.head);
        let min = min.clamp(1, mask);
        let end = &self.end;
        let ok = end.wait(min, true, timeout, || end.tail(mask).wrapping_sub(head) & mask)?;
        self.pending();
        Ok(ok)
    }

    /// Raises need_kick without sleeping, for a caller with an event loop of its own: `true` means nothing
    /// waits, and [`Self::call_fd`] becomes readable when something does.
    pub fn arm(&mut self) -> bool {
        self.end.call.drain();
        let (mask, head) = (self.mask, self.head);
        let end = &self.end;
        end.tell_wish(1);
        notify::arm(end.view.atok_need_kick(), Pairing::Fences, || end.tail(mask) != head)
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
