//! Syncing rings: what the kernel does in `NIOCTXSYNC`, `NIOCRXSYNC` and poll.
//!
//! The program's `head` and `cur` are checked as netmap checks them, then handed to the switch by way of the CSB
//! entries; the switch's tail becomes the program's. Payload is not touched, except for `NS_INDIRECT` and monitors.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use nix::libc;
use valecast_ring::SlotFlags;
use valecast_ring::abi::{CsbAtok, CsbKtoa, RingHeader};
use valecast_ring::netmap::kring::{Kring, kind};
use valecast_ring::notify::{self, Pairing};

use crate::file::{Bound, File, Ring};
use crate::{lock, monitor, pipe};

/// What became of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// It was done.
    Done,
    /// Somebody else is at it.
    Busy,
    /// The program's indices made no sense, and the ring was set back.
    Reset,
}

impl Ring {
    /// A word of the ring's header.
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the header lies in the region; its words are aligned, and everybody stores them whole.
        unsafe { &*self.ring.add(offset).cast::<AtomicU32>() }
    }

    /// First slot that the program has not given away.
    pub fn head(&self) -> u32 {
        // ORDERING: Acquire: what the program wrote to slots and buffers before is seen.
        self.word(std::mem::offset_of!(RingHeader, head)).load(Ordering::Acquire)
    }

    /// Where the program wants to be woken.
    pub fn cur(&self) -> u32 {
        self.word(std::mem::offset_of!(RingHeader, cur)).load(Ordering::Acquire)
    }

    /// First slot that the program does not own.
    pub fn tail(&self) -> u32 {
        self.word(std::mem::offset_of!(RingHeader, tail)).load(Ordering::Relaxed)
    }

    fn set_tail(&self, tail: u32) {
        let w = self.word(std::mem::offset_of!(RingHeader, tail));
        if w.load(Ordering::Relaxed) != tail {
            // ORDERING: Release: whoever polls the tail in another thread sees the slots.
            w.store(tail, Ordering::Release);
        }
    }

    /// Slots.
    pub fn slots(&self) -> u32 {
        self.kring.slots.load(Ordering::Relaxed).max(2)
    }

    /// The first 8 bytes of a slot: index, length, flags.
    pub fn slot(&self, i: u32) -> &AtomicU64 {
        slot(self.ring, i, 0)
    }

    /// The pointer of a slot.
    pub fn slot_ptr(&self, i: u32) -> &AtomicU64 {
        slot(self.ring, i, 8)
    }
}

/// A word of slot `i` of a ring.
pub fn slot(ring: *mut u8, i: u32, offset: usize) -> &'static AtomicU64 {
    let at = size_of::<RingHeader>() + 16 * i as usize + offset;
    // SAFETY: callers keep `i` below the ring's slots; the region outlives its users, and everybody stores slots by
    // aligned words.
    unsafe { &*ring.add(at).cast::<AtomicU64>() }
}

/// The next slot.
#[inline]
pub fn next(i: u32, slots: u32) -> u32 {
    if i + 1 >= slots { 0 } else { i + 1 }
}

/// The slot before.
#[inline]
pub fn before(i: u32, slots: u32) -> u32 {
    if i == 0 { slots - 1 } else { i - 1 }
}

/// How many slots from `from` on to `to`.
#[inline]
pub fn distance(from: u32, to: u32, slots: u32) -> u32 {
    if to >= from { to - from } else { to + slots - from }
}

/// Whether `from <= head <= cur <= tail`, cyclically (`nm_txsync_prologue`, `nm_rxsync_prologue`).
fn in_order(from: u32, head: u32, cur: u32, tail: u32, slots: u32) -> bool {
    if from.max(head).max(cur).max(tail) >= slots {
        return false;
    }
    let (h, c, t) = (distance(from, head, slots), distance(from, cur, slots), distance(from, tail, slots));
    h <= c && c <= t
}

/// `netmap_ring_reinit`: slots that make no sense are emptied, and indices outside the ring begin anew.
fn reset(b: &Bound, r: &Ring, head: u32, cur: u32) -> bool {
    let (k, slots) = (r.kring, r.slots());
    for i in 0..slots {
        let w = r.slot(i);
        let v = w.load(Ordering::Relaxed);
        let (idx, len) = (v as u32, (v >> 32) as u16);
        if b.buf(idx).is_none() {
            w.store(v & 0xffff_0000_0000_0000, Ordering::Relaxed);
        } else if usize::from(len) > b.stride {
            w.store(v & 0xffff_0000_ffff_ffff, Ordering::Relaxed);
        }
    }
    if head < slots && cur < slots && r.tail() < slots {
        return false;
    }
    let at = k.hwcur.load(Ordering::Relaxed);
    for w in [&k.rhead, &k.rcur] {
        w.store(at, Ordering::Relaxed);
    }
    r.word(std::mem::offset_of!(RingHeader, head)).store(at, Ordering::Relaxed);
    r.word(std::mem::offset_of!(RingHeader, cur)).store(at, Ordering::Relaxed);
    r.set_tail(k.hwtail.load(Ordering::Relaxed));
    true
}

