use std::collections::HashMap;

use super::*;
use crate::graph::{Graph, Link};

fn traffic(transfers: usize, lambda: f64, receivers: usize) -> Traffic {
    let volumes = Volumes::new(Distribution::Exponential, 20.0).unwrap();
    Traffic { transfers, lambda, receivers, volumes }
}

#[test]
fn senders_take_turns_and_receivers_are_even() {
    let transfers = traffic(3403, 0.5, 8).generate(34, 7).unwrap();
    let (mut sent, mut got) = (HashMap::new(), HashMap::new());
    for t in &transfers {
        *sent.entry(t.from).or_insert(0) += 1;
        assert!(t.receivers.is_sorted_by(|a, b| a < b) && !t.receivers.contains(&t.from), "{t:?}");
        assert_eq!(t.receivers.len(), 8);
        for r in &t.receivers {
            *got.entry(*r).or_insert(0) += 1;
        }
    }
    assert!(transfers.is_sorted_by(|a, b| a.arrival <= b.arrival));
    assert!(sent.values().all(|n| (100..=101).contains(n)) && sent.len() == 34);
    // 800 expected each, standard deviation below 28.
    assert!(got.values().all(|n| (660..=940).contains(n)), "{got:?}");
    let mean_gap = transfers.last().unwrap().arrival / 3403.0;
    assert!((mean_gap - 2.0).abs() < 0.2, "{mean_gap}");
}

#[test]
fn a_seed_is_a_run() {
    let t = traffic(50, 1.0, 4);
    assert_eq!(t.generate(18, 3).unwrap(), t.generate(18, 3).unwrap());
    assert_ne!(t.generate(18, 3).unwrap(), t.generate(18, 4).unwrap());
    // Changes with the generator only, which would make published figures unrepeatable.
    let first = &t.generate(18, 3).unwrap()[0];
    assert_eq!((first.from, &first.receivers[..]), FIRST);
    assert!(traffic(9, f64::INFINITY, 2).generate(5, 1).unwrap().iter().all(|t| t.arrival == 0.0));
}

const FIRST: (Node, &[Node]) = (0, &[8, 14, 15, 16]);

#[test]
fn says_what_is_wrong() {
    let say = |t: Traffic| t.generate(5, 1).unwrap_err().to_string();
    assert_eq!(say(traffic(1, 0.0, 2)), "lambda is 0, must be above 0");
    assert_eq!(say(traffic(1, f64::NAN, 2)), "lambda is NaN, must be above 0");
    assert_eq!(say(traffic(1, 1.0, 5)), "5 receivers per transfer, but only 4 nodes besides the sender");
    assert_eq!(say(traffic(1, 1.0, 0)), "a transfer needs at least one receiver");
}

fn pair() -> Graph {
    let link = |from, to| Link { from, to, capacity: 1.0 };
    Graph::new(["a", "b", "c"].map(String::from).to_vec(), vec![link(0, 1), link(1, 2), link(2, 0)]).unwrap()
}

#[test]
fn traces_go_both_ways() {
    let text = "# mine\narrival,from,to,volume\n2.5,b,a c,7\n0,a,b,0.125\n";
    let transfers = trace::read(&pair(), text).unwrap();
    assert_eq!(transfers[0], Transfer { arrival: 0.0, from: 0, receivers: vec![1], volume: 0.125 });
    assert_eq!(trace::write(&pair(), &transfers), "arrival,from,to,volume\n0,a,b,0.125\n2.5,b,a c,7\n");
}

#[test]
fn bad_traces_name_the_line() {
    for (line, want) in [
        ("1,a,b", "3 fields, must be 4"),
        ("x,a,b,1", "arrival is \"x\""),
        ("-1,a,b,1", "arrival is \"-1\""),
        ("1,z,b,1", "no node \"z\""),
        ("1,a,a,1", "\"a\" is to send to itself"),
        ("1,a,b b,1", "receiver \"b\" is named twice"),
        ("1,a,,1", "to is empty"),
        ("1,a,b,0", "volume is \"0\""),
        ("1,a,b,NaN", "volume is \"NaN\""),
        ("1,a,b,inf", "volume is \"inf\""),
    ] {
        let e = trace::read(&pair(), &format!("# first\n{line}\n")).unwrap_err().to_string();
        assert!(e.starts_with("line 2: ") && e.contains(want), "{e}");
    }
}
