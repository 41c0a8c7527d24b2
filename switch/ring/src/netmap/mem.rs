//! One region's spare part: interfaces, rings, their books and buffers, made and taken back by the switch.
//!
//! Buffers travel: programs swap them between rings and lists. So when a ring goes, whatever its slots hold then
//! is taken back, as netmap does; each index is checked against what was given out, so that a program that
//! loses or doubles buffers loses them for itself until its region goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::kring::{Kring, MemHeader, kind};
use crate::abi::{IfHeader, NETMAP_API, NI_PRIV_MEM, RingHeader, Slot};
#[cfg(all(test, not(miri)))]
use crate::region::Desc;
use crate::region::Region;

/// Everything in the spare part begins on such a boundary.
const ALIGN: usize = 256;
/// Most buffers that one list of a program is followed for.
const MAX_LIST: u32 = 1 << 20;

/// A part of the spare memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins in the region.
    pub ofs: u64,
    len: usize,
}

/// A ring and its books.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// The [`Kring`].
    pub kring: Part,
    /// The ring itself, if it lies in the spare part.
    own: Option<Part>,
    /// Where the ring lies in the region.
    pub ring: u64,
    /// Slots.
    pub slots: u32,
}

/// What a `netmap_if` tells.
#[derive(Clone, Debug, Default)]
pub struct Interface<'a> {
    /// Its name; more than 15 bytes are cut.
    pub name: &'a str,
    /// Rings of each kind.
    pub tx: u32,
    /// As `tx`.
    pub rx: u32,
    /// As `tx`.
    pub host_tx: u32,
    /// As `tx`.
    pub host_rx: u32,
    /// Where the rings lie in the region, 0 for those that are not bound: TX, host TX, RX, host RX.
    pub rings: Vec<u64>,
}

/// The spare part of a region.
#[derive(Debug)]
pub struct Mem {
    region: Arc<Region>,
    header: u64,
    free: BTreeMap<usize, usize>,
    /// Spare buffers that nobody has.
    bufs: Vec<u32>,
    /// By index: whether somebody has the buffer.
    given: Vec<bool>,
}

impl Mem {
    /// Over a region that was just made; `None` if its spare part is too small for anything.
    pub fn new(region: Arc<Region>) -> Option<Self> {
        let l = *region.layout();
        let (at, len) = l.spare();
        let spare = l.first_spare_buf()..l.buffers();
        let mut given = vec![true; l.buffers() as usize];
        given[spare.start as usize..].fill(false);
        let mut me =
            Self { region, header: 0, free: BTreeMap::from([(at, len)]), bufs: spare.rev().collect(), given };
        me.header = me.part(size_of::<MemHeader>())?.ofs;
        me.region.put(
            me.header as usize,
            MemHeader {
                dead: AtomicU32::new(0),
                nbufs: AtomicU32::new(l.buffers()),
                stride: AtomicU32::new(l.stride() as u32),
                pad: AtomicU32::new(0),
                bufs: AtomicU64::new(l.bufs() as u64),
            },
        );
        Some(me)
    }

    /// The region.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Where the [`MemHeader`] lies.
    pub fn header(&self) -> u64 {
        self.header
    }

    /// Spare buffers that nobody has.
    pub fn free_bufs(&self) -> usize {
        self.bufs.len()
    }

    /// Tells everybody that the port has been taken away.
    pub fn bury(&self) {
        self.word(self.header as usize + std::mem::offset_of!(MemHeader, dead)).store(1, Ordering::Release);
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: callers pass 4-aligned offsets of words inside the region, which are only accessed as atomics.
        unsafe { self.region.at(offset).cast::<AtomicU32>().as_ref() }
    }

    fn part(&mut self, len: usize) -> Option<Part> {
        let len = len.next_multiple_of(ALIGN);
        let (&at, &have) = self.free.iter().find(|(_, have)| **have >= len)?;
        self.free.remove(&at);
        if have > len {
            self.free.insert(at + len, have - len);
        }
        Some(Part { ofs: at as u64, len })
    }

