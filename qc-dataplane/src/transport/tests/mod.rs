//! Files over a network that loses, doubles, delays and changes frames; every case follows from its seed.

mod faults;
mod parallel;
pub mod sim;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::sender::Sender;
use super::wire::State;
pub use sim::temporary;
use sim::{Path1, Sim, receiver, sender_options, source, write_file};

fn sim(dir: &Path, n: u32, len: usize, fec: Option<(u16, u16)>, path: Path1, seed: u64) -> (Sim, Vec<u8>) {
    let file = dir.join("file");
    let bytes = write_file(&file, len, seed);
    let mut options = sender_options(seed);
    options.lead = u16::from(fec.is_some());
    let sender = Sender::new(options, source(&file, fec), &vec![0; n as usize], 0);
    (Sim::new(sender, (0..n).map(|i| receiver(dir, i, seed)).collect(), path, seed), bytes)
}

fn check(dir: &Path, n: u32, bytes: &[u8]) {
    for i in 0..n {
        let got = std::fs::read(dir.join(format!("r{i}/file"))).unwrap();
        assert!(got == bytes, "receiver {i}");
    }
}

#[test]
fn without_loss_every_chunk_is_sent_once() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 3, 3_000_000, None, Path1::default(), 1);
    sim.run(2_000);
    assert!(sim.all_verified());
    check(dir.path(), 3, &bytes);
    let counters = sim.sender.as_ref().unwrap().counters();
    assert_eq!(counters.chunks, 3_000_000u64.div_ceil(1408));
    assert_eq!((counters.repairs, counters.unicast, counters.parity), (0, 0, 0));
    for r in sim.receivers.iter_mut().flatten() {
        assert_eq!(r.counters().duplicates, 0);
        assert!(r.is_ended());
    }
    for r in sim.receivers.drain(..).flatten() {
        r.forget().unwrap();
    }
    for i in 0..3 {
        let left: Vec<_> = std::fs::read_dir(dir.path().join(format!("r{i}"))).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing but the file: {left:?}");
    }
}

/// With polls that are hours apart: the first one, the one when all is sent, and what receivers say by themselves have to do.
#[test]
fn the_end_waits_for_no_poll() {
    let dir = temporary();
    let file = dir.path().join("file");
    let bytes = write_file(&file, 3_000_000, 6);
    let mut options = sender_options(6);
    (options.poll_every, options.census_every) = (3_600_000 * sim::MS, 3_600_000 * sim::MS);
    let sender = Sender::new(options, source(&file, None), &[0; 5], 0);
    let receivers = (0..5).map(|i| receiver(dir.path(), i, 6)).collect();
    let mut sim = Sim::new(sender, receivers, Path1::default(), 6);
    // 2131 chunks at 40 a ms, some ms for each answer and each hop.
    for _ in 0..120 {
        sim.step();
    }
    assert!(sim.all_verified(), "{:?}", sim.sender.as_ref().unwrap().peers().collect::<Vec<_>>());
    check(dir.path(), 5, &bytes);
    let reports = sim.sender.as_ref().unwrap().counters().reports;
    assert!(reports <= 3 * 5, "a report for each poll, and one for the end: {reports}");
}

#[test]
fn polls_are_as_rare_as_asked_for_but_not_more_frequent_than_the_options_say() {
    let control = [1, 250].map(|ms| {
        let dir = temporary();
        let (mut sim, bytes) = sim(dir.path(), 3, 3_000_000, None, Path1::default(), 7);
        // 2131 chunks: as many ms.
        sim.room = 1;
        sim.sender.as_mut().unwrap().poll_every(ms * sim::MS);
        sim.run(5_000);
        check(dir.path(), 3, &bytes);
        sim.sender.as_ref().unwrap().counters().control
    });
    assert!((40..60).contains(&control[0]) && control[1] < control[0] / 2, "{control:?}");
}

/// Frames that are no content, by the ms, while one of `n` receivers does not answer and polls have `every` ms.
fn asked(n: u32, every: u64, silent: bool) -> Vec<u64> {
    let dir = temporary();
    let (mut sim, _) = sim(dir.path(), n, 10_000, None, Path1::default(), 9);
    sim.sender.as_mut().unwrap().poll_every(every * sim::MS);
    sim.receivers[0].take_if(|_| silent);
    let mut control = vec![0];
    for _ in 0..5_000 {
        sim.step();
        control.push(sim.sender.as_ref().unwrap().counters().control);
    }
    control.windows(2).map(|w| w[1] - w[0]).collect()
}

