//! Guest memory as the device reaches it: by guest-physical address, while the guest reads and writes too.
//!
//! Nothing here makes a reference to guest memory but to atomics. Everything else goes by raw copies, and what was
//! copied is what is looked at: a guest that changes its memory in between only changes what it sends.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no guest memory at {addr:#x}")]
pub struct Unmapped {
    /// The first address that is not there.
    pub addr: u64,
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

    /// All `len` bytes at `addr` in one piece.
    fn whole(&self, addr: u64, len: usize, access: Access) -> Option<NonNull<u8>> {
        self.span(addr, len, access).filter(|s| s.len == len).map(|s| s.ptr)
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
            unsafe { std::ptr::copy_nonoverlapping(s.ptr.as_ptr(), to[at..at + s.len].as_mut_ptr(), s.len) };
        })
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
            unsafe { std::ptr::copy(from.add(at), s.ptr.as_ptr(), s.len) };
        })
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

/// A ring of 16-byte descriptors, found once per turn.
pub struct Ring<'m, M: Dma + ?Sized> {
    mem: &'m M,
    base: u64,
    /// All of it in one piece, as nearly always.
    whole: Option<NonNull<u8>>,
    len: u32,
}

impl<'m, M: Dma + ?Sized> Ring<'m, M> {
    /// `len` descriptors at `base`, whose low 4 bits are ignored as by the chip.
    pub fn new(mem: &'m M, base: u64, len: u32, access: Access) -> Self {
        let base = base & !15;
        Self { mem, base, whole: mem.whole(base, (len as usize * 16).max(1), access), len }
    }

    fn at(&self, i: u32, offset: u64, size: usize, access: Access) -> Option<NonNull<u8>> {
        debug_assert!(i < self.len);
        let byte = u64::from(i) * 16 + offset;
        match self.whole {
            // SAFETY: `i < len`, and `len * 16` bytes are there.
            Some(p) => Some(unsafe { p.add(byte as usize) }),
            None => self.mem.whole(self.base.checked_add(byte)?, size, access),
        }
        .filter(|p| (p.as_ptr() as usize).is_multiple_of(size))
    }

    /// Both halves of descriptor `i`, as the guest last left them.
    pub fn load(&self, i: u32) -> Option<(u64, u64)> {
        let half = |offset| {
            let p = self.at(i, offset, 8, Access::Read)?.cast::<AtomicU64>();
            // SAFETY: inside the ring, aligned (both checked). ORDERING: Relaxed; the tail index that led here
            // was read with Acquire.
            Some(u64::from_le(unsafe { p.as_ref() }.load(Ordering::Relaxed)))
        };
        Some((half(0)?, half(8)?))
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

/// Guest memory on our own heap: for tests, fuzzing and the guest of [`super::guest`].
pub struct HeapMemory {
    regions: Vec<(u64, Box<[AtomicU64]>)>,
}

impl HeapMemory {
    /// Zeroed regions of `(guest address, bytes)`, rounded to 16 bytes. Regions are apart in our memory even where
    /// they touch in the guest's.
    pub fn new(regions: &[(u64, usize)]) -> Self {
        let make = |&(base, len): &(u64, usize)| {
            let words = len.next_multiple_of(16) / 8;
            // One word more, so that a region can begin at a multiple of 16.
            (base & !15, (0..words + 1).map(|_| AtomicU64::new(0)).collect())
        };
        Self { regions: regions.iter().map(make).collect() }
    }
}

// SAFETY: regions live as long as `self`, never move, and are atomics, so that any thread may write to them through
// a shared reference. Each begins at a multiple of 16 in both address spaces.
unsafe impl Dma for HeapMemory {
    fn span(&self, addr: u64, len: usize, _access: Access) -> Option<Span> {
        self.regions.iter().find_map(|(base, words)| {
            let at = usize::try_from(addr.checked_sub(*base)?).ok()?;
            let size = (words.len() - 1) * 8;
            if at >= size {
                return None;
            }
            let start = words.as_ptr().cast::<u8>().cast_mut();
            let skip = start.align_offset(16);
            // SAFETY: `skip` is at most 8, which the spare word has room for; `at < size`.
            let ptr = NonNull::new(unsafe { start.add(skip + at) })?;
            Some(Span { ptr, len: len.min(size - at) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_across_regions_and_stops_at_holes() {
        let m = HeapMemory::new(&[(0x1000, 32), (0x1020, 32), (0x2000, 16)]);
        let sent: Vec<u8> = (0..40).collect();
        m.write(0x1008, &sent).unwrap();
        let mut got = [0; 40];
        m.read(0x1008, &mut got).unwrap();
        assert_eq!(&got[..], sent);
        assert_eq!(m.write(0x1030, &sent), Err(Unmapped { addr: 0x1040 }));
        assert_eq!(m.read(0xfff, &mut got), Err(Unmapped { addr: 0xfff }));
        assert_eq!(m.read(u64::MAX - 3, &mut got), Err(Unmapped { addr: u64::MAX - 3 }));
        assert!(m.whole(0x1010, 32, Access::Read).is_none(), "in two pieces");
        assert!(m.word32(0x1002).is_none(), "not aligned");
        assert!(m.word32(0x203c).is_none());
    }

    #[test]
    fn descriptors_in_a_ring_over_two_regions() {
        let m = HeapMemory::new(&[(0x1000, 32), (0x1020, 32)]);
        let r = Ring::new(&m, 0x1005, 5, Access::Write);
        for i in 0..4 {
            m.write(0x1000 + u64::from(i) * 16, &u64::from(i).to_le_bytes()).unwrap();
            r.store_high(i, 0x1_0000 + u64::from(i)).unwrap();
            assert_eq!(r.load(i), Some((u64::from(i), 0x1_0000 + u64::from(i))));
        }
        assert_eq!(r.load(4), None);
        assert_eq!(r.store_byte(4, 12, 1), None);
    }
}
