//! One port's shared memory: a sealed memfd, and the only code of the project that touches it.
//!
//! Both sides map the same bytes and either may write any of them at any time, so:
//!
//! - no Rust reference to plain memory in here is ever made on the switch's side; descriptors and CSB words
//!   are atomics (which allow for concurrent writers), payload is reached by raw pointer and copied;
//! - every offset comes from [`Layout`], which was validated once, and every index that the other side can
//!   write is checked against it where it is used;
//! - the memfd is sealed against shrinking and growing before anyone else gets it, so a mapping can never
//!   run into SIGBUS.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::abi::{CsbAtok, CsbKtoa, FIRST_BUF, IfHeader, NI_PRIV_MEM, RingHeader, SlotFlags};
use crate::layout::{Layout, SLOTS_PER_LINE};
use crate::mapping::Mapping;
use crate::moves::{prefetch, prefetch_write};

/// How many descriptors ahead are asked for.
const DESCS_AHEAD: u32 = 32;
/// Seals that a client checks before it trusts a region.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// Why a region could not be made or mapped.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// A system call failed.
    #[error("shared memory of {bytes} bytes: {what}: {source}")]
    Os {
        /// What was being done.
        what: &'static str,
        /// Size of the region.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The peer's memfd is not what it says.
    #[error("shared memory: the descriptor is {0}")]
    Untrusted(&'static str),
}

/// Whether a region is to lie in huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// Where the kernel gives some, as far as it fills whole ones: no memory is taken for that.
    Try,
    /// No.
    Off,
}

/// A mapped region.
#[derive(Debug)]
pub struct Region {
    map: Mapping,
    fd: OwnedFd,
    layout: Layout,
    huge: usize,
}

