//! Transfers from what was asked for to their end.

use super::super::Refusal;
use super::super::world::World;
use super::{ALL, GB, State, diamond};
use crate::control::{Ended, NewTransfer, Progress, ReceiverProgress, ReceiverState, TreeProgress};

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
