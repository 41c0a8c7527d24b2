//! A file mapped where huge pages can lie, and such pages.
//!
//! A ring full of buffers is more pages than a processor remembers the addresses of, and finding one takes about as long as a cache
//! line from another core, on virtual machines longer. Shared memory has huge pages only if an administrator lets it
//! (`shmem_enabled`), except for those who ask by MADV_COLLAPSE (Linux 6.1), as is done here.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// Bytes of a huge page, on x86-64 and, with 4 KiB pages, on others.
const HUGE: usize = 2 << 20;

/// A file mapped from its beginning on, at an address that a huge page may have.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Holds the addresses: more than are needed, as one cannot ask for such a place.
    _room: MmapRaw,
    begin: NonNull<u8>,
    len: usize,
}

// SAFETY: an address range that is this value's own until it is dropped; it may be used from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; what lies there is reached by raw pointer alone.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, shared, to be read and written; `populate`: all of them at once.
    pub fn new(file: impl AsFd, len: usize, populate: bool) -> io::Result<Self> {
        let nothing = || io::Error::from(io::ErrorKind::InvalidInput);
        let whole = len.checked_add(HUGE).ok_or_else(nothing)?;
        let room = MmapRaw::from(MmapOptions::new().len(whole).no_reserve_swap().map_anon()?);
        let at = (room.as_mut_ptr() as usize).next_multiple_of(HUGE);
        let (at, size) = (NonZeroUsize::new(at), NonZeroUsize::new(len).ok_or_else(nothing)?);
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let mut flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        flags.set(MapFlags::MAP_POPULATE, populate);
        // SAFETY: the range lies in `room`, as that is longer by a huge page: nobody else has it, and it is unmapped with it.
        let begin = unsafe { mmap(at, size, access, flags, file, 0)? };
        Ok(Self { _room: room, begin: begin.cast(), len })
    }

    /// Has the file's whole huge pages lie in such. How many bytes that are: 0 if the kernel has none to give.
    pub fn make_huge(&self) -> usize {
        let len = self.len & !(HUGE - 1);
        if len == 0 {
            return 0;
        }
        for at in (0..len).step_by(HUGE) {
            // SAFETY: inside the mapping; what is read there is of no account. The kernel takes no place of which it has nothing yet.
            unsafe { self.begin.add(at).read_volatile() };
        }
        // SAFETY: the range is mapped; what lies in it stays as it is.
        let done = unsafe { libc::madvise(self.begin.as_ptr().cast(), len, libc::MADV_COLLAPSE) };
        if done == 0 { len } else { 0 }
    }

    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.begin.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Layout, RingParams};
    use crate::region::{HugePages, Region};

    /// Bytes that this process has mapped at `at` by huge pages, as the kernel says.
    fn mapped_huge(at: *const u8) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let begins = format!("{:x}-", at as usize);
        let entry = maps.lines().skip_while(|l| !l.starts_with(&begins));
        let line = entry.skip(1).find_map(|l| l.strip_prefix("ShmemPmdMapped:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    fn regions(pages: HugePages) -> [Region; 2] {
        let layout = Layout::try_from(RingParams::default()).unwrap();
        let ours = Region::create(layout, "t", pages).unwrap();
        let theirs = Region::open(ours.fd().try_clone_to_owned().unwrap(), layout).unwrap();
        [ours, theirs]
    }

    #[test]
    fn both_sides_have_the_huge_pages_that_there_are() {
        let [ours, theirs] = regions(HugePages::Try);
        // With none to be had, as on a kernel without them, this holds as well.
        assert!([0, ours.layout().total() & !(HUGE - 1)].contains(&ours.huge()));
        for side in [&ours, &theirs] {
            assert_eq!(mapped_huge(side.base().as_ptr()), ours.huge());
        }
        let [ours, theirs] = regions(HugePages::Off);
        for side in [&ours, &theirs] {
            assert_eq!((side.huge(), mapped_huge(side.base().as_ptr())), (0, 0));
        }
    }

    #[test]
    fn what_nobody_has_touched_yet_gets_huge_pages_as_well() {
        use nix::fcntl::{FallocateFlags, fallocate};
        let file = nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::empty()).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, HUGE as i64).unwrap();
        let some = Mapping::new(&file, HUGE, true).unwrap().make_huge();
        // A kernel that gives some may run out of them for a moment.
        let mut tries = (0..10).map(|_| regions(HugePages::Try)[0].huge());
        assert_eq!(some > 0, tries.any(|huge| huge > 0));
    }

    #[test]
    fn what_one_side_writes_the_other_reads_to_the_last_byte() {
        let [ours, theirs] = regions(HugePages::Try);
        let last = ours.layout().total() - 1;
        for at in [0, 1, HUGE - 1, HUGE, last] {
            // SAFETY: inside both mappings, which only this thread uses.
            unsafe {
                ours.base().add(at).write_volatile(at as u8 | 1);
                assert_eq!(theirs.base().add(at).read_volatile(), at as u8 | 1);
            }
        }
    }

    #[test]
    fn nothing_is_no_mapping() {
        let file = nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::empty()).unwrap();
        assert!(Mapping::new(&file, 0, false).is_err());
        assert!(Mapping::new(&file, usize::MAX, false).is_err());
    }
}
