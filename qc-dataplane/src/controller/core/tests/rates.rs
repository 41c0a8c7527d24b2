//! Stories about who may send how fast, and from when on.

use super::super::world::World;
use super::GB;
use crate::control::Ended;

fn rate(w: &World, id: u64) -> u64 {
    w.core.status(id).unwrap().trees.iter().map(|t| t.rate / 1_000_000).sum()
}

/// Two transfers that share the link from S.
fn two() -> (World, u64, u64) {
    let mut w = World::fig1();
    let (a, b) = (w.submit("S", &["t3"], GB), w.submit("S", &["t4"], GB));
    w.settle();
    w.pass(100);
    assert!((485..=490).contains(&rate(&w, a)) && (485..=490).contains(&rate(&w, b)), "{}", rate(&w, a));
    (w, a, b)
}

#[test]
fn what_one_has_sent_all_of_is_given_to_others_at_once() {
    let (mut w, a, b) = two();
    w.progress(a, 100, None);
    assert!(rate(&w, b) > 960, "{} Mbit/s", rate(&w, b));
    assert!(rate(&w, a) > 0, "repairs can still go out");
}

#[test]
fn what_one_leaves_is_given_to_others_at_once() {
    let (mut w, a, b) = two();
    w.progress(a, 50, Some(Ended::Paused));
    assert!(rate(&w, b) > 970, "{} Mbit/s", rate(&w, b));
}
