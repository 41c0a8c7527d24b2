//! What goes straight from ring to ring fares as it would by the long way.

use std::sync::Arc;

use proptest::prelude::*;
use valecast_ring::SlotFlags;
use valecast_ring::client::{Link, Port, RxRing, TxRing};
use valecast_ring::host::Endpoint;
use valecast_ring::layout::{Layout, RingParams};

use super::*;
use crate::counters::Sums;
use crate::fdb::{Fdb, key};
use crate::port::ring::{RingEgress, RingIngress, Special};
use crate::tables::{Bucket, GroupEntry, PortEntry, Tables};

/// Slots of a ring: fewer than are sent in a round, so that bursts come to its end, and receivers run full.
const SLOTS: u32 = 128;

/// A frame that a client puts into one slot.
#[derive(Clone, Debug)]
struct Sent {
    dst: u8,
    src: u8,
    len: usize,
    tagged: bool,
    flags: SlotFlags,
}

/// What happens before a round.
#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    /// The address with this first byte is at another port.
    Moved(u8, u16),
    Second,
    /// There are new tables.
    Tables,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    lossless: bool,
    exclusive: bool,
    steer: bool,
}

/// Slots that each receiver got, and what was counted.
#[derive(Debug, PartialEq)]
struct Fate {
    got: Vec<Vec<(Vec<u8>, u16)>>,
    sums: Vec<Sums>,
    hits: u64,
}

struct Client {
    _link: Link,
    tx: TxRing,
    rx: RxRing,
}

fn port(id: u16, buf_size: u32, s: Setup) -> (PortEntry, RingIngress, Client) {
    let params = RingParams { slots: SLOTS, buf_size, ..RingParams::default() };
    let mut end = Endpoint::new(Layout::try_from(params).unwrap(), "t", s.exclusive).unwrap();
    let nothing = std::fs::File::open("/dev/null").unwrap();
    let (link, mut tx, mut rx) =
        Port::local(&end.region, std::mem::take(&mut end.bells), nothing.into()).split();
    let special = Special { steer: s.steer, ..Special::default() };
    let ingress = RingIngress::new(end.tx.remove(0), special.clone());
    let egress = RingEgress::new(std::mem::take(&mut end.rx), SLOTS, special);
    let overflow = if s.lossless { Overflow::Backpressure } else { Overflow::Drop };
    let entry = super::tests::port(id, Arc::new(egress), overflow);
    (entry, ingress, Client { _link: link, tx: tx.remove(0), rx: rx.remove(0) })
}

