//! The fuzz targets (`fuzz/`) of the e1000 and of the bare guest's driver for virtio-net, driven by seeded cases.
#![allow(missing_docs)]

#[path = "../fuzz/src/e1000.rs"]
mod e1000;
#[path = "../fuzz/src/virtio_around.rs"]
mod virtio_around;
#[path = "../fuzz/src/virtio_device.rs"]
mod virtio_device;
#[path = "../fuzz/src/virtio_net.rs"]
mod virtio_net;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

type Counted = BTreeMap<&'static str, u64>;

/// The same `n` cases every time, of a first byte and up to `most` others. What was counted in all of them.
fn run<C>(n: u32, shape: impl Strategy<Value = u8>, most: usize, target: impl Fn(&[u8]) -> C) -> Counted
where
    C: IntoIterator<Item = (&'static str, u64)>,
{
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let case = (shape, proptest::collection::vec(any::<u8>(), 0..most));
    let counted = RefCell::new(BTreeMap::new());
    let ended = TestRunner::new_with_rng(config, rng).run(&case, |(shape, mut bytes)| {
        bytes.insert(0, shape);
        for (name, n) in target(&bytes) {
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
    let counted = run(500, 0..=0x7fu8, 3000, e1000::e1000_guest);
    assert!(counted["bad_access"] > 0 && counted["interrupts"] > 0, "{counted:?}");
}

/// From where a driver leaves the card: between them, the cases come to every place that counts anything.
#[test]
fn e1000_guest_in_use() {
    let counted = run(3000, 0x80..=0xffu8, 3000, e1000::e1000_guest);
    let never: Vec<_> = counted.iter().filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
    assert!(never.is_empty(), "never: {never:?} of {counted:?}");
    // And not just once.
    assert!(counted["tx_frames"] > 1000 && counted["tx_by_reference"] > 500, "{counted:?}");
}

/// A device that keeps to the rules.
#[test]
fn virtio_net_driver_with_an_honest_device() {
    let even = (0..=0x7fu8).prop_map(|b| b << 1);
    let counted = run(1000, even, 600, virtio_net::virtio_net_driver);
    for what in ["sent", "received", "kicks", "interrupts", "full"] {
        assert!(counted[what] > 1000, "{what}: {counted:?}");
    }
    assert!(counted["buffers"] > counted["received"], "{counted:?}");
}

/// Indices come round, more than once.
#[test]
fn virtio_net_driver_for_a_long_time() {
    for shape in [0, 2, 6, 10] {
        // Rounds, both sides ask to be told, and again.
        let long = [[14, 0, 255], [12, 0, 1], [12, 1, 1], [14, 0, 255], [7, 1, 4]].as_flattened().repeat(20);
        let counted = virtio_net::virtio_net_driver(&[&[shape][..], &[9], &long].concat());
        assert!(counted["received"] > 140_000 && counted["interrupts"] > 0, "{counted:?}");
    }
}

/// One that writes what it likes.
#[test]
fn virtio_net_driver_with_a_hostile_device() {
    let odd = (0..=0x7fu8).prop_map(|b| b << 1 | 1);
    let counted = run(3000, odd, 600, virtio_net::virtio_net_driver);
    for what in ["refused", "faults", "scribbles", "sent", "received"] {
        assert!(counted[what] > 100, "{what}: {counted:?}");
    }
}
