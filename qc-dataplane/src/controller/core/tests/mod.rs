//! Stories with a known end; those that chance writes are in `random`.

mod quiet;
mod random;
mod rates;
mod thin;

use std::collections::BTreeSet;

use super::world::World;
use super::{Refusal, scheme};
use crate::control::{
    Ended, NewTransfer, Progress, ReceiverProgress, ReceiverState, TransferState, TreeProgress,
};
use TransferState as State;

const GB: u64 = 1_000_000_000;
const ALL: [&str; 4] = ["t1", "t2", "t3", "t4"];

#[test]
fn names_of_schemes() {
    for name in ["unicast", "single", "quickcast2", "quickcast", "best", "paper", "dccast"] {
        let scheme = scheme(name).unwrap();
        assert_eq!(scheme.name, name);
        assert_eq!(scheme.parallel > 1, name == "best", "the paper's partitions have one tree each");
    }
    assert!(scheme("worst").is_none() && scheme("").is_none());
}

#[test]
fn figure_1_from_submission_to_the_end() {
    let mut w = World::fig1();
    let id = w.submit("S", &ALL, GB);
    assert_eq!(w.state(id), State::Planning);
    assert!(w.core.status(id).unwrap().trees.is_empty(), "nothing flows before the barrier");
    w.settle();
    let status = w.core.status(id).unwrap();
    assert_eq!(status.state, State::Running);
    let mut sets: Vec<_> = status.trees.iter().map(|t| (t.receivers.join(" "), t.rate / 1_000_000)).collect();
    sets.sort();
    // The fast ones get what the slow ones cannot use.
    assert_eq!(sets[0].0, "t1 t2");
    assert_eq!(sets[1].0, "t3 t4");
    assert!((96..=98).contains(&sets[0].1) && (880..=884).contains(&sets[1].1), "{sets:?}");
    assert_eq!(status.trees[0].hops.len(), 2);
    w.progress(id, 40, None);
    let r = w.core.status(id).unwrap().receivers;
    assert!(r.iter().all(|r| r.have == GB / 100 * 40 && r.state == ReceiverState::Receiving));
    w.pass(2_000);
    w.progress(id, 100, None);
    assert_eq!(w.state(id), State::Running, "the sender has the last word");
    w.progress(id, 100, Some(Ended::Complete));
    let done = w.core.status(id).unwrap();
    assert_eq!((done.state, done.trees.len(), w.core.trees().len()), (State::Done, 0, 0));
    assert!(done.receivers.iter().all(|r| r.seconds == Some(2.0) && r.state == ReceiverState::Verified));
}

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