#[test]
fn who_does_not_answer_is_asked_many_times_at_once_where_there_is_room_for_it() {
    let most = |n, every, silent| asked(n, every, silent).into_iter().max().unwrap_or(0);
    // A hello or two with it for one who has never spoken, and the end.
    let once = 1..=3;
    assert!((16..=18).contains(&most(2, 50, true)));
    assert!(once.contains(&most(2, 50, false)), "all answer");
    assert!(once.contains(&most(2, 1_000, true)), "the tree is slow");
    assert!((4..=6).contains(&most(2, 200, true)), "the tree is rather slow");
    assert!(once.contains(&most(100, 50, true)), "a hundred would answer");
    // More by and by.
    let early: Vec<u64> = asked(2, 50, true).into_iter().skip(200).filter(|n| *n > 0).take(9).collect();
    assert!(early.is_sorted() && early[0] <= 3 && early[8] > 8, "{early:?}");
}

/// Losses in a row are counted in frames. With one poll at a time, and one answer, these took 58 s, and take 18.
#[test]
fn losses_in_a_row_end_although_there_is_nothing_else_to_send() {
    let mut ms = 0;
    for seed in 0..20 {
        let dir = temporary();
        let path = Path1 { burst: 0.5, ..Path1::default() };
        let (mut sim, bytes) = sim(dir.path(), 2, 100_000, None, path, 100 + seed);
        let begun = sim.now;
        sim.run(120_000);
        assert!(sim.all_verified(), "seed {seed}");
        check(dir.path(), 2, &bytes);
        ms += (sim.now - begun) / sim::MS;
    }
    assert!(ms < 29_000, "{ms} ms for 20 transfers");
}

#[test]
fn any_loss_is_repaired() {
    let paths = [
        ("1%", Path1 { loss: 0.01, ..Path1::default() }),
        ("10%", Path1 { loss: 0.1, ..Path1::default() }),
        ("half, in bursts", Path1 { burst: 0.5, ..Path1::default() }),
        ("late", Path1 { jitter: 30, ..Path1::default() }),
        ("doubled", Path1 { twice: 0.3, jitter: 5, ..Path1::default() }),
        ("changed", Path1 { flipped: 0.1, ..Path1::default() }),
        ("all of it", Path1 { loss: 0.05, burst: 0.2, jitter: 10, twice: 0.1, flipped: 0.05 }),
    ];
    for (seed, (name, path)) in (10..).zip(paths) {
        for fec in [None, Some((32, 16))] {
            let dir = temporary();
            let (mut sim, bytes) = sim(dir.path(), 4, 1_000_001, fec, path, seed);
            sim.run(120_000);
            assert!(sim.all_verified(), "{name} {fec:?}");
            check(dir.path(), 4, &bytes);
            let counters = sim.sender.as_ref().unwrap().counters();
            let recovered: u64 = sim.receivers.iter().flatten().map(|r| r.counters().recovered).sum();
            assert_eq!(recovered > 0, fec.is_some() && counters.repairs + recovered > 0, "{name} {fec:?}");
            if path.flipped > 0.0 {
                assert!(sim.receivers.iter().flatten().any(|r| r.counters().rejected > 0));
            }
        }
    }
}

#[test]
fn parity_repairs_with_fewer_frames() {
    let mut sent = [0; 2];
    for (fec, sent) in [None, Some((64, 32))].into_iter().zip(&mut sent) {
        let dir = temporary();
        let path = Path1 { loss: 0.05, ..Path1::default() };
        let (mut sim, _) = sim(dir.path(), 30, 700_000, fec, path, 3);
        sim.run(60_000);
        assert!(sim.all_verified());
        *sent = sim.sender.as_ref().map(Sender::counters).map_or(0, |c| c.chunks + c.parity);
    }
    // 30 receivers that each lose 5% lose 1 - 0.95^30 = 79% between them, but no more than 20% of any block.
    assert!(sent[1] * 4 < sent[0] * 3, "{sent:?}");
}