    /// Takes a part back.
    pub fn release(&mut self, p: Part) {
        let (mut at, mut len) = (p.ofs as usize, p.len);
        if let Some((&before, &n)) = self.free.range(..at).next_back()
            && before + n == at
        {
            self.free.remove(&before);
            (at, len) = (before, n + len);
        }
        if let Some(n) = self.free.remove(&(at + len)) {
            len += n;
        }
        self.free.insert(at, len);
    }

    /// A `netmap_if`.
    pub fn interface(&mut self, i: &Interface<'_>) -> Option<Part> {
        let p = self.part(size_of::<IfHeader>() + 8 * i.rings.len())?;
        let mut name = [0u8; 16];
        let n = i.name.len().min(15);
        name[..n].copy_from_slice(&i.name.as_bytes()[..n]);
        self.region.put(
            p.ofs as usize,
            IfHeader {
                name,
                version: NETMAP_API,
                flags: NI_PRIV_MEM,
                tx_rings: i.tx,
                rx_rings: i.rx,
                bufs_head: 0,
                host_tx_rings: i.host_tx,
                host_rx_rings: i.host_rx,
                spare: [0; 3],
            },
        );
        for (n, ring) in i.rings.iter().enumerate() {
            let relative = if *ring == 0 { 0 } else { *ring as i64 - p.ofs as i64 };
            self.region.put(p.ofs as usize + size_of::<IfHeader>() + 8 * n, relative);
        }
        Some(p)
    }

    fn books(&mut self, what: u32, slots: u32, ring: u64, csb: Option<usize>) -> Option<Part> {
        let p = self.part(size_of::<Kring>())?;
        let l = *self.region.layout();
        let tx = matches!(what, kind::SWITCH_TX | kind::PIPE_TX | kind::MONITOR_TX | kind::NULL_TX);
        let tail = if tx { slots - 1 } else { 0 };
        let (w, z) = (|v| AtomicU32::new(v), |v| AtomicU64::new(v));
        self.region.put(
            p.ofs as usize,
            Kring {
                lock: w(0),
                lock_ns: w(0),
                kind: w(what),
                slots: w(slots),
                ring: z(ring),
                atok: z(csb.map_or(0, |r| l.atok(r) as u64)),
                ktoa: z(csb.map_or(0, |r| l.ktoa(r) as u64)),
                peer: z(0),
                hwcur: w(0),
                hwtail: w(tail),
                rhead: w(0),
                rcur: w(0),
                pipe_tail: w(tail),
                mon_tail: w(0),
                need_kick: w(0),
                waiters: w(0),
                write_lock: w(0),
                write_ns: w(0),
                orphan: w(0),
                pad: w(0),
                monitors: [const { AtomicU64::new(0) }; super::kring::MAX_MONITORS],
                zmonitors: [const { AtomicU64::new(0) }; super::kring::MAX_MONITORS],
            },
        );
        Some(p)
    }

    /// The books about ring `ring` of the port itself, transmit rings first.
    pub fn port_ring(&mut self, ring: usize) -> Option<Ring> {
        let l = *self.region.layout();
        let what = if ring < usize::from(l.params().tx_rings) { kind::SWITCH_TX } else { kind::SWITCH_RX };
        let (ofs, slots) = (l.ring(ring) as u64, l.params().slots);
        let kring = self.books(what, slots, ofs, Some(ring))?;
        Some(Ring { kring, own: None, ring: ofs, slots })
    }