/// Two ways of 100 Mbit/s from S to t and u.
fn two_ways() -> World {
    let ways = [
        ("S", "a", 100),
        ("S", "b", 100),
        ("a", "t", 100),
        ("b", "t", 100),
        ("a", "u", 100),
        ("b", "u", 100),
    ];
    let mut w = World::new(&ways, "best");
    w.settle();
    w
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

fn diamond() -> World {
    let mut w = World::new(
        &[("S", "a", 100), ("S", "b", 100), ("a", "t", 100), ("b", "t", 100), ("t", "u", 100)],
        "single",
    );
    w.settle();
    w
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
fn a_silent_sender_stalls_and_another_resumes() {
    let mut w = World::fig1();
    let id = w.submit("S", &ALL, GB);
    w.settle();
    w.progress(id, 20, None);
    let other = Progress { session: 8, trees: vec![], verified: vec![], ended: None };
    assert!(matches!(w.core.progress(w.now, id, &other), Err(Refusal::Conflict(_))));
    w.silent.insert(id);
    w.live(11_000);
    assert_eq!((w.state(id), w.core.trees().len()), (State::Stalled, 0));
    assert!(w.why(id).contains("silent for 10 s"));
    w.core.progress(w.now, id, &other).unwrap();
    w.check();
    w.settle();
    assert_eq!(w.state(id), State::Running);
    let paused = Progress { session: 8, trees: vec![], verified: vec![], ended: Some(Ended::Paused) };
    w.core.progress(w.now, id, &paused).unwrap();
    w.check();
    assert_eq!(w.state(id), State::Stalled);
    let failed = Progress {
        session: 9,
        trees: vec![],
        verified: vec![],
        ended: Some(Ended::Failed("no such\nfile".into())),
    };
    w.core.progress(w.now, id, &failed).unwrap();
    w.check();
    assert_eq!((w.state(id), w.why(id)), (State::Partial, "the sender: no such file".into()));
}

#[test]
fn who_lacks_it_is_named() {
    let mut w = World::fig1();
    let id = w.submit("S", &["t1", "t3"], GB);
    w.settle();
    let trees = w.core.status(id).unwrap().trees;
    let at = |site: &str| match site {
        "t1" => ReceiverProgress { have: GB, rate: 0, state: ReceiverState::Verified, why: None },
        _ => {
            ReceiverProgress { have: 5, rate: 0, state: ReceiverState::Failed, why: Some("disk full".into()) }
        }
    };
    let tree = |t: &crate::control::TreeStatus| TreeProgress {
        tree: t.tree,
        residual: 0,
        receivers: t.receivers.iter().map(|r| at(r)).collect(),
    };
    let progress = Progress {
        session: 1,
        trees: trees.iter().map(tree).collect(),
        verified: vec![],
        ended: Some(Ended::Complete),
    };
    w.core.progress(w.now, id, &progress).unwrap();
    w.check();
    assert_eq!(w.state(id), State::Partial);
    assert_eq!(w.why(id), "not all receivers have it: t3 (disk full)");
    assert!(matches!(w.core.cancel(w.now, id), Err(Refusal::Conflict(_))));
}

/// A tree may be taken away between a receiver's last word and the sender's next message.
#[test]
fn who_has_it_has_it_also_when_its_tree_is_gone() {
    let mut w = diamond();
    let id = w.submit("S", &["t", "u"], GB);
    w.settle();
    w.progress(id, 99, None);
    for other in ["a", "b"] {
        w.cut.insert(("S".into(), other.into()));
    }
    w.settle();
    assert_eq!((w.state(id), w.core.trees().len()), (State::Waiting, 0));
    let mut said = Progress { session: 7, trees: vec![], verified: vec!["u".into()], ended: None };
    w.core.progress(w.now, id, &said).unwrap();
    w.check();
    let states = |w: &World| w.core.status(id).unwrap().receivers.iter().map(|r| r.state).collect::<Vec<_>>();
    assert_eq!(states(&w), [ReceiverState::Receiving, ReceiverState::Verified]);
    said = Progress { verified: vec!["t".into(), "u".into()], ended: Some(Ended::Complete), ..said };
    w.core.progress(w.now, id, &said).unwrap();
    w.check();
    assert_eq!(w.state(id), State::Done, "{}", w.why(id));
    assert!(w.core.status(id).unwrap().receivers.iter().all(|r| r.seconds.is_some() && r.have == GB));
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
fn a_sender_that_waits_no_longer_ends_it_without_those_that_are_missing() {
    let mut w = World::fig1();
    w.sites.get_mut("t3").unwrap().receives = false;
    w.settle();
    let id = w.submit("S", &["t1", "t3"], GB);
    w.live(6_000);
    w.progress(id, 100, Some(Ended::Enough));
    let status = w.core.status(id).unwrap();
    assert_eq!((status.state, w.core.trees().len()), (State::Partial, 0));
    assert!(status.why.as_ref().unwrap().contains("t3 (nobody receives at t3"), "{status:?}");
    assert_eq!(status.receivers[0].state, ReceiverState::Verified);
}

#[test]
fn who_asks_again_since_no_answer_came_gets_the_same_transfer() {
    let mut w = World::fig1();
    let ask = |w: &mut World, request, name: &str| {
        let (from, to) = (Some("S".into()), vec!["t1".into()]);
        let (name, overhead, scheme, path) = (name.to_owned(), 1.0, None, None);
        let new = NewTransfer { from, to, bytes: 1, name, overhead, scheme, path, request };
        let id = w.core.submit(w.now, new).unwrap().id;
        w.check();
        id
    };
    let first = ask(&mut w, Some(9), "f");
    assert_eq!(ask(&mut w, Some(9), "f"), first);
    w.restart();
    assert_eq!(ask(&mut w, Some(9), "f"), first);
    assert!(ask(&mut w, Some(8), "f") != first && ask(&mut w, None, "f") != first);
    // The same number by accident.
    assert_ne!(ask(&mut w, Some(9), "g"), first);
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

#[test]
fn what_makes_no_sense_is_refused() {
    let mut w = World::fig1();
    let good = || NewTransfer {
        from: Some("S".into()),
        to: vec!["t1".into()],
        bytes: 1,
        name: "f".into(),
        overhead: 1.0,
        scheme: None,
        path: None,
        request: None,
    };
    let cases: [(NewTransfer, &str); 13] = [
        (NewTransfer { from: None, ..good() }, "`from` is missing"),
        (NewTransfer { from: Some("s1".into()), ..good() }, "no site \"s1\""),
        (NewTransfer { to: vec![], ..good() }, "`to` names 0 sites"),
        (NewTransfer { to: vec!["t11".into()], ..good() }, "did you mean t1?"),
        (NewTransfer { to: vec!["t1".into(), "t1".into()], ..good() }, "names t1 twice"),
        (NewTransfer { to: vec!["S".into()], ..good() }, "S is the sender and a receiver"),
        (NewTransfer { bytes: 1 << 53, ..good() }, "below 2^53"),
        (NewTransfer { name: "../x".into(), ..good() }, "without its path"),
        (NewTransfer { name: "..".into(), ..good() }, "without its path"),
        (NewTransfer { name: String::new(), ..good() }, "1 to 255 bytes"),
        (NewTransfer { overhead: f64::NAN, ..good() }, "from 1 to 16"),
        (NewTransfer { scheme: Some("worst".into()), ..good() }, "no scheme \"worst\""),
        (NewTransfer { path: Some("a\0".into()), ..good() }, "control characters"),
    ];
    for (new, want) in cases {
        let got = w.core.submit(w.now, new).unwrap_err().to_string();
        assert!(got.contains(want), "{got}");
    }
    assert!(matches!(w.core.status(9), Err(Refusal::Missing(_))));
    let id = w.core.submit(w.now, good()).unwrap().id;
    w.check();
    w.settle();
    let tree = w.core.status(id).unwrap().trees[0].tree;
    let wrong = Progress {
        session: 1,
        trees: vec![TreeProgress { tree, residual: 0, receivers: vec![] }],
        verified: vec![],
        ended: None,
    };
    let got = w.core.progress(w.now, id, &wrong).unwrap_err().to_string();
    assert!(got.contains("has 1 receivers, the report has 0"), "{got}");
    let wrong = Progress { session: 1, trees: vec![], verified: vec!["nobody".into()], ended: None };
    let got = w.core.progress(w.now, id, &wrong).unwrap_err().to_string();
    assert!(got.contains("\"nobody\", which is no receiver"), "{got}");
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
