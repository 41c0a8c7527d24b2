//! Partitions that lose one of their trees, and get another.

use super::super::world::World;
use super::{GB, State, two_ways};
use crate::control::{Ended, TreeStatus};

/// A transfer by two trees.
fn begun() -> (World, u64, Vec<TreeStatus>) {
    let mut w = two_ways();
    let id = w.submit("S", &["t", "u"], GB);
    w.settle();
    let trees = w.core.status(id).unwrap().trees;
    assert_eq!(trees.len(), 2, "{trees:?}");
    (w, id, trees)
}

fn cut_first(w: &mut World, trees: &[TreeStatus]) {
    w.cut.insert(("S".to_owned(), trees[0].links[0].1.clone()));
    w.settle();
}

/// The trees by number, with their links out of S.
fn shown(w: &World, id: u64) -> Vec<(u32, String)> {
    let status = w.core.status(id).unwrap();
    assert_eq!(status.state, State::Running, "{status:?}");
    status.trees.iter().map(|t| (t.tree, t.links[0].1.clone())).collect()
}

#[test]
fn a_partition_that_lost_a_tree_gets_another_and_the_one_that_is_left_goes_on() {
    let (mut w, id, before) = begun();
    w.progress(id, 30, None);
    cut_first(&mut w, &before);
    let left = (before[1].tree, before[1].links[0].1.clone());
    assert_eq!(shown(&w, id), std::slice::from_ref(&left));
    w.live(5_000);
    assert_eq!(shown(&w, id), std::slice::from_ref(&left), "there is no other way");
    let parts = w.core.trees()[&left.0].clone();
    w.cut.clear();
    w.live(1_000);
    let after = w.core.status(id).unwrap().trees;
    let first = (after[1].tree, before[0].links[0].1.clone());
    assert_eq!(shown(&w, id), [left.clone(), first]);
    assert!(after[1].tree > before[1].tree, "a number of its own");
    assert!(after.iter().all(|t| (t.partition, &t.receivers) == (before[0].partition, &before[0].receivers)));
    assert!(after.iter().all(|t| (97..=98).contains(&(t.rate / 1_000_000))), "{after:?}");
    let now = &w.core.trees()[&left.0];
    assert_eq!((&now.hops, now.batch, now.in_force), (&parts.hops, parts.batch, true), "it is the same");
    w.progress(id, 100, Some(Ended::Complete));
    assert_eq!((w.state(id), w.core.trees().len()), (State::Done, 0));
}

#[test]
fn after_a_restart_too() {
    let (mut w, id, before) = begun();
    cut_first(&mut w, &before);
    w.restart();
    w.settle();
    w.progress(id, 30, None);
    assert_eq!(shown(&w, id).len(), 1);
    w.cut.clear();
    w.live(2_000);
    let after = shown(&w, id);
    assert_eq!((after.len(), after[0].0), (2, before[1].tree));
}

#[test]
fn one_that_cannot_be_installed_harms_nothing() {
    let (mut w, id, before) = begun();
    cut_first(&mut w, &before);
    let first = before[0].links[0].1.clone();
    w.sites.get_mut(&first).unwrap().refuses = true;
    w.cut.clear();
    for _ in 0..20 {
        w.settle();
        assert_eq!(shown(&w, id), [(before[1].tree, before[1].links[0].1.clone())]);
        w.progress(id, 30, None);
        w.pass(500);
    }
    w.sites.get_mut(&first).unwrap().refuses = false;
    w.live(40_000);
    assert_eq!(shown(&w, id).len(), 2, "{}", w.why(id));
}

#[test]
fn for_the_last_second_there_is_none() {
    let (mut w, id, before) = begun();
    w.progress(id, 99, None);
    cut_first(&mut w, &before);
    w.cut.clear();
    for _ in 0..6 {
        w.settle();
        w.progress(id, 99, None);
        w.pass(200);
    }
    assert_eq!(shown(&w, id).len(), 1);
}

/// Who is missing is still said after the others got their second tree.
#[test]
fn what_a_transfer_waits_for_is_said_as_before() {
    let mut w = two_ways();
    w.sites.get_mut("u").unwrap().receives = false;
    w.settle();
    let id = w.submit("S", &["t", "u"], GB);
    w.live(7_000);
    let trees = w.core.status(id).unwrap().trees;
    assert_eq!(trees.len(), 2, "{}", w.why(id));
    cut_first(&mut w, &trees);
    assert_eq!(shown(&w, id).len(), 1);
    w.cut.clear();
    w.live(2_000);
    assert_eq!(shown(&w, id).len(), 2);
    assert!(w.why(id).contains("nobody receives at u"), "{}", w.why(id));
}
