//! A frame's bytes, wherever they lie.
//!
//! Whoever sent a frame may still write there, so bytes are copied and then looked at, never the other way round.

use super::Frame;

/// Bytes in a row, in memory that others may write.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// The first.
    pub at: *const u8,
    /// How many.
    pub len: usize,
}

// SAFETY: an address and a length. What is there is reached by copies only, in memory that several processes share to
// begin with, and whoever does so vouches for it being there.
unsafe impl Send for Piece {}

/// All bytes of a frame: its head, what follows in one piece, or what follows in several. From
/// [`Burst::bytes_of`](super::Burst::bytes_of), which vouches for all of them while the burst lives.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'b> {
    head: Piece,
    tail: Piece,
    more: &'b [Piece],
}

impl<'b> Bytes<'b> {
    /// Of a frame of the burst whose list of pieces this is.
    #[inline]
    pub(super) fn of(f: &Frame, pieces: &'b [Piece]) -> Self {
        let head = Piece { at: f.head, len: usize::from(f.head_len) };
        if f.pieces == 0 {
            return Self { head, tail: Piece { at: f.tail, len: f.tail_len as usize }, more: &[] };
        }
        let first = usize::from(f.first);
        let more = pieces.get(first..first + usize::from(f.pieces)).unwrap_or_default();
        Self { head, tail: Piece { at: f.head, len: 0 }, more }
    }

    /// The pieces in order, empty ones included: the head is the first.
    #[inline]
    pub fn pieces(self) -> impl Iterator<Item = Piece> + use<'b> {
        [self.head, self.tail].into_iter().chain(self.more.iter().copied())
    }

    /// Calls `f` with each piece of `len` bytes from byte `from` on, none of them empty; fewer bytes if the frame ends
    /// before.
    #[inline]
    pub fn range<E>(
        self,
        from: usize,
        len: usize,
        mut f: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut skip, mut left) = (from, len);
        for p in self.pieces() {
            let n = p.len.saturating_sub(skip).min(left);
            if n > 0 {
                // SAFETY: `skip` is less than the piece's length.
                f(Piece { at: unsafe { p.at.add(skip) }, len: n })?;
            }
            skip = skip.saturating_sub(p.len);
            left -= n;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Copies `len` bytes from byte `from` on; how many there were.
    ///
    /// # Safety
    /// `len` bytes must be writable at `to`.
    #[inline]
    pub unsafe fn copy(self, from: usize, len: usize, to: *mut u8) -> usize {
        let mut at = 0;
        let Ok(()) = self.range::<std::convert::Infallible>(from, len, |p| {
            // SAFETY: the piece is readable (see `Bytes`), the caller vouches for the room, of which the pieces take
            // no more than `len`. A guest that sends to itself may have them overlap.
            unsafe { std::ptr::copy(p.at, to.add(at), p.len) };
            at += p.len;
            Ok(())
        });
        at
    }

    /// Copies bytes from `from` on into `to`; how many there were.
    pub fn read(self, from: usize, to: &mut [u8]) -> usize {
        // SAFETY: `to` is the caller's and as long.
        unsafe { self.copy(from, to.len(), to.as_mut_ptr()) }
    }
}
