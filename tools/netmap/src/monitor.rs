//! Monitors: rings that see what passes other rings (`netmap_monitor.c`).
//!
//! Whoever syncs a monitored ring writes the monitors' rings: they lie in the same memory. Copy monitors get frames when
//! they are sent or have come; zero-copy monitors get the buffers themselves, when the program is done with
//! them. A monitor whose ring is full misses the oldest of what comes at once.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use valecast_ring::SlotFlags;
use valecast_ring::netmap::kring::{Kring, kind};

use crate::file::{Bound, Ring};
use crate::lock;
use crate::sync::{distance, next, slot};

const TXMON: u64 = (SlotFlags::TXMON.bits() as u64) << 48;
const CHANGED: u64 = (SlotFlags::BUF_CHANGED.bits() as u64) << 48;
const LEN: u64 = 0xffff << 32;
/// How often a monitor's lock is tried while another ring writes to it.
const TRIES: u32 = 10_000;

fn any(list: &[AtomicU64]) -> bool {
    list.iter().any(|w| w.load(Ordering::Relaxed) != 0)
}

/// Slots up to `head` are about to be sent.
pub fn sent(b: &Bound, r: &Ring, head: u32) {
    let k = r.kring;
    if any(&k.monitors) {
        copies(b, r.ring, r.slots(), k.hwcur.load(Ordering::Relaxed), head, TXMON, &k.monitors);
    }
}

/// Slots up to `tail` have come.
pub fn received(b: &Bound, r: &Ring, tail: u32) {
    show(b, r.kring, r.ring, r.slots(), tail);
}

fn show(b: &Bound, k: &Kring, ring: *mut u8, slots: u32, tail: u32) {
    if any(&k.monitors) {
        copies(b, ring, slots, k.mon_tail.load(Ordering::Relaxed), tail, 0, &k.monitors);
    }
    k.mon_tail.store(tail, Ordering::Relaxed);
}

/// A receiver is done with slots up to `head`.
pub fn released(b: &Bound, r: &Ring, head: u32) {
    let k = r.kring;
    if any(&k.zmonitors) {
        swaps(b, r, k.hwcur.load(Ordering::Relaxed), head, 0);
    }
}

/// Slots `from` to `to` of a sender were sent.
pub fn done(b: &Bound, r: &Ring, from: u32, to: u32) {
    if any(&r.kring.zmonitors) {
        swaps(b, r, from, to, TXMON);
    }
}

/// The room in a monitor's ring, under its lock: where it begins, and how many slots.
struct Room<'m> {
    k: &'m Kring,
    ring: *mut u8,
    slots: u32,
    at: u32,
    free: u32,
}

impl<'m> Room<'m> {
    fn take(b: &Bound, ofs: u64) -> Option<Room<'m>> {
        let k = b.kring(ofs)?;
        let slots = k.slots.load(Ordering::Relaxed).max(2);
        let ring = b.at(k.ring.load(Ordering::Relaxed), 256 + 16 * slots as usize)?;
        let mut tries = 0;
        while !lock::try_shared(&k.write_lock, &k.write_ns) {
            tries += 1;
            if tries > TRIES {
                return None;
            }
            std::hint::spin_loop();
        }
        let at = k.pipe_tail.load(Ordering::Relaxed) % slots;
        // ORDERING: Acquire: the reader is done with what it gave back.
        let free = slots - 1 - distance(k.hwcur.load(Ordering::Acquire) % slots, at, slots);
        Some(Room { k, ring, slots, at, free })
    }

    fn give_back(self) {
        // ORDERING: Release: frames are seen by a reader that reads this with Acquire.
        self.k.pipe_tail.store(self.at, Ordering::Release);
        lock::release_shared(&self.k.write_lock);
    }
}

fn copies(b: &Bound, ring: *mut u8, slots: u32, from: u32, to: u32, mark: u64, list: &[AtomicU64]) {
    let new = distance(from % slots, to, slots);
    if new == 0 {
        return;
    }
    for w in list {
        let ofs = w.load(Ordering::Acquire);
        let Some(mut room) = (if ofs == 0 { None } else { Room::take(b, ofs) }) else { continue };
        let n = new.min(room.free);
        let mut i = (from + (new - n)) % slots;
        for _ in 0..n {
            copy(b, slot(ring, i, 0).load(Ordering::Relaxed), &mut room, mark);
            i = next(i, slots);
        }
        room.give_back();
    }
}

