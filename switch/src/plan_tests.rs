//! Short cuts lead where the long way leads.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use valecast_config::Overflow;

use super::*;
use crate::counters::PortStats;
use crate::port::null;
use crate::tables::{Bucket, GroupEntry};

fn tables() -> Tables {
    let mut t = Tables::default();
    for id in 0..5u16 {
        let egress = null::open().egress;
        t.ports.push(Some(PortEntry {
            id,
            caps: crate::port::Caps { max_frame: 100 + 50 * usize::from(id), ..egress.caps() },
            egress: (id != 4).then_some(egress),
            overflow: Overflow::Drop,
            vlan: if id == 3 { VlanPolicy::Access(7) } else { VlanPolicy::Open },
            learn: true,
            mac_limit: 0,
            allowed: None,
            limit: None,
            mirror_in: vec![],
            mirror_out: if id == 2 { vec![1] } else { vec![] },
            floods: true,
            may_flood: true,
            stats: Arc::new(PortStats::new(1)),
        }));
    }
    t.flood = vec![0, 1, 2, 3];
    for (dst, to) in [(1, vec![1, 2]), (3, vec![1, 1, 2]), (5, vec![1, 4])] {
        let buckets = to.into_iter().map(|port| Bucket { port, set_dst: None }).collect();
        let hits = (0..1).map(|_| Default::default()).collect();
        t.add_group(dst, GroupEntry { ingress: None, buckets, meter: None, hits });
    }
    t
}

/// For each frame: how often it is listed for each port; drops; and how often each group was hit.
type Fate = (Vec<BTreeMap<u16, usize>>, Vec<(u16, String)>, BTreeMap<usize, usize>);

/// Works on `frames` in bursts of `size`; `forget` takes all memory of routes and flows away between bursts.
fn fate(frames: &[Vec<u8>], size: usize, forget: bool) -> Fate {
    let (t, fdb) = (tables(), Fdb::new(64, 300, 7));
    for (mac, port) in [(0x10, 1), (0x20, 2), (0x30, 3), (0x40, 0)] {
        fdb.learn(key(mac, 0), port, 1, 0);
    }
    let (mut plan, mut burst, mut last) = (Plan::default(), Burst::default(), LastRoute::default());
    let (mut lists, mut drops, mut hits) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (round, part) in frames.chunks(size).enumerate() {
        burst.clear();
        for f in part {
            // SAFETY: `frames` outlives the burst.
            unsafe { burst.push(f.as_ptr(), f.len(), 1) };
        }
        let port = t.port(0).unwrap();
        let cx = Context { tables: &t, fdb: &fdb, port, lane: 0, worker: 0, now: 1_000_000_000 };
        plan.make(cx, &mut burst, &mut last);
        let base = (round * size) as u16;
        let mut of: Vec<BTreeMap<u16, usize>> = vec![BTreeMap::new(); part.len()];
        for (p, list) in plan.lists.iter().enumerate() {
            assert!(list.is_sorted_by_key(|e| e.orig), "a list out of order could not be cut");
            assert_eq!(!list.is_empty(), plan.touched.contains(&(p as u16)));
            list.iter().for_each(|e| *of[usize::from(e.orig)].entry(p as u16).or_default() += 1);
        }
        lists.extend(of);
        drops.extend(plan.in_drops.iter().map(|(i, c)| (base + i, format!("{c:?}"))));
        drops.extend(plan.out_drops.iter().map(|(i, p, c)| (base + i, format!("{p} {c:?}"))));
        for (r, g) in &plan.group_hits {
            *hits.entry(*g).or_default() += r.len();
        }
        if forget {
            (last, plan) = (LastRoute::default(), Plan::default());
        }
    }
    drops.sort();
    (lists, drops, hits)
}

#[test]
fn flows_follow_what_changes() {
    let (mut t, fdb) = (tables(), Fdb::new(64, 300, 7));
    t.ports[2].as_mut().unwrap().mirror_out.clear();
    let (mut plan, mut burst, mut last) = (Plan::default(), Burst::default(), LastRoute::default());
    // In turn, so that no frame is like the one before it.
    let frames: Vec<[u8; 60]> = (0..40)
        .map(|i| {
            let mut f = [0; 60];
            (f[0], f[6], f[7]) = ([0x10, 0x50][i % 2], 2, (i % 2) as u8);
            f
        })
        .collect();
    let mut make = |secs: u64| {
        burst.clear();
        for f in &frames {
            // SAFETY: `frames` outlives the burst.
            unsafe { burst.push(f.as_ptr(), f.len(), 1) };
        }
        let cx = Context {
            tables: &t,
            fdb: &fdb,
            port: t.port(0).unwrap(),
            lane: 0,
            worker: 0,
            now: secs * 1_000_000_000,
        };
        plan.make(cx, &mut burst, &mut last);
        let many = |p: usize| plan.lists[p].len();
        (many(1), many(2), plan.in_drops.len())
    };
    let learn = |mac, port, secs| fdb.learn(key(mac, 0), port, secs, 0);
    assert_eq!(make(1), (40, 40, 0), "not known: flooded");
    learn(0x10, 1, 1);
    learn(0x50, 1, 1);
    assert_eq!(make(1), (40, 0, 0));
    assert_eq!(make(1), (40, 0, 0), "as remembered");
    learn(0x50, 0, 1);
    assert_eq!(make(1), (20, 0, 20), "moved to the port that its frames come from");
    learn(0x50, 2, 1);
    assert_eq!(make(1), (20, 20, 0), "moved to another");
    learn(0x0002, 1, 1);
    assert_eq!(fdb.lookup(key(0x0002, 0), 1), Some(1));
    make(1);
    assert_eq!(fdb.lookup(key(0x0002, 0), 1), Some(0), "a source that moved is learned again");
    learn(0x10, 1, 200);
    assert_eq!(make(400), (40, 20, 0), "one has aged, the other not");
    assert_eq!(fdb.lookup(key(0x0002, 0), 650), Some(0), "remembered sources are seen, and do not age");
}

proptest! {
    #[test]
    fn bursts_change_nothing(
        frames in proptest::collection::vec(
            (prop_oneof![Just(0x10u8), Just(0x20), Just(0x30), Just(0x40), Just(0x50), Just(1), Just(3), Just(5), Just(0xff)],
             0u8..3, prop_oneof![Just(14usize), Just(15), Just(60), Just(140), Just(300)], 0u8..8, 1usize..6),
            1..40),
        size in 1usize..50,
    ) {
        let frames: Vec<Vec<u8>> = frames
            .into_iter()
            .flat_map(|(dst, src, len, tag, n)| {
                let mut f = vec![0; len];
                f[0] = dst;
                f[6..8].copy_from_slice(&[2, src]);
                if tag == 0 {
                    f[12] = 0x81;
                }
                std::iter::repeat_n(f, n)
            })
            .collect();
        let plain = fate(&frames, 1, true);
        prop_assert_eq!(&fate(&frames, size, false), &plain);
        prop_assert_eq!(&fate(&frames, 1, false), &plain);
    }
}
