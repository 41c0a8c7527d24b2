//! A split ring as its driver has it (virtio 1.3, section 2.7). A chain is one descriptor, and each descriptor has a buffer
//! of its own.
//!
//! Which buffers are free is written in the available ring itself, behind what is published: an entry there is the
//! buffer that will be used next. A device that has used `k` chains has read as many entries at least, for where it
//! stops and goes on is one index, so the entry of the `k`th is the driver's again. Entries and descriptors that are what
//! they were are not written: a device that works in order leaves their lines with both cores.

use core::sync::atomic::{AtomicU16, Ordering, fence};

use super::{BUFFER, Fault, HEADER, MAX_ENTRIES, Places, STRIDE};
use crate::dma::{Access, Dma, Ring, Unmapped};

/// Bytes before the entries of the available and used rings: flags and index.
const HEAD: u64 = 4;
const INDEX: u64 = 2;
const WRITE: u64 = 2;

/// Who may do what with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The device reads it.
    Read,
    /// The device writes it.
    Write,
}

/// A ring.
pub struct Queue {
    number: u16,
    n: u16,
    places: Places,
    buffers: u64,
    /// Index of the available ring: buffers lent so far.
    next: u16,
    /// As the device was shown it.
    shown: u16,
    /// Used entries taken.
    seen: u16,
    /// Index behind which no interrupt was wanted when it was last said.
    said: u16,
    /// By buffer: the device has it.
    lent: [u64; MAX_ENTRIES as usize / 64],
}

/// Used entries from some place on.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    number: u16,
    n: u16,
    used: u64,
    buffers: u64,
    from: u16,
}

impl Taken {
    /// Number and length of entry `k`.
    #[inline]
    fn entry(&self, mem: &impl Dma, k: u16) -> Result<(u16, usize), Fault> {
        let addr = self.used + HEAD + 8 * u64::from(self.from.wrapping_add(k) & (self.n - 1));
        let word = |addr| {
            // ORDERING: Relaxed; the index was read with Acquire.
            mem.word32(addr).map(|w| u32::from_le(w.load(Ordering::Relaxed))).ok_or(Unmapped { addr })
        };
        let (id, len) = (word(addr)?, word(addr + 4)?);
        if id >= u32::from(self.n) || len as usize > BUFFER {
            return Err(Fault::Entry(self.number, id, len));
        }
        Ok((id as u16, len as usize))
    }

    /// Where the buffer of entry `k` is, and how much the device wrote there.
    #[inline]
    pub fn piece(&self, mem: &impl Dma, k: u16) -> Result<(u64, usize), Fault> {
        let (id, len) = self.entry(mem, k)?;
        Ok((self.buffers + u64::from(id) * STRIDE as u64, len))
    }

    /// Asks for what a look at a frame in the buffer of entry `k` reads: its header, and the line behind it.
    #[inline]
    pub fn prefetch(&self, mem: &impl Dma, k: u16) {
        if let Ok((addr, _)) = self.piece(mem, k) {
            mem.prefetch(addr);
            mem.prefetch(addr + HEADER as u64);
        }
    }
}

/// Whether an index that moved from `old` to `new` has passed `event` (virtio 1.3, section 2.7.10.1).
fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

impl Queue {
    /// Of `n` entries (a power of two) at `base`, with `n` buffers from `buffers` on.
    pub fn new(number: u16, base: u64, n: u16, buffers: u64) -> Self {
        let lent = [0; MAX_ENTRIES as usize / 64];
        Self { number, n, places: Places::at(base, n), buffers, next: 0, shown: 0, seen: 0, said: 0, lent }
    }

    /// Entries.
    pub fn entries(&self) -> u16 {
        self.n
    }

    /// Where it lies.
    pub fn places(&self) -> Places {
        self.places
    }

    /// Writes it as it is at first: all buffers are free, in order, and no interrupt is wanted.
    pub fn prepare(&self, mem: &impl Dma) -> Result<(), Fault> {
        for at in (0..Places::bytes(self.n) as u64).step_by(64) {
            mem.write(self.places.descriptors + at, &[0; 64])?;
        }
        for id in 0..self.n {
            self.entry(mem, id)?.store(id.to_le(), Ordering::Relaxed);
        }
        self.used_event(mem)?.store(self.seen.wrapping_sub(1).to_le(), Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    fn word<'m>(&self, mem: &'m impl Dma, addr: u64) -> Result<&'m AtomicU16, Unmapped> {
        mem.word16(addr).ok_or(Unmapped { addr })
    }

