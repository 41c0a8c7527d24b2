//! The fuzz targets' functions (`fuzz/`), driven by seeded cases.
#![allow(missing_docs)]

#[path = "../fuzz/src/lib.rs"]
mod cases;

use std::os::fd::AsFd;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use valecast_ring::attach::{Refusal, Reply, Request};
use valecast_ring::layout::{Layout, RingParams};
use valecast_ring::notify::Pairing;
use zerocopy::IntoBytes;

/// The same `n` cases every time.
fn runner(n: u32) -> TestRunner {
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn attach_request() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..600);
    runner(10_000)
        .run(&bytes, |b| {
            cases::attach_request(&b);
            Ok(())
        })
        .unwrap();
    // Good messages with some bytes changed: these get past the first check.
    let layout = Layout::try_from(RingParams::default()).unwrap();
    let good = [
        Request {
            port: "a".into(),
            tx_rings: Some(2),
            rx_rings: None,
            slots: Some(64),
            buf_size: None,
            pairing: Pairing::default(),
        }
        .to_wire()
        .unwrap()
        .as_bytes()
        .to_vec(),
        Reply::Attached(layout, Pairing::default()).to_wire().as_bytes().to_vec(),
        Reply::Refused(Refusal::Busy, "in use".into()).to_wire().as_bytes().to_vec(),
    ];
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    runner(10_000)
        .run(&(0..good.len(), changes), |(which, changes)| {
            let mut m = good[which].clone();
            for (at, v) in changes {
                let at = at.index(m.len());
                m[at] = v;
            }
            cases::attach_request(&m);
            Ok(())
        })
        .unwrap();
}

#[test]
fn ring_view() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..1500);
    runner(4_000)
        .run(&bytes, |b| {
            cases::ring_view(&b);
            Ok(())
        })
        .unwrap();
}

/// A message with more descriptors than there is room for is refused, and none of them stays open.
#[test]
fn descriptors_beyond_the_limit_do_not_stay() {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
    use std::os::fd::AsRawFd;
    use valecast_ring::attach::{MAX_FDS, recv_msg, send_msg};

    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    // Descriptors of one file, so that other tests of this process do not matter.
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let path = std::fs::canonicalize("/proc/self/exe").unwrap();
    let open = || {
        let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        all.filter(|e| std::fs::read_link(e.path()).is_ok_and(|p| p == path)).count()
    };
    let before = open();
    for n in [1, MAX_FDS, MAX_FDS + 1, 253] {
        send_msg(a.as_fd(), b"x", &vec![file.as_raw_fd(); n]).unwrap();
        let got = recv_msg(b.as_fd(), MsgFlags::empty());
        assert!(got.is_ok() || n > MAX_FDS, "{n} descriptors");
        drop(got);
        assert_eq!(open(), before, "after {n} descriptors");
    }
}