    /// A ring of its own, with a buffer in each slot; `like` instead shares the buffers of that ring, as both ends
    /// of a pipe do.
    pub fn ring(&mut self, what: u32, ringid: u16, slots: u32, like: Option<&Ring>) -> Option<Ring> {
        let tx = matches!(what, kind::PIPE_TX | kind::MONITOR_TX | kind::NULL_TX);
        if like.is_none() && self.bufs.len() < slots as usize {
            return None;
        }
        let own = self.part(size_of::<RingHeader>() + size_of::<Slot>() * slots as usize)?;
        let Some(kring) = self.books(what, slots, own.ofs, None) else {
            self.release(own);
            return None;
        };
        let l = *self.region.layout();
        self.region.put(
            own.ofs as usize,
            RingHeader {
                buf_ofs: l.bufs() as i64 - own.ofs as i64,
                num_slots: slots,
                nr_buf_size: l.stride() as u32,
                ringid,
                dir: u16::from(!tx),
                head: 0,
                cur: 0,
                tail: if tx { slots - 1 } else { 0 },
                flags: 0,
                ts: [0; 2],
                offset_mask: 0,
                buf_align: 0,
                _reserved: [0; 56],
                sem: [0; 128],
            },
        );
        for slot in 0..slots {
            let idx = match like {
                Some(r) => self.slot(r.ring, slot).load(Ordering::Relaxed) as u32,
                None => self.take().unwrap_or(0),
            };
            let d = u64::from(idx) | (l.max_slot_len() as u64) << 32;
            self.slot(own.ofs, slot).store(d, Ordering::Relaxed);
        }
        Some(Ring { kring, own: Some(own), ring: own.ofs, slots })
    }

    fn slot(&self, ring: u64, slot: u32) -> &AtomicU64 {
        let at = ring as usize + size_of::<RingHeader>() + size_of::<Slot>() * slot as usize;
        // SAFETY: the ring was made with at least so many slots; the word is aligned and only accessed as an atomic.
        unsafe { self.region.at(at).cast::<AtomicU64>().as_ref() }
    }

    fn take(&mut self) -> Option<u32> {
        let b = self.bufs.pop()?;
        self.given[b as usize] = true;
        Some(b)
    }

    fn give_back(&mut self, idx: u32) {
        if let Some(g) = self.given.get_mut(idx as usize)
            && idx >= crate::abi::FIRST_BUF
            && *g
        {
            *g = false;
            self.bufs.push(idx);
        }
    }

    /// Takes a ring back; with `bufs`, what its slots hold, too.
    pub fn drop_ring(&mut self, r: &Ring, bufs: bool) {
        if let Some(own) = r.own {
            for slot in (0..r.slots).filter(|_| bufs) {
                let idx = self.slot(r.ring, slot).load(Ordering::Relaxed) as u32;
                self.give_back(idx);
            }
            self.release(own);
        }
        self.release(r.kring);
    }

    /// Takes both ends of a pipe's direction back. Each position has its buffer in one of the two rings, its sender's or
    /// its receiver's; what the other shows there has long gone elsewhere.
    pub fn drop_pipe(&mut self, tx: &Ring, rx: &Ring) {
        let words = |r: &Ring| {
            let k = self.kring(r);
            (k.hwcur.load(Ordering::Relaxed) % r.slots, k.pipe_tail.load(Ordering::Relaxed) % r.slots)
        };
        let next = |i: u32, n: u32| (i + 1) % n;
        let (tx_from, tx_to) = words(tx);
        let (rx_from, rx_to) = words(rx);
        let mut own = Vec::new();
        let (mut i, end) = (tx_from, next(tx_to, tx.slots));
        loop {
            own.push((tx.ring, i));
            i = next(i, tx.slots);
            if i == end {
                break;
            }
        }
        i = rx_from;
        while i != rx_to {
            own.push((rx.ring, i));
            i = next(i, rx.slots);
        }
        for (ring, i) in own {
            let idx = self.slot(ring, i).load(Ordering::Relaxed) as u32;
            self.give_back(idx);
        }
        self.drop_ring(tx, false);
        self.drop_ring(rx, false);
    }

