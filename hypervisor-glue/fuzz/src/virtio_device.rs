//! One queue as a device has it.

use valecast_guest::virtio::Places;
use valecast_hypervisor_glue::e1000::dma::{Dma, HeapMemory};

use super::virtio_around::Bytes;

/// A buffer that the device has.
#[derive(Clone, Copy)]
pub struct Head {
    pub id: u32,
    pub addr: u64,
}

/// See the module.
pub struct Half {
    places: Places,
    n: u16,
    /// Available entries fetched.
    seen: u16,
    held: Vec<Head>,
    /// Used entries written, and of those published.
    pub used: u16,
    published: u16,
    /// The index behind which the device wants a kick.
    pub event: u16,
    /// The index behind which the driver wants an interrupt, if it does.
    pub wanted: Option<u16>,
}

/// The indices from one up to, and not with, the other.
pub fn between(from: u16, to: u16) -> impl Iterator<Item = u16> {
    (0..to.wrapping_sub(from)).map(move |k| from.wrapping_add(k))
}

impl Half {
    /// Of `n` entries; the driver begins by waiting for frames, not for room.
    pub fn new(places: Places, n: u16, receives: bool) -> Self {
        let wanted = receives.then_some(0);
        Self { places, n, seen: 0, held: Vec::new(), used: 0, published: 0, event: 0, wanted }
    }

    fn u16(mem: &HeapMemory, at: u64) -> u16 {
        let mut v = [0; 2];
        let _ = mem.read(at, &mut v);
        u16::from_le_bytes(v)
    }

    fn slot(&self, k: u16) -> u64 {
        u64::from(k & (self.n - 1))
    }

    /// The available index.
    pub fn shown(&self, mem: &HeapMemory) -> u16 {
        Self::u16(mem, self.places.available + 2)
    }

    /// Available entry `k`.
    pub fn available_id(&self, mem: &HeapMemory, k: u16) -> usize {
        Self::u16(mem, self.places.available + 4 + 2 * self.slot(k)).into()
    }

    /// Used entry `k`.
    pub fn used_id(&self, mem: &HeapMemory, k: u16) -> usize {
        Self::u16(mem, self.places.used + 4 + 8 * self.slot(k)).into()
    }

    /// Takes over what became available: addresses, lengths and flags.
    pub fn fetch(&mut self, mem: &HeapMemory) -> Vec<(u64, u32, u16)> {
        let room = self.n - self.held.len() as u16;
        let fresh = self.shown(mem).wrapping_sub(self.seen).min(room);
        let take = |_| {
            let id = self.available_id(mem, self.seen);
            let mut d = [0; 16];
            let _ = mem.read(self.places.descriptors + 16 * id as u64, &mut d);
            let [a, b] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| d[at + i])));
            self.held.push(Head { id: id as u32, addr: a });
            self.seen = self.seen.wrapping_add(1);
            (a, b as u32, (b >> 32) as u16)
        };
        (0..fresh).map(take).collect()
    }

    /// Buffers held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// One of them, in any order.
    pub fn pick(&mut self, which: u8) -> Option<Head> {
        let n = self.held.len();
        (n > 0).then(|| self.held.remove(usize::from(which) % n))
    }

    /// Writes a used entry.
    pub fn give(&mut self, mem: &HeapMemory, id: u32, len: u32) {
        let entry = u64::from(id) | u64::from(len) << 32;
        let _ = mem.write(self.places.used + 4 + 8 * self.slot(self.used), &entry.to_le_bytes());
        self.used = self.used.wrapping_add(1);
    }

    /// Shows the driver what was used; interrupts, as it asked for. `honest`: it must have asked for what it needs.
    pub fn publish(&mut self, mem: &HeapMemory, honest: bool) -> u64 {
        let old = std::mem::replace(&mut self.published, self.used);
        let _ = mem.write(self.places.used + 2, &self.used.to_le_bytes());
        let event = Self::u16(mem, self.places.available + 4 + 2 * u64::from(self.n));
        let passed = between(old, self.used).any(|k| k == event);
        if honest {
            let due = self.wanted.is_some_and(|w| between(old, self.used).any(|k| k == w));
            assert_eq!(passed, due, "an interrupt behind {event}, from {old} to {}", self.used);
        }
        if passed {
            self.wanted = None;
        }
        passed.into()
    }

    /// Asks for a kick with the next available entry, or for none.
    pub fn listen(&mut self, mem: &HeapMemory, next: bool) {
        self.event = self.seen.wrapping_sub(u16::from(!next));
        let _ = mem.write(self.places.used + 4 + 8 * u64::from(self.n), &self.event.to_le_bytes());
    }

    /// Writes something where it matters.
    pub fn scribble(&mut self, mem: &HeapMemory, b: &mut Bytes<'_>) {
        let p = self.places;
        let slot = self.slot(self.used.wrapping_add(u16::from(b.u8() & 7)));
        let at = match b.u8() & 7 {
            0 => p.used + 2,
            1 => p.used + 4 + 8 * slot,
            2 => p.used + 8 + 8 * slot,
            3 => p.available + 4 + 2 * slot,
            4 => p.available + 2,
            5 => p.descriptors + 16 * slot + u64::from(b.u8() & 14),
            // The header of a buffer.
            6 => self.held.first().map_or(p.used, |head| head.addr + 10),
            _ => p.descriptors + u64::from(b.u16()),
        };
        let v = match b.u8() & 3 {
            0 => b.u16(),
            1 => self.used.wrapping_add(u16::from(b.u8())),
            _ => u16::from(b.u8()) % (2 * self.n),
        };
        let _ = mem.write(at, &v.to_le_bytes());
    }
}