/// Syncs a ring with the indices in its header.
pub fn sync(f: &File, b: &Bound, r: &Ring, tx: bool) -> Result<Synced, i32> {
    let (head, cur) = (r.head(), r.cur());
    let k = r.kring;
    if !lock::try_shared(&k.lock, &k.lock_ns) {
        return Ok(Synced::Busy);
    }
    let done = if check(r, head, cur, tx) {
        step(f, b, r, head, cur, tx).map(|tail| {
            r.set_tail(tail);
            Synced::Done
        })
    } else {
        Ok(if reset(b, r, head, cur) { Synced::Reset } else { Synced::Done })
    };
    lock::release_shared(&k.lock);
    if !tx {
        stamp(r);
    }
    done
}

/// Whether the indices make sense.
fn check(r: &Ring, head: u32, cur: u32, tx: bool) -> bool {
    let k = r.kring;
    let from = if tx { &k.rhead } else { &k.hwcur }.load(Ordering::Relaxed);
    in_order(from, head, cur, k.hwtail.load(Ordering::Relaxed), r.slots())
}

/// As [`sync`], with indices from elsewhere: the new `hwcur` and `hwtail`, or `EINVAL`.
pub fn sync_at(f: &File, b: &Bound, r: &Ring, head: u32, cur: u32, tx: bool) -> Result<(u32, u32), i32> {
    let k = r.kring;
    if !lock::try_shared(&k.lock, &k.lock_ns) {
        return Ok((k.hwcur.load(Ordering::Relaxed), k.hwtail.load(Ordering::Relaxed)));
    }
    let done = if check(r, head, cur, tx) { step(f, b, r, head, cur, tx) } else { Err(libc::EINVAL) };
    let at = k.hwcur.load(Ordering::Relaxed);
    lock::release_shared(&k.lock);
    done.map(|tail| (at, tail))
}

/// One sync of a ring whose lock is held and whose indices were checked; the new tail.
fn step(f: &File, b: &Bound, r: &Ring, head: u32, cur: u32, tx: bool) -> Result<u32, i32> {
    let k = r.kring;
    k.rhead.store(head, Ordering::Relaxed);
    k.rcur.store(cur, Ordering::Relaxed);
    let what = k.kind.load(Ordering::Relaxed);
    if f.is_lost() && what != kind::MONITOR_RX {
        return lost(r, head, tx);
    }
    if tx {
        monitor::sent(b, r, head);
    }
    match (what, tx) {
        (kind::SWITCH_TX, true) => switch_tx(f, b, r, head, cur),
        (kind::SWITCH_RX, false) => {
            monitor::released(b, r, head);
            let tail = switch_rx(f, b, r, head, cur)?;
            monitor::received(b, r, tail);
            Ok(tail)
        }
        (kind::PIPE_TX, true) => Ok(pipe::send(b, r, head)),
        (kind::PIPE_RX, false) => {
            monitor::released(b, r, head);
            let tail = pipe::receive(b, r, head);
            monitor::received(b, r, tail);
            Ok(tail)
        }
        (kind::MONITOR_RX, false) => monitor::take(b, r, head),
        (kind::NULL_TX, true) => {
            k.hwcur.store(head, Ordering::Relaxed);
            let tail = before(head, r.slots());
            k.hwtail.store(tail, Ordering::Relaxed);
            Ok(tail)
        }
        (kind::NULL_RX, false) => {
            k.hwcur.store(head, Ordering::Relaxed);
            Ok(k.hwtail.load(Ordering::Relaxed))
        }
        _ => Err(libc::EIO),
    }
}

/// The port is gone: whatever is sent is sent nowhere, so that nobody waits for it, and nothing comes.
fn lost(r: &Ring, head: u32, tx: bool) -> Result<u32, i32> {
    let k = r.kring;
    k.hwcur.store(head, Ordering::Relaxed);
    if tx {
        let tail = before(head, r.slots());
        k.hwtail.store(tail, Ordering::Relaxed);
        r.set_tail(tail);
    }
    Err(libc::ENXIO)
}

