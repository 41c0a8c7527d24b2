//! Lines by a simulated clock: rate, order, room, faults, books.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use valecast_config::Faults;

use super::fate::Fates;
use super::pacer::Pacer;
use super::*;
use crate::counters::Sums;
use crate::frame::{Burst, Entry};
use crate::port::{Caps, Ingress, Tally, patch};

/// A port that remembers when which frame came, as long as it has room.
#[derive(Default)]
struct Sink {
    got: Mutex<Vec<(u64, Vec<u8>)>>,
    full: std::sync::atomic::AtomicBool,
}

impl Egress for Sink {
    fn caps(&self) -> Caps {
        Caps { vnet: true, max_frame: 9000, max_run: 1, queues: 1 }
    }
    fn claim(&self, _: &Burst, list: &[Entry], _: usize) -> usize {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) { list.len().min(1) } else { list.len() }
    }
    fn put(&self, burst: &Burst, list: &[Entry], _: usize, now: u64) -> Tally {
        let mut t = Tally::default();
        for e in list {
            let mut bytes = Vec::new();
            crate::port::sys::io::append(&mut bytes, burst, *e);
            t.frames += 1;
            t.bytes += bytes.len() as u64;
            self.got.lock().unwrap().push((now, bytes));
        }
        t
    }
}

fn none() -> Faults {
    Faults {
        loss: 0.0,
        burst: None,
        duplicate: 0.0,
        reorder: 0.0,
        corrupt: 0.0,
        delay: std::time::Duration::ZERO,
        seed: 1,
    }
}

struct Rig {
    entrance: Arc<Entrance>,
    outlet: Box<Outlet>,
    sink: Arc<Sink>,
    stats: Arc<PortStats>,
    burst: Burst,
    sent: u32,
}

impl Rig {
    fn new(capacity: Option<u64>, queue: u64, faults: Option<Faults>) -> Self {
        let (sink, stats) = (Arc::new(Sink::default()), Arc::new(PortStats::new(1)));
        let settings = Settings { capacity, queue, faults };
        let (entrance, outlet) = wrap(sink.clone(), &settings, stats.clone()).unwrap();
        Self { entrance, outlet, sink, stats, burst: Burst::default(), sent: 0 }
    }

    /// Puts numbered frames in at `now`; how many were taken.
    fn put(&mut self, lens: &[usize], now: u64) -> usize {
        let n = push(&*self.entrance, &mut self.burst, 0, self.sent, lens, now);
        self.sent += n as u32;
        n
    }

    fn run(&mut self, now: u64) -> outlet::Let {
        self.outlet.run(&mut self.burst, 256, 0, now)
    }

    /// Numbers of the frames that came, with the times.
    fn numbers(&self) -> Vec<(u64, u32)> {
        self.sink.got.lock().unwrap().iter().map(|(at, f)| (*at, number(f))).collect()
    }

    fn sums(&self) -> Sums {
        self.stats.sums()
    }
}

fn number(f: &[u8]) -> u32 {
    u32::from_be_bytes(f[15..19].try_into().unwrap())
}

/// Puts frames from `from` into `to`, numbered from `first` on, at `now`; how many were taken.
fn push(to: &dyn Egress, burst: &mut Burst, from: u8, first: u32, lens: &[usize], now: u64) -> usize {
    let frames: Vec<Vec<u8>> = (first..)
        .zip(lens)
        .map(|(n, len)| {
            let mut f = vec![0x5a; *len];
            f[14] = from;
            f[15..19].copy_from_slice(&n.to_be_bytes());
            f
        })
        .collect();
    burst.clear();
    for f in &frames {
        // SAFETY: `frames` outlives the burst's use.
        unsafe { burst.push(f.as_ptr(), f.len(), 1) };
    }
    let list: Vec<_> = (0..frames.len() as u16).map(|i| Entry { orig: i, frame: i }).collect();
    let n = to.claim(burst, &list, 0);
    to.put(burst, &list[..n], 0, now);
    n
}

