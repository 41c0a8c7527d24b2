//! The fuzz target's function (`fuzz/`), driven by seeded cases.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::cases::vfio_user_session;

/// The same `n` cases every time.
fn runner(n: u32) -> TestRunner {
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn short_lives() {
    let script = proptest::collection::vec(any::<u8>(), 0..200);
    runner(3000)
        .run(&script, |s| {
            vfio_user_session(&s);
            Ok(())
        })
        .unwrap();
}

#[test]
fn long_lives() {
    // Without the operation that ends a life early.
    let op = any::<u8>().prop_map(|b| if b % 16 == 15 { b - 1 } else { b });
    let script = proptest::collection::vec(op, 2000..6000);
    runner(60)
        .run(&script, |s| {
            vfio_user_session(&s);
            Ok(())
        })
        .unwrap();
}