/// Sends `rounds` from port 0 in bursts of up to `sizes`, over and over; `long` takes all memory of what went before away between
/// bursts. Also how many frames went straight across, and how large bursts were.
fn fate(rounds: &[(Change, Vec<Sent>)], sizes: &[usize], s: Setup, long: bool) -> (Fate, usize, Vec<usize>) {
    let mut t = Tables::default();
    let (mut sources, mut clients) = (Vec::new(), Vec::new());
    for id in 0..3u16 {
        // The last one's buffers are so short that some frames take two.
        let (entry, ingress, client) = port(id, if id == 2 { 64 } else { 128 }, s);
        t.ports.push(Some(entry));
        t.flood.push(id);
        sources.push(ingress);
        clients.push(client);
    }
    let hits: Arc<[_]> = (0..1).map(|_| Default::default()).collect();
    let buckets = [1, 2].into_iter().map(|port| Bucket { port, set_dst: None }).collect();
    t.add_group(3, GroupEntry { ingress: None, buckets, meter: None, hits: hits.clone() });
    let fdb = Fdb::new(64, 300, 7);
    fdb.learn(key(0x10, 0), 1, 1, 0);
    fdb.learn(key(0x20, 0), 2, 1, 0);
    let (mut pipeline, mut last) = (Pipeline::default(), LastRoute::default());
    let (mut secs, mut stamp, mut across, mut bursts) = (1u64, 0u8, 0, Vec::new());
    let mut got = vec![Vec::new(); 3];
    let mut sizes = sizes.iter().cycle();
    for (change, frames) in rounds {
        match *change {
            Change::Nothing => {}
            Change::Moved(dst, to) => {
                fdb.learn(key(u64::from(dst), 0), to, secs as u32, 0);
            }
            Change::Second => secs += 1,
            Change::Tables => t.version += 1,
        }
        let tx = &mut clients[0].tx;
        assert!(tx.room() as usize >= frames.len());
        for (i, f) in (0u32..).zip(frames) {
            stamp = stamp.wrapping_add(1);
            let b = tx.buffer(i);
            b[..16].fill(0);
            (b[0], b[6], b[7]) = (f.dst, 2, f.src);
            if f.tagged {
                b[12] = 0x81;
            }
            b[16..f.len.max(16)].fill(stamp);
            tx.set(i, f.len, f.flags);
        }
        tx.advance(frames.len() as u32);
        tx.publish();
        loop {
            let port = t.port(0).unwrap();
            let now = secs * 1_000_000_000;
            let cx = Context { tables: &t, fdb: &fdb, port, lane: 0, worker: 0, now };
            if long {
                (pipeline, last) = (Pipeline::default(), LastRoute::default());
            }
            let before = last.gait == Gait::Steady;
            let served = pipeline.serve(cx, &mut sources[0], &mut last, *sizes.next().unwrap());
            across += if before && pipeline.burst.taken() == 0 { served.done } else { 0 };
            pipeline.burst.clear();
            bursts.push(served.taken);
            if served.done > 0 {
                continue;
            }
            // Nothing is left, or whoever must not lose anything has to read first.
            sources[0].publish();
            for (c, got) in clients.iter_mut().zip(&mut got) {
                let n = c.rx.pending();
                got.extend((0..n).map(|i| (c.rx.frame(i).data.to_vec(), c.rx.frame(i).flags.bits())));
                c.rx.advance(n);
                c.rx.release();
            }
            if served.taken == 0 {
                break;
            }
        }
    }
    let sums = t.ports.iter().flatten().map(|p| Sums { in_bursts: 0, ..p.stats.sums() }).collect();
    for p in t.ports.iter().flatten() {
        let (all, ring) = (p.stats.sums(), p.stats.rings(1)[0]);
        assert_eq!((all.in_frames, all.in_bytes), (ring.in_frames, ring.in_bytes));
        assert_eq!((all.out_frames, all.out_bytes), (ring.out_frames, ring.out_bytes));
        assert_eq!(all.in_frames, all.forwarded + all.in_drops.iter().sum::<u64>());
    }
    (Fate { got, sums, hits: hits[0].get() }, across, bursts)
}

fn plain(dst: u8, src: u8) -> Sent {
    Sent { dst, src, len: 60, tagged: false, flags: SlotFlags::empty() }
}

#[test]
fn frames_that_go_one_way_go_across() {
    let s = Setup { lossless: false, exclusive: true, steer: false };
    let one: Vec<Sent> = (0..100).map(|_| plain(0x10, 1)).collect();
    let rounds = vec![(Change::Nothing, one); 4];
    for sizes in [&[1024][..], &[1], &[2, 4, 3]] {
        let (_, across, _) = fate(&rounds, sizes, s, false);
        // The first burst is learned from, so that the second finds something changed.
        let long: usize = sizes.iter().cycle().take(2).map(|size| (*size).min(100)).sum();
        assert_eq!(across, 400 - long, "all but two bursts");
    }
    // Many flows: once they are remembered, which the third does.
    let many: Vec<Sent> = (0..100).map(|i| plain(0x10, i % 30)).collect();
    let (_, across, _) = fate(&vec![(Change::Nothing, many); 5], &[1024], s, false);
    assert_eq!(across, 200);
}

#[test]
fn a_strange_frame_costs_its_neighbours_little() {
    let s = Setup { lossless: false, exclusive: true, steer: false };
    let one: Vec<Sent> = (0..100).map(|_| plain(0x10, 1)).collect();
    let mut broken = one.clone();
    broken[50].tagged = true;
    let mut rounds = vec![(Change::Nothing, one); 4];
    rounds.push((Change::Nothing, broken));
    let (all, across, bursts) = fate(&rounds, &[1024], s, false);
    assert_eq!((across, &bursts[bursts.len() - 4..]), (200 + 100 - BRIEF, &[50, BRIEF, 50 - BRIEF, 0][..]));
    assert_eq!(all.got[1].len(), 500);
    // A row too short to be worth it.
    let short: Vec<Sent> = (0..100).map(|i| Sent { tagged: i % 20 == 19, ..plain(0x10, 1) }).collect();
    rounds.push((Change::Nothing, short));
    let (_, _, bursts) = fate(&rounds, &[1024], s, false);
    assert_eq!(bursts[bursts.len() - 3..], [19, 81, 0]);
}