/// One slot, copied.
fn copy(b: &Bound, v: u64, room: &mut Room<'_>, mark: u64) {
    let target = slot(room.ring, room.at, 0);
    let t = target.load(Ordering::Relaxed);
    let len = usize::from((v >> 32) as u16).min(b.stride);
    if let (Some(src), Some(dst)) = (b.buf(v as u32), b.buf(t as u32)) {
        // SAFETY: both buffers have `stride` bytes; a program that shares one between rings garbles its own frames.
        unsafe { std::ptr::copy(src, dst, len) };
    }
    let flags = (v & 0xffff_0000_0000_0000 & !TXMON) | mark;
    target.store(u64::from(t as u32) | (len as u64) << 32 | flags, Ordering::Relaxed);
    room.at = next(room.at, room.slots);
}

fn swaps(b: &Bound, r: &Ring, from: u32, to: u32, mark: u64) {
    let slots = r.slots();
    let new = distance(from, to, slots);
    if new == 0 {
        return;
    }
    let mut lists = r.kring.zmonitors.iter().map(|w| w.load(Ordering::Acquire)).filter(|o| *o != 0);
    let first = lists.next();
    for ofs in lists {
        let Some(mut room) = Room::take(b, ofs) else { continue };
        let n = new.min(room.free);
        let mut i = (from + (new - n)) % slots;
        for _ in 0..n {
            copy(b, r.slot(i).load(Ordering::Relaxed), &mut room, mark);
            i = next(i, slots);
        }
        room.give_back();
    }
    let Some(mut room) = first.and_then(|ofs| Room::take(b, ofs)) else { return };
    let n = new.min(room.free);
    let mut i = (from + (new - n)) % slots;
    for _ in 0..n {
        let (own, theirs) = (r.slot(i), slot(room.ring, room.at, 0));
        let (s, m) = (own.load(Ordering::Relaxed), theirs.load(Ordering::Relaxed));
        let flags = s & 0xffff_0000_0000_0000;
        theirs.store(u64::from(s as u32) | s & LEN | (flags & !TXMON) | mark, Ordering::Relaxed);
        own.store(u64::from(m as u32) | m & LEN | flags | CHANGED, Ordering::Relaxed);
        room.at = next(room.at, room.slots);
        i = next(i, slots);
    }
    room.give_back();
}

/// A monitor's own sync: gives slots up to `head` back; the new tail.
pub fn take(b: &Bound, r: &Ring, head: u32) -> Result<u32, i32> {
    let k = r.kring;
    // ORDERING: Release: whoever writes the slots next does so after they were read.
    k.hwcur.store(head, Ordering::Release);
    if k.orphan.load(Ordering::Acquire) != 0 {
        return Err(libc::EIO);
    }
    pull(b, k);
    let tail = k.pipe_tail.load(Ordering::Acquire);
    k.hwtail.store(tail, Ordering::Relaxed);
    Ok(tail)
}

/// What has come for the watched ring while its owner does nothing.
fn pull(b: &Bound, k: &Kring) {
    let Some(up) = b.kring(k.peer.load(Ordering::Acquire)) else { return };
    let slots = up.slots.load(Ordering::Relaxed).max(2);
    let Some(ring) = b.at(up.ring.load(Ordering::Relaxed), 256 + 16 * slots as usize) else { return };
    if !lock::try_shared(&up.lock, &up.lock_ns) {
        return;
    }
    let tail = match up.kind.load(Ordering::Relaxed) {
        kind::PIPE_RX => Some(up.pipe_tail.load(Ordering::Acquire)),
        kind::SWITCH_RX => b.csb_tail(up).map(|t| t % slots),
        _ => None,
    };
    if let Some(tail) = tail {
        show(b, up, ring, slots, tail);
    }
    lock::release_shared(&up.lock);
}
