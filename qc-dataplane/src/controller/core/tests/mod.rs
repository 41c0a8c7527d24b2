//! Stories with a known end; those that chance writes are in `random`.

mod life;
mod limits;
mod network;
mod quiet;
mod random;
mod rates;
mod thin;

use super::scheme;
use super::world::World;
use crate::control::TransferState as State;

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

fn diamond() -> World {
    let mut w = World::new(
        &[("S", "a", 100), ("S", "b", 100), ("a", "t", 100), ("b", "t", 100), ("t", "u", 100)],
        "single",
    );
    w.settle();
    w
}
