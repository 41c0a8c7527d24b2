//! A frame of a burst as bytes in a row: its private head, the rest in its sender's memory, less a VLAN tag; zeros follow.

use std::ops::Range;

use valecast_switch::frame::{Burst, Bytes, Frame};

use crate::e1000::dma::{Dma, Unmapped};
use crate::e1000::sum::{add, fold};

/// Zeros that padding and FCS come from: a short frame's rest and 4 bytes.
static ZEROS: [u8; 64] = [0; 64];

/// A frame.
pub struct Source<'b> {
    bytes: Bytes<'b>,
    len: usize,
}

/// What is left of it.
pub struct Parts<'b> {
    bytes: Bytes<'b>,
    cut: Range<usize>,
    len: usize,
}

impl<'b> Source<'b> {
    /// Of a frame of a burst that is in use.
    pub fn of(burst: &'b Burst, f: &Frame) -> Self {
        Self { bytes: burst.bytes_of(f), len: f.len() }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first 16 bytes, zeros behind a shorter frame's.
    pub fn first(&self) -> [u8; 16] {
        let mut b = [0; 16];
        self.bytes.read(0, &mut b);
        b
    }

    /// All but `cut`, which lies inside.
    pub fn without(&self, cut: Range<usize>) -> Parts<'b> {
        Parts { bytes: self.bytes, len: self.len - cut.len(), cut }
    }
}

impl Parts<'_> {
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
        let end = range.end.min(self.len);
        let (before, behind) = (range.start..end.min(self.cut.start), range.start.max(self.cut.start)..end);
        self.bytes.range(before.start, before.len(), |p| f(p.at, p.len))?;
        self.bytes.range(behind.start + self.cut.len(), behind.len(), |p| f(p.at, p.len))?;
        let mut left = range.len().min(range.end.saturating_sub(self.len));
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