proptest! {
    /// Never more than rate x time; never less while there is something to send; in order; nothing lost below the
    /// capacity, whenever somebody looks.
    #[test]
    fn a_line_keeps_its_rate(
        rate in 1_000_000u64..20_000_000_000,
        bursts in proptest::collection::vec((proptest::collection::vec(60usize..1515, 0..40), 1u64..400), 1..60),
        delay in prop_oneof![Just(0u64), 1u64..10_000_000],
    ) {
        let faults = Faults { delay: std::time::Duration::from_nanos(delay), ..none() };
        let mut rig = Rig::new(Some(rate), 64 << 10, (delay > 0).then_some(faults));
        let start = 1_000_000_000_000u64;
        let mut now = start;
        let time = |bytes: u64| (u128::from(bytes) * 8_000_000_000 / u128::from(rate)) as u64;
        // When the line is through with all it took.
        let (mut free, mut taken) = (start, 0u64);
        for (lens, step) in &bursts {
            let fit = rig.put(lens, now);
            // All are taken as long as the queue is not full.
            let waiting: u64 = lens.iter().map(|l| (*l).max(128) as u64).sum();
            let queued = (u128::from(free.saturating_sub(now)) * u128::from(rate) / 8_000_000_000) as u64;
            if 3 * queued + waiting < (64 << 10) {
                prop_assert_eq!(fit, lens.len(), "refused with {} bytes waiting", queued);
            }
            for l in &lens[..fit] {
                free = free.max(now) + time(*l as u64) + 1;
                taken += *l as u64;
            }
            now += step * 1000;
            while rig.run(now).done > 0 {}
            let sums = rig.sums();
            // What has left by now took its time since the start.
            prop_assert!(sums.out_bytes == 0 || time(sums.out_bytes) + delay <= now - start,
                "{} bytes in {} ns", sums.out_bytes, now - start);
            if free + delay <= now {
                prop_assert_eq!(sums.out_bytes, taken, "still waiting");
            }
        }
        // Whoever looks when told finds all of it, and at the end nothing.
        for _ in 0..1_000_000 {
            match rig.run(now) {
                outlet::Let { next: Some(next), done: 0, blocked: false } => {
                    prop_assert!(next > now);
                    now = next;
                }
                outlet::Let { done: 0, .. } => break,
                _ => {}
            }
        }
        let numbers: Vec<u32> = rig.numbers().into_iter().map(|(_, n)| n).collect();
        prop_assert_eq!(numbers, (0..rig.sent).collect::<Vec<_>>());
        prop_assert!(now <= now.min(free) + delay + 1_000_000, "{} ns after it should be", now - free);
        prop_assert!(rig.outlet.arm(), "nothing is left");
        let counters: BTreeMap<_, _> = rig.entrance.counters().into_iter().collect();
        prop_assert_eq!((counters["queue_frames"], counters["queue_bytes"]), (0, 0));
    }

    #[test]
    fn a_pacer_is_exact(rate in 1u64..100_000_000_000_000, lens in proptest::collection::vec(1usize..70_000, 1..50)) {
        let (mut p, mut bytes) = (Pacer::new(rate), 0u128);
        for len in lens {
            bytes += len as u128;
            let exact = bytes * 8_000_000_000 / u128::from(rate);
            let Err(at) = p.leave(len, 0, 0) else { panic!("it takes time") };
            // The price of a byte is rounded up to 2^-30 ns.
            let most = exact + 2 + (bytes >> 30);
            prop_assert!(u128::from(at) >= exact && u128::from(at) <= most, "{at} {exact}");
            prop_assert_eq!(p.leave(len, 0, at), Ok(at));
        }
    }
}