/// Copies what `NS_INDIRECT` slots point to into their buffers: the switch cannot reach the program's memory.
fn gather(b: &Bound, r: &Ring, from: u32, to: u32) {
    let slots = r.slots();
    let mut i = from;
    while i != to {
        let v = r.slot(i).load(Ordering::Relaxed);
        if (v >> 48) as u16 & SlotFlags::INDIRECT.bits() != 0 {
            let len = usize::from((v >> 32) as u16).min(b.stride);
            let src = r.slot_ptr(i).load(Ordering::Relaxed);
            if let Some(dst) = b.buf(v as u32) {
                // SAFETY: a buffer has `stride` bytes, of which nobody else uses any while the program owns the slot.
                let to = unsafe { std::slice::from_raw_parts_mut(dst, len) };
                // The source is checked by the kernel.
                if crate::user::bytes(src, to).is_err() {
                    // A frame of nothing is dropped by the switch and counted.
                    r.slot(i).store(v & 0xffff_0000_ffff_ffff, Ordering::Relaxed);
                }
            }
        }
        i = next(i, slots);
    }
}

/// The words of a ring's CSB entries: head, cur, their sleep flag; tail, the switch's sleep flag.
struct Csb<'b> {
    head: &'b AtomicU32,
    cur: &'b AtomicU32,
    our_flag: &'b AtomicU32,
    wake_slots: &'b AtomicU32,
    hwtail: &'b AtomicU32,
    their_flag: &'b AtomicU32,
}

fn csb<'b>(b: &'b Bound, k: &Kring) -> Option<Csb<'b>> {
    let (atok, ktoa) = (k.atok.load(Ordering::Relaxed), k.ktoa.load(Ordering::Relaxed));
    let a = |field: usize| b.word_at(atok, field);
    let t = |field: usize| b.word_at(ktoa, field);
    Some(Csb {
        head: a(std::mem::offset_of!(CsbAtok, head))?,
        cur: a(std::mem::offset_of!(CsbAtok, cur))?,
        our_flag: a(std::mem::offset_of!(CsbAtok, appl_need_kick))?,
        wake_slots: a(std::mem::offset_of!(CsbAtok, wake_slots))?,
        hwtail: t(std::mem::offset_of!(CsbKtoa, hwtail))?,
        their_flag: t(std::mem::offset_of!(CsbKtoa, kern_need_kick))?,
    })
}

impl Bound {
    /// The switch's tail of a ring.
    pub fn csb_tail(&self, k: &Kring) -> Option<u32> {
        csb(self, k).map(|c| c.hwtail.load(Ordering::Acquire))
    }

    fn word_at(&self, entry: u64, field: usize) -> Option<&AtomicU32> {
        // Entry 0 lies at the beginning of the region.
        // SAFETY: an aligned word inside the mapping, which both sides access as an atomic.
        self.at(entry + field as u64, 4)
            .filter(|_| entry.is_multiple_of(64))
            .map(|p| unsafe { &*p.cast::<AtomicU32>() })
    }
}

/// Gives slots up to `head` to the switch, and wakes it if it sleeps.
fn publish(r: &Ring, c: &Csb<'_>, head: u32, cur: u32) {
    c.cur.store(cur, Ordering::Relaxed);
    // ORDERING: Release: slots and buffers are visible to a switch that reads head with Acquire.
    c.head.store(head, Ordering::Release);
    if notify::wanted(c.their_flag, Pairing::Fences) {
        ring(r);
    }
}

/// Wakes whoever is at the other side.
pub fn ring(r: &Ring) {
    if let Some(kick) = &r.kick {
        let _ = nix::unistd::write(kick, &1u64.to_ne_bytes());
    }
}

fn switch_tx(f: &File, b: &Bound, r: &Ring, head: u32, cur: u32) -> Result<u32, i32> {
    let (k, slots) = (r.kring, r.slots());
    let c = csb(b, k).ok_or(libc::EIO)?;
    let from = k.hwcur.load(Ordering::Relaxed);
    if head != from {
        gather(b, r, from, head);
        publish(r, &c, head, cur);
        k.hwcur.store(head, Ordering::Relaxed);
    }
    // ORDERING: Acquire pairs with the switch's Release of hwtail.
    let tail = c.hwtail.load(Ordering::Acquire) % slots;
    let old = k.hwtail.load(Ordering::Relaxed);
    if tail == old {
        if head == from && before(head, slots) != tail && !f.check() {
            return lost(r, head, true);
        }
        return Ok(tail);
    }
    monitor::done(b, r, next(old, slots), next(tail, slots));
    k.hwtail.store(tail, Ordering::Relaxed);
    Ok(tail)
}

