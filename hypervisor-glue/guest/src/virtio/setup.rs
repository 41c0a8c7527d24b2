//! Where rings lie, and the words by which a bare guest says so to its monitor.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where the parts of a ring lie, as guest addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The descriptor table.
    pub descriptors: u64,
    /// The available ring.
    pub available: u64,
    /// The used ring.
    pub used: u64,
}

/// What the two sides write lies on different cache lines.
const LINE: usize = 64;

impl Places {
    /// Of a ring of `n` entries, one part behind the other from `base` on.
    pub fn at(base: u64, n: u16) -> Self {
        let (table, available, _) = Self::sizes(n);
        let available_at = base + table as u64;
        Self { descriptors: base, available: available_at, used: available_at + available as u64 }
    }

    /// Bytes that all of it takes.
    pub fn bytes(n: u16) -> usize {
        let (table, available, used) = Self::sizes(n);
        table + available + used
    }

    /// Both rings have a word more: the other side's event index.
    fn sizes(n: u16) -> (usize, usize, usize) {
        let n = usize::from(n);
        let lines = |bytes: usize| bytes.next_multiple_of(LINE);
        (lines(16 * n), lines(6 + 2 * n), lines(6 + 8 * n))
    }
}

/// What a device must know to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Features that the driver took.
    pub features: u64,
    /// Entries of each ring.
    pub entries: u16,
    /// The receive queue's places and the transmit queue's.
    pub queues: [Places; 2],
}

/// A [`Setup`] in the page that guest and monitor share. The guest writes it before it writes the status register, whose
/// exit orders both.
#[repr(C, align(64))]
pub struct Shared {
    /// Monitor: features that the device offers.
    pub offered: AtomicU64,
    features: AtomicU64,
    places: [[AtomicU64; 3]; 2],
    entries: AtomicU32,
}

impl Shared {
    /// Guest: says it.
    pub fn say(&self, s: &Setup) {
        // ORDERING: Relaxed; see above.
        self.features.store(s.features, Ordering::Relaxed);
        self.entries.store(s.entries.into(), Ordering::Relaxed);
        for (words, p) in self.places.iter().zip(&s.queues) {
            for (w, at) in words.iter().zip([p.descriptors, p.available, p.used]) {
                w.store(at, Ordering::Relaxed);
            }
        }
    }

    /// Monitor: what was said; `None` if it is no ring's size.
    pub fn said(&self) -> Option<Setup> {
        // ORDERING: Relaxed; see above.
        let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
        let queues = self.places.each_ref().map(|[d, a, u]| Places {
            descriptors: get(d),
            available: get(a),
            used: get(u),
        });
        let entries = u16::try_from(self.entries.load(Ordering::Relaxed)).ok()?;
        Some(Setup { features: get(&self.features), entries, queues })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_lie_apart_and_end_where_they_say() {
        for n in [2u16, 8, 256, 4096] {
            let p = Places::at(0x20_0000, n);
            let size = u64::from(n);
            assert!(p.available >= p.descriptors + 16 * size && p.used >= p.available + 6 + 2 * size);
            assert!(0x20_0000 + Places::bytes(n) as u64 >= p.used + 6 + 8 * size);
            assert!([p.descriptors, p.available, p.used].iter().all(|at| at % 64 == 0));
        }
    }
}
