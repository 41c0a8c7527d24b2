//! Either side dies and comes back, clocks jump, disks are full, frames are hostile.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::sim::{
    MS, Path1, SENDER, Sim, TRANSFER, TREE, receiver, sender_options, source, temporary, write_file,
};
use super::{check, sim};
use crate::traffic::rng::below;
use crate::transport::files::FileError;
use crate::transport::files::manifest::{Entry, Kind as EntryKind, Manifest};
use crate::transport::files::store::{Store, StoreOptions};
use crate::transport::sender::Sender;
use crate::transport::sender::peers::Outcome;
use crate::transport::wire::{Cause, Envelope, Kind, Shape, State, body, write, write_piece};

#[test]
fn receivers_that_die_at_any_point_go_on_from_there() {
    for seed in 0..10 {
        let dir = temporary();
        let path = Path1 { loss: 0.02, jitter: 3, ..Path1::default() };
        let (mut sim, bytes) = sim(dir.path(), 3, 4_000_000, (seed % 2 == 1).then_some((32, 8)), path, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut kept = 0;
        for _ in 0..3 {
            for _ in 0..below(&mut rng, 60) {
                sim.step();
            }
            // Without a word to the disk: what was not checkpointed is lost, as is all that is in memory.
            sim.receivers[1] = None;
            for _ in 0..below(&mut rng, 50) {
                sim.step();
            }
            sim.receivers[1] = Some(receiver(dir.path(), 1, seed));
            for _ in 0..150 {
                sim.step();
            }
            kept += sim.receivers[1].as_ref().and_then(|r| r.progress()).map_or(0, |(have, _)| have);
        }
        sim.run(60_000);
        assert!(sim.all_verified(), "seed {seed}");
        check(dir.path(), 3, &bytes);
        assert!(kept > 0, "seed {seed}");
    }
}

#[test]
fn what_was_written_down_is_not_sent_again() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 2, 8_000_000, None, Path1::default(), 2);
    for _ in 0..120 {
        sim.step();
    }
    for r in sim.receivers.iter_mut().flatten() {
        r.pause().unwrap();
    }
    let have = sim.receivers[0].as_ref().unwrap().progress().unwrap().0;
    assert!(have > 1000, "{have}");
    // Both sides, killed and started again.
    sim.receivers = (0..2).map(|i| Some(receiver(dir.path(), i, 7))).collect();
    let again = Sender::new(sender_options(99), source(&dir.path().join("file"), None), &[0; 2], sim.told());
    sim.sender = Some(again);
    sim.run(10_000);
    assert!(sim.all_verified());
    check(dir.path(), 2, &bytes);
    let counters = sim.sender.as_ref().unwrap().counters();
    assert!(counters.chunks <= 8_000_000u64.div_ceil(1408) - have, "{counters:?}, {have} were there");

    // And once it is done, there is nothing to do.
    sim.receivers = (0..2).map(|i| Some(receiver(dir.path(), i, 7))).collect();
    sim.sender =
        Some(Sender::new(sender_options(100), source(&dir.path().join("file"), None), &[0; 2], sim.told()));
    sim.run(2_000);
    assert!(sim.all_verified());
    assert_eq!(sim.sender.as_ref().unwrap().counters().chunks, 0);
}

#[test]
fn senders_that_die_at_any_point_go_on_from_there() {
    for seed in 20..25 {
        let dir = temporary();
        let path = Path1 { loss: 0.05, jitter: 5, ..Path1::default() };
        let (mut sim, bytes) = sim(dir.path(), 3, 3_000_000, None, path, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for life in 0..3 {
            for _ in 0..20 + below(&mut rng, 60) {
                sim.step();
            }
            sim.sender = None;
            for _ in 0..below(&mut rng, 100) {
                sim.step();
            }
            let from = source(&dir.path().join("file"), None);
            sim.sender = Some(Sender::new(sender_options(1000 + life), from, &[0; 3], sim.told()));
        }
        sim.run(60_000);
        assert!(sim.all_verified(), "seed {seed}");
        check(dir.path(), 3, &bytes);
    }
}

#[test]
fn a_silent_receiver_is_given_up_and_holds_nobody_up() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 3, 1_000_000, None, Path1::default(), 3);
    sim.receivers[2] = None;
    sim.run(70_000);
    check(dir.path(), 2, &bytes);
    let peers: Vec<_> = sim.sender.as_ref().unwrap().peers().collect();
    assert!(peers[0].is_verified() && peers[1].is_verified());
    assert!(matches!(peers[2].outcome, Some(Outcome::Silent(t)) if t >= 60_000 * MS), "{:?}", peers[2]);
}

