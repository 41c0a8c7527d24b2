//! Memory that lives as long as the burst's frames: headers made in passing, and frames that had to be gathered.

use super::{ARENA, Burst};
use crate::frame::{Bytes, Frame};

impl Burst {
    /// Whether a source may put `len` more bytes here: half is kept for headers made in passing.
    pub fn has_room(&self, len: usize) -> bool {
        self.used + len <= ARENA / 2
    }

    /// Where the next [`Burst::alloc`] begins. Allocations made one after another lie side by side.
    pub fn mark(&self) -> usize {
        self.used
    }

    /// What was allocated since `mark`.
    pub fn since(&self, mark: usize) -> &[u8] {
        &self.arena[mark..self.used]
    }

    /// Gives back what was allocated since `mark`; no frame may lie there.
    pub fn rewind(&mut self, mark: usize) {
        self.used = mark;
    }

    /// `len` bytes that stay put until the burst is cleared; `None` when the arena is used up.
    pub fn alloc(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.used.checked_add(len)?;
        let part = self.arena.get_mut(self.used..end)?;
        self.used = end;
        Some(part)
    }

    /// The first `len` bytes of a frame, copied to where [`Burst::alloc`] puts things.
    pub(crate) fn copied(&mut self, f: &Frame, len: usize) -> Option<&mut [u8]> {
        let begin = self.used;
        self.alloc(len)?;
        let room = self.arena.get_mut(begin..self.used)?;
        Bytes::of(f, &self.pieces).read(0, room);
        Some(room)
    }
}
