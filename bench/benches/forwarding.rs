//! The forwarding path by itself: plan and deliver a burst, without rings and threads. `cargo bench`.
#![allow(missing_docs)] // criterion's macros make items without docs

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use valecast_bench::rig::port_entry;
use valecast_config::MeterMode;
use valecast_switch::deliver::{Outcome, deliver};
use valecast_switch::fdb::{Fdb, key};
use valecast_switch::frame::Burst;
use valecast_switch::meter::Meter;
use valecast_switch::plan::{Context, Plan};
use valecast_switch::port::null;
use valecast_switch::route::LastRoute;
use valecast_switch::tables::{Bucket, GroupEntry, PortEntry, Tables};

fn port(id: u16) -> PortEntry {
    let egress = null::open().egress;
    port_entry(id, egress.caps(), egress)
}

fn tables(ports: u16) -> Tables {
    let mut t = Tables {
        ports: (0..ports).map(|i| Some(port(i))).collect(),
        flood: (0..ports).collect(),
        ..Tables::default()
    };
    let group = GroupEntry {
        ingress: None,
        buckets: (1..5).map(|port| Bucket { port, set_dst: None }).collect(),
        meter: None,
        hits: (0..1).map(|_| Default::default()).collect(),
    };
    t.add_group(u64::from_le_bytes([1, 0, 0x5e, 0, 0, 1, 0, 0]), group);
    t
}

fn frames(n: usize, size: usize, dst: impl Fn(usize) -> [u8; 6]) -> Vec<Vec<u8>> {
    (0..n)
        .map(|i| {
            let mut f = vec![0; size];
            f[..6].copy_from_slice(&dst(i));
            f[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
            f[12..14].copy_from_slice(&[8, 0]);
            f
        })
        .collect()
}

fn forward(c: &mut Criterion) {
    let t = tables(6);
    let fdb = Fdb::new(65536, 300, 1);
    for i in 0..10_000u64 {
        fdb.learn(key(2 | i << 24, 0), 1 + (i % 4) as u16, 0, 0);
    }
    let one = |_: usize| [2, 0, 0, 0, 0, 0];
    let many = |i: usize| {
        let b = (((i * 37 % 10_000) as u64 * (1 << 24)) | 2).to_le_bytes();
        [b[0], b[1], b[2], b[3], b[4], b[5]]
    };
    let mut g = c.benchmark_group("forward");
    type Dst<'a> = &'a dyn Fn(usize) -> [u8; 6];
    let all = |_: usize| [0xff; 6];
    let group = |_: usize| [1, 0, 0x5e, 0, 0, 1];
    let cases: [(&str, Dst<'_>); 4] = [
        ("unicast 1 MAC", &one),
        ("unicast 10k MACs", &many),
        ("broadcast to 5", &all),
        ("group of 4", &group),
    ];
    for (name, dst) in cases {
        for n in [1usize, 32, 256] {
            let data = frames(n, 64, dst);
            g.throughput(Throughput::Elements(n as u64));
            let (mut burst, mut plan) = (Burst::default(), Plan::default());
            let (mut out, mut last) = (Outcome::default(), LastRoute::default());
            g.bench_with_input(BenchmarkId::new(name, n), &data, |b, data| {
                b.iter(|| {
                    burst.clear();
                    for f in data {
                        // SAFETY: `data` outlives the burst.
                        unsafe { burst.push(f.as_ptr(), f.len(), 1) };
                    }
                    if let Some(from) = t.port(0) {
                        let cx = Context { tables: &t, fdb: &fdb, port: from, lane: 0, worker: 0, now: 1 };
                        plan.make(cx, &mut burst, &mut last);
                        deliver(cx, &burst, &mut plan, &mut out);
                    }
                    out.consumed
                });
            });
        }
    }
    g.finish();
}

fn parts(c: &mut Criterion) {
    let fdb = Fdb::new(65536, 300, 1);
    fdb.learn(key(2, 0), 1, 0, 0);
    c.bench_function("fdb lookup", |b| b.iter(|| fdb.lookup(std::hint::black_box(key(2, 0)), 0)));
    c.bench_function("fdb learn known", |b| b.iter(|| fdb.learn(std::hint::black_box(key(2, 0)), 1, 0, 0)));
    let m = Meter::new(100_000_000_000, 1 << 20, MeterMode::Police);
    let mut now = 0;
    c.bench_function("meter, burst of 32", |b| {
        b.iter(|| {
            now += 1000;
            let mut t = m.begin(now);
            for _ in 0..32 {
                let _ = m.pay(&mut t, 64);
            }
            m.end(&t);
        });
    });
}

criterion_group!(benches, forward, parts);
criterion_main!(benches);
