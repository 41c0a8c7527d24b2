//! Rings of pipes. Both ends have a ring of their own for each direction; a sync copies slots from one to the
//! other, so buffers change hands and payload stays where it is (`netmap_pipe.c`).

use std::sync::atomic::Ordering;

use valecast_ring::SlotFlags;
use valecast_ring::notify::{self, Pairing};

use crate::file::{Bound, Ring};
use crate::monitor;
use crate::sync::{before, next, ring, slot};

const CHANGED: u64 = (SlotFlags::BUF_CHANGED.bits() as u64) << 48;
const MORE: u64 = (SlotFlags::MORE_FRAG.bits() as u64) << 48;

fn copy_slots(from: *mut u8, to: *mut u8, i: u32) -> u64 {
    let v = slot(from, i, 0).load(Ordering::Relaxed);
    slot(to, i, 0).store(v, Ordering::Relaxed);
    slot(to, i, 8).store(slot(from, i, 8).load(Ordering::Relaxed), Ordering::Relaxed);
    if v & CHANGED != 0 {
        slot(from, i, 0).store(v & !CHANGED, Ordering::Relaxed);
    }
    v
}

/// Hands over slots up to `head`, whole frames only; the new tail.
pub fn send(b: &Bound, r: &Ring, head: u32) -> u32 {
    let (k, slots) = (r.kring, r.slots());
    // ORDERING: Acquire pairs with the Release in `receive`: the slots that came back are seen.
    let tail = k.pipe_tail.load(Ordering::Acquire);
    let old = k.hwtail.load(Ordering::Relaxed);
    if tail != old {
        monitor::done(b, r, next(old, slots), next(tail, slots));
        k.hwtail.store(tail, Ordering::Relaxed);
    }
    let Some((peer, there)) = other(b, r) else { return tail };
    let (mut i, mut whole) = (k.hwcur.load(Ordering::Relaxed), None);
    while i != head {
        let v = copy_slots(r.ring, there, i);
        i = next(i, slots);
        if v & MORE == 0 {
            whole = Some(i);
        }
    }
    k.hwcur.store(i, Ordering::Relaxed);
    if let Some(end) = whole {
        // ORDERING: Release: slots and buffers are seen by a receiver that reads this with Acquire.
        peer.pipe_tail.store(end, Ordering::Release);
        if notify::wanted(&peer.need_kick, Pairing::Fences) {
            ring(r);
        }
    }
    tail
}

/// Gives slots up to `head` back to the sender; the new tail.
pub fn receive(b: &Bound, r: &Ring, head: u32) -> u32 {
    let (k, slots) = (r.kring, r.slots());
    let tail = k.pipe_tail.load(Ordering::Acquire);
    k.hwtail.store(tail, Ordering::Relaxed);
    let mut i = k.hwcur.load(Ordering::Relaxed);
    if i == head {
        return tail;
    }
    let Some((peer, there)) = other(b, r) else { return tail };
    while i != head {
        copy_slots(r.ring, there, i);
        i = next(i, slots);
    }
    k.hwcur.store(i, Ordering::Relaxed);
    peer.pipe_tail.store(before(i, slots), Ordering::Release);
    if notify::wanted(&peer.need_kick, Pairing::Fences) {
        ring(r);
    }
    tail
}

/// The ring at the other end.
fn other(b: &Bound, r: &Ring) -> Option<(&'static valecast_ring::netmap::kring::Kring, *mut u8)> {
    let peer = b.kring(r.kring.peer.load(Ordering::Acquire))?;
    let bytes = size_of::<valecast_ring::abi::RingHeader>() + 16 * r.slots() as usize;
    Some((peer, b.at(peer.ring.load(Ordering::Relaxed), bytes)?))
}
