//! The fuzz targets' functions (`fuzz/`), driven by seeded cases.
#![allow(missing_docs)]

#[path = "../fuzz/src/lib.rs"]
mod cases;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same `n` cases every time.
fn run(n: u32, shapes: std::ops::RangeInclusive<u8>) {
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let case = (shapes, proptest::collection::vec(any::<u8>(), 0..1500));
    TestRunner::new_with_rng(config, rng)
        .run(&case, |(shape, mut bytes)| {
            bytes.insert(0, shape);
            cases::e1000_guest(&bytes);
            Ok(())
        })
        .unwrap();
}

/// From power on: most writes find nothing set up.
#[test]
fn e1000_guest_from_power_on() {
    run(500, 0..=0x7f);
}

/// From where a driver leaves the card.
#[test]
fn e1000_guest_in_use() {
    run(1500, 0x80..=0xff);
}