impl Region {
    /// Makes, seals, maps and initialises a region for the port `name` (switch's side).
    pub fn create(layout: Layout, name: &str, pages: HugePages) -> Result<Self, RegionError> {
        let bytes = layout.total();
        let os = |what| move |e: nix::Error| RegionError::Os { what, bytes, source: e.into() };
        let fd = memfd_create(c"valecast-port", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
            .map_err(os("memfd_create"))?;
        nix::unistd::ftruncate(&fd, bytes as i64).map_err(os("ftruncate"))?;
        // First, while there are no small pages whose contents would have to be moved.
        let huge = match pages {
            HugePages::Try => {
                let map = |source| RegionError::Os { what: "mmap", bytes, source };
                Mapping::new(&fd, bytes, false).map_err(map)?.make_huge()
            }
            HugePages::Off => 0,
        };
        // All pages now: a machine out of memory says so here and not by a signal in the data path.
        fallocate(&fd, FallocateFlags::empty(), 0, bytes as i64).map_err(os("fallocate"))?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS)).map_err(os("F_ADD_SEALS"))?;
        let region = Self { huge, ..Self::map(fd, layout)? };
        region.init(name);
        Ok(region)
    }

    /// Maps a region received from the switch (client's side), after checking its seals and size.
    pub fn open(fd: OwnedFd, layout: Layout) -> Result<Self, RegionError> {
        let bytes = layout.total();
        let os = |what| move |e: nix::Error| RegionError::Os { what, bytes, source: e.into() };
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).map_err(os("F_GET_SEALS"))?;
        if !SealFlag::from_bits_truncate(seals).contains(SEALS) {
            return Err(RegionError::Untrusted("not sealed against resizing"));
        }
        let size = nix::sys::stat::fstat(&fd).map_err(os("fstat"))?.st_size;
        if size != bytes as i64 {
            return Err(RegionError::Untrusted("not of the size that was announced"));
        }
        Self::map(fd, layout)
    }

    fn map(fd: OwnedFd, layout: Layout) -> Result<Self, RegionError> {
        let bytes = layout.total();
        let map = Mapping::new(&fd, bytes, true);
        let map = map.map_err(|source| RegionError::Os { what: "mmap", bytes, source })?;
        Ok(Self { map, fd, layout, huge: 0 })
    }

    /// Bytes of it that lie in huge pages; of the side that made it.
    pub fn huge(&self) -> usize {
        self.huge
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The memfd, to pass on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where the region begins in this process. Others write there at any time: reach it by raw pointer, with
    /// volatile or atomic accesses and offsets from [`Self::layout`].
    pub fn base(&self) -> NonNull<u8> {
        self.at(0)
    }

    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < self.layout.total());
        // SAFETY: callers pass offsets from `Layout`, which lie inside the mapping.
        unsafe { NonNull::new_unchecked(self.map.as_mut_ptr().add(offset)) }
    }

    pub(crate) fn put<T>(&self, offset: usize, v: T) {
        // SAFETY: `offset` comes from `Layout`, aligned for every header; volatile, since others may look.
        unsafe { self.at(offset).cast::<T>().write_volatile(v) }
    }

    fn init(&self, port: &str) {
        let l = &self.layout;
        let p = l.params();
        let mut name = [0u8; 16];
        let n = port.len().min(15);
        name[..n].copy_from_slice(&port.as_bytes()[..n]);
        self.put(
            l.netmap_if(),
            IfHeader {
                name,
                version: crate::abi::NETMAP_API,
                flags: NI_PRIV_MEM,
                tx_rings: p.tx_rings.into(),
                rx_rings: p.rx_rings.into(),
                bufs_head: 0,
                host_tx_rings: 1,
                host_rx_rings: 1,
                spare: [0; 3],
            },
        );
        let ofs = l.netmap_if() + std::mem::size_of::<IfHeader>();
        for ring in 0..l.rings_total() {
            let tx = ring < usize::from(p.tx_rings);
            // One host ring sits between the transmit and the receive rings; it stays 0: not bound.
            let entry = if tx { ring } else { ring + 1 };
            self.put(ofs + 8 * entry, (l.ring(ring) - l.netmap_if()) as i64);
            let ringid = if tx { ring } else { ring - usize::from(p.tx_rings) };
            let tail = if tx { p.slots - 1 } else { 0 };
            self.put(
                l.ring(ring),
                RingHeader {
                    buf_ofs: l.bufs() as i64 - l.ring(ring) as i64,
                    num_slots: p.slots,
                    nr_buf_size: l.stride() as u32,
                    ringid: ringid as u16,
                    dir: u16::from(!tx),
                    head: 0,
                    cur: 0,
                    tail,
                    flags: 0,
                    ts: [0; 2],
                    offset_mask: 0,
                    buf_align: 0,
                    _reserved: [0; 56],
                    sem: [0; 128],
                },
            );
            let view = self.ring(ring);
            view.ktoa_hwtail().store(tail, Ordering::Relaxed);
            for slot in 0..p.slots {
                let d = Desc { buf_idx: l.first_buf(ring, slot), len: l.max_slot_len() as u16, flags: 0 };
                view.put_desc(slot, d);
            }
        }
    }

    /// The words of ring `ring` (transmit rings first).
    pub(crate) fn ring(&self, ring: usize) -> RingView {
        let l = &self.layout;
        assert!(ring < l.rings_total());
        RingView {
            slots: self.at(l.slots(ring)).cast(),
            atok: self.at(l.atok(ring)).cast(),
            ktoa: self.at(l.ktoa(ring)).cast(),
            bufs: self.at(l.bufs()),
            nslots: l.params().slots,
            nbufs: l.buffers(),
            stride: l.stride(),
            max_len: l.max_slot_len() as u32,
        }
    }
}

// SAFETY: the mapping may be used from any thread; all concurrent access is by atomics or raw copies.
unsafe impl Sync for Region {}
// SAFETY: as above.
unsafe impl Send for Region {}

/// A descriptor, read once from shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Desc {
    pub buf_idx: u32,
    pub len: u16,
    pub flags: u16,
}

