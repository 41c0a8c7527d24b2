//! The rings and buffers of a memif in shared memory: the only unsafe code of the client.
//!
//! The other side is a switch that this harness started and trusts as any memif peer does: it writes the slots it
//! owns and no others. Which those are, two indices say, each written by one side only, published with Release and
//! read with Acquire. What it says about places is held to the mapped memory all the same.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::peer::Trouble;

/// Slots of our rings, as a power of two.
pub const LOG2_SLOTS: u8 = 10;
const SLOTS: u32 = 1 << LOG2_SLOTS;
/// Bytes of our buffers.
pub const BUFFER: u32 = 2048;
const COOKIE: u32 = 0x3E3_1F20;
/// The receiver of a ring polls it: no eventfd, please.
const POLLING: u16 = 1;
/// Where things lie in a ring: flags, head, tail, descriptors (DPDK's `memif.h`, cache lines of 64 bytes).
const FLAGS: usize = 4;
const HEAD: usize = 6;
const TAIL: usize = 64;
const DESCRIPTORS: usize = 128;
const DESCRIPTOR: usize = 16;
const RING: usize = DESCRIPTORS + DESCRIPTOR * SLOTS as usize;

/// A descriptor: flags, region, length, offset, metadata.
#[derive(Clone, Copy)]
#[repr(C)]
struct Descriptor {
    flags: u16,
    region: u16,
    length: u32,
    offset: u32,
    metadata: u32,
}

/// A mapped region.
pub struct Area(MmapRaw);