#[test]
fn who_was_given_up_and_comes_back_after_the_end_gets_what_it_lacks() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 3, 3_000_000, None, Path1::default(), 3);
    while sim.receivers[2].as_ref().unwrap().progress().is_none_or(|p| p.0 < 500) {
        sim.step();
    }
    let mut gone = sim.receivers[2].take().unwrap();
    gone.pause().unwrap();
    let had = gone.progress().unwrap().0;
    drop(gone);
    sim.run(70_000);
    let sent = sim.sender.as_ref().unwrap().counters().chunks;
    let silent = |sim: &Sim| sim.sender.as_ref().unwrap().misses_some();
    assert!(silent(&sim));
    // Nobody is there: it is asked about once a second, and all stays over.
    let call = |sim: &mut Sim, ms: u64| {
        for _ in 0..ms {
            let (told, mut out) = (sim.told(), Vec::new());
            sim.sender.as_mut().unwrap().call(told, &mut |f| out.push(f.to_vec()));
            out.iter().for_each(|f| sim.send_all(f));
            sim.step();
        }
    };
    call(&mut sim, 3_000);
    assert!(silent(&sim) && sim.sender.as_ref().unwrap().is_done());
    sim.receivers[2] = Some(receiver(dir.path(), 2, 8));
    call(&mut sim, 1_500);
    assert!(!silent(&sim), "it is taken up");
    sim.run(10_000);
    assert!(sim.all_verified());
    check(dir.path(), 3, &bytes);
    let lacked = 3_000_000u64.div_ceil(1408) - had;
    let more = sim.sender.as_ref().unwrap().counters().chunks - sent;
    assert!((lacked..lacked * 11 / 10).contains(&more), "{more} chunks for {lacked}");
}

#[test]
fn clocks_may_jump() {
    let jumps: [i64; 5] = [3_600_000, -3_600_000, -4_000, 86_400_000, 50];
    for (seed, jump) in (40..).zip(jumps) {
        let dir = temporary();
        let path = Path1 { loss: 0.05, ..Path1::default() };
        let (mut sim, bytes) = sim(dir.path(), 2, 2_000_000, None, path, seed);
        for _ in 0..4 {
            for _ in 0..15 {
                sim.step();
            }
            sim.clock += jump * MS as i64;
            sim.step();
            sim.clock = sim.clock.max(-4_000 * MS as i64);
        }
        sim.run(30_000);
        assert!(sim.all_verified(), "{jump} ms");
        check(dir.path(), 2, &bytes);
    }
}

