//! Guest memory as either side reaches it: by guest-physical address, while the other reads and writes too.
//!
//! Nothing here makes a reference to guest memory but to atomics. Everything else goes by raw copies, and what was
//! copied is what is looked at: a guest that changes its memory in between only changes what it sends.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// What the device wants to do with memory; maps that are read-only refuse [`Access::Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// From the guest.
    Read,
    /// To the guest.
    Write,
}

/// A piece of guest memory in our address space.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Where it begins.
    pub ptr: NonNull<u8>,
    /// Bytes that lie in a row, at least 1 and no more than were asked for.
    pub len: usize,
}

/// An address that is not the guest's memory, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// The first address that is not there.
    pub addr: u64,
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no guest memory at {:#x}", self.addr)
    }
}

impl core::error::Error for Unmapped {}

/// Hints that the line at `p` will be read.
#[inline]
fn prefetch(p: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect on memory and never faults, whatever the address. The instruction itself, for
    // the intrinsic is not there for a guest that leaves vector registers alone.
    unsafe {
        core::arch::asm!("prefetcht0 [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = p;
}

/// Guest memory during one turn. A device never holds on to spans beyond the turn they were asked for in; frames that
/// were given by reference must be done with (or forgotten) before their memory is unmapped.
///
/// # Safety
/// A span must be valid for reads (with [`Access::Write`] for writes, too) of its length by any thread for as long
/// as `self` is borrowed, and for as long as bursts with references into it are in use. Guest addresses that
/// are equal modulo 16 must be so in our address space.
pub unsafe trait Dma {
    /// The memory at `addr`, up to `len` bytes (not 0) or to the end of the mapping; `None` if there is none.
    fn span(&self, addr: u64, len: usize, access: Access) -> Option<Span>;

    /// As much memory around `addr` as lies in one piece, and the address where it begins; so that neighbours need no
    /// look-up of their own.
    fn around(&self, addr: u64, access: Access) -> Option<(u64, Span)> {
        self.span(addr, usize::MAX, access).map(|s| (addr, s))
    }

    /// All `len` bytes at `addr` in one piece.
    fn whole(&self, addr: u64, len: usize, access: Access) -> Option<NonNull<u8>> {
        self.span(addr, len, access).filter(|s| s.len == len).map(|s| s.ptr)
    }

    /// Asks for the line at `addr`, which will be read soon; nothing if there is no memory.
    #[inline]
    fn prefetch(&self, addr: u64) {
        if let Some(s) = self.span(addr, 1, Access::Read) {
            prefetch(s.ptr.as_ptr());
        }
    }

    /// Calls `f` for each piece of `len` bytes at `addr`, with its place among them. Stops at the first that is
    /// not there; earlier ones were used then.
    fn pieces(
        &self,
        addr: u64,
        len: usize,
        access: Access,
        mut f: impl FnMut(usize, Span),
    ) -> Result<(), Unmapped> {
        let mut done = 0;
        while done < len {
            let addr = addr.checked_add(done as u64).ok_or(Unmapped { addr: u64::MAX })?;
            let s = self.span(addr, len - done, access).ok_or(Unmapped { addr })?;
            let n = s.len.min(len - done);
            if n == 0 {
                return Err(Unmapped { addr });
            }
            f(done, Span { ptr: s.ptr, len: n });
            done += n;
        }
        Ok(())
    }

    /// Copies from the guest.
    fn read(&self, addr: u64, to: &mut [u8]) -> Result<(), Unmapped> {
        let len = to.len();
        self.pieces(addr, len, Access::Read, |at, s| {
            // SAFETY: the span is readable, `at + s.len` is within `to`, which is ours alone.
            unsafe { core::ptr::copy_nonoverlapping(s.ptr.as_ptr(), to[at..at + s.len].as_mut_ptr(), s.len) };
        })
    }

    /// The eight bytes at `addr`, if they lie in one piece.
    #[inline]
    fn eight(&self, addr: u64) -> Option<[u8; 8]> {
        let p = self.whole(addr, 8, Access::Read)?.cast::<[u8; 8]>();
        // SAFETY: eight readable bytes, read once by a copy.
        Some(unsafe { p.as_ptr().read_unaligned() })
    }

    /// Copies to the guest.
    fn write(&self, addr: u64, from: &[u8]) -> Result<(), Unmapped> {
        // SAFETY: `from` is readable for its length.
        unsafe { self.write_from(addr, from.as_ptr(), from.len()) }
    }

    /// Copies to the guest from memory that others, the same guest among them, may write to.
    ///
    /// # Safety
    /// `from` must be readable for `len` bytes.
    unsafe fn write_from(&self, addr: u64, from: *const u8, len: usize) -> Result<(), Unmapped> {
        self.pieces(addr, len, Access::Write, |at, s| {
            // SAFETY: the span is writable, `from` readable. They may overlap when a guest sends to itself.
            unsafe { core::ptr::copy(from.add(at), s.ptr.as_ptr(), s.len) };
        })
    }

    /// Half a word that guest and device share; `None` also if it is not aligned.
    fn word16(&self, addr: u64) -> Option<&AtomicU16> {
        let p = self.whole(addr, 2, Access::Write)?.cast::<AtomicU16>();
        if !p.is_aligned() {
            return None;
        }
        // SAFETY: as in `word32`.
        Some(unsafe { p.as_ref() })
    }

    /// A word that guest and device share; `None` also if it is not aligned.
    fn word32(&self, addr: u64) -> Option<&AtomicU32> {
        let p = self.whole(addr, 4, Access::Write)?.cast::<AtomicU32>();
        if !p.is_aligned() {
            return None;
        }
        // SAFETY: aligned (checked), valid while `self` is borrowed, and an atomic may be shared with any writer.
        Some(unsafe { p.as_ref() })
    }
}

/// Memory that was found last: frames of a burst lie near each other.
pub struct Window<'m, M: Dma + ?Sized> {
    mem: &'m M,
    access: Access,
    start: u64,
    ptr: NonNull<u8>,
    len: usize,
}

impl<'m, M: Dma + ?Sized> Window<'m, M> {
    /// Nothing was found yet.
    pub fn new(mem: &'m M, access: Access) -> Self {
        Self { mem, access, start: 0, ptr: NonNull::dangling(), len: 0 }
    }

    /// All `len` bytes (not 0) at `addr` in one piece; as [`Dma::whole`].
    #[inline]
    pub fn whole(&mut self, addr: u64, len: usize) -> Option<NonNull<u8>> {
        if let Some(p) = self.inside(addr, len) {
            return Some(p);
        }
        let (start, s) = self.mem.around(addr, self.access)?;
        (self.start, self.ptr, self.len) = (start, s.ptr, s.len);
        self.inside(addr, len)
    }

    /// Where `addr` is, if it is in what was found last.
    #[inline]
    pub fn known(&self, addr: u64) -> Option<NonNull<u8>> {
        self.inside(addr, 1)
    }

    #[inline]
    fn inside(&self, addr: u64, len: usize) -> Option<NonNull<u8>> {
        let at = addr.wrapping_sub(self.start);
        if at >= self.len as u64 || len > self.len - at as usize {
            return None;
        }
        // SAFETY: `at` is inside the span.
        Some(unsafe { self.ptr.add(at as usize) })
    }
}

/// A ring of 16-byte descriptors, found once per turn.
pub struct Ring<'m, M: Dma + ?Sized> {
    mem: &'m M,
    base: u64,
    /// All of it in one piece and aligned for its halves, as nearly always.
    whole: Option<NonNull<u8>>,
    len: u32,
}