#[test]
fn directories_arrive_as_they_are() {
    let dir = temporary();
    let root = dir.path().join("tree");
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    for i in 0..60 {
        // The list does not fit into a hello, and small files share chunks.
        write_file(&root.join(format!("a/b/a file with a rather long name, number {i}")), i * 97, i as u64);
    }
    write_file(&root.join("big"), 400_000, 9);
    std::fs::set_permissions(root.join("big"), PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("../../big", root.join("a/b/link")).unwrap();
    std::fs::set_permissions(root.join("empty"), PermissionsExt::from_mode(0o555)).unwrap();
    let path = Path1 { loss: 0.1, jitter: 4, ..Path1::default() };
    let sender = Sender::new(sender_options(5), source(&root, None), &[0; 2], 0);
    let mut sim = Sim::new(sender, (0..2).map(|i| receiver(dir.path(), i, 5)).collect(), path, 5);
    sim.run(60_000);
    assert!(sim.all_verified());
    assert!(sim.sender.as_ref().unwrap().counters().parts > 3);
    for i in 0..2 {
        let got = dir.path().join(format!("r{i}/tree"));
        let here = super::files::source::Source::open(&got, 1408, None).unwrap();
        let there = source(&root, None);
        // Names, sizes, modes, links; and times, but for those of directories, which change as files are put in.
        assert_eq!(here.manifest().len(), there.manifest().len());
        for name in ["big", "a/b/a file with a rather long name, number 59"] {
            assert!(std::fs::read(got.join(name)).unwrap() == std::fs::read(root.join(name)).unwrap());
            let (a, b) = (root.join(name).metadata().unwrap(), got.join(name).metadata().unwrap());
            assert_eq!(a.permissions(), b.permissions());
            assert_eq!(a.modified().unwrap(), b.modified().unwrap());
        }
        assert_eq!(std::fs::read_link(got.join("a/b/link")).unwrap(), Path::new("../../big"));
        assert_eq!(got.join("empty").metadata().unwrap().permissions().mode() & 0o777, 0o555);
    }
}

#[test]
fn an_empty_file_is_a_file() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 2, 0, None, Path1::default(), 1);
    sim.run(2_000);
    assert!(sim.all_verified());
    check(dir.path(), 2, &bytes);
}

#[test]
fn a_thousand_receivers_do_not_speak_at_once() {
    for (root_loss, own) in [(0.02, 0.0), (0.0, 0.001)] {
        let dir = temporary();
        let path = Path1 { loss: own, ..Path1::default() };
        let (mut sim, bytes) = sim(dir.path(), 1000, 100_000, None, path, 8);
        sim.root_loss = root_loss;
        let begun = sim.now;
        sim.run(60_000);
        assert!(sim.all_verified());
        check(dir.path(), 3, &bytes);
        // Never faster than the sender wants, on average, nor in any millisecond by far.
        let ms = (sim.now - begun) / sim::MS;
        assert!(sim.reports <= 2 * ms + 1000, "{} in {ms} ms", sim.reports);
        assert!(sim.peak < 40, "{}", sim.peak);
        assert!(sim.reports < 8_000, "{}", sim.reports);
    }
}

#[test]
fn what_all_lack_is_asked_for_by_few() {
    let dir = temporary();
    let (mut sim, _) = sim(dir.path(), 400, 4_000_000, None, Path1::default(), 4);
    // Slow, so that there are many polls while the content passes.
    sim.room = 1;
    sim.root_loss = 0.05;
    for _ in 0..2_000 {
        sim.step();
    }
    // Between the first census and the second, what is lost near the root is lost for 400.
    let before = sim.reports;
    let suppressed =
        |sim: &Sim| -> u64 { sim.receivers.iter().flatten().map(|r| r.counters().suppressed).sum() };
    let silent = suppressed(&sim);
    for _ in 0..3_000 {
        sim.step();
    }
    let asked = sim.reports - before;
    let silent = suppressed(&sim) - silent;
    // 3 censuses of 400 answers are due in that time; the rest asked for repairs.
    assert!(asked < 3 * 400 + 600, "{asked} reports, {silent} kept silent");
    assert!(silent > 1_000, "{asked} reports, {silent} kept silent");
}

#[test]
fn repairs_go_alone_where_that_is_cheaper() {
    let dir = temporary();
    let file = dir.path().join("file");
    let bytes = write_file(&file, 1_000_000, 1);
    let mut options = sender_options(1);
    options.tree_links = 40;
    let sender = Sender::new(options, source(&file, None), &[3; 10], 0);
    let mut sim =
        Sim::new(sender, (0..10).map(|i| receiver(dir.path(), i, 1)).collect(), Path1::default(), 1);
    sim.paths[4].loss = 0.05;
    sim.run(10_000);
    check(dir.path(), 10, &bytes);
    let counters = sim.sender.as_ref().unwrap().counters();
    assert!(counters.unicast > 20 && counters.repairs < 20, "{counters:?}");
    for (i, r) in sim.receivers.iter().flatten().enumerate() {
        assert_eq!(r.state(), State::Verified);
        assert!(i == 4 || r.counters().duplicates <= counters.repairs as u32);
    }
}
