//! Links and sites that go away, and sites that refuse.

use std::collections::BTreeSet;

use super::super::world::World;
use super::{ALL, GB, State, diamond, two_ways};
use crate::control::Ended;

#[test]
fn a_site_that_cannot_install_takes_the_whole_batch_along() {
    let mut w = World::fig1();
    w.sites.get_mut("t2").unwrap().refuses = true;
    let id = w.submit("S", &ALL, GB);
    w.settle();
    assert_ne!(w.state(id), State::Running);
    assert_eq!(w.core.trees().len(), 0);
    assert!(w.why(id).contains("site t2 cannot install a tree: the disk is on fire"), "{}", w.why(id));
    // The others start without it when they have waited long enough.
    w.live(6_000);
    let status = w.core.status(id).unwrap();
    assert_eq!(status.state, State::Running);
    let served: BTreeSet<_> = status.trees.iter().flat_map(|t| t.receivers.clone()).collect();
    assert_eq!(served, BTreeSet::from(["t1".into(), "t3".into(), "t4".into()]));
    assert!(status.why.unwrap().contains("on fire"));
    w.sites.get_mut("t2").unwrap().refuses = false;
    w.live(40_000);
    let status = w.core.status(id).unwrap();
    assert_eq!(status.trees.iter().map(|t| t.receivers.len()).sum::<usize>(), 4);
}

#[test]
fn a_site_that_does_not_answer_is_not_waited_for_for_ever() {
    let mut w = World::fig1();
    let id = w.submit("S", &ALL, GB);
    for name in w.names().into_iter().filter(|n| n != "y") {
        w.sync(&name);
        w.sync(&name);
    }
    assert_eq!(w.state(id), State::Planning);
    w.pass(6_000);
    for _ in 0..3 {
        for name in w.names().into_iter().filter(|n| n != "y") {
            w.sync(&name);
        }
        w.pass(100);
    }
    // t1 and t2 are behind it.
    let served: Vec<_> = w.core.status(id).unwrap().trees.iter().flat_map(|t| t.receivers.clone()).collect();
    assert_eq!(served, ["t3", "t4"]);
}

/// One of a batch is everywhere; the other is withdrawn before it is.
#[test]
fn what_is_left_of_a_batch_comes_into_force() {
    let mut w = World::fig1();
    let id = w.submit("S", &ALL, GB);
    let others: Vec<String> = w.names().into_iter().filter(|n| n != "y").collect();
    others.iter().chain(&others).for_each(|name| w.sync(name));
    assert_eq!((w.state(id), w.core.trees().len()), (State::Planning, 2));
    w.cut.insert(("x".into(), "y".into()));
    others.iter().for_each(|name| w.sync(name));
    let trees = w.core.status(id).unwrap().trees;
    assert_eq!((w.state(id), trees.len()), (State::Running, 1));
    assert_eq!(trees[0].receivers, ["t3", "t4"]);
}

#[test]
fn trees_of_one_partition_share_what_it_lacks() {
    let mut w = two_ways();
    let id = w.submit("S", &["t", "u"], GB);
    w.settle();
    let trees = w.core.status(id).unwrap().trees;
    assert_eq!(trees.len(), 2, "{trees:?}");
    assert_eq!((trees[0].partition, &trees[0].receivers), (trees[1].partition, &trees[1].receivers));
    assert!(trees[0].links.iter().all(|l| !trees[1].links.contains(l)), "{trees:?}");
    assert!(trees.iter().all(|t| (97..=98).contains(&(t.rate / 1_000_000))), "{trees:?}");
    w.progress(id, 40, None);
    assert!(w.core.status(id).unwrap().receivers.iter().all(|r| r.have == GB / 100 * 40));
    // What is planned next is told of each half of it: both ways are as good as before, and taken alike.
    let loads: Vec<f64> = w.core.flows_left().map(|f| f.1).collect();
    assert_eq!(loads, vec![GB as f64 * 0.6 * 8.0 * 1.05 / 1e9 / 2.0; 2]);
    w.restart();
    w.settle();
    let again = w.core.status(id).unwrap().trees;
    let plain = |t: &crate::control::TreeStatus| (t.tree, t.partition, t.links.clone());
    assert!(again.iter().map(plain).eq(trees.iter().map(plain)), "the same after a restart: {again:?}");
    w.progress(id, 40, None);
    // One goes: the other carries the rest by itself.
    let over = |n: usize| ("S".to_owned(), trees[n].links[0].1.clone());
    w.cut.insert(over(0));
    w.settle();
    let status = w.core.status(id).unwrap();
    assert_eq!(status.trees.iter().map(|t| t.tree).collect::<Vec<_>>(), [trees[1].tree]);
    assert_eq!(status.state, State::Running);
    w.cut.insert(over(1));
    w.settle();
    assert_eq!(w.state(id), State::Waiting);
    // Both are back when its sender comes back: what is left is planned as it was.
    w.progress(id, 40, Some(Ended::Paused));
    w.cut.clear();
    w.settle();
    w.progress(id, 40, None);
    w.settle();
    let both = w.core.status(id).unwrap().trees;
    assert_eq!(both.len(), 2, "{}", w.why(id));
    assert!(both.iter().all(|t| t.partition == both[0].partition && t.partition != trees[0].partition));
    w.progress(id, 100, Some(Ended::Complete));
    assert_eq!(w.state(id), State::Done);
}