impl<'m, M: Dma + ?Sized> Ring<'m, M> {
    /// `len` descriptors at `base`, whose low 4 bits are ignored as by the chip.
    pub fn new(mem: &'m M, base: u64, len: u32, access: Access) -> Self {
        let base = base & !15;
        let whole = mem.whole(base, (len as usize * 16).max(1), access);
        Self { mem, base, whole: whole.filter(|p| p.cast::<AtomicU64>().is_aligned()), len }
    }

    /// `size` bytes at `offset`, a multiple of `size`, in descriptor `i`; aligned for them.
    #[inline]
    fn at(&self, i: u32, offset: u64, size: usize, access: Access) -> Option<NonNull<u8>> {
        debug_assert!(i < self.len);
        let byte = u64::from(i) * 16 + offset;
        match self.whole {
            // SAFETY: `i < len`, and `len * 16` bytes are there. Aligned for `size`, as `offset` is a multiple of it.
            Some(p) => Some(unsafe { p.add(byte as usize) }),
            None => {
                let p = self.mem.whole(self.base.checked_add(byte)?, size, access);
                p.filter(|p| (p.as_ptr() as usize).is_multiple_of(size))
            }
        }
    }

    /// All descriptors, if they lie in one piece, as nearly always: their halves, little-endian.
    #[inline]
    pub fn all(&self) -> Option<&'m [[AtomicU64; 2]]> {
        let p = self.whole?.cast::<[AtomicU64; 2]>();
        // SAFETY: aligned (checked in `new`), `len * 16` bytes are there while `mem` is borrowed, and atomics may be
        // shared with any writer.
        Some(unsafe { core::slice::from_raw_parts(p.as_ptr(), self.len as usize) })
    }

    /// Both halves of descriptor `i`, as the guest last left them.
    #[inline]
    pub fn load(&self, i: u32) -> Option<(u64, u64)> {
        let half = |offset| {
            let p = self.at(i, offset, 8, Access::Read)?.cast::<AtomicU64>();
            // SAFETY: inside the ring, aligned (both checked). ORDERING: Relaxed; the tail index that led here
            // was read with Acquire.
            Some(u64::from_le(unsafe { p.as_ref() }.load(Ordering::Relaxed)))
        };
        Some((half(0)?, half(8)?))
    }

    /// As [`Ring::store`], of halves that may be there already: then nothing is written, and the line of a ring that looks
    /// the same lap after lap stays with both cores.
    #[inline]
    pub fn renew(&self, i: u32, halves: (u64, u64)) -> Option<()> {
        if self.load(i)? == halves { Some(()) } else { self.store(i, halves) }
    }

    /// Both halves of descriptor `i`, which is the writer's own until it tells of it.
    #[inline]
    pub fn store(&self, i: u32, (low, high): (u64, u64)) -> Option<()> {
        for (offset, v) in [(0, low), (8, high)] {
            let p = self.at(i, offset, 8, Access::Write)?.cast::<AtomicU64>();
            // SAFETY: as in `load`. ORDERING: Relaxed; the tail that tells of it is written with Release.
            unsafe { p.as_ref() }.store(v.to_le(), Ordering::Relaxed);
        }
        Some(())
    }

    /// The second half of descriptor `i`, in one store: whoever sees its status sees all that was written before.
    pub fn store_high(&self, i: u32, v: u64) -> Option<()> {
        let p = self.at(i, 8, 8, Access::Write)?.cast::<AtomicU64>();
        // SAFETY: as in `load`. ORDERING: Release: data first, status last.
        unsafe { p.as_ref() }.store(v.to_le(), Ordering::Release);
        Some(())
    }

    /// Byte `offset` of descriptor `i`.
    pub fn store_byte(&self, i: u32, offset: u64, v: u8) -> Option<()> {
        let p = self.at(i, offset, 1, Access::Write)?.cast::<AtomicU8>();
        // SAFETY: inside the ring. ORDERING: Release: frames were read before the guest may reuse them.
        unsafe { p.as_ref() }.store(v, Ordering::Release);
        Some(())
    }
}
