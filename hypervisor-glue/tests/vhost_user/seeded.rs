//! The fuzz target (`fuzz/`), driven by seeded cases.

#[path = "../../fuzz/src/vhost_user.rs"]
mod cases;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same `n` cases every time. What was counted in all of them.
fn run(n: u32, how: std::ops::RangeInclusive<u8>) -> BTreeMap<&'static str, u64> {
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let case = (how, proptest::collection::vec(any::<u8>(), 0..600));
    let counted = RefCell::new(BTreeMap::new());
    let ended = TestRunner::new_with_rng(config, rng).run(&case, |(how, mut bytes)| {
        bytes.insert(0, how);
        for (name, n) in cases::vhost_user_session(&bytes) {
            *counted.borrow_mut().entry(name).or_default() += n;
        }
        Ok(())
    });
    assert!(ended.is_ok(), "{ended:?}");
    counted.into_inner()
}

/// From the first word: most messages are refused.
#[test]
fn a_front_end_that_says_anything() {
    let counted = run(800, 0..=0x7f);
    assert!(counted["refused"] > 500 && counted["messages"] > 900, "{counted:?}");
}

/// From where a driver has set up its rings: the cases come to every place that counts anything in them.
#[test]
fn a_guest_that_does_anything() {
    let counted = run(3000, 0x80..=0xff);
    for what in [
        "kicks",
        "calls",
        "suppressed_calls",
        "bad_descriptors",
        "memory_errors",
        "tx_by_reference",
        "rx_returned",
    ] {
        assert!(counted[what] > 20, "{what}: {counted:?}");
    }
}