/// Two workers fill the queue of a line while a third empties it: each one's frames come whole and in order.
#[test]
fn two_workers_share_a_line() {
    let mut rig = Rig::new(Some(1_000_000_000), 64 << 10, None);
    let entrance = rig.entrance.clone();
    const EACH: u32 = 20_000;
    let done = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|s| {
        for from in 1..=2u8 {
            let (entrance, done) = (&entrance, &done);
            s.spawn(move || {
                let mut burst = Burst::default();
                let mut n = 0;
                while n < EACH {
                    let lens: Vec<_> =
                        (n..(n + 17).min(EACH)).map(|i| 60 + (i as usize * 7) % 1400).collect();
                    n += push(&**entrance, &mut burst, from, n, &lens, 1) as u32;
                    std::thread::yield_now();
                }
                done.fetch_add(1, std::sync::atomic::Ordering::Release);
            });
        }
        let mut now = 1;
        loop {
            let all = done.load(std::sync::atomic::Ordering::Acquire) == 2;
            match rig.run(now) {
                outlet::Let { done: 0, next: None, .. } if all => break,
                outlet::Let { done: 0, next: Some(next), .. } => now = next,
                _ => {}
            }
        }
    });
    for from in 1..=2u8 {
        let got = rig.sink.got.lock().unwrap();
        let numbers = got.iter().filter(|(_, f)| f[14] == from).map(|(_, f)| number(f));
        assert!(numbers.eq(0..EACH), "frames of {from}");
    }
    assert_eq!(rig.sums().out_frames, 2 * u64::from(EACH));
}

/// A patch with 100 Mbit/s: what comes out at the other end in each tenth of a second.
#[test]
fn a_patch_of_100_mbit_per_s_carries_that() {
    let (a, mut b) = patch::pair("a", true, "b", true).unwrap();
    let stats = Arc::new(PortStats::new(1));
    let settings = Settings { capacity: Some(100_000_000), queue: 625_000, faults: None };
    let (entrance, mut outlet) = wrap(a.egress, &settings, stats.clone()).unwrap();
    let (mut burst, mut out) = (Burst::default(), Burst::default());
    let far: &mut dyn Ingress = &mut *b.ingress[0];
    let (mut now, mut n, mut got, mut next, mut refused) = (5_000_000_000u64, 0, 0u64, 0, 0);
    for tenth in 1..=20u64 {
        let end = 5_000_000_000 + tenth * 100_000_000;
        while now < end {
            // More than it carries.
            let lens = [1514usize; 4];
            let fit = push(&*entrance, &mut burst, 0, n, &lens, now);
            (n, refused) = (n + fit as u32, refused + 4 - fit);
            now += 300_000;
            while outlet.run(&mut burst, 256, 0, now).done > 0 {
                out.clear();
                far.take(&mut out, 256, now);
                for i in 0..out.taken() {
                    let mut bytes = Vec::new();
                    let e = Entry { orig: i as u16, frame: i as u16 };
                    crate::port::sys::io::append(&mut bytes, &out, e);
                    assert_eq!(number(&bytes), next, "out of order");
                    next += 1;
                    got += bytes.len() as u64;
                }
                let taken = out.taken();
                far.complete(&out, taken);
            }
        }
        let want = tenth * 1_250_000;
        assert!(got.abs_diff(want) * 100 <= want, "{got} bytes in {tenth} tenths of a second, not {want}");
    }
    assert!(refused > 1000, "the queue is bounded");
    assert_eq!(stats.sums().out_bytes, got);
}

/// Frames wait in the queue, not in a port that has no room; and those that are left when it goes are counted.
#[test]
fn a_full_port_holds_the_line_up() {
    let mut rig = Rig::new(Some(1_000_000_000), 64 << 10, None);
    assert_eq!(rig.put(&[1000; 10], 0), 10);
    rig.sink.full.store(true, std::sync::atomic::Ordering::Relaxed);
    let got = rig.run(1_000_000);
    assert_eq!((got.done, got.blocked), (1, true));
    assert_eq!(rig.put(&[1000; 200], 1_000_000), 66, "64 KiB and the last one");
    assert!(rig.entrance.arm_room(0), "no room: the sender sleeps");
    rig.sink.full.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(rig.run(1_000_000).done, 9);
    rig.outlet.finish(0);
    let sums = rig.stats.sums();
    assert_eq!((sums.out_frames, sums.out_drops[crate::counters::Cause::PortDown as usize]), (10, 66));
}

