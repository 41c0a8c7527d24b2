//! A frame of a burst as bytes in a row: its private head, the rest in its sender's memory, less a VLAN tag.

use std::ops::Range;

use valecast_switch::frame::Frame;

use crate::e1000::dma::{Dma, Unmapped};
use crate::e1000::sum::{add, fold};

/// Zeros that padding and FCS come from: a short frame's rest and 4 bytes.
static ZEROS: [u8; 64] = [0; 64];

/// A frame.
pub struct Source {
    head: (*const u8, usize),
    tail: (*const u8, usize),
}

/// What is left of it, in up to three rows.
pub struct Parts {
    rows: [(*const u8, usize); 3],
    len: usize,
}

impl Source {
    /// Of a frame in a burst that is in use: all pointers are readable for their lengths, as [`Frame`] promises.
    pub fn of(f: &Frame) -> Self {
        Self { head: (f.head, usize::from(f.head_len)), tail: (f.tail, f.tail_len as usize) }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.head.1 + self.tail.1
    }

    /// The first 16 bytes, zeros behind a shorter frame's.
    pub fn first(&self) -> [u8; 16] {
        let mut b = [0; 16];
        self.without(0..0).read(0, &mut b);
        b
    }

    /// All but `cut`.
    pub fn without(&self, cut: Range<usize>) -> Parts {
        let row = |(p, n): (*const u8, usize), range: Range<usize>| {
            let (from, to) = (range.start.min(n), range.end.min(n));
            // SAFETY: `from` is within the row or at its end.
            (unsafe { p.add(from) }, to - from)
        };
        let h = self.head.1;
        let rows = if cut.is_empty() {
            [self.head, self.tail, (ZEROS.as_ptr(), 0)]
        } else if cut.end <= h {
            [row(self.head, 0..cut.start), row(self.head, cut.end..h), self.tail]
        } else {
            let tail = |at: usize| at.saturating_sub(h);
            let (before, after) = (tail(cut.start), tail(cut.end));
            [row(self.head, 0..cut.start), row(self.tail, 0..before), row(self.tail, after..self.tail.1)]
        };
        Parts { rows, len: rows.iter().map(|r| r.1).sum() }
    }
}

impl Parts {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Calls `f` with each row of bytes `range`, which may end behind the last byte: zeros follow.
    fn rows<E>(
        &self,
        range: Range<usize>,
        mut f: impl FnMut(*const u8, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut skip, mut left) = (range.start, range.len());
        for (p, n) in self.rows {
            let take = n.saturating_sub(skip).min(left);
            if take > 0 {
                // SAFETY: `skip` is less than the row's length.
                f(unsafe { p.add(skip) }, take)?;
            }
            skip = skip.saturating_sub(n);
            left -= take;
        }
        while left > 0 {
            let n = left.min(ZEROS.len());
            f(ZEROS.as_ptr(), n)?;
            left -= n;
        }
        Ok(())
    }

    /// Copies bytes `range` to the guest.
    pub fn copy<M: Dma + ?Sized>(&self, mem: &M, addr: u64, range: Range<usize>) -> Result<(), Unmapped> {
        let mut to = addr;
        self.rows(range, |p, n| {
            // SAFETY: rows are readable (see `Source::of`).
            unsafe { mem.write_from(to, p, n) }?;
            to = to.checked_add(n as u64).ok_or(Unmapped { addr: u64::MAX })?;
            Ok(())
        })
    }

    /// Copies bytes from `from` on out; zeros behind the last.
    pub fn read(&self, from: usize, to: &mut [u8]) {
        let mut at = 0;
        let _ = self.rows::<()>(from..from + to.len(), |p, n| {
            // SAFETY: rows are readable, `to` is ours and has room for all of them.
            unsafe { std::ptr::copy_nonoverlapping(p, to[at..at + n].as_mut_ptr(), n) };
            at += n;
            Ok(())
        });
    }

    /// The ones' complement sum of bytes `range`.
    pub fn sum(&self, range: Range<usize>) -> u16 {
        let (mut sum, mut odd, mut at) = (0, false, range.start);
        let mut buf = [0u8; 1024];
        while at < range.end {
            let n = buf.len().min(range.end - at);
            self.read(at, &mut buf[..n]);
            sum = add(sum, &buf[..n], odd);
            odd ^= n % 2 == 1;
            at += n;
        }
        fold(sum)
    }
}