impl Area {
    /// Memory of our own for one ring to the server, `to_client` from it, and their buffers, laid out and filled in.
    pub fn create(to_client: u16) -> Result<(Self, OwnedFd), Trouble> {
        let rings = 1 + u32::from(to_client);
        let fd = memfd_create(c"valecast-bench-memif", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let len = rings as usize * (RING + (SLOTS * BUFFER) as usize);
        nix::unistd::ftruncate(&fd, len as i64)?;
        let area = Self::map(fd.try_clone()?, len as u64)?;
        for number in 0..rings {
            let ring = Ring::at(&area, number * RING as u32, LOG2_SLOTS)?;
            ring.cookie().store(COOKIE, Ordering::Relaxed);
            for slot in 0..SLOTS {
                let offset = rings * RING as u32 + (number * SLOTS + slot) * BUFFER;
                ring.write(slot, Descriptor { flags: 0, region: 0, length: BUFFER, offset, metadata: 0 });
            }
        }
        Ok((area, fd))
    }

    /// Maps what somebody else made. Touching what its file does not back would end this process by SIGBUS, so what
    /// the other side says of its size is held to the file.
    pub fn map(fd: OwnedFd, size: u64) -> Result<Self, Trouble> {
        let file = File::from(fd);
        let backed = file.metadata()?.len();
        if size > backed {
            return Err(format!("a memif region of {size} bytes in a file of {backed}").into());
        }
        let map = MmapOptions::new().len(usize::try_from(size)?).map_raw(&file)?;
        Ok(Self(map))
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Where our rings lie in our memory: the one to the server, or the `i`-th to us.
    pub fn ring_offset(to_client: Option<u16>) -> u32 {
        to_client.map_or(0, |i| (1 + u32::from(i)) * RING as u32)
    }
}

/// One ring.
#[derive(Clone, Copy)]
struct Ring {
    base: *mut u8,
    mask: u32,
}

// SAFETY: the pointer is into a mapping that `Rings` keeps, and it is used by whoever has `Rings` by `&mut` alone.
unsafe impl Send for Ring {}

impl Ring {
    fn at(area: &Area, offset: u32, log2_slots: u8) -> Result<Self, Trouble> {
        let slots = 1u32.checked_shl(log2_slots.into()).filter(|s| *s <= 1 << 14).ok_or("a ring too long")?;
        let end = offset as usize + DESCRIPTORS + DESCRIPTOR * slots as usize;
        if end > area.len() || !offset.is_multiple_of(64) {
            return Err("a memif ring outside of its region".into());
        }
        // SAFETY: within the mapping, as just seen.
        let base = unsafe { area.0.as_mut_ptr().add(offset as usize) };
        Ok(Self { base, mask: slots - 1 })
    }

    fn cookie(&self) -> &AtomicU32 {
        // SAFETY: aligned, within the mapping (`at`), and accessed by atomics alone.
        unsafe { AtomicU32::from_ptr(self.base.cast()) }
    }

    #[inline(always)]
    fn half(&self, at: usize) -> &AtomicU16 {
        // SAFETY: as for `cookie`: the offsets are those of `flags`, `head` and `tail`.
        unsafe { AtomicU16::from_ptr(self.base.add(at).cast()) }
    }

    #[inline(always)]
    fn descriptor(&self, slot: u32) -> *mut Descriptor {
        // SAFETY: a masked slot's descriptor is within the mapping (`at`).
        unsafe { self.base.add(DESCRIPTORS + DESCRIPTOR * (slot & self.mask) as usize).cast() }
    }

    #[inline(always)]
    fn read(&self, slot: u32) -> Descriptor {
        // SAFETY: in the mapping and aligned; whoever owns the slot reads it, as the indices say.
        unsafe { self.descriptor(slot).read() }
    }

    fn write(&self, slot: u32, d: Descriptor) {
        // SAFETY: as for `read`.
        unsafe { self.descriptor(slot).write(d) };
    }

    #[inline(always)]
    fn set_length(&self, slot: u32, length: u32) {
        // SAFETY: as for `read`; flags and length are what a sender writes.
        unsafe {
            let (flags, len) =
                (&raw mut (*self.descriptor(slot)).flags, &raw mut (*self.descriptor(slot)).length);
            // As Valecast's client library: what is there already is not written, so that its line stays where it is.
            if (flags.read(), len.read()) != (0, length) {
                flags.write(0);
                len.write(length);
            }
        }
    }
}

/// Both rings of a connected memif, as one side sees them.
pub struct Rings {
    areas: Vec<Area>,
    /// Start and length of each region.
    places: Vec<(*mut u8, usize)>,
    /// We are the client.
    own: bool,
    tx: Ring,
    rx: Ring,
    /// Next slot that we fill, and the next that we read.
    next_tx: u16,
    /// Free slots that are known of.
    room: u32,
    next_rx: u16,
}

// SAFETY: the pointers are into mappings that `areas` keeps, and every access takes `&mut self` or `&self` of the one owner.
unsafe impl Send for Rings {}

impl Rings {
    fn new(areas: Vec<Area>, own: bool, tx: Ring, rx: Ring) -> Self {
        let places = areas.iter().map(|a| (a.0.as_mut_ptr(), a.len())).collect();
        rx.half(FLAGS).store(POLLING, Ordering::Relaxed);
        Self { areas, places, own, tx, rx, next_tx: 0, room: 0, next_rx: 0 }
    }

    /// Over our own memory, once the server has it; receives from the `from`-th ring to us.
    pub fn of_client(area: Area, from: u16) -> Result<Self, Trouble> {
        let tx = Ring::at(&area, Area::ring_offset(None), LOG2_SLOTS)?;
        let rx = Ring::at(&area, Area::ring_offset(Some(from)), LOG2_SLOTS)?;
        let rings = Self::new(vec![area], true, tx, rx);
        // All receive buffers are the server's to fill.
        rings.rx.half(HEAD).store(SLOTS as u16, Ordering::Release);
        Ok(rings)
    }

    /// Over a client's memory: region, offset and length of the ring to us and of the one from us.
    pub fn of_server(
        areas: Vec<Area>,
        to_us: (u16, u32, u8),
        from_us: (u16, u32, u8),
    ) -> Result<Self, Trouble> {
        let ring = |(region, offset, log2): (u16, u32, u8)| {
            let area = areas.get(usize::from(region)).ok_or("a memif ring in a region that was not added")?;
            let ring = Ring::at(area, offset, log2)?;
            if ring.cookie().load(Ordering::Relaxed) != COOKIE {
                return Err(Trouble::from("a memif ring without its cookie"));
            }
            Ok(ring)
        };
        let (rx, tx) = (ring(to_us)?, ring(from_us)?);
        Ok(Self::new(areas, false, tx, rx))
    }

    /// Slots of the transmit ring, less one.
    pub fn mask(&self) -> u32 {
        self.tx.mask
    }

    /// We own the buffers: what was put into a slot's buffer stays there.
    pub fn keeps(&self) -> bool {
        self.own
    }

    /// Number of the `i`-th free slot.
    #[inline(always)]
    pub fn slot(&self, i: u32) -> u32 {
        (u32::from(self.next_tx) + i) & self.tx.mask
    }

    /// Frames that can be sent now, at least: the switch's index is read only if fewer than `enough` are known of, as
    /// its line comes from another core.
    #[inline(always)]
    pub fn room_for(&mut self, enough: u32) -> u32 {
        if self.room < enough {
            self.room = self.room();
        }
        self.room
    }

    /// Frames that can be sent now.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        let n = if self.own {
            let tail = self.tx.half(TAIL).load(Ordering::Acquire);
            self.tx.mask + 1 - u32::from(self.next_tx.wrapping_sub(tail))
        } else {
            u32::from(self.tx.half(HEAD).load(Ordering::Acquire).wrapping_sub(self.next_tx))
        };
        n.min(self.tx.mask + 1)
    }