/// Longer than the queue, or than the port takes.
#[test]
fn long_frames_and_runs() {
    let mut rig = Rig::new(Some(1_000_000), 4096, None);
    assert_eq!(rig.put(&[9000, 60], 0), 1, "one is taken even so, and then there is no room");
    assert_eq!(rig.run(1_000_000_000).done, 1);
    // Forty segments of one frame: all or none.
    rig.burst.clear();
    let f = [0u8; 1000];
    // SAFETY: `f` outlives the burst's use.
    unsafe { rig.burst.push(f.as_ptr(), f.len(), 1) };
    let list = vec![Entry { orig: 0, frame: 0 }; 40];
    assert_eq!(rig.entrance.claim(&rig.burst, &list, 0), 40);
    assert_eq!(rig.entrance.claim(&rig.burst, &list, 0), 0);
    rig.entrance.unclaim(&rig.burst, &list, 0);
    // The port was given a smaller MTU meanwhile.
    assert_eq!(rig.put(&[9001, 60], 0), 1);
    assert_eq!(rig.put(&[60], 0), 0);
    assert_eq!(rig.run(2_000_000_000).done, 1);
    assert_eq!(rig.sums().out_drops[crate::counters::Cause::TooBig as usize], 1);
}

fn fates(f: &Faults, n: usize) -> Vec<fate::Fate> {
    let mut fates = Fates::new(f);
    (0..n).map(|_| fates.next(1000)).collect()
}

#[test]
fn faults_come_as_often_as_they_should() {
    let n = 200_000;
    let share = |k: usize, p: f64| {
        let (got, dev) = (k as f64 / n as f64, (p * (1.0 - p) / n as f64).sqrt());
        assert!((got - p).abs() < 5.0 * dev + 1e-9, "{got} for {p}");
    };
    for (loss, burst) in [(0.01, None), (0.1, None), (0.5, None), (0.0, None), (1.0, None), (1.0, Some(3.0))]
    {
        let f = fates(&Faults { loss, burst, ..none() }, n);
        share(f.iter().filter(|f| f.lost).count(), loss);
    }
    for (loss, burst) in [(0.01, 4.0), (0.5, 8.0), (0.5, 1.0), (0.1, 30.0)] {
        let f = fates(&Faults { loss, burst: Some(burst), ..none() }, n);
        let lost = f.iter().filter(|f| f.lost).count() as f64;
        let rows = f.windows(2).filter(|w| w[1].lost && !w[0].lost).count() as f64;
        assert!((lost / n as f64 / loss - 1.0).abs() < 0.1, "{lost} of {n} for {loss} in rows of {burst}");
        assert!((lost / rows / burst - 1.0).abs() < 0.1, "rows of {} for {burst}", lost / rows);
    }
    let f = Faults { duplicate: 0.1, reorder: 0.2, corrupt: 0.05, ..none() };
    let f = fates(&f, n);
    share(f.iter().filter(|f| f.twice).count(), 0.1);
    share(f.iter().filter(|f| f.overtaken > 0).count(), 0.2);
    share(f.iter().filter(|f| f.flipped.is_some()).count(), 0.05);
    assert!(f.iter().all(|f| f.overtaken <= 8 && f.flipped.is_none_or(|b| b < 986 * 8)));
    // A frame without anything behind its header cannot be damaged there.
    assert_eq!(Fates::new(&Faults { corrupt: 1.0, ..none() }).next(14).flipped, None);
}

