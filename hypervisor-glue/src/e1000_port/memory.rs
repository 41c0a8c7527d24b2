//! Guest memory as the card reaches it: the vfio-user map table of this turn.

use std::ptr::NonNull;

use crate::e1000::dma::{Access, Dma, Span};
use crate::vfio_user::{Direction, Snapshot};

/// The guest's memory map, held by a guard.
#[derive(Clone, Copy)]
pub struct Mapped<'g>(&'g Snapshot);

impl<'g> Mapped<'g> {
    /// The memory of `snapshot`.
    ///
    /// # Safety
    /// The calling thread must stay pinned for as long as bursts with references into this memory are in use, not only
    /// for `'g`: workers are pinned for their whole turn.
    pub unsafe fn new(snapshot: &'g Snapshot) -> Self {
        Self(snapshot)
    }
}

fn direction(access: Access) -> Direction {
    match access {
        Access::Read => Direction::Read,
        Access::Write => Direction::Write,
    }
}

// SAFETY: a snapshot's maps stay mapped while it may be in use, which is while a thread that loaded it is pinned (see
// `vfio_user::memory`), and `Mapped::new` demands that of those who make bursts. Memory that its owner cuts off
// stays readable (`vfio_user::sys::sigbus`). The map table has only whole pages at offsets of whole pages, so
// addresses agree far beyond modulo 16.
unsafe impl Dma for Mapped<'_> {
    #[inline]
    fn span(&self, addr: u64, len: usize, access: Access) -> Option<Span> {
        let slice = self.0.translate(addr, len as u64, direction(access)).ok()?;
        Some(Span { ptr: NonNull::new(slice.as_ptr().cast_mut())?, len: slice.len() })
    }

    fn around(&self, addr: u64, access: Access) -> Option<(u64, Span)> {
        let (start, slice) = self.0.around(addr, direction(access)).ok()?;
        Some((start, Span { ptr: NonNull::new(slice.as_ptr().cast_mut())?, len: slice.len() }))
    }
}