    /// An entry of the available ring.
    #[inline]
    fn entry<'m>(&self, mem: &'m impl Dma, index: u16) -> Result<&'m AtomicU16, Unmapped> {
        self.word(mem, self.places.available + HEAD + 2 * u64::from(index & (self.n - 1)))
    }

    /// Where the driver says when it wants an interrupt.
    #[inline]
    fn used_event<'m>(&self, mem: &'m impl Dma) -> Result<&'m AtomicU16, Unmapped> {
        self.word(mem, self.places.available + HEAD + 2 * u64::from(self.n))
    }

    /// Buffers that the device does not have.
    #[inline]
    pub fn free(&self) -> u16 {
        self.n - self.next.wrapping_sub(self.seen)
    }

    /// All buffers.
    pub fn buffers(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.buffers;
        (0..u64::from(self.n)).map(move |i| first + i * STRIDE as u64)
    }

    /// The number of the buffer to be lent next.
    #[inline]
    fn upcoming_id(&self, mem: &impl Dma) -> Result<u16, Fault> {
        // ORDERING: Relaxed; the driver wrote it.
        let id = u16::from_le(self.entry(mem, self.next)?.load(Ordering::Relaxed));
        // It lies where the device might write: such a number, or one of a buffer that it has, would be its doing.
        if id < self.n && self.lent[usize::from(id / 64)] & 1 << (id % 64) == 0 {
            Ok(id)
        } else {
            Err(Fault::Entry(self.number, id.into(), 0))
        }
    }

    /// Where the buffer to be lent next is.
    pub fn upcoming(&self, mem: &impl Dma) -> Result<u64, Fault> {
        Ok(self.buffers + u64::from(self.upcoming_id(mem)?) * STRIDE as u64)
    }

    /// Lends the next free buffer's first `len` bytes (there must be one, see [`Queue::free`]); the device does not see it
    /// before [`Queue::publish`].
    #[inline]
    pub fn lend(&mut self, mem: &impl Dma, way: Way, len: usize) -> Result<(), Fault> {
        let id = self.upcoming_id(mem)?;
        let table = Ring::new(mem, self.places.descriptors, self.n.into(), Access::Write);
        let flags = if way == Way::Write { WRITE } else { 0 };
        let is = (self.buffers + u64::from(id) * STRIDE as u64, len as u64 | flags << 32);
        let addr = self.places.descriptors;
        if table.load(id.into()).ok_or(Unmapped { addr })? != is {
            table.store(id.into(), is).ok_or(Unmapped { addr })?;
        }
        self.lent[usize::from(id / 64)] |= 1 << (id % 64);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Shows the device what was lent; whether it wants to hear of it.
    #[inline]
    pub fn publish(&mut self, mem: &impl Dma) -> Result<bool, Fault> {
        let old = core::mem::replace(&mut self.shown, self.next);
        if old == self.next {
            return Ok(false);
        }
        // ORDERING: Release: descriptors and entries before the index; then a full fence before the look at what the
        // device wants, which has one between its wish and its last look.
        self.word(mem, self.places.available + INDEX)?.store(self.next.to_le(), Ordering::Release);
        fence(Ordering::SeqCst);
        let event = self.word(mem, self.places.used + HEAD + 8 * u64::from(self.n))?;
        Ok(passed(u16::from_le(event.load(Ordering::Relaxed)), self.next, old))
    }

    /// Used entries that were not taken.
    #[inline]
    pub fn used(&self, mem: &impl Dma) -> Result<u16, Fault> {
        // ORDERING: Acquire: the entries, and what is in buffers.
        let at = u16::from_le(self.word(mem, self.places.used + INDEX)?.load(Ordering::Acquire));
        let n = at.wrapping_sub(self.seen);
        if n > self.shown.wrapping_sub(self.seen) { Err(Fault::Index(self.number, n)) } else { Ok(n) }
    }

    /// The used entries from the next one on.
    #[inline]
    pub fn taken(&self) -> Taken {
        let Self { number, n, buffers, seen: from, .. } = *self;
        Taken { number, n, used: self.places.used, buffers, from }
    }

    /// Takes a used entry, of which there must be one: its buffer is free.
    #[inline]
    pub fn take(&mut self, mem: &impl Dma) -> Result<(), Fault> {
        let (id, len) = self.taken().entry(mem, 0)?;
        let bit = 1 << (id % 64);
        let word = &mut self.lent[usize::from(id / 64)];
        if *word & bit == 0 {
            return Err(Fault::Entry(self.number, id.into(), len as u32));
        }
        *word &= !bit;
        let entry = self.entry(mem, self.seen)?;
        // ORDERING: Relaxed; published with the index.
        if entry.load(Ordering::Relaxed) != id.to_le() {
            entry.store(id.to_le(), Ordering::Relaxed);
        }
        self.seen = self.seen.wrapping_add(1);
        Ok(())
    }

    /// No interrupt is wanted.
    #[inline]
    pub fn quiet(&mut self, mem: &impl Dma) -> Result<(), Fault> {
        self.said = self.seen;
        // The index before the next: it comes round again after 65535 others.
        self.used_event(mem)?.store(self.seen.wrapping_sub(1).to_le(), Ordering::Relaxed);
        Ok(())
    }

    /// None has been wanted for so long that the index is about to come round: says it again.
    #[inline]
    pub fn keep_quiet(&mut self, mem: &impl Dma) -> Result<(), Fault> {
        if self.seen.wrapping_sub(self.said) < 1 << 14 { Ok(()) } else { self.quiet(mem) }
    }

    /// An interrupt is wanted when more than `ahead` of those buffers are used that the device has. Whoever sleeps then must
    /// look once more before.
    pub fn wait(&mut self, mem: &impl Dma, ahead: u16) -> Result<(), Fault> {
        self.said = self.seen;
        self.used_event(mem)?.store(self.seen.wrapping_add(ahead).to_le(), Ordering::Relaxed);
        // ORDERING: SeqCst pairs with the device's fence between its index and its look at this.
        fence(Ordering::SeqCst);
        Ok(())
    }
}
