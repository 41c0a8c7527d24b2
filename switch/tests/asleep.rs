//! Everybody sleeps between any two frames: each is a chance to lose a wake-up, and a lost one is waited for in vain.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

#[cfg(test)]
use std::sync::atomic::Ordering;
#[cfg(test)]
use std::time::{Duration, Instant};

#[cfg(test)]
use common::{Client, Rig, frame, raw};
#[cfg(test)]
use valecast_ring::attach::Request;
#[cfg(test)]
use valecast_ring::notify::Pairing;

/// Round trips.
#[cfg(test)]
const ROUNDS: u32 = 20_000;

#[cfg(test)]
fn ping_pong(workers: usize, gather: &str, rounds: u32) {
    let rig = Rig::new(&format!(
        "[[switch]]\nname = \"vale0\"\nspin = \"0\"\ngather = \"{gather}\"\nworkers = {workers}\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n\
         slots = 16\n[[switch.port]]\nname = \"b\"\nkind = \"ring\"\nslots = 16\n"
    ));
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    std::thread::scope(|s| {
        let answers = s.spawn(move || {
            for i in 0..rounds {
                let f = b.recv().unwrap_or_else(|| panic!("frame {i} does not come"));
                b.send(&frame(1, 2, &f[14..18]));
            }
            // Still attached: what a port has not handed over yet goes with it.
            b
        });
        for i in 0..rounds {
            a.send(&frame(2, 1, &i.to_be_bytes()));
            let f = a.recv().unwrap_or_else(|| panic!("answer {i} does not come"));
            assert_eq!(f[14..18], i.to_be_bytes());
        }
        drop(answers.join());
    });
    rig.books();
}

#[test]
fn no_wakeup_is_lost() {
    ping_pong(1, "0", ROUNDS);
}

#[test]
fn nor_between_two_workers() {
    ping_pong(2, "0", ROUNDS);
}

/// What comes while the worker sleeps on purpose is heard afterwards.
#[test]
fn nor_by_a_worker_that_gathers() {
    ping_pong(1, "20us", ROUNDS / 4);
    ping_pong(2, "2ms", 100);
}

/// A sender that never sleeps meets the worker at every moment of its falling asleep.
#[test]
fn nor_by_a_sender_that_stays_awake() {
    let rig = Rig::new(
        "[[switch]]\nname = \"vale0\"\nspin = \"0\"\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"b\"\nkind = \"ring\"\n",
    );
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    for i in 0..100_000u32 {
        a.send(&frame(2, 1, &i.to_be_bytes()));
        let given_up = Instant::now() + Duration::from_secs(20);
        while b.rx.pending() == 0 {
            assert!(Instant::now() < given_up, "frame {i} does not come");
            std::hint::spin_loop();
        }
        b.rx.advance(1);
        b.rx.release();
        for _ in 0..i % 1000 {
            std::hint::black_box(());
        }
    }
    rig.books();
}

/// A sender may miss that the worker sleeps, since the barrier that makes the worker's flag visible to it passes some
/// CPUs by (see `valecast_ring::notify`). This one always does.
#[test]
fn nor_by_a_sender_that_misses_the_flag() {
    let rig = Rig::new(
        "[[switch]]\nname = \"vale0\"\nspin = \"0\"\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"b\"\nkind = \"ring\"\n",
    );
    let request = Request { pairing: Pairing::Asymmetric, ..raw::request("a") };
    let a = raw::Raw::attach(&rig.socket(), &request).unwrap();
    let mut b = rig.attach("b");
    // The words of the first ring's CSB: head, and in the other page need_kick.
    let (head, need_kick) = (a.word32(0), a.word32((a.layout.rings_total() * 64).next_multiple_of(4096) + 8));
    let came = |b: &mut Client, patience: Duration| {
        let given_up = Instant::now() + patience;
        while b.rx.pending() == 0 && Instant::now() < given_up {
            std::thread::yield_now();
        }
        b.rx.pending() > 0
    };
    let mut found = 0;
    for i in 1..=50 {
        // Until it sleeps. It may have looked again by then, so not each try counts.
        while need_kick.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(200));
        a.fill(0, i as usize - 1, &frame(2, 1, &[]));
        head.store(i, Ordering::Release);
        found += u32::from(came(&mut b, Duration::from_millis(50)));
        // Awake for the next one in any case.
        nix::unistd::write(&a.kicks[0], &1u64.to_ne_bytes()).unwrap();
        assert!(came(&mut b, Duration::from_secs(20)), "frame {i} does not come");
        b.rx.advance(1);
        b.rx.release();
    }
    assert!(found >= 5, "the worker looks again {found} times of 50");
}