#[test]
fn trees_go_around_links_that_are_down_with_what_is_left() {
    let mut w = diamond();
    let id = w.submit("S", &["t", "u"], GB);
    w.settle();
    w.progress(id, 60, None);
    let first = w.core.status(id).unwrap().trees[0].clone();
    let over = first.links[0].1.clone();
    w.cut.insert(("S".into(), over.clone()));
    w.settle();
    let status = w.core.status(id).unwrap();
    assert_eq!(status.state, State::Running);
    assert!(status.trees[0].tree != first.tree && status.trees[0].links[0].1 != over, "{status:?}");
    assert_eq!(w.core.trees().values().next().unwrap().residual, GB / 100 * 40);
    // Nothing is left: it waits, and goes on by itself.
    let other = status.trees[0].links[0].1.clone();
    w.cut.insert(("S".into(), other.clone()));
    w.settle();
    assert_eq!((w.state(id), w.core.trees().len()), (State::Waiting, 0));
    assert!(w.why(id).contains("no links that are up lead from S to t"), "{}", w.why(id));
    w.cut.clear();
    w.settle();
    assert_eq!(w.state(id), State::Running);
}

#[test]
fn a_dead_site_loses_its_trees_by_its_neighbours_and_a_silent_one_keeps_them_for_its_lease() {
    let mut w = diamond();
    let id = w.submit("S", &["t", "u"], GB);
    w.settle();
    w.sites.get_mut("u").unwrap().alive = false;
    w.settle();
    let served: Vec<_> = w.core.status(id).unwrap().trees.iter().flat_map(|t| t.receivers.clone()).collect();
    w.live(6_000);
    let later: Vec<_> = w.core.status(id).unwrap().trees.iter().flat_map(|t| t.receivers.clone()).collect();
    assert!(served.is_empty() || served == ["t"]);
    assert_eq!(later, ["t"]);
    let mut w = diamond();
    let id = w.submit("S", &["t"], GB);
    w.settle();
    // Its links are up, it only does not speak to the controller.
    let speak = |w: &mut World| {
        for name in ["S", "a", "b", "u"] {
            w.sync(name);
        }
        w.progress(id, 10, None);
        w.pass(500);
    };
    for _ in 0..10 {
        speak(&mut w);
    }
    assert!(!w.core.site("t").unwrap().is_up());
    assert_eq!(w.state(id), State::Running, "data goes on");
    for _ in 0..20 {
        speak(&mut w);
    }
    assert_eq!(w.state(id), State::Waiting);
    assert!(w.why(id).contains("site t is down"), "{}", w.why(id));
}

#[test]
fn a_killed_controller_goes_on_where_it_was() {
    let mut w = World::fig1();
    let running = w.submit("S", &ALL, GB);
    w.settle();
    let half = w.submit("t3", &["t1", "S"], GB);
    w.sync("t3");
    w.sync("t3");
    let trees = w.core.status(running).unwrap().trees;
    w.restart();
    // Before any site has come back: the trees are the same, and data goes on.
    let plain = |trees: &[crate::control::TreeStatus]| {
        trees.iter().map(|t| (t.tree, t.links.clone())).collect::<Vec<_>>()
    };
    assert_eq!(plain(&w.core.status(running).unwrap().trees), plain(&trees));
    assert_eq!(w.state(half), State::Planning);
    w.settle();
    assert_eq!((w.state(running), w.state(half)), (State::Running, State::Running));
    w.progress(running, 100, Some(Ended::Complete));
    w.restart();
    assert_eq!((w.state(running), w.state(half)), (State::Done, State::Running));
    let done = w.core.status(running).unwrap();
    assert!(done.receivers.iter().all(|r| r.seconds.is_some()));
    // A site that does not come back is found missing.
    w.sites.get_mut("t1").unwrap().alive = false;
    w.live(30_000);
    let status = w.core.status(half).unwrap();
    assert_eq!(status.trees.iter().flat_map(|t| t.receivers.clone()).collect::<Vec<_>>(), ["S"]);
    assert!(status.receivers[0].why.as_ref().unwrap().contains("site t1"));
}
