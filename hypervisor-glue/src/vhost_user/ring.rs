//! A split virtqueue as it lies in guest memory (virtio 1.3, section 2.7), for the time of one burst.
//!
//! Everything here is written by the guest at any time: each word is read once, as an atomic or by a copy, and checked
//! by whoever uses it.

use std::sync::atomic::{AtomicU16, Ordering};

use virtio_bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY};

use crate::memory::{Direction, Fault, Snapshot};
use crate::sys::mapping::HostSlice;

/// Bytes of a descriptor.
pub const DESCRIPTOR: usize = 16;
/// Bytes before the entries of the available and used rings: flags and index.
const HEAD: usize = 4;
const FLAGS: usize = 0;
const INDEX: usize = 2;
/// Bytes of an entry of the used ring.
const USED: usize = 8;
/// Such entries of a cache line.
const USED_PER_LINE: usize = 64 / USED;

/// One descriptor, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// `VRING_DESC_F_*`.
    pub flags: u16,
    /// The next one of a chain.
    pub next: u16,
}

impl Descriptor {
    /// From guest memory: little endian since virtio 1.0, and in the machine's order before, which is the same here.
    pub fn from_bytes(b: [u8; DESCRIPTOR]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = b;
        Self {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }
}

/// Where the parts of a ring lie, as guest addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The descriptor table.
    pub descriptors: u64,
    /// The available ring.
    pub available: u64,
    /// The used ring.
    pub used: u64,
}

/// A ring, resolved.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'g> {
    descriptors: HostSlice<'g>,
    available: HostSlice<'g>,
    used: HostSlice<'g>,
    size: u16,
}

impl<'g> Ring<'g> {
    /// The ring of `size` (a power of two) at `places`; each part must lie in one piece.
    pub fn resolve(memory: &'g Snapshot, places: &Places, size: u16) -> Result<Self, Fault> {
        let n = u64::from(size);
        // Each ring has a word more: the other side's event index.
        let ring = |entry: usize| HEAD as u64 + n * entry as u64 + 2;
        Ok(Self {
            descriptors: memory.whole(places.descriptors, n * DESCRIPTOR as u64, Direction::Read)?,
            available: memory.whole(places.available, ring(2), Direction::Read)?,
            used: memory.whole(places.used, ring(USED), Direction::Write)?,
            size,
        })
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    #[inline]
    fn slot(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    /// A word; rings that are not aligned were refused when they were set up.
    #[inline]
    fn word(of: &HostSlice<'g>, offset: usize) -> Option<&'g AtomicU16> {
        of.atomic_u16(offset)
    }

    /// How many chains the guest has made available so far, modulo 2^16.
    #[inline]
    pub fn available(&self) -> u16 {
        // ORDERING: Acquire pairs with the guest's write barrier before it moved the index.
        Self::word(&self.available, INDEX).map_or(0, |w| u16::from_le(w.load(Ordering::Acquire)))
    }

    /// The first descriptor of the chain at an index of the available ring.
    #[inline]
    pub fn head(&self, index: u16) -> u16 {
        let at = HEAD + 2 * self.slot(index);
        // ORDERING: Relaxed; the index was read with Acquire.
        Self::word(&self.available, at).map_or(0, |w| u16::from_le(w.load(Ordering::Relaxed)))
    }

    /// A descriptor of the table; none if there is no such.
    #[inline]
    pub fn descriptor(&self, at: u16) -> Option<Descriptor> {
        let mut b = [0; DESCRIPTOR];
        (at < self.size && self.descriptors.read(usize::from(at) * DESCRIPTOR, &mut b))
            .then(|| Descriptor::from_bytes(b))
    }

    /// Asks for the descriptor that the chain at an index of the available ring begins with.
    #[inline]
    pub fn prefetch_descriptor(&self, index: u16) {
        self.descriptors.prefetch(usize::from(self.head(index)) * DESCRIPTOR, false);
    }

    /// Writes an entry of the used ring, which the guest does not look at before [`Ring::publish`].
    #[inline]
    pub fn put_used(&self, index: u16, head: u16, len: u32) {
        let entry = u64::from(head) | u64::from(len) << 32;
        let slot = self.slot(index);
        if slot.is_multiple_of(USED_PER_LINE) {
            // The guest has read these last: bring them back before they are written, one after the other.
            self.used.prefetch(HEAD + USED * (slot + 2 * USED_PER_LINE), true);
        }
        let written = self.used.write(HEAD + USED * slot, &entry.to_le_bytes());
        debug_assert!(written);
    }

    /// Lets the guest see the used ring up to `index`.
    #[inline]
    pub fn publish(&self, index: u16) {
        if let Some(w) = Self::word(&self.used, INDEX) {
            // ORDERING: Release: whoever sees the index sees the entries and the frames behind them.
            w.store(index.to_le(), Ordering::Release);
        }
    }

    /// The used ring's index, as a device before us left it.
    pub fn published(&self) -> u16 {
        Self::word(&self.used, INDEX).map_or(0, |w| u16::from_le(w.load(Ordering::Relaxed)))
    }

    /// The guest wants no interrupts (without event indices).
    #[inline]
    pub fn no_interrupt(&self) -> bool {
        let flags = Self::word(&self.available, FLAGS).map_or(0, |w| u16::from_le(w.load(Ordering::Relaxed)));
        u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT != 0
    }

    /// The guest wants an interrupt once the used ring's index passes this (with event indices).
    #[inline]
    pub fn used_event(&self) -> u16 {
        let at = HEAD + 2 * usize::from(self.size);
        Self::word(&self.available, at).map_or(0, |w| u16::from_le(w.load(Ordering::Relaxed)))
    }

    /// Asks for no kicks, or for them (without event indices).
    #[inline]
    pub fn set_no_notify(&self, on: bool) {
        if let Some(w) = Self::word(&self.used, FLAGS) {
            let flags = if on { VRING_USED_F_NO_NOTIFY as u16 } else { 0 };
            w.store(flags.to_le(), Ordering::Relaxed);
        }
    }

    /// Asks for a kick once the available ring's index passes this (with event indices).
    #[inline]
    pub fn set_available_event(&self, index: u16) {
        let at = HEAD + USED * usize::from(self.size);
        if let Some(w) = Self::word(&self.used, at) {
            w.store(index.to_le(), Ordering::Relaxed);
        }
    }
}

/// Whether an index that moved from `old` to `new` has passed `event` (virtio 1.3, section 2.7.10.1).
#[inline]
pub fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_passed_across_the_wrap() {
        assert!(passed(5, 6, 5) && !passed(5, 5, 4) && !passed(5, 7, 6));
        assert!(passed(0xffff, 0, 0xffff) && passed(0, 3, 0xfffe) && !passed(3, 3, 0xfffe));
        assert!(!passed(9, 9, 9), "nothing moved");
    }

    #[test]
    fn descriptors_are_little_endian() {
        let d = Descriptor::from_bytes([1, 2, 0, 0, 0, 0, 0, 0x80, 4, 1, 0, 0, 2, 0, 7, 1]);
        assert_eq!(d, Descriptor { address: 0x8000_0000_0000_0201, len: 260, flags: 2, next: 263 });
    }
}
