//! What [`RxRing::take`] shows, over and over around a ring, and what it gives back.
#![allow(missing_docs)]

use std::os::fd::OwnedFd;

use valecast_ring::SlotFlags;
use valecast_ring::client::{Port, RxRing};
use valecast_ring::host::{Endpoint, RxQueue, Source};
use valecast_ring::layout::{Layout, RingParams};

const SLOTS: u32 = 64;

/// Every fifth slot says that its frame goes on.
fn flags(seq: u32) -> SlotFlags {
    if seq.is_multiple_of(5) { SlotFlags::MORE_FRAG } else { SlotFlags::empty() }
}

/// Frame `seq` is so long, and begins with its number.
fn len(seq: u32) -> usize {
    16 + seq as usize % 40
}

/// Delivers up to `n` frames from number `seq` on; how many there was room for.
fn deliver(q: &RxQueue, n: u32, seq: u32) -> u32 {
    let got = q.claim(n);
    let start = q.reserve(got);
    for i in 0..got {
        let mut f = [0u8; 64];
        f[..4].copy_from_slice(&(seq + i).to_ne_bytes());
        let f =
            Source { head: f.as_ptr(), head_len: 16, tail: f[16..].as_ptr(), tail_len: len(seq + i) - 16 };
        // SAFETY: at most 64 readable bytes, for a position that was reserved just above.
        unsafe { q.writer().write(start + u64::from(i), 1, flags(seq + i), [f].into_iter()) };
    }
    q.commit(start, got);
    got
}

/// The numbers that were taken, each frame as it must be.
fn take(rx: &mut RxRing, max: u32) -> Vec<u32> {
    let mut seen = Vec::new();
    let n = rx.take(max, |slot| {
        let seq = u32::from_ne_bytes([slot.data[0], slot.data[1], slot.data[2], slot.data[3]]);
        assert_eq!(slot.data.len(), len(seq));
        assert_eq!(slot.flags.contains(SlotFlags::MORE_FRAG), flags(seq) == SlotFlags::MORE_FRAG);
        seen.push(seq);
    });
    assert_eq!(n as usize, seen.len());
    seen
}

#[test]
fn each_is_shown_once_and_given_back() {
    let params = RingParams { slots: SLOTS, buf_size: 64, ..RingParams::default() };
    let mut end = Endpoint::new(Layout::try_from(params).unwrap(), "r", false).unwrap();
    let q = end.rx.remove(0);
    let lifeline: OwnedFd = nix::unistd::pipe().unwrap().0;
    let (_link, _tx, mut rx) = Port::local(&end.region, std::mem::take(&mut end.bells), lifeline).split();
    let rx = &mut rx[0];
    assert_eq!(take(rx, u32::MAX), [], "nothing there");
    let (mut sent, mut next) = (0, 0);
    for round in 0..200u32 {
        sent += deliver(&q, round % SLOTS, sent);
        // Some are left for the next round now and then.
        let max = if round.is_multiple_of(3) { round % 11 } else { u32::MAX };
        let want = max.min(sent - next);
        assert_eq!(take(rx, max), (next..next + want).collect::<Vec<_>>());
        next += want;
    }
    assert_eq!(take(rx, u32::MAX), (next..sent).collect::<Vec<_>>());
    // All slots but the one that is always empty are the switch's again.
    assert_eq!(deliver(&q, u32::MAX, sent), SLOTS - 1);
}