#[test]
fn a_full_disk_is_that_receivers_matter() {
    // A file system of its own, seen by this thread only.
    std::thread::spawn(|| {
        let dir = temporary();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let small = dir.path().join("r1");
        fs::create_dir(&small).unwrap();
        mount(Some("none"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        let (mut sim, bytes) = sim(dir.path(), 3, 3_000_000, None, Path1::default(), 3);
        sim.run(3_000);
        let peers: Vec<_> = sim.sender.as_ref().unwrap().peers().collect();
        assert_eq!(peers[1].outcome, Some(Outcome::Failed(Cause::DiskFull)));
        assert!(peers[0].is_verified() && peers[2].is_verified());
        let said = sim.receivers[1].as_ref().unwrap().failure().unwrap().to_string();
        assert!(said.contains("make room") && said.contains("r1") && said.contains("No space"), "{said}");
        assert!(fs::read(dir.path().join("r0/file")).unwrap() == bytes);
        // What could not be finished gives its room back.
        assert!(!small.join(format!(".valecast/{TRANSFER:016x}")).exists());
        nix::mount::umount(&small).unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn what_is_there_is_not_replaced() {
    let dir = temporary();
    fs::create_dir(dir.path().join("r0")).unwrap();
    fs::write(dir.path().join("r0/file"), "mine").unwrap();
    let (mut sim, _) = sim(dir.path(), 2, 10_000, None, Path1::default(), 3);
    sim.run(3_000);
    let peers: Vec<_> = sim.sender.as_ref().unwrap().peers().collect();
    assert_eq!(peers[0].outcome, Some(Outcome::Failed(Cause::Exists)));
    assert!(peers[1].is_verified());
    assert!(
        matches!(sim.receivers[0].as_ref().unwrap().failure(), Some(FileError::Exists(f)) if f.ends_with("r0/file"))
    );
    assert_eq!(fs::read(dir.path().join("r0/file")).unwrap(), b"mine");
    assert!(!dir.path().join("r0/.valecast").exists(), "something is left");
}

#[test]
fn files_that_change_under_the_sender_stop_it() {
    let dir = temporary();
    let file = dir.path().join("file");
    write_file(&file, 3_000_000, 1);
    let mut sender = Sender::new(sender_options(1), source(&file, None), &[0], 0);
    fs::write(&file, "short").unwrap();
    let mut refused = None;
    let mut sim = Sim::new(
        Sender::new(sender_options(1), source(&file, None), &[0], 0),
        vec![receiver(dir.path(), 0, 1)],
        Path1::default(),
        1,
    );
    std::mem::swap(sim.sender.as_mut().unwrap(), &mut sender);
    let mut frames = Vec::new();
    let mut r = receiver(dir.path(), 0, 1);
    for ms in 0..1000 {
        let now = ms * MS;
        match sim.sender.as_mut().unwrap().send(now, 10, &mut |f| frames.push(f.to_vec())) {
            Ok(_) => {}
            Err(e) => {
                refused = Some(e);
                break;
            }
        }
        for f in frames.drain(..) {
            let _ = r.receive(now, &f);
        }
        r.advance(now, &mut |f| frames.push(f.to_vec()));
        for f in frames.drain(..) {
            let _ = sim.sender.as_mut().unwrap().receive(now, &f);
        }
    }
    assert!(matches!(&refused, Some(FileError::Changed(f)) if f.ends_with("file")), "{refused:?}");
}

#[test]
fn content_that_is_wrong_on_the_disk_is_fetched_again() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 1, 4_000_000, None, Path1::default(), 2);
    for _ in 0..50 {
        sim.step();
    }
    sim.receivers[0].as_mut().unwrap().pause().unwrap();
    sim.receivers[0] = None;
    // Somebody, or the disk, changes what the journal says is there.
    let part = dir.path().join(format!("r0/.valecast/{TRANSFER:016x}/data/file"));
    let mut there = fs::read(&part).unwrap();
    there[1000] ^= 1;
    fs::write(&part, there).unwrap();
    sim.receivers[0] = Some(receiver(dir.path(), 0, 2));
    sim.run(10_000);
    assert!(sim.all_verified());
    check(dir.path(), 1, &bytes);
    let counters = sim.sender.as_ref().unwrap().counters();
    assert!(counters.chunks > 4_000_000 / 1408 + 1, "{counters:?}");
}

#[test]
fn strange_frames_on_the_trees_address_harm_nobody() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 2, 1_000_000, Some((16, 4)), Path1::default(), 5);
    let tag = body::tag(&source(&dir.path().join("file"), Some((16, 4))).manifest_hash());
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let right = Envelope { to: TREE, from: SENDER, transfer: TRANSFER, tag, partition: 0 };
    for ms in 0..400u64 {
        sim.step();
        let mut noise = vec![0; 60 + below(&mut rng, 1400)];
        rng.fill_bytes(&mut noise);
        let mut frames = vec![noise.clone(), Vec::new()];
        let mut frame = Vec::new();
        // Right in form, and from elsewhere: another transfer, another content, chunks that there are not.
        for (envelope, kind, number, len) in [
            (Envelope { transfer: 1, ..right }, Kind::Data, ms, 1408),
            (Envelope { tag: !tag, ..right }, Kind::Data, ms, 1408),
            (right, Kind::Data, u64::MAX - ms, 1408),
            (right, Kind::Data, ms, 64),
            (right, Kind::Parity, u64::MAX, 1408),
            (right, Kind::Parity, 0, 64),
            (right, Kind::Manifest, ms, 1408),
        ] {
            write_piece(&mut frame, &envelope, kind, number, 999, &vec![7; len]);
            frames.push(frame.clone());
        }
        for kind in [Kind::Hello, Kind::Poll, Kind::Report, Kind::End] {
            write(&mut frame, &right, kind, &[&noise[..60]]);
            frames.push(frame.clone());
        }
        for f in frames {
            for r in sim.receivers.iter_mut().flatten() {
                let before = r.state();
                let taken = r.receive(sim.now, &f);
                assert!(before == r.state() || taken.is_ok());
            }
            let _ = sim.sender.as_mut().unwrap().receive(sim.now, &f);
        }
    }
    sim.run(30_000);
    assert!(sim.all_verified());
    check(dir.path(), 2, &bytes);
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: path.as_bytes().to_vec(), kind, mode: 0o644, modified: 0 }
}