#[test]
fn an_address_that_moves_within_a_burst_has_moved_for_the_rest_of_it() {
    // To the address that is the source of the frame before it in the last round.
    let to_it = plain(2, 1);
    let tagged = Sent { tagged: true, ..plain(0x10, 0) };
    for mover in [plain(0x10, 0), tagged] {
        let mut rounds = vec![(Change::Moved(2, 2), vec![to_it.clone()])];
        rounds.extend(vec![(Change::Nothing, vec![to_it.clone(); 4]); 3]);
        rounds.push((Change::Nothing, vec![to_it.clone(), mover, to_it.clone(), plain(0x10, 1)]));
        for (lossless, exclusive) in [(false, false), (true, true)] {
            let s = Setup { lossless, exclusive, steer: false };
            let (fate, _, _) = fate(&rounds, &[64], s, false);
            let got: Vec<usize> = fate.got.iter().map(Vec::len).collect();
            assert_eq!(got, [0, 2, 14]);
            assert_eq!(fate.sums[0].in_drops[crate::counters::Cause::OwnPort as usize], 1);
        }
    }
}

prop_compose! {
    fn sent()(
        dst in prop_oneof![6 => Just(0x10u8), 2 => Just(0x20), 1 => Just(0x30), 1 => Just(3), 1 => Just(0xff)],
        src in 0u8..3,
        len in prop_oneof![6 => Just(60usize), 1 => 1usize..=128, 1 => Just(16), 1 => Just(100)],
        kind in 0u8..40,
    ) -> Sent {
        let flags = match kind {
            0 => SlotFlags::NO_LEARN,
            1 => SlotFlags::MORE_FRAG,
            2 => SlotFlags::from_bits_retain(2 << 8),
            _ => SlotFlags::empty(),
        };
        Sent { dst, src, len, tagged: kind == 3, flags }
    }
}

proptest! {
    #[test]
    fn across_is_no_different(
        rounds in proptest::collection::vec((
            prop_oneof![
                6 => Just(Change::Nothing),
                1 => (prop_oneof![Just(0x10u8), Just(0x20), Just(0x30)], 0u16..3).prop_map(|(a, p)| Change::Moved(a, p)),
                1 => Just(Change::Second),
                1 => Just(Change::Tables),
            ],
            proptest::collection::vec((sent(), prop_oneof![Just(1usize), 1usize..9, 1usize..70], any::<bool>()), 1..10),
        ), 1..10),
        sizes in proptest::collection::vec(prop_oneof![1usize..6, 1usize..200], 1..5),
        (lossless, exclusive, steer) in any::<(bool, bool, bool)>(),
    ) {
        let rounds: Vec<_> = rounds
            .into_iter()
            .map(|(change, runs)| {
                // Runs of the same frame, or of flows in turn.
                let frames = runs.into_iter().flat_map(|(f, n, turn)| {
                    (0..n).map(move |i| Sent { src: if turn { i as u8 % 3 } else { f.src }, ..f.clone() })
                });
                let mut frames: Vec<Sent> = frames.take(SLOTS as usize - 1).collect();
                // What is not the last of a frame is followed by more of it.
                if let Some(last) = frames.last_mut() {
                    last.flags.remove(SlotFlags::MORE_FRAG);
                }
                (change, frames)
            })
            .collect();
        let s = Setup { lossless, exclusive, steer };
        let (short, _, bursts) = fate(&rounds, &sizes, s, false);
        // What finds no room in a full ring depends on where bursts end, so both have the same; none is taken where none was.
        let sizes: Vec<usize> = bursts.iter().map(|taken| (*taken).max(1)).collect();
        let (long, _, again) = fate(&rounds, &sizes, s, true);
        prop_assert_eq!(bursts, again);
        prop_assert_eq!(short, long);
    }
}
