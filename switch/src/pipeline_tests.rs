//! A burst that is served without a plan fares as it would with one.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::counters::{PortStats, Sums};
use crate::fdb::{Fdb, key};
use crate::port::{Caps, Egress, Tally};
use crate::tables::{Bucket, GroupEntry, PortEntry, Tables, VlanPolicy};

/// Takes `room` frames of each burst, and remembers what it got.
struct Sink {
    room: usize,
    got: Mutex<Vec<u8>>,
}

impl Egress for Sink {
    fn caps(&self) -> Caps {
        Caps { vnet: false, max_frame: 100, max_run: 9, queues: 1 }
    }
    fn claim(&self, _: &Burst, list: &[Entry], _: usize) -> usize {
        list.len().min(self.room)
    }
    fn put(&self, burst: &Burst, list: &[Entry], _: usize, _: u64) -> Tally {
        let mut t = Tally::default();
        for e in list {
            let f = burst.frames[usize::from(e.frame)];
            // SAFETY: a frame's rest is readable while its burst lives.
            self.got.lock().unwrap().push(unsafe { f.tail.read() });
            t.frames += 1;
            t.bytes += f.len() as u64;
        }
        t
    }
}

/// Gives frames in parts of the sizes that it is told.
struct Source<'f>(&'f [Vec<u8>]);

impl Ingress for Source<'_> {
    fn take(&mut self, burst: &mut Burst, max: usize, _: u64) {
        for f in self.0.iter().take(max) {
            // SAFETY: the frames outlive the burst.
            unsafe { burst.push(f.as_ptr(), f.len(), 1) };
        }
    }
    fn complete(&mut self, _: &Burst, n: usize) {
        self.0 = &self.0[n..];
    }
    fn arm(&mut self) -> bool {
        false
    }
    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// A port without limits, mirrors or VLANs.
pub(super) fn port(id: u16, egress: Arc<dyn Egress>, overflow: Overflow) -> PortEntry {
    PortEntry {
        id,
        caps: egress.caps(),
        egress: Some(egress),
        overflow,
        vlan: VlanPolicy::Open,
        learn: true,
        mac_limit: 0,
        allowed: None,
        limit: None,
        mirror_in: vec![],
        mirror_out: vec![],
        floods: true,
        may_flood: true,
        stats: Arc::new(PortStats::new(1)),
    }
}

type Fate = (Vec<Vec<u8>>, Vec<Sums>, u64);

fn fate(frames: &[Vec<u8>], sizes: &[usize], room: usize, lossless: bool, forget: bool) -> Fate {
    let sinks: Vec<_> = (0..4).map(|_| Arc::new(Sink { room, got: Mutex::default() })).collect();
    let mut t = Tables::default();
    for (id, sink) in (0u16..).zip(&sinks) {
        let overflow = if lossless && id == 1 { Overflow::Backpressure } else { Overflow::Drop };
        t.ports.push(Some(port(id, sink.clone(), overflow)));
        t.flood.push(id);
    }
    let buckets = [1, 2].into_iter().map(|port| Bucket { port, set_dst: None }).collect();
    let hits: Arc<[_]> = (0..1).map(|_| Default::default()).collect();
    t.add_group(3, GroupEntry { ingress: None, buckets, meter: None, hits: hits.clone() });
    let fdb = Fdb::new(64, 300, 7);
    fdb.learn(key(0x10, 0), 1, 1, 0);
    fdb.learn(key(0x20, 0), 2, 1, 0);
    let (mut pipeline, mut last, mut source) = (Pipeline::default(), LastRoute::default(), Source(frames));
    let mut sizes = sizes.iter().cycle();
    while !source.0.is_empty() {
        let port = t.port(0).unwrap();
        let cx = Context { tables: &t, fdb: &fdb, port, lane: 0, worker: 0, now: 1_000_000_000 };
        let max = *sizes.next().unwrap();
        let served = pipeline.serve(cx, &mut source, &mut last, max);
        assert!(served.done > 0 || !pipeline.blocked_on().is_empty());
        if forget {
            last = LastRoute::default();
        }
    }
    let got = sinks.iter().map(|s| s.got.lock().unwrap().clone()).collect();
    (got, t.ports.iter().flatten().map(|p| p.stats.sums()).collect(), hits[0].get())
}

proptest! {
    #[test]
    fn direct_is_no_different(
        parts in proptest::collection::vec((prop_oneof![Just(0x10u8), Just(0x20), Just(0x30), Just(3), Just(0xff)],
            prop_oneof![Just(60usize), Just(60), Just(60), Just(140)], 1usize..20), 1..12),
        sizes in proptest::collection::vec(1usize..12, 1..5),
        room in 1usize..12,
        lossless in any::<bool>(),
    ) {
        let mut frames = Vec::new();
        for (dst, len, n) in parts {
            for _ in 0..n {
                let mut f = vec![0; len];
                f[0] = dst;
                f[6] = 2;
                f[16] = frames.len() as u8;
                frames.push(f);
            }
        }
        prop_assert_eq!(fate(&frames, &sizes, room, lossless, false), fate(&frames, &sizes, room, lossless, true));
    }
}