/// The same seed and frames, the same fate, whenever they come and somebody looks; another seed, another fate.
#[test]
fn faults_follow_from_the_seed() {
    let f = Faults { loss: 0.1, burst: Some(3.0), duplicate: 0.1, reorder: 0.1, corrupt: 0.1, ..none() };
    let run = |seed: u64, steps: &[usize], gap: u64| {
        let mut rig = Rig::new(None, 1 << 20, Some(Faults { seed, ..f.clone() }));
        let (mut left, mut now) = (2000usize, 0u64);
        for step in steps.iter().cycle() {
            let n = (*step).min(left);
            assert_eq!(rig.put(&vec![200; n], now), n);
            left -= n;
            now += gap;
            while rig.run(now).done > 0 {}
            if left == 0 {
                break;
            }
        }
        // Those still waiting to be overtaken.
        while rig.run(now + 1_000_000_000).done > 0 {}
        let s = rig.sums();
        let lost = s.out_drops[crate::counters::Cause::Fault as usize];
        assert_eq!(s.out_frames + lost, 2000, "the books");
        assert_eq!(s.out_bytes, 200 * s.out_frames);
        let counters: BTreeMap<_, _> = rig.entrance.counters().into_iter().collect();
        let got: Vec<Vec<u8>> = rig.sink.got.lock().unwrap().iter().map(|(_, f)| f.clone()).collect();
        assert_eq!(got.len() as u64, s.out_frames + counters["fault_duplicated"]);
        assert_eq!(counters["queue_bytes"], 0);
        assert!(counters["fault_reordered"] > 100 && counters["fault_corrupted"] > 100);
        got
    };
    let one = run(7, &[1], 1);
    assert!(one.windows(2).any(|w| number(&w[0]) > number(&w[1])), "some are overtaken");
    assert_eq!(run(7, &[256], 100), one);
    assert_eq!(run(7, &[3, 100, 7], 5000), one);
    assert_ne!(run(8, &[1], 1), one);
}

/// Frames arrive later by exactly the delay, also those that come while others are on their way.
#[test]
fn a_delay_is_added() {
    let delay = std::time::Duration::from_millis(5);
    let mut rig = Rig::new(Some(8_000_000), 64 << 10, Some(Faults { delay, ..none() }));
    // 1000 bytes take 1 ms.
    rig.put(&[1000], 0);
    let mut now = rig.run(0).next.unwrap();
    assert_eq!(now, 1_000_000);
    now = rig.run(now).next.unwrap();
    assert_eq!(now, 6_000_000);
    // Nobody looks when the second comes.
    rig.put(&[1000], 4_000_000);
    now = rig.run(now).next.unwrap();
    assert_eq!(now, 10_000_000);
    assert_eq!(rig.run(now), outlet::Let { done: 1, next: None, blocked: false });
    assert_eq!(rig.numbers(), [(6_000_000, 0), (10_000_000, 1)]);
}

/// Other settings while frames wait: none is lost, the order stays, and the room is that of the new queue.
#[test]
fn a_line_changes_under_way() {
    let mut rig =
        Rig::new(None, 64 << 10, Some(Faults { delay: std::time::Duration::from_secs(1), ..none() }));
    assert_eq!(rig.put(&[1000; 30], 0), 30);
    assert_eq!(rig.run(1000).done, 0);
    assert_eq!(rig.put(&[1000; 10], 2000), 10);
    let (entrance, change) =
        rig.entrance.changed(&Settings { capacity: Some(8_000_000_000), queue: 8192, faults: None });
    rig.entrance = entrance;
    assert_eq!(rig.put(&[1000; 30], 3000), 9);
    rig.outlet.change(change);
    while rig.run(2_000_000_000).done > 0 {}
    assert_eq!(rig.numbers().iter().map(|n| n.1).collect::<Vec<_>>(), (0..49).collect::<Vec<_>>());
    let counters: BTreeMap<_, _> = rig.entrance.counters().into_iter().collect();
    assert_eq!(counters["queue_bytes"], 0, "what came by the old queue takes no room in the new one");
    assert_eq!(rig.put(&[1000; 30], 3000), 9);
}
