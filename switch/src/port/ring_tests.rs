//! What a destination claims is what it writes.

use std::sync::atomic::AtomicU32;

use proptest::prelude::*;
use valecast_ring::abi::{RingHeader, Slot};
use valecast_ring::client::{Link, Port, RxRing, TxRing};
use valecast_ring::host::Endpoint;
use valecast_ring::layout::{Layout, RingParams};

use super::*;
use crate::frame::{Burst, Entry};
use crate::port::{Egress, Ingress};
use valecast_ring::SlotFlags;

#[test]
fn a_turn_keeps_the_header_that_it_began_with() {
    let params = RingParams { slots: 16, buf_size: 128, ..RingParams::default() };
    let mut end = Endpoint::new(Layout::try_from(params).unwrap(), "t", true).unwrap();
    let special = Special::default();
    let old = RingEgress::new(std::mem::take(&mut end.rx), 16, special.clone());
    assert!(old.renewed().is_none());
    // As long as a slot: with a header before it, it takes two.
    let frame = vec![2u8; old.max_len];
    let mut burst = Burst::default();
    // SAFETY: the frame outlives the burst.
    unsafe { burst.push(frame.as_ptr(), frame.len(), 1) };
    let list = [Entry { orig: 0, frame: 0 }];
    assert_eq!(old.claim(&burst, &list, 0), 1);
    special.hdr.store(12, Ordering::Relaxed);
    assert_eq!(old.put(&burst, &list, 0, 0).frames, 1);
    assert_eq!(old.queue(0).unread(), 1);

    let new = old.renewed().unwrap();
    assert!(new.caps().vnet && !old.caps().vnet);
    assert_eq!(new.claim(&burst, &list, 0), 1);
    special.hdr.store(0, Ordering::Relaxed);
    new.unclaim(&burst, &list, 0);
    assert_eq!(new.claim(&burst, &list, 0), 1);
    assert_eq!(new.put(&burst, &list, 0, 0).frames, 1);
    assert_eq!(old.queue(0).unread(), 3);
    // One slot stays empty: all room but that and the three is still there, none was lost or won.
    let many = [Entry { orig: 0, frame: 0 }; 16];
    assert_eq!(old.claim(&burst, &many, 0), 16 - 1 - 3);
}

/// A port and its client.
struct Pair {
    end: Endpoint,
    client: (Link, TxRing, RxRing),
}

impl Pair {
    fn new() -> Self {
        let params = RingParams { slots: 64, buf_size: 128, ..RingParams::default() };
        let mut end = Endpoint::new(Layout::try_from(params).unwrap(), "t", true).unwrap();
        let nothing = std::fs::File::open("/dev/null").unwrap();
        let (link, mut tx, mut rx) =
            Port::local(&end.region, std::mem::take(&mut end.bells), nothing.into()).split();
        Self { end, client: (link, tx.remove(0), rx.remove(0)) }
    }

    /// The first word of slot `slot` of ring `ring`: its buffer.
    fn word(&self, ring: usize, slot: u32) -> &AtomicU32 {
        let slots = self.end.region.layout().ring(ring) + size_of::<RingHeader>();
        // SAFETY: the slot's first word, inside the region, which is only touched as atomics.
        unsafe { &*self.end.region.base().as_ptr().add(slots + slot as usize * size_of::<Slot>()).cast() }
    }

    fn buffer(&self, ring: usize, slot: u32) -> u32 {
        self.word(ring, slot).load(Ordering::Relaxed)
    }

    /// What a client's own hand does.
    fn scribble(&self, ring: usize, slot: u32, buffer: u32) {
        self.word(ring, slot).store(buffer, Ordering::Relaxed);
    }
}

proptest! {
    /// Whatever lengths, flags and buffers the clients' slots have, everything arrives whole and in order.
    #[test]
    fn everything_arrives(
        rounds in proptest::collection::vec((
            proptest::collection::vec((0usize..=128, 0u8..8), 1..60),
            proptest::collection::vec((0u32..48, 0u32..64), 0..4),
        ), 1..12),
    ) {
        let (mut from, mut to) = (Pair::new(), Pair::new());
        let mut ingress = RingIngress::new(from.end.tx.remove(0), Special::default());
        let egress = RingEgress::new(std::mem::take(&mut to.end.rx), 64, Special::default());
        let mut burst = Burst::default();
        let (mut sent, mut at) = (0u8, 0u32);
        for (frames, swaps) in rounds {
            // The receiver's client has given free slots each other's buffers, and others none that there is.
            for (a, b) in swaps {
                if b < 48 {
                    let (old_a, old_b) = (to.buffer(1, a), to.buffer(1, b));
                    to.scribble(1, a, old_b);
                    to.scribble(1, b, old_a);
                } else {
                    to.scribble(1, b, if a % 2 == 0 { u32::MAX } else { a % 4 / 2 });
                }
            }
            let tx = &mut from.client.1;
            prop_assert!(tx.room() as usize >= frames.len());
            let mut want = Vec::new();
            for (i, &(len, kind)) in (0u32..).zip(&frames) {
                sent = sent.wrapping_add(1);
                tx.buffer(i)[..len].fill(sent);
                tx.set(i, len, if kind == 0 { SlotFlags::NO_LEARN } else { SlotFlags::empty() });
                let bad = kind == 1;
                if len >= 14 && !bad {
                    want.push((len, sent, kind == 0));
                }
            }
            tx.advance(frames.len() as u32);
            for (i, (_, kind)) in (0u32..).zip(&frames) {
                if *kind == 1 {
                    from.scribble(0, (at + i) % 64, 1);
                }
            }
            from.client.1.publish();
            burst.clear();
            ingress.take(&mut burst, frames.len(), 0);
            prop_assert_eq!((burst.taken(), burst.slots(frames.len())), (frames.len(), frames.len() as u32));
            let good: Vec<u16> = (0..frames.len() as u16)
                .filter(|i| burst.frames[usize::from(*i)].reject.is_none())
                .collect();
            let list: Vec<_> = good.iter().map(|&i| Entry { orig: i, frame: i }).collect();
            prop_assert_eq!(list.len(), want.len());
            let lens: Vec<usize> = good.iter().map(|i| burst.frames[usize::from(*i)].len()).collect();
            prop_assert_eq!(burst.bound(), frames.iter().filter(|f| f.1 != 1).map(|f| f.0).max().unwrap_or(0));
            let learned: Vec<bool> = good.iter().map(|i| burst.frames[usize::from(*i)].no_learn).collect();
            prop_assert_eq!(egress.claim(&burst, &list, 0), list.len());
            let tally = egress.put(&burst, &list, 0, 0);
            prop_assert_eq!((tally.frames as usize, tally.bytes as usize), (list.len(), lens.iter().sum()));
            ingress.complete(&burst, frames.len());
            ingress.publish();
            let rx = &mut to.client.2;
            prop_assert_eq!(rx.pending() as usize, want.len());
            for (i, (&(len, byte, no_learn), got)) in (0u32..).zip(want.iter().zip(lens)) {
                let frame = rx.frame(i).data;
                prop_assert_eq!((frame.len(), got, learned[i as usize]), (len, len, no_learn));
                prop_assert!(frame.iter().all(|b| *b == byte));
            }
            rx.advance(want.len() as u32);
            rx.release();
            at += frames.len() as u32;
        }
    }
}