impl Desc {
    #[inline]
    fn from_bits(w: u64) -> Self {
        Self { buf_idx: w as u32, len: (w >> 32) as u16, flags: (w >> 48) as u16 }
    }
    #[inline]
    pub fn bits(self) -> u64 {
        u64::from(self.buf_idx) | u64::from(self.len) << 32 | u64::from(self.flags) << 48
    }
    pub fn flags(self) -> SlotFlags {
        SlotFlags::from_bits_retain(self.flags)
    }
}

/// A slot as it lies in shared memory: its descriptor, and a word that netmap calls `ptr` and that is not looked at here.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SlotWords {
    desc: AtomicU64,
    _ptr: AtomicU64,
}

const _: () = assert!(size_of::<SlotWords>() == size_of::<crate::abi::Slot>());

impl SlotWords {
    #[inline(always)]
    pub fn desc(&self) -> Desc {
        // ORDERING: Relaxed; ordered by the head or tail that published it.
        Desc::from_bits(self.desc.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub fn put(&self, d: Desc) {
        // ORDERING: Relaxed; ordered by the head or tail that publishes it.
        self.desc.store(d.bits(), Ordering::Relaxed);
    }

    /// Writes what differs; whether it did. A slot that says what is to be said in any case, as with frames of one length it does from the
    /// second lap on, is left alone: its line stays in the caches of both sides.
    #[inline(always)]
    pub fn amend(&self, d: Desc) -> bool {
        // As one word, lest the compiler compares field by field.
        let differs = self.desc().bits() != d.bits();
        if differs {
            self.put(d);
        }
        differs
    }
}

/// Pointers into one ring of a [`Region`]; whoever holds one also holds the region's `Arc`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingView {
    slots: NonNull<SlotWords>,
    atok: NonNull<AtomicU32>,
    ktoa: NonNull<AtomicU32>,
    bufs: NonNull<u8>,
    pub nslots: u32,
    nbufs: u32,
    stride: usize,
    pub max_len: u32,
}

// SAFETY: pointers into a `Region`, which is Send and Sync; access is by atomics or raw copies.
unsafe impl Send for RingView {}
// SAFETY: as above.
unsafe impl Sync for RingView {}

macro_rules! csb_word {
    ($(#[$doc:meta])* $name:ident, $base:ident, $st:ty, $field:ident) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(&self) -> &AtomicU32 {
            // SAFETY: `$base` points at a whole CSB entry inside the region that the holder keeps mapped; the
            // word is aligned and only ever accessed as an atomic.
            unsafe { &*self.$base.as_ptr().add(std::mem::offset_of!($st, $field) / 4) }
        }
    };
}

impl RingView {
    csb_word!(atok_head, atok, CsbAtok, head);
    csb_word!(atok_cur, atok, CsbAtok, cur);
    csb_word!(atok_need_kick, atok, CsbAtok, appl_need_kick);
    csb_word!(atok_wake_slots, atok, CsbAtok, wake_slots);
    csb_word!(ktoa_hwcur, ktoa, CsbKtoa, hwcur);
    csb_word!(ktoa_hwtail, ktoa, CsbKtoa, hwtail);
    csb_word!(ktoa_need_kick, ktoa, CsbKtoa, kern_need_kick);

    #[inline(always)]
    pub fn slot(&self, slot: u32) -> &SlotWords {
        debug_assert!(slot < self.nslots);
        // SAFETY: callers mask `slot` to the ring; a slot is 16 aligned bytes, only ever accessed as atomics.
        unsafe { self.slots.add(slot as usize).as_ref() }
    }

    /// Slots that lie side by side: those from `slot` on, at most `n` and not beyond the ring's end.
    #[inline(always)]
    pub fn side_by_side(&self, slot: u32, n: u32) -> &[SlotWords] {
        let slot = slot & (self.nslots - 1);
        let n = n.min(self.nslots - slot);
        // SAFETY: as for `slot`; the ring has `nslots` of them.
        unsafe { std::slice::from_raw_parts(self.slots.add(slot as usize).as_ptr(), n as usize) }
    }

