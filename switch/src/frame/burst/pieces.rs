//! Frames that lie in several pieces of memory: how they come in, and what is made of them.

use super::{Burst, IN_PIECES};
use crate::counters::Cause;
use crate::frame::{Bytes, Frame, HEAD, MAX_BURST, MAX_PIECES, Piece};

impl Burst {
    /// Adds a frame that lies in several pieces of memory. `false`, and it is not added: they are more than
    /// [`MAX_PIECES`].
    ///
    /// # Safety
    /// Each piece must stay readable for its length until the burst is cleared. Others may write there.
    #[must_use]
    pub unsafe fn push_pieces(&mut self, pieces: &[Piece], slots: u16) -> bool {
        if let [one] = pieces {
            // SAFETY: as the caller promised.
            unsafe { self.push(one.at, one.len, slots) };
            return true;
        }
        if pieces.len() > MAX_PIECES {
            return false;
        }
        let i = self.taken;
        if i >= MAX_BURST {
            return true;
        }
        if self.bound < IN_PIECES {
            // Those of an earlier burst. Here, since most bursts have none.
            self.pieces.clear();
        }
        let (first, mut have, mut len) = (self.pieces.len(), 0, 0);
        let mut head = [0; HEAD];
        for p in pieces {
            let n = p.len.min(HEAD - have);
            // SAFETY: `n` bytes are readable there, and there is room for them behind those before.
            unsafe { std::ptr::copy_nonoverlapping(p.at, head.as_mut_ptr().add(have), n) };
            have += n;
            len += p.len;
            if p.len > n {
                // SAFETY: inside the piece.
                self.pieces.push(Piece { at: unsafe { p.at.add(n) }, len: p.len - n });
            }
        }
        self.heads[i] = head;
        let reject = (len < 14).then_some(Cause::Runt);
        self.odd |= len < HEAD;
        let mut frame = Frame {
            head: self.heads[i].as_ptr(),
            tail: self.heads[i].as_ptr(),
            head_len: have as u16,
            slots,
            tail_len: (len - have) as u32,
            vnet: 0,
            first: 0,
            pieces: 0,
            no_learn: false,
            steer: 0,
            reject,
        };
        self.settle_pieces(&mut frame, first);
        self.frames.push(frame);
        self.taken = i + 1;
        self.bytes += len as u64;
        self.slots += u32::from(slots);
        self.longest = self.longest.max(len);
        self.bound = self.bound.max(len);
        true
    }

    /// Gives `f` the pieces from `first` on; one is no list.
    fn settle_pieces(&mut self, f: &mut Frame, first: usize) {
        match self.pieces[first..] {
            [] => {}
            [one] => {
                f.tail = one.at;
                self.pieces.truncate(first);
            }
            // Both fit: see `MAX_PIECES` and `part`.
            [..] => {
                (f.first, f.pieces) = (first as u16, (self.pieces.len() - first) as u8);
                self.bound = IN_PIECES;
            }
        }
    }

    /// A frame's bytes, in their order.
    #[inline]
    pub fn bytes_of(&self, f: &Frame) -> Bytes<'_> {
        Bytes::of(f, &self.pieces)
    }

    /// A frame like `f` without offload header, that has `head` for its head and then `len` bytes from byte `at` of `f`
    /// on, which must lie behind `f`'s own head. `None`: that is no place in it, or there are too many pieces.
    ///
    /// `head` must stay readable until the burst is cleared, as what was allocated here does.
    #[inline(never)]
    pub(crate) fn part(&mut self, f: &Frame, head: (*const u8, u16), at: usize, len: usize) -> Option<Frame> {
        let own = usize::from(f.head_len);
        if at < own || at.checked_add(len)? > f.len() {
            return None;
        }
        let mut part = Frame {
            head: head.0,
            head_len: head.1,
            tail_len: len as u32,
            vnet: 0,
            first: 0,
            pieces: 0,
            ..*f
        };
        if f.pieces == 0 {
            // SAFETY: inside the tail, or one past its end.
            part.tail = unsafe { f.tail.add(at - own) };
            return Some(part);
        }
        let (first, mut skip, mut left) = (self.pieces.len(), at - own, len);
        if first + usize::from(f.pieces) > usize::from(u16::MAX) {
            return None;
        }
        for k in 0..usize::from(f.pieces) {
            let p = *self.pieces.get(usize::from(f.first) + k)?;
            let n = p.len.saturating_sub(skip).min(left);
            if n > 0 {
                // SAFETY: inside the piece.
                self.pieces.push(Piece { at: unsafe { p.at.add(skip) }, len: n });
            }
            skip = skip.saturating_sub(p.len);
            left -= n;
        }
        part.tail = head.0;
        self.settle_pieces(&mut part, first);
        Some(part)
    }
}
