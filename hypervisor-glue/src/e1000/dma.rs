//! Guest memory as the device reaches it ([`valecast_guest::dma`]), and some that is on our own heap.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

pub use valecast_guest::dma::{Access, Dma, Ring, Span, Unmapped, Window};

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
