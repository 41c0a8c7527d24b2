//! One piece of guest memory, mapped from the client's descriptor.
//!
//! The guest's processors write it at any time, so no reference to plain memory in it is ever made: bytes are
//! copied through raw pointers, words that both sides use are atomics.

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use valecast_ring::{copy_payload, prefetch, prefetch_write};

use super::sigbus::Watch;

/// A mapping of `len` bytes.
#[derive(Debug)]
pub struct Mapping {
    // Dropped first: what is no longer watched may then be unmapped.
    watch: Option<Watch>,
    map: MmapRaw,
    writable: bool,
}

impl Mapping {
    /// Maps `len` bytes at `offset` of `fd`, shared.
    ///
    /// The file must be long enough and stay so. A memfd that may be sealed is sealed against shrinking here;
    /// any other file is watched, so that a client which cuts it short loses its memory and no more.
    ///
    /// `EINVAL`: not a regular file, or too short; otherwise what mmap says.
    pub fn new(fd: &OwnedFd, offset: u64, len: u64, writable: bool) -> Result<Self, Errno> {
        let stat = fstat(fd)?;
        let end = offset.checked_add(len).ok_or(Errno::EINVAL)?;
        let regular = SFlag::from_bits_truncate(stat.st_mode).intersection(SFlag::S_IFMT) == SFlag::S_IFREG;
        if !regular || len == 0 || u64::try_from(stat.st_size).map_or(true, |size| size < end) {
            return Err(Errno::EINVAL);
        }
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        let sealed = seal(fd);
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let map = if writable { options.map_raw(fd) } else { options.map_raw_read_only(fd) };
        let map = map.map_err(|e| e.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))?;
        let watch = if sealed { None } else { Some(Watch::new(map.as_mut_ptr(), len)?) };
        Ok(Self { watch, map, writable })
    }

    /// The client shortened its file: what was here is gone, and zeros are in its place.
    pub fn cut_off(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::hit)
    }

    /// Whether nothing can shorten the file.
    pub fn sealed(&self) -> bool {
        self.watch.is_none()
    }

    /// `len` bytes from `offset`; none if they do not lie inside.
    pub fn slice(&self, offset: usize, len: usize) -> Option<HostSlice<'_>> {
        if offset.checked_add(len)? > self.map.len() {
            return None;
        }
        // SAFETY: inside the mapping, or one past its end for 0 bytes, by the check above.
        let at = unsafe { NonNull::new_unchecked(self.map.as_mut_ptr().add(offset)) };
        Some(HostSlice { at, len, writable: self.writable, life: PhantomData })
    }
}

/// True if the file cannot shrink: it is, or could be, sealed.
fn seal(fd: &OwnedFd) -> bool {
    let sealed = || {
        fcntl(fd.as_fd(), FcntlArg::F_GET_SEALS)
            .is_ok_and(|s| SealFlag::from_bits_truncate(s).contains(SealFlag::F_SEAL_SHRINK))
    };
    sealed() || (fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).is_ok() && sealed())
}

/// Guest memory in the process's own address space: a pointer and what may be done with it.
#[derive(Clone, Copy, Debug)]
pub struct HostSlice<'a> {
    at: NonNull<u8>,
    len: usize,
    writable: bool,
    life: PhantomData<&'a Mapping>,
}

// SAFETY: a pointer into memory that is shared between processes to begin with; all access is by copy or
// atomic, and `'a` keeps the mapping alive.
unsafe impl Send for HostSlice<'_> {}
// SAFETY: as above.
unsafe impl Sync for HostSlice<'_> {}

impl<'a> HostSlice<'a> {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it starts. What is behind it changes at any time, so it is copied, never borrowed.
    pub fn as_ptr(&self) -> *const u8 {
        self.at.as_ptr()
    }

    /// As above, to write to; none if the guest mapped it for reading only.
    pub fn as_mut_ptr(&self) -> Option<*mut u8> {
        self.writable.then_some(self.at.as_ptr())
    }

    /// `len` bytes of it from `offset` on; none if they do not lie inside.
    #[inline]
    pub fn part(&self, offset: usize, len: usize) -> Option<Self> {
        Some(Self { at: self.inside(offset, len)?, len, ..*self })
    }

    /// Asks for the line at `offset`, to be read or written soon; nothing if there is none.
    #[inline]
    pub fn prefetch(&self, offset: usize, write: bool) {
        match self.inside(offset, 1) {
            Some(at) if write => prefetch_write(at.as_ptr()),
            Some(at) => prefetch(at.as_ptr()),
            None => {}
        }
    }

    /// Copies bytes from `offset` out; false, and nothing copied, if they do not lie inside.
    #[must_use]
    #[inline]
    pub fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        let Some(at) = self.inside(offset, into.len()) else { return false };
        // SAFETY: `inside` checked both ends, `into` is the caller's own memory and so does not overlap. The
        // guest may write meanwhile: whatever mix of bytes results is as good as any other guest input.
        unsafe { std::ptr::copy_nonoverlapping(at.as_ptr(), into.as_mut_ptr(), into.len()) };
        true
    }

    /// Copies bytes in at `offset`; false, and nothing copied, if they do not lie inside or it is read-only.
    #[must_use]
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> bool {
        let Some(at) = self.inside(offset, from.len()).filter(|_| self.writable) else { return false };
        // SAFETY: as in `read`, and the mapping is writable.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), at.as_ptr(), from.len()) };
        true
    }

    /// As [`HostSlice::write`], from memory that others may write too (another guest's).
    ///
    /// # Safety
    /// `len` bytes must be readable at `from`.
    #[must_use]
    #[inline]
    pub unsafe fn write_from(&self, offset: usize, from: *const u8, len: usize) -> bool {
        let Some(at) = self.inside(offset, len).filter(|_| self.writable) else { return false };
        // SAFETY: `inside` checked this end, the caller vouches for the other. A guest that sends its own receive
        // buffer to itself overlaps them, which `copy_payload` allows.
        unsafe { copy_payload(from, at.as_ptr(), len) };
        true
    }

    /// A word that both sides use; none if it is misaligned, outside, or read-only.
    pub fn atomic_u64(&self, offset: usize) -> Option<&'a AtomicU64> {
        self.atomic(offset)
    }

    /// As above.
    pub fn atomic_u32(&self, offset: usize) -> Option<&'a AtomicU32> {
        self.atomic(offset)
    }

    /// As above, for the indices of a virtqueue.
    pub fn atomic_u16(&self, offset: usize) -> Option<&'a AtomicU16> {
        self.atomic(offset)
    }

    /// As above, for a descriptor's status byte.
    pub fn atomic_u8(&self, offset: usize) -> Option<&'a AtomicU8> {
        self.atomic(offset)
    }

    /// `T` is one of the four above, and nothing else.
    #[inline]
    fn atomic<T>(&self, offset: usize) -> Option<&'a T> {
        let at = self.inside(offset, size_of::<T>()).filter(|_| self.writable)?.cast::<T>();
        if !at.is_aligned() {
            return None;
        }
        // SAFETY: inside the mapping, which lives for `'a`, writable, and aligned by the check; an atomic
        // allows for any bits and for writers elsewhere.
        Some(unsafe { at.as_ref() })
    }

    #[inline]
    fn inside(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: inside, or one past the end for 0 bytes.
        Some(unsafe { self.at.add(offset) })
    }
}
