//! What the fuzz target of `valecast-switch` does with a case. Also compiled into `tests/hostile/frames.rs`,
//! which feeds it seeded cases on a stable compiler.
#![allow(missing_docs)]

use std::sync::Arc;

use valecast_config::{MeterMode, Overflow};
use valecast_switch::counters::PortStats;
use valecast_switch::deliver::{Outcome, deliver};
use valecast_switch::fdb::Fdb;
use valecast_switch::frame::{Burst, Entry, VnetHdr};
use valecast_switch::meter::Meter;
use valecast_switch::offload;
use valecast_switch::plan::{Context, Plan};
use valecast_switch::port::{Caps, Egress, Tally};
use valecast_switch::route::LastRoute;
use valecast_switch::tables::{Bucket, GroupEntry, PortEntry, Tables, VlanPolicy};

/// Groups of the tables: any port, and only port 0.
const GROUPS: [u64; 2] = [0x0100_5e00_0001, 0x0100_5e00_0002];
const PORTS: u16 = 6;

/// Takes a share of what it is offered and looks at every byte of it.
struct Sink {
    caps: Caps,
    room: usize,
}

impl Egress for Sink {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn claim(&self, _: &Burst, list: &[Entry], _: usize) -> usize {
        list.len().min(self.room)
    }

    fn put(&self, burst: &Burst, list: &[Entry], _: usize, _: u64) -> Tally {
        let mut t = Tally::default();
        for e in list {
            let f = burst.frames[usize::from(e.frame)];
            assert!(f.vnet == 0 || self.caps.vnet, "an offload header for a port that takes none");
            assert!(f.len() <= self.caps.max_frame || f.vnet != 0, "{} bytes", f.len());
            let mut bytes = vec![0; f.len()];
            // All of them are readable while the burst lives: what is tested here.
            assert_eq!(burst.bytes_of(&f).read(0, &mut bytes), f.len());
            std::hint::black_box(bytes.iter().fold(0u8, |a, b| a ^ b));
            t.frames += 1;
            t.bytes += f.len() as u64;
        }
        t
    }
}

fn tables(shape: u8) -> Tables {
    let trunk = || {
        let mut bits = Box::new([0u64; 64]);
        bits[0] = 0xffff;
        VlanPolicy::Trunk(bits, 5)
    };
    let port = |id: u16| {
        let vnet = id == 3;
        let max_frame = [1514, 65535, 2048, 70000, 100, 1514][usize::from(id)];
        let caps = Caps { vnet, max_frame, max_run: if id == 2 { 4 } else { 64 }, queues: 1 };
        let room = if id == 2 { usize::from(shape & 3) } else { usize::MAX };
        PortEntry {
            id,
            egress: (id != 5).then(|| Arc::new(Sink { caps, room }) as Arc<dyn Egress>),
            caps,
            overflow: if shape & 4 != 0 { Overflow::Backpressure } else { Overflow::Drop },
            vlan: match id {
                0 if shape & 8 != 0 => trunk(),
                1 => VlanPolicy::Access(10),
                2 => trunk(),
                _ => VlanPolicy::Open,
            },
            learn: true,
            mac_limit: u32::from(shape & 16),
            allowed: (shape & 32 != 0 && id == 0).then(|| vec![0x0200_0000_0001].into_boxed_slice()),
            limit: (shape & 64 != 0 && id == 0).then(|| Arc::new(Meter::new(8000, 3000, MeterMode::Police))),
            mirror_in: if shape & 128 != 0 && id == 0 { vec![4] } else { vec![] },
            mirror_out: if id == 1 { vec![4, 0] } else { vec![] },
            floods: id != 4,
            may_flood: id != 3,
            stats: Arc::new(PortStats::new(1)),
        }
    };
    let bucket = |port, mac: u8| Bucket { port, set_dst: (mac != 0).then_some([2, 0, 0, 0, 0, mac]) };
    let group = |ingress, meter: Option<MeterMode>| GroupEntry {
        ingress,
        buckets: vec![bucket(1, 0), bucket(2, 9), bucket(3, 9), bucket(1, 8), bucket(0, 0), bucket(17, 0)],
        meter: meter.map(|m| Arc::new(Meter::new(8000, 3000, m))),
        hits: Arc::new([Default::default()]),
    };
    let mut t = Tables {
        ports: (0..PORTS).map(|id| Some(port(id))).collect(),
        flood: vec![0, 1, 2, 3, 5],
        ..Tables::default()
    };
    t.add_group(GROUPS[0], group(Some(0), Some(MeterMode::Shape)));
    t.add_group(GROUPS[0], group(None, None));
    t.add_group(GROUPS[1], group(None, Some(MeterMode::Police)));
    t
}

