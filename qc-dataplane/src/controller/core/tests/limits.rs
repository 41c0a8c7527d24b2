//! What there is room for, and who is waited for.

use super::super::world::World;
use super::{ALL, GB, State, two_ways};
use crate::control::Ended;

#[test]
fn a_partition_does_without_a_tree_that_no_switch_has_room_for() {
    for (site, what) in [("t", "an entry for one tree"), ("b", "none to branch with")] {
        let mut w = two_ways();
        w.sites.get_mut(site).unwrap().max_groups = u32::from(site == "t");
        w.settle();
        let id = w.submit("S", &["t", "u"], GB);
        w.settle();
        let status = w.core.status(id).unwrap();
        assert_eq!((status.state, status.trees.len()), (State::Running, 1), "{site} has {what}");
    }
}

#[test]
fn full_switches_are_gone_around_or_not_branched_at() {
    let mut w = World::new(
        &[
            ("S", "x", 100),
            ("S", "y", 100),
            ("x", "t", 100),
            ("x", "u", 100),
            ("y", "t", 100),
            ("y", "u", 100),
        ],
        "single",
    );
    w.sites.get_mut("x").unwrap().max_groups = 0;
    w.settle();
    let id = w.submit("S", &["t", "u"], GB);
    w.settle();
    let status = w.core.status(id).unwrap();
    assert_eq!(status.state, State::Running);
    assert!(status.trees.iter().all(|t| t.links.iter().all(|l| l.1 != "x")), "{status:?}");
    // With both full, no tree branches any more, and all get theirs.
    let mut w = World::new(&[("S", "x", 100), ("x", "t", 100), ("x", "u", 100), ("x", "v", 100)], "single");
    w.sites.get_mut("x").unwrap().max_groups = 0;
    w.settle();
    let id = w.submit("S", &["t", "u", "v"], GB);
    w.settle();
    assert_eq!(w.core.status(id).unwrap().trees.len(), 3);
    // Too many buckets for one group, but not for two.
    let mut w = World::new(&[("S", "x", 100), ("x", "t", 100), ("x", "u", 100), ("x", "v", 100)], "single");
    w.sites.get_mut("x").unwrap().max_buckets = 2;
    w.settle();
    let id = w.submit("S", &["t", "u", "v"], GB);
    w.settle();
    assert_eq!(w.core.status(id).unwrap().trees.len(), 2);
}

#[test]
fn without_room_a_transfer_waits_and_says_for_what() {
    let mut w = World::fig1();
    w.sites.get_mut("t1").unwrap().max_groups = 1;
    w.settle();
    let first = w.submit("S", &["t1"], GB);
    let second = w.submit("S", &["t1", "t3"], GB);
    w.settle();
    assert_eq!((w.state(first), w.state(second)), (State::Running, State::Waiting));
    assert_eq!(w.why(second), "t1: all 1 group entries of its switch are taken");
    w.core.cancel(w.now, first).unwrap();
    w.check();
    w.settle();
    assert_eq!((w.state(first), w.state(second)), (State::Cancelled, State::Running));
}

#[test]
fn no_more_at_once_than_allowed() {
    let mut w = World::fig1();
    let ids: Vec<u64> = (0..8).map(|_| w.submit("S", &["t1", "t3"], GB)).collect();
    w.settle();
    let states: Vec<_> = ids.iter().map(|id| w.state(*id)).collect();
    assert_eq!(states.iter().filter(|s| **s == State::Running).count(), 6);
    assert!(w.why(ids[7]).contains("`max_transfers`"), "{}", w.why(ids[7]));
    w.progress(ids[0], 100, Some(Ended::Complete));
    w.settle();
    let listed = |from, open, most| w.core.list(from, open, most).iter().map(|t| t.id).collect::<Vec<_>>();
    assert_eq!(listed(None, false, 9), ids);
    assert_eq!((listed(Some("S"), true, 9), listed(None, false, 0)), (ids[1..].to_vec(), ids[1..].to_vec()));
    assert_eq!(listed(Some("t1"), false, 9), [0; 0]);
    assert_eq!((w.state(ids[6]), w.state(ids[7])), (State::Running, State::Waiting));
}

#[test]
fn receivers_that_are_not_there_are_waited_for_a_while() {
    let mut w = World::fig1();
    w.sites.get_mut("t3").unwrap().receives = false;
    w.settle();
    let id = w.submit("S", &["t1", "t3"], GB);
    w.settle();
    assert_eq!(w.state(id), State::Waiting);
    assert!(w.why(id).contains("nobody receives at t3: start `valecast qc recv` there"));
    w.live(6_000);
    let status = w.core.status(id).unwrap();
    assert_eq!((status.state, status.trees.len()), (State::Running, 1));
    assert!(status.receivers[1].why.as_ref().unwrap().contains("nobody receives"));
    // A sender that is through with those is not through with the transfer.
    w.progress(id, 100, Some(Ended::Complete));
    assert_eq!(w.state(id), State::Running);
    w.sites.get_mut("t3").unwrap().receives = true;
    w.live(1_000);
    let status = w.core.status(id).unwrap();
    assert_eq!((status.trees.len(), status.receivers[1].why.clone()), (2, None));
}

#[test]
fn receivers_that_come_one_by_one_share_trees() {
    let mut w = World::fig1();
    ALL.iter().for_each(|t| w.sites.get_mut(*t).unwrap().receives = false);
    w.settle();
    let id = w.submit("S", &ALL, GB);
    w.live(20_000);
    assert_eq!(w.state(id), State::Waiting);
    for t in &ALL[..3] {
        w.sites.get_mut(*t).unwrap().receives = true;
        w.live(500);
        assert_eq!(w.state(id), State::Waiting, "{t}");
    }
    w.live(2_000);
    let sets = |w: &World| {
        let trees = w.core.status(id).unwrap().trees;
        let mut sets: Vec<_> = trees.iter().map(|t| t.receivers.join(" ")).collect();
        sets.sort();
        sets
    };
    assert_eq!(sets(&w), ["t1 t2", "t3"]);
    w.sites.get_mut("t4").unwrap().receives = true;
    w.live(500);
    assert_eq!(sets(&w), ["t1 t2", "t3", "t4"]);
}
