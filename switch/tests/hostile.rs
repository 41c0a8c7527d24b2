//! Clients that do their worst: whatever bytes they write into their memory, bells and sockets, the daemon
//! neither crashes nor stalls, other clients' frames arrive whole, and the books balance.
#![allow(missing_docs)]

#[cfg(test)]
mod common;
#[cfg(test)]
#[path = "hostile/frames.rs"]
mod frames;
#[cfg(test)]
#[path = "hostile/garbage.rs"]
mod garbage;
#[cfg(test)]
#[path = "hostile/memory.rs"]
mod memory;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::flow::{mac, undisturbed};
use common::proc::alone;
use common::raw::{Raw, Rng, request};
use common::{Rig, frame};
use valecast_switch::switch::show::PortView;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x66];

/// Honest `a` and `b` that lose nothing, `mallory` under a leash, `c` for whoever comes later.
#[cfg(test)]
fn rig(workers: usize) -> Rig {
    let honest = |n: &str| {
        format!("[[switch.port]]\nname = {n:?}\nkind = \"ring\"\nslots = 256\noverflow = \"backpressure\"\n")
    };
    Rig::new(&format!(
        "[[switch]]\nname = \"vale0\"\nworkers = {workers}\n{}{}[[switch.port]]\nname = \"c\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"mallory\"\nkind = \"ring\"\nslots = 128\ntx_rings = 2\nrx_rings = 2\n\
         allowed_macs = [\"02:00:00:00:00:66\"]\nmac_limit = 8\n",
        honest("a"),
        honest("b")
    ))
}

#[cfg(test)]
fn port(rig: &Rig, name: &str) -> PortView {
    rig.stats().ports.into_iter().find(|p| p.name == name).unwrap()
}

/// The daemon answers, books balance, honest rings were never touched, and new clients are served.
#[cfg(test)]
fn unharmed(rig: &Rig) {
    let v = rig.books();
    for p in v.ports.iter().filter(|p| p.name != "mallory") {
        assert_eq!(p.ring_resets, 0, "{p:?}");
        let lost: Vec<_> = p.out_drops.iter().chain(&p.in_drops).collect();
        assert!(p.name == "c" || lost.iter().all(|(_, n)| **n == 0), "{}: {lost:?}", p.name);
    }
    serves(rig);
}

/// New clients attach and talk.
#[cfg(test)]
fn serves(rig: &Rig) {
    common::proc::soon(Duration::from_secs(2), "ports a and c are free", || {
        port(rig, "a").state == "waiting" && port(rig, "c").state == "waiting"
    });
    let (mut a, mut c) = (rig.attach("a"), rig.attach("c"));
    let f = frame(0xff, 7, b"still there?");
    a.send(&f);
    let end = Instant::now() + Duration::from_secs(5);
    while c.recv().as_ref() != Some(&f) {
        assert!(Instant::now() < end, "no frame crosses any more");
    }
}

/// Scribbles for a while, from two threads, ringing all the time.
#[cfg(test)]
fn scribble(raw: &Raw, seed: u64, time: Duration) {
    let targets = [mac(1), mac(2), mac(9), [0xff; 6], [1, 0, 0x5e, 0, 0, 1], OWN];
    let stop = AtomicBool::new(false);
    raw.jam(0);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut rng = Rng(seed);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    raw.noise(&mut rng);
                }
            }
        });
        let mut rng = Rng(!seed);
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..64 {
                raw.aimed(&mut rng, &targets, OWN);
            }
            raw.ring_some(&mut rng, 1);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[cfg(test)]
fn scribbles_everywhere(workers: usize, seeds: std::ops::Range<u64>) {
    let _alone = alone();
    for seed in seeds {
        let rig = rig(workers);
        let raw = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
        undisturbed(&rig, 2000, || scribble(&raw, seed, Duration::from_secs(3)));
        let m = port(&rig, "mallory");
        assert!(m.in_frames > 0 && m.ring_resets > 0, "the attack reached the data path: {m:?}");
        unharmed(&rig);
        drop(raw);
        unharmed(&rig);
        common::proc::soon(Duration::from_secs(20), "the port is free", || {
            port(&rig, "mallory").pid.is_none()
        });
        Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    }
}

#[test]
fn scribbles_everywhere_one_worker() {
    scribbles_everywhere(1, 1..3);
}

#[test]
fn scribbles_everywhere_three_workers() {
    scribbles_everywhere(3, 3..5);
}

/// Every value that `head` can be wrong by, one at a time and with time for the switch to look.
#[test]
fn wild_heads() {
    let _alone = alone();
    let rig = rig(1);
    let raw = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    undisturbed(&rig, 1000, || {
        let mut rng = Rng(5);
        for i in 0..400u32 {
            let head = [i, 127 + i, u32::MAX - i, 1 << (i % 32), rng.next() as u32][i as usize % 5];
            for ring in 0..4 {
                raw.word32(64 * ring).store(head, Ordering::Release);
            }
            raw.ring_some(&mut rng, 0);
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    assert!(port(&rig, "mallory").ring_resets > 0);
    unharmed(&rig);
}

/// A frame that never ends keeps no worker from sleeping and is no reason to wait.
#[test]
fn unfinished_frame() {
    let _alone = alone();
    let rig = rig(1);
    let raw = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    // One slot with MORE_FRAG and nothing after it.
    let d = raw.first_slot(0);
    let bits = d.load(Ordering::Relaxed) & 0xffff_ffff | 64 << 32 | 0x20 << 48;
    d.store(bits, Ordering::Relaxed);
    raw.word32(0).store(1, Ordering::Release);
    nix::unistd::write(&raw.kicks[0], &1u64.to_ne_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let before = common::proc::cpu();
    std::thread::sleep(Duration::from_secs(1));
    let used = common::proc::cpu() - before;
    assert!(used < Duration::from_millis(300), "an unfinished frame costs {used:?} of CPU per second");
    unharmed(&rig);
}

/// Large frames of many slots, more than a burst has memory to put together: they wait, they are not refused.
#[test]
fn more_large_frames_than_a_burst_holds() {
    let _alone = alone();
    let rig = Rig::rings(&["a", "b"], "slots = 8192\noverflow = \"backpressure\"\n", "");
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    let mut f = frame(0xff, 1, b"large");
    f.resize(65_535, 7);
    for _ in 0..3 {
        let mut sent = 0;
        while a.tx.room() > 100 && a.tx.push(&f) {
            sent += 1;
        }
        a.tx.publish();
        for i in 0..sent {
            assert_eq!(b.recv().map(|g| g == f), Some(true), "frame {i} of {sent}");
        }
    }
    assert!(rig.books().ports[0].in_drops.values().all(|n| *n == 0));
}
