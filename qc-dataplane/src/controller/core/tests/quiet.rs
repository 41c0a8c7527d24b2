//! Stories of transfers that nobody sends.

use super::super::world::World;
use super::{GB, State};
use crate::control::Ended;

const HOUR: u64 = 3_600_000;

/// Time passes while sites report.
fn hours(w: &mut World, hours: u64) {
    for _ in 0..hours {
        w.pass(HOUR);
        w.settle();
        w.pass(1_000);
    }
}

#[test]
fn a_transfer_that_nobody_sends_says_so_and_ends_after_a_day() {
    let mut w = World::fig1();
    let id = w.submit("S", &["t1", "t3"], GB);
    w.live(2_000);
    assert_eq!(w.state(id), State::Running);
    w.silent.insert(id);
    w.live(12_000);
    // The world's senders had spoken once.
    assert_eq!((w.state(id), w.core.trees().len()), (State::Stalled, 0));
    assert!(w.why(id).contains("silent for 10 s"), "{}", w.why(id));
    hours(&mut w, 23);
    assert_eq!(w.state(id), State::Stalled);
    hours(&mut w, 2);
    assert_eq!((w.state(id), w.core.trees().len()), (State::Partial, 0));
    assert!(
        w.why(id).starts_with("given up: nobody has sent it for 86400s (`forget_after`)"),
        "{}",
        w.why(id)
    );
    assert!(w.why(id).contains("t1 (") && w.why(id).contains("t3 ("), "{}", w.why(id));
    let saved = &w.saved.transfers[&id];
    assert_eq!((saved.state, w.saved.trees.len()), (State::Partial, 0));
}

#[test]
fn one_whose_receiver_and_sender_are_missing_names_both() {
    let mut w = World::fig1();
    w.sites.get_mut("t1").unwrap().receives = false;
    w.settle();
    let id = w.submit("S", &["t1"], GB);
    w.settle();
    assert_eq!((w.state(id), w.why(id).contains("sends it")), (State::Waiting, false), "one may be about to");
    for _ in 0..12 {
        w.settle();
        w.pass(1_000);
    }
    let why = w.why(id);
    assert!(
        why.contains("nobody receives at t1") && why.contains("`valecast qc send --resume 1 FILE` at S"),
        "{why}"
    );
    // Somebody receives, and still nobody sends.
    w.sites.get_mut("t1").unwrap().receives = true;
    for _ in 0..14 {
        w.settle();
        w.pass(1_000);
    }
    assert_eq!(w.state(id), State::Stalled);
    assert!(w.why(id).starts_with("no sender came within 10 s"), "{}", w.why(id));
    hours(&mut w, 25);
    assert_eq!(w.state(id), State::Partial);
}

#[test]
fn a_sender_that_speaks_is_waited_with_for_ever_and_one_that_comes_back_has_a_day_again() {
    let mut w = World::fig1();
    w.sites.get_mut("t1").unwrap().receives = false;
    w.settle();
    let (waits, paused) = (w.submit("S", &["t1"], GB), w.submit("S", &["t3"], GB));
    w.settle();
    w.progress(paused, 10, Some(Ended::Paused));
    let day = |w: &mut World| {
        for _ in 0..20 {
            w.pass(HOUR);
            w.settle();
            w.progress(waits, 0, None);
        }
    };
    day(&mut w);
    w.progress(paused, 20, None);
    assert_eq!(w.saved.transfers[&paused].quiet_ms, None);
    w.settle();
    w.progress(paused, 20, Some(Ended::Paused));
    day(&mut w);
    assert_eq!((w.state(waits), w.state(paused)), (State::Waiting, State::Stalled));
    day(&mut w);
    assert_eq!((w.state(waits), w.state(paused)), (State::Waiting, State::Partial));
}

#[test]
fn a_restart_makes_no_difference_to_how_long_it_is_kept() {
    let mut w = World::fig1();
    let id = w.submit("S", &["t1"], GB);
    w.settle();
    w.progress(id, 10, Some(Ended::Paused));
    for _ in 0..23 {
        w.pass(HOUR);
        w.restart();
        w.settle();
    }
    w.pass(1_000);
    assert_eq!(w.state(id), State::Stalled, "{}", w.why(id));
    // The next controller's clock starts anew, that of the wall does not.
    w.now.ms = 1;
    w.restart();
    w.settle();
    w.pass(HOUR + 2_000);
    w.pass(1_000);
    assert_eq!(w.state(id), State::Partial, "{}", w.why(id));
}