fn switch_rx(f: &File, b: &Bound, r: &Ring, head: u32, cur: u32) -> Result<u32, i32> {
    let (k, slots) = (r.kring, r.slots());
    let c = csb(b, k).ok_or(libc::EIO)?;
    let from = k.hwcur.load(Ordering::Relaxed);
    if head != from {
        publish(r, &c, head, cur);
        k.hwcur.store(head, Ordering::Relaxed);
    }
    let tail = c.hwtail.load(Ordering::Acquire) % slots;
    if tail == head && head == from && !f.check() {
        return lost(r, head, false);
    }
    k.hwtail.store(tail, Ordering::Relaxed);
    Ok(tail)
}

/// The tail that a sync of this ring would find.
pub fn tail_ahead(b: &Bound, r: &Ring) -> u32 {
    let k = r.kring;
    match k.kind.load(Ordering::Relaxed) {
        kind::SWITCH_TX | kind::SWITCH_RX => {
            csb(b, k).map_or(0, |c| c.hwtail.load(Ordering::Acquire) % r.slots())
        }
        kind::PIPE_TX | kind::PIPE_RX | kind::MONITOR_RX => k.pipe_tail.load(Ordering::Acquire),
        _ => k.hwtail.load(Ordering::Relaxed),
    }
}

/// Asks to be woken when there are `enough` slots; `false` if there are already.
pub fn arm(b: &Bound, r: &Ring, enough: u32) -> bool {
    let k = r.kring;
    let there = || distance(r.cur() % r.slots(), tail_ahead(b, r), r.slots()) >= enough;
    match k.kind.load(Ordering::Relaxed) {
        kind::SWITCH_TX | kind::SWITCH_RX => {
            let Some(c) = csb(b, k) else { return true };
            c.wake_slots.store(enough, Ordering::Relaxed);
            notify::arm_shared(c.our_flag, Pairing::Fences, there)
        }
        kind::PIPE_TX | kind::PIPE_RX => notify::arm_shared(&k.need_kick, Pairing::Fences, there),
        _ => !there(),
    }
}

/// As [`arm`], for whoever knows of tails only by syncing.
pub fn arm_at(b: &Bound, r: &Ring) -> bool {
    let k = r.kring;
    let there = || tail_ahead(b, r) != k.hwtail.load(Ordering::Relaxed);
    match csb(b, k) {
        Some(c) if matches!(k.kind.load(Ordering::Relaxed), kind::SWITCH_TX | kind::SWITCH_RX) => {
            c.wake_slots.store(1, Ordering::Relaxed);
            notify::arm_shared(c.our_flag, Pairing::Fences, there)
        }
        _ => notify::arm_shared(&k.need_kick, Pairing::Fences, there),
    }
}

/// Awake again. `last`: nobody else sleeps on the ring.
pub fn disarm(b: &Bound, r: &Ring, last: bool) {
    if !last {
        return;
    }
    let k = r.kring;
    match k.kind.load(Ordering::Relaxed) {
        kind::SWITCH_TX | kind::SWITCH_RX => {
            if let Some(c) = csb(b, k) {
                notify::disarm(c.our_flag);
            }
        }
        _ => notify::disarm(&k.need_kick),
    }
}

/// `NIOCTXSYNC` or `NIOCRXSYNC`.
pub fn ioctl(f: &File, tx: bool) -> Result<(), i32> {
    let b = f.bind()?;
    if f.csb[0].load(Ordering::Relaxed) != 0 {
        return Err(libc::EBUSY);
    }
    fence(Ordering::SeqCst);
    let mut result = Ok(());
    for r in if tx { &b.tx } else { &b.rx } {
        if let Err(e) = sync(f, b, r, tx) {
            result = Err(e);
        }
    }
    result
}

/// The time of the sync, in microseconds, as netmap writes it by default.
fn stamp(r: &Ring) {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a time to fill in; two aligned words of the header.
    unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut t);
        let ts = r.ring.add(std::mem::offset_of!(RingHeader, ts)).cast::<AtomicU64>();
        (*ts).store(t.tv_sec as u64, Ordering::Relaxed);
        (*ts.add(1)).store(t.tv_nsec as u64 / 1000, Ordering::Relaxed);
    }
}