#[test]
fn manifests_cannot_reach_out() {
    use EntryKind::{Directory, File, Link};
    let link = |to: &str| Link(to.as_bytes().to_vec());
    let refused: [(&str, Vec<Entry>); 21] = [
        ("names nothing", vec![]),
        ("plain name", vec![entry("/etc", Directory)]),
        ("plain name", vec![entry("a/b", File(1))]),
        ("`..`", vec![entry("..", Directory)]),
        ("keep what", vec![entry(".valecast", Directory)]),
        ("absolute", vec![entry("d", Directory), entry("/d/x", File(1))]),
        ("`..`", vec![entry("d", Directory), entry("d/../x", File(1))]),
        ("`.`", vec![entry("d", Directory), entry("d/./x", File(1))]),
        ("empty name", vec![entry("d", Directory), entry("d//x", File(1))]),
        ("empty name", vec![entry("", File(1))]),
        ("zero byte", vec![entry("a\0b", File(1))]),
        ("not below", vec![entry("d", Directory), entry("e", File(1))]),
        ("directory that was listed", vec![entry("d", File(1)), entry("d/x", File(1))]),
        ("directory that was listed", vec![entry("d", Directory), entry("d/e/x", File(1))]),
        (
            "directory that was listed",
            vec![entry("d", Directory), entry("d/l", link("x")), entry("d/l/x", File(1))],
        ),
        ("twice", vec![entry("d", Directory), entry("d/x", File(1)), entry("d/x", File(1))]),
        ("is a link", vec![entry("l", link("x"))]),
        ("out of", vec![entry("d", Directory), entry("d/l", link("../x"))]),
        ("absolute", vec![entry("d", Directory), entry("d/l", link("/etc/passwd"))]),
        ("after a name", vec![entry("d", Directory), entry("d/l", link("x/../../y"))]),
        ("2^56", vec![entry("d", Directory), entry("d/x", File(1 << 56)), entry("d/y", File(1))]),
    ];
    for (why, entries) in refused {
        let said = Manifest::new(entries.clone()).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(why), "{entries:?}: {said}");
    }
    let mut odd = entry("x", File(1));
    odd.mode = 0o4755;
    assert!(Manifest::new(vec![odd]).unwrap_err().to_string().contains("mode"));
    let long = entry(&"n".repeat(256), File(1));
    assert!(Manifest::new(vec![long]).unwrap_err().to_string().contains("255"));
    let right = vec![
        entry("d", Directory),
        entry("d/e", Directory),
        entry("d/e/l", link("../x")),
        entry("d/e/x", File(3)),
    ];
    let right = Manifest::new(right).unwrap();
    assert_eq!(Manifest::parse(&right.bytes().unwrap()).unwrap(), right);
    assert_eq!(right.total(), 3);
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_name() {
    let dir = temporary();
    let said = |path: &Path| match crate::transport::files::source::Source::open(path, 1408, None) {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    };
    assert!(said(&dir.path().join("none")).contains("none: cannot find it"));
    fs::create_dir(dir.path().join("d")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("d/l")).unwrap();
    let text = said(&dir.path().join("d"));
    assert!(text.contains("d/l") && text.contains("absolute"), "{text}");
    fs::remove_file(dir.path().join("d/l")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("d/f"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = said(&dir.path().join("d"));
    assert!(text.contains("d/f") && text.contains("neither"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_network_does_files_arrive(
        seed in any::<u64>(), len in 0usize..400_000, n in 1u32..5, fec in any::<bool>(),
        loss in 0.0..0.3f64, burst in 0.0..0.5f64, jitter in 0u64..40, twice in 0.0..0.3f64,
        flipped in 0.0..0.1f64,
    ) {
        let dir = temporary();
        let path = Path1 { loss, burst, jitter, twice, flipped };
        let (mut sim, bytes) = sim(dir.path(), n, len, fec.then_some((16, 8)), path, seed);
        sim.run(300_000);
        prop_assert!(sim.all_verified());
        prop_assert!(sim.receivers.iter().flatten().all(|r| r.state() == State::Verified));
        check(dir.path(), n, &bytes);
    }
}

#[test]
fn what_no_memory_could_count_is_refused() {
    let dir = temporary();
    let manifest = Manifest::new(vec![entry("x", EntryKind::File(1 << 56))]).unwrap();
    let shape = Shape::new(1 << 56, 10, 64, 0, 0).unwrap();
    let refused = Store::open(&StoreOptions::new(dir.path()), 1, &shape, manifest, &[0; 32]);
    assert!(matches!(refused, Err(FileError::Shape(why)) if why.contains("2^37")));
}

#[test]
fn a_receiver_that_died_while_it_placed_goes_on() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 1, 200_000, None, Path1::default(), 2);
    while sim.receivers[0].as_ref().unwrap().state() != State::Receiving
        || sim.receivers[0].as_ref().unwrap().progress().unwrap().0 < 50
    {
        sim.step();
    }
    sim.receivers[0].as_mut().unwrap().pause().unwrap();
    sim.receivers[0] = None;
    let part = dir.path().join(format!("r0/.valecast/{TRANSFER:016x}/data/file"));
    fs::set_permissions(&part, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    sim.receivers[0] = Some(receiver(dir.path(), 0, 2));
    sim.run(10_000);
    check(dir.path(), 1, &bytes);
}

#[test]
fn two_receivers_of_one_directory_do_not_mix() {
    let dir = temporary();
    let (mut sim, bytes) = sim(dir.path(), 2, 500_000, None, Path1::default(), 2);
    // The second uses the first one's directory.
    std::os::unix::fs::symlink(dir.path().join("r0"), dir.path().join("r1")).unwrap();
    sim.run(10_000);
    check(dir.path(), 1, &bytes);
    let outcomes: Vec<_> = sim.sender.as_ref().unwrap().peers().map(|p| p.outcome).collect();
    assert!(outcomes.contains(&Some(Outcome::Verified)));
    assert!(outcomes.contains(&Some(Outcome::Failed(Cause::Io))), "{outcomes:?}");
}

#[test]
fn the_smallest_chunks_work_too() {
    let dir = temporary();
    let file = dir.path().join("file");
    let bytes = write_file(&file, 40_000, 1);
    let from = crate::transport::files::source::Source::open(&file, 64, Some((8, 4))).unwrap();
    let path = Path1 { loss: 0.2, jitter: 3, ..Path1::default() };
    let sender = Sender::new(sender_options(1), from, &[0; 2], 0);
    let mut sim = Sim::new(sender, (0..2).map(|i| receiver(dir.path(), i, 1)).collect(), path, 1);
    sim.run(60_000);
    assert!(sim.all_verified());
    check(dir.path(), 2, &bytes);
}
