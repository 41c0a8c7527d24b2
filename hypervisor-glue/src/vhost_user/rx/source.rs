//! What goes into the buffers of one frame, piece by piece.

use std::convert::Infallible;

use valecast_switch::frame::{Bytes, Piece};

use crate::memory::{Direction, Fault, Snapshot};
use crate::sys::mapping::HostSlice;

/// Bytes to come: the header, and those of a frame.
pub struct Source<'b> {
    header: &'b [u8],
    frame: Bytes<'b>,
    /// Bytes copied.
    done: usize,
    /// Bytes in all.
    len: usize,
}

impl<'b> Source<'b> {
    /// A header, and a frame of `len` bytes.
    pub fn new(header: &'b [u8], frame: Bytes<'b>, len: usize) -> Self {
        Self { header, frame, done: 0, len: header.len() + len }
    }

    /// Bytes that were not copied yet.
    pub fn left(&self) -> usize {
        self.len - self.done
    }

    /// Copies as much as goes into `piece`.
    #[inline]
    pub fn copy(&mut self, piece: &HostSlice<'_>) {
        let header = self.header.get(self.done..).unwrap_or_default();
        let header = &header[..header.len().min(piece.len())];
        let mut at = 0;
        let mut put = |p: Piece| {
            // SAFETY: the header is the caller's; pieces are readable as those of a frame of a burst are.
            let written = unsafe { piece.write_from(at, p.at, p.len) };
            debug_assert!(written);
            at += p.len;
            Ok::<_, Infallible>(())
        };
        let Ok(()) = put(Piece { at: header.as_ptr(), len: header.len() });
        let from = self.done.saturating_sub(self.header.len());
        let Ok(()) = self.frame.range(from, piece.len() - header.len(), put);
        self.done += at;
    }

    /// Copies up to `len` bytes to a guest address.
    pub fn put(&mut self, memory: &Snapshot, address: u64, len: u32) -> Result<u32, Fault> {
        let want = (len as usize).min(self.left());
        memory.each(address, want as u64, Direction::Write, |piece| {
            self.copy(&piece);
        })?;
        Ok(want as u32)
    }
}