    /// The books of a ring that is there.
    pub fn kring(&self, r: &Ring) -> &Kring {
        // SAFETY: the part was made for a `Kring`, of which all fields are atomics.
        unsafe { self.region.at(r.kring.ofs as usize).cast::<Kring>().as_ref() }
    }

    /// A ring that nobody had open is opened: its owner begins where the other side is.
    pub fn reopen(&self, r: &Ring) {
        let k = self.kring(r);
        let at = |ofs: &AtomicU64, field: usize| {
            self.word(ofs.load(Ordering::Relaxed) as usize + field).load(Ordering::Acquire) % r.slots
        };
        let (head, tail) = match k.kind.load(Ordering::Relaxed) {
            kind::SWITCH_TX => (
                at(&k.atok, std::mem::offset_of!(crate::abi::CsbAtok, head)),
                at(&k.ktoa, std::mem::offset_of!(crate::abi::CsbKtoa, hwtail)),
            ),
            kind::SWITCH_RX => {
                // What came while nobody had it open is old.
                let tail = at(&k.ktoa, std::mem::offset_of!(crate::abi::CsbKtoa, hwtail));
                let head = k.atok.load(Ordering::Relaxed) as usize;
                self.word(head + std::mem::offset_of!(crate::abi::CsbAtok, head))
                    .store(tail, Ordering::Release);
                k.mon_tail.store(tail, Ordering::Relaxed);
                (tail, tail)
            }
            _ => {
                let head = k.hwcur.load(Ordering::Relaxed);
                (head, k.hwtail.load(Ordering::Relaxed))
            }
        };
        for w in [&k.hwcur, &k.rhead, &k.rcur] {
            w.store(head, Ordering::Relaxed);
        }
        k.hwtail.store(tail, Ordering::Relaxed);
        for (field, v) in [
            (std::mem::offset_of!(RingHeader, head), head),
            (std::mem::offset_of!(RingHeader, cur), head),
            (std::mem::offset_of!(RingHeader, tail), tail),
        ] {
            self.word(r.ring as usize + field).store(v, Ordering::Relaxed);
        }
        k.lock.store(0, Ordering::Release);
    }

    /// Takes up to `want` buffers and links them, as netmap does, by the first word of each; how many, and the
    /// head goes into the `netmap_if`.
    pub fn extra(&mut self, nifp: Part, want: u32) -> u32 {
        let (mut head, mut got) = (0, 0);
        let l = *self.region.layout();
        while got < want {
            let Some(b) = self.take() else { break };
            self.word(l.bufs() + b as usize * l.stride()).store(head, Ordering::Relaxed);
            (head, got) = (b, got + 1);
        }
        self.word(nifp.ofs as usize + std::mem::offset_of!(IfHeader, bufs_head))
            .store(head, Ordering::Release);
        got
    }

    /// Takes back an interface, and the buffers on the list that its program left there.
    pub fn drop_interface(&mut self, nifp: Part) {
        let l = *self.region.layout();
        let at = nifp.ofs as usize + std::mem::offset_of!(IfHeader, bufs_head);
        let mut b = self.word(at).load(Ordering::Acquire);
        for _ in 0..MAX_LIST {
            if b < crate::abi::FIRST_BUF || b >= l.buffers() {
                break;
            }
            let next = self.word(l.bufs() + b as usize * l.stride()).load(Ordering::Relaxed);
            self.give_back(b);
            b = next;
        }
        self.release(nifp);
    }
}

/// For tests: the descriptor of a slot.
#[cfg(all(test, not(miri)))]
fn desc(mem: &Mem, r: &Ring, slot: u32) -> Desc {
    let w = mem.slot(r.ring, slot).load(Ordering::Relaxed);
    Desc { buf_idx: w as u32, len: (w >> 32) as u16, flags: (w >> 48) as u16 }
}

// Miri has no memfds.
#[cfg(all(test, not(miri)))]
#[path = "mem_tests.rs"]
mod tests;