    #[inline]
    pub fn desc(&self, slot: u32) -> Desc {
        self.slot(slot).desc()
    }

    #[inline]
    pub fn put_desc(&self, slot: u32, d: Desc) {
        self.slot(slot).put(d);
    }

    /// Whether there is a buffer `idx` that frames may use.
    #[inline(always)]
    pub fn has_buf(&self, idx: u32) -> bool {
        // One comparison: smaller indices wrap round.
        idx.wrapping_sub(FIRST_BUF) < self.nbufs - FIRST_BUF
    }

    /// The buffer `idx`, if there is one that frames may use.
    #[inline(always)]
    pub fn buf(&self, idx: u32) -> Option<NonNull<u8>> {
        if !self.has_buf(idx) {
            return None;
        }
        // SAFETY: idx < nbufs, so the whole buffer lies inside the region.
        Some(unsafe { self.bufs.add(idx as usize * self.stride) })
    }

    /// The buffer that some slot began with: `idx` comes from [`Layout`].
    #[inline(always)]
    pub fn first_buf(&self, idx: u32) -> NonNull<u8> {
        debug_assert!(self.has_buf(idx));
        // SAFETY: callers pass what `Layout` says, which lies inside the region.
        unsafe { self.bufs.add(idx as usize * self.stride) }
    }

    /// The buffer after another. Behind the last of all there is none: that address may be kept, and not used.
    #[inline(always)]
    pub fn next_buf(&self, buf: NonNull<u8>) -> NonNull<u8> {
        // SAFETY: callers pass buffers of the region; its end is the furthest that this leads.
        unsafe { buf.add(self.stride) }
    }

    /// How far it is from the first buffer of a slot to that of another, in bytes.
    #[inline(always)]
    pub fn distance(&self, from: u32, to: u32) -> isize {
        (to as isize - from as isize) * self.stride as isize
    }

    /// Asks for the lines of a descriptor that will be read soon.
    #[inline]
    pub fn prefetch_buf(&self, idx: u32) {
        if idx < self.nbufs {
            prefetch(self.bufs.as_ptr().wrapping_add(idx as usize * self.stride));
        }
    }

    /// Asks for the first line of a buffer that will be written soon.
    #[inline]
    pub fn prefetch_buf_write(&self, idx: u32) {
        if idx < self.nbufs {
            prefetch_write(self.bufs.as_ptr().wrapping_add(idx as usize * self.stride));
        }
    }

    /// Asks for the lines of descriptors that were just heard of, the first [`DESCS_AHEAD`] of `n` from `first` on: they
    /// come from another core, and whoever reads them in turn would wait for one after the other.
    #[inline]
    pub fn prefetch_first_descs(&self, first: u32, n: u32) {
        let mut i = 0;
        while i < n.min(DESCS_AHEAD) {
            prefetch(std::ptr::from_ref(self.slot(first.wrapping_add(i) & (self.nslots - 1))).cast());
            i += SLOTS_PER_LINE;
        }
    }

    /// The same for those [`DESCS_AHEAD`] after the `n` from `first` on, when it is their turn. There are `pending` from `first`
    /// on: beyond them the other side writes.
    #[inline(always)]
    pub fn prefetch_next_descs(&self, first: u32, n: u32, pending: u32) {
        let end = (n + DESCS_AHEAD).min(pending);
        let mut i = DESCS_AHEAD;
        while i < end {
            prefetch(std::ptr::from_ref(self.slot(first.wrapping_add(i) & (self.nslots - 1))).cast());
            i += SLOTS_PER_LINE;
        }
    }

    /// Asks for a descriptor that will be written soon.
    #[inline]
    pub fn prefetch_desc_write(&self, slot: u32) {
        prefetch_write(std::ptr::from_ref(self.slot(slot)).cast());
    }
}
