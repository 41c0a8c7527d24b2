//! The e1000's fuzz target (`fuzz/`), driven by seeded cases.
#![allow(missing_docs)]

#[path = "../fuzz/src/e1000.rs"]
mod cases;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same `n` cases every time. What the card counted in all of them.
fn run(n: u32, shapes: std::ops::RangeInclusive<u8>) -> BTreeMap<&'static str, u64> {
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let case = (shapes, proptest::collection::vec(any::<u8>(), 0..3000));
    let counted = RefCell::new(BTreeMap::new());
    let ended = TestRunner::new_with_rng(config, rng).run(&case, |(shape, mut bytes)| {
        bytes.insert(0, shape);
        for (name, n) in cases::e1000_guest(&bytes) {
            *counted.borrow_mut().entry(name).or_default() += n;
        }
        Ok(())
    });
    assert!(ended.is_ok(), "{ended:?}");
    counted.into_inner()
}

/// From power on: most writes find nothing set up.
#[test]
fn e1000_guest_from_power_on() {
    let counted = run(500, 0..=0x7f);
    assert!(counted["bad_access"] > 0 && counted["interrupts"] > 0, "{counted:?}");
}

/// From where a driver leaves the card: between them, the cases come to every place that counts anything.
#[test]
fn e1000_guest_in_use() {
    let counted = run(3000, 0x80..=0xff);
    let never: Vec<_> = counted.iter().filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
    assert!(never.is_empty(), "never: {never:?} of {counted:?}");
    // And not just once.
    assert!(counted["tx_frames"] > 1000 && counted["tx_by_reference"] > 500, "{counted:?}");
}