/// Frames with offload headers through plan, offload and deliver. The case: shape, then for each frame its
/// kind, offload header, length and bytes (see the code). Checks that nothing outside the frames is touched, and the books.
pub fn frame_parser(data: &[u8]) {
    let Some((&shape, mut rest)) = data.split_first() else { return };
    let mut memory: Vec<Vec<u8>> = Vec::new();
    let mut headers = Vec::new();
    while rest.len() > 13 && memory.len() < 64 {
        let (h, r) = rest.split_at(13);
        let want = usize::from(u16::from_le_bytes([h[1], h[2]]));
        let take = want.min(r.len()).min(2048);
        let mut bytes = r[..take].to_vec();
        if h[0] & 1 != 0 {
            // Large, with what was given repeated.
            bytes = bytes.iter().copied().cycle().take(if take == 0 { 0 } else { want }).collect();
        }
        if h[0] & 2 != 0 && bytes.len() > 6 {
            bytes[..6].copy_from_slice(&GROUPS[usize::from(h[0] >> 3 & 1)].to_be_bytes()[2..]);
        }
        let mut vnet = [0; VnetHdr::LEN];
        vnet.copy_from_slice(&h[3..13]);
        headers.push((h[0] & 4 != 0).then(|| VnetHdr::from_bytes(vnet)));
        memory.push(bytes);
        rest = &r[take..];
    }
    let (t, fdb) = (tables(shape), Fdb::new(64, 300, 7));
    let (mut plan, mut out, mut last) = (Plan::default(), Outcome::default(), LastRoute::default());
    let mut burst = Burst::default();
    let from = t.port(0).expect("port 0");
    let (mut first, mut now) = (0, 0u64);
    for _ in 0..4 {
        burst.clear();
        for (m, v) in memory[first..].iter().zip(&headers[first..]) {
            // SAFETY: `memory` stays as it is until the burst is done with.
            unsafe { burst.push(m.as_ptr(), m.len(), 1) };
            if let Some(v) = v.filter(|v| v.is_needed()) {
                let n = burst.add_vnet(v);
                burst.last_mut().expect("just pushed").vnet = n;
            }
        }
        let cx = Context { tables: &t, fdb: &fdb, port: from, lane: 0, worker: 0, now };
        plan.make(cx, &mut burst, &mut last);
        deliver(cx, &burst, &mut plan, &mut out);
        first += out.consumed;
        // Some rounds share a second, and with it what is remembered of the one before.
        now += 400_000_000;
    }
    books(&t);
    // And straight into the segmenter, whatever the plan thought of it.
    burst.clear();
    for (m, v) in memory.iter().zip(&headers).filter(|(m, _)| m.len() >= 14) {
        // SAFETY: as above.
        unsafe { burst.push(m.as_ptr(), m.len(), 1) };
        let n = burst.add_vnet(v.unwrap_or_default());
        burst.last_mut().expect("just pushed").vnet = n;
    }
    for i in 0..burst.taken() as u16 {
        let len = burst.frames[usize::from(i)].len();
        if let Ok(made) = offload::finish(&mut burst, i) {
            for f in &burst.frames[usize::from(made.start)..usize::from(made.end)] {
                assert!(f.vnet == 0 && f.len() <= len, "a part of {len} bytes has {}", f.len());
            }
        }
    }
}

fn books(t: &Tables) {
    let (mut copies, mut ends) = (0, 0);
    for p in t.ports.iter().flatten() {
        let s = p.stats.sums();
        assert_eq!(s.in_frames, s.forwarded + s.in_drops.iter().sum::<u64>(), "frames in at {}", p.id);
        copies += s.copies;
        ends += s.out_frames + s.out_drops.iter().sum::<u64>();
    }
    assert_eq!(copies, ends, "copies");
}
