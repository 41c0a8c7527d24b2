//! Everybody sleeps between any two frames: each is a chance to lose a wake-up, and a lost one is waited for in vain.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

#[cfg(test)]
use std::time::{Duration, Instant};

#[cfg(test)]
use common::{Rig, frame};

/// Round trips.
#[cfg(test)]
const ROUNDS: u32 = 20_000;

#[cfg(test)]
fn ping_pong(workers: usize) {
    let rig = Rig::new(&format!(
        "[[switch]]\nname = \"vale0\"\nspin = \"0\"\nworkers = {workers}\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n\
         slots = 16\n[[switch.port]]\nname = \"b\"\nkind = \"ring\"\nslots = 16\n"
    ));
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    std::thread::scope(|s| {
        let answers = s.spawn(move || {
            for i in 0..ROUNDS {
                let f = b.recv().unwrap_or_else(|| panic!("frame {i} does not come"));
                b.send(&frame(1, 2, &f[14..18]));
            }
            // Still attached: what a port has not handed over yet goes with it.
            b
        });
        for i in 0..ROUNDS {
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
    ping_pong(1);
}

#[test]
fn nor_between_two_workers() {
    ping_pong(2);
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