    /// A descriptor's place, held to the region.
    #[inline(always)]
    fn place(&self, d: Descriptor, len: usize) -> Option<*mut u8> {
        let (base, size) = *self.places.get(usize::from(d.region))?;
        // SAFETY: `len` bytes from there are within the mapping.
        (d.offset as usize + len <= size).then(|| unsafe { base.add(d.offset as usize) })
    }

    /// Writes `frame` into the `i`-th free slot, descriptor included.
    #[inline(always)]
    pub fn put(&mut self, i: u32, frame: &[u8]) {
        let slot = self.slot(i);
        if let Some(to) = self.place(self.tx.read(slot), frame.len()) {
            // SAFETY: the place has room, the slot is ours to fill, and `frame` is private memory.
            unsafe { std::ptr::copy_nonoverlapping(frame.as_ptr(), to, frame.len()) };
        }
        self.tx.set_length(slot, frame.len() as u32);
    }

    /// Overwrites some bytes in the buffer of slot number `slot`, which is free.
    #[inline(always)]
    pub fn patch(&mut self, slot: u32, at: usize, bytes: &[u8]) {
        if let Some(to) = self.place(self.tx.read(slot), at + bytes.len()) {
            // SAFETY: as for `put`.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.add(at), bytes.len()) };
        }
    }

    /// Asks for the first line of the `i`-th free slot's buffer, to be written.
    #[inline(always)]
    pub fn prefetch_free(&self, i: u32) {
        if let Some(p) = self.place(self.tx.read(self.slot(i)), 0) {
            valecast_ring::prefetch_write(p);
        }
    }

    /// Sets the length of the `i`-th free slot, whose buffer holds the frame already.
    #[inline(always)]
    pub fn set(&mut self, i: u32, len: u32) {
        self.tx.set_length(self.slot(i), len);
    }

    /// Hands over `n` slots.
    #[inline(always)]
    pub fn publish(&mut self, n: u32) {
        self.next_tx = self.next_tx.wrapping_add(n as u16);
        self.room = self.room.saturating_sub(n);
        let index = if self.own { HEAD } else { TAIL };
        self.tx.half(index).store(self.next_tx, Ordering::Release);
    }

    /// Frames that wait.
    #[inline(always)]
    pub fn pending(&self) -> u32 {
        let index = if self.own { TAIL } else { HEAD };
        u32::from(self.rx.half(index).load(Ordering::Acquire).wrapping_sub(self.next_rx))
            .min(self.rx.mask + 1)
    }

    /// The `i`-th waiting frame.
    #[inline(always)]
    pub fn frame(&self, i: u32) -> &[u8] {
        let d = self.rx.read(u32::from(self.next_rx) + i);
        let len = d.length as usize;
        match self.place(d, len) {
            // SAFETY: in the mapping; the other side does not write a slot that waits to be read, and `release`,
            // which gives it back, takes `&mut self`.
            Some(p) => unsafe { std::slice::from_raw_parts(p, len) },
            None => &[],
        }
    }

    /// Asks for the first line of the `i`-th waiting frame.
    #[inline(always)]
    pub fn prefetch(&self, i: u32) {
        let d = self.rx.read(u32::from(self.next_rx) + i);
        if let Some(_p) = self.place(d, 0) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch touches no memory that the program can see.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(_p.cast());
            }
        }
    }

    /// Gives `n` slots back; as the client, with their whole buffers.
    #[inline(always)]
    pub fn release(&mut self, n: u32) {
        if self.own {
            for i in 0..n {
                self.rx.set_length(u32::from(self.next_rx) + i, BUFFER);
            }
        }
        self.next_rx = self.next_rx.wrapping_add(n as u16);
        let (index, value) = if self.own {
            (HEAD, self.next_rx.wrapping_add((self.rx.mask + 1) as u16))
        } else {
            (TAIL, self.next_rx)
        };
        self.rx.half(index).store(value, Ordering::Release);
    }

    /// Asks for eventfds, or no longer. Then look again before sleeping.
    pub fn ask_for_bells(&self, yes: bool) {
        self.rx.half(FLAGS).store(if yes { 0 } else { POLLING }, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rings")
            .field("regions", &self.areas.len())
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
