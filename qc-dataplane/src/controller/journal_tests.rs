//! Journals, torn and whole.

use tempfile::TempDir;

use super::*;
use crate::control::{LinkReport, NewTransfer, SiteReport};
use crate::controller::core::record::SavedSite;
use crate::controller::core::transfer::Transfer;
use crate::controller::core::{Core, Now, Settings, scheme};

const NOW: Now = Now { ms: 1, unix_ms: 1_700_000_000_000 };

fn site(name: &str) -> Record {
    Record::Site(SavedSite { name: name.into(), links: vec![], max_groups: 1, max_buckets: 2 })
}

fn new(from: &str, to: &str) -> NewTransfer {
    NewTransfer {
        from: Some(from.into()),
        to: vec![to.into()],
        bytes: 1_000_000_000,
        name: "f".into(),
        overhead: 1.0,
        scheme: None,
        path: None,
        request: None,
    }
}

fn settings() -> Settings {
    Settings::new(scheme("quickcast").unwrap())
}

/// The changes of a controller with two sites that joins them, runs transfers and ends one.
fn story() -> Vec<Vec<Record>> {
    let mut core = Core::new(settings(), Saved::default(), NOW);
    let mut changes = vec![core.take_changes().records];
    let report = |to: &str, generation| SiteReport {
        session: 1,
        links: vec![LinkReport {
            port: format!("to-{to}"),
            to: to.into(),
            capacity: 1000,
            up: true,
            bytes: 0,
            peer: None,
        }],
        max_groups: 100,
        max_buckets: 4,
        generation,
        failed: std::collections::BTreeMap::new(),
        receives: true,
        wait_ms: 0,
    };
    for (name, to) in [("a", "b"), ("b", "a")] {
        core.sync(NOW, name, &report(to, 0)).unwrap();
        changes.push(core.take_changes().records);
    }
    for n in 0..5 {
        let id = core.submit(NOW, new("a", "b")).unwrap().id;
        changes.push(core.take_changes().records);
        for (name, to) in [("a", "b"), ("b", "a")] {
            let generation = core.site(name).unwrap().generation;
            core.sync(NOW, name, &report(to, generation)).unwrap();
            changes.push(core.take_changes().records);
        }
        if n % 2 == 0 {
            core.cancel(NOW, id).unwrap();
            changes.push(core.take_changes().records);
        }
    }
    changes.retain(|c| !c.is_empty());
    changes
}

#[test]
fn a_journal_cut_anywhere_gives_the_state_of_its_last_whole_line() {
    let changes = story();
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap().journal;
    let path = dir.path().join(FILE);
    // The state after each change, and how long the journal is then.
    let mut states = vec![(0, Saved::default())];
    for change in &changes {
        journal.append(std::slice::from_ref(change)).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let bytes = std::fs::read(&path).unwrap();
        let (saved, whole) = replay(&bytes);
        assert_eq!(whole as u64, length);
        states.push((length, saved));
    }
    drop(journal);
    assert!(states.len() > 10 && states.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 != w[1].1));
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..=bytes.len() {
        let (length, want) = states.iter().rev().find(|s| s.0 <= cut as u64).unwrap();
        let (saved, whole) = replay(&bytes[..cut]);
        assert_eq!((whole as u64, &saved), (*length, want), "cut at {cut}");
    }
    // And through the disk, with a controller that starts on it; a few places are enough.
    for cut in (0..bytes.len()).step_by(bytes.len() / 40) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let mut found = Journal::open(dir.path()).unwrap();
        let (length, want) = states.iter().rev().find(|s| s.0 <= cut as u64).unwrap();
        assert_eq!((&found.saved, found.torn), (want, cut as u64 - length));
        if found.torn > 0 {
            let aside = std::fs::read(dir.path().join(TORN)).unwrap();
            assert_eq!(aside, bytes[*length as usize..cut]);
        }
        let mut core = Core::new(settings(), found.saved.clone(), NOW);
        assert_eq!(core.trees().keys().collect::<Vec<_>>(), want.trees.keys().collect::<Vec<_>>());
        assert_eq!(core.transfers().len(), want.transfers.len());
        found.journal.append(&[core.take_changes().records]).unwrap();
        drop(found);
        let again = Journal::open(dir.path()).unwrap();
        assert_eq!((again.saved.run, again.torn), (want.run + 1, 0));
    }
}

#[test]
fn a_line_with_any_bit_wrong_is_none() {
    let good = line(&[site("a"), Record::Gone(7)]).unwrap();
    assert_eq!(replay(&good).1, good.len());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            // Sums may be written in capitals too; that says the same.
            if bad.eq_ignore_ascii_case(&good) && at < 8 {
                continue;
            }
            assert_eq!(replay(&bad), (Saved::default(), 0), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn hostile_bytes_are_no_state() {
    for bytes in [
        &b"\n"[..],
        b"00000000 \n",
        b"zzzzzzzz []\n",
        b"\xff\xff\n",
        b"00000000 []",
        b"12345678 [{\"run\":1}]\n",
    ] {
        assert_eq!(replay(bytes), (Saved::default(), 0));
    }
    let unknown = b"[{\"walk\":1}]";
    let text = [format!("{:08x} ", crc32c::crc32c(unknown)).as_bytes(), unknown, b"\n"].concat();
    assert_eq!(replay(&text).1, 0);
}

#[test]
fn it_is_rewritten_when_it_has_grown_and_says_the_same() {
    let dir = TempDir::new().unwrap();
    let mut found = Journal::open(dir.path()).unwrap();
    let path = dir.path().join(FILE);
    let mut longest = 0;
    let change: Vec<Record> = (0..50).map(|n| site(&format!("s{n}"))).collect();
    for _ in 0..1_000 {
        found.journal.append(std::slice::from_ref(&change)).unwrap();
        longest = longest.max(std::fs::metadata(&path).unwrap().len());
    }
    let mut t = Transfer::new(3, new("a", "b"), NOW).unwrap();
    t.why = Some("line\nbreak".into());
    found.journal.append(&[vec![Record::Transfer(Box::new(t.clone())), Record::Run(9)]]).unwrap();
    let now = std::fs::metadata(&path).unwrap().len();
    assert!(longest <= SHORT + 10_000 && now < longest, "{longest} {now}");
    let mirror = found.journal.mirror.clone();
    found.journal.rewrite().unwrap();
    drop(found);
    let found = Journal::open(dir.path()).unwrap();
    assert_eq!((found.saved.sites.len(), found.saved.run, found.saved.numbers.transfer), (50, 9, 4));
    assert_eq!(found.saved.transfers[&3].why, t.why);
    assert_eq!(found.saved.numbers, mirror.numbers);
}

#[test]
fn a_rewrite_that_was_killed_leaves_the_old_one() {
    let dir = TempDir::new().unwrap();
    let mut found = Journal::open(dir.path()).unwrap();
    found.journal.append(&[vec![site("a")]]).unwrap();
    drop(found);
    std::fs::write(dir.path().join(NEW), b"half a rewr").unwrap();
    let found = Journal::open(dir.path()).unwrap();
    assert_eq!((found.saved.sites.len(), found.torn), (1, 0));
    assert!(!dir.path().join(NEW).exists());
}

#[test]
fn one_controller_at_a_time() {
    let dir = TempDir::new().unwrap();
    let first = Journal::open(dir.path()).unwrap();
    let second = Journal::open(dir.path()).unwrap_err();
    assert!(matches!(second, JournalError::Locked(_)), "{second}");
    drop(first);
    Journal::open(dir.path()).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Journal::open(&file).unwrap_err().to_string().contains("cannot make the directory"));
}

#[test]
fn the_writer_tells_what_is_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let mut writer = Writer::start(Journal::open(dir.path()).unwrap().journal).unwrap();
    let mut written = writer.written();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 1..=20u64 {
        assert_eq!(writer.send(vec![Record::Run(n)]), n);
        assert_eq!(writer.send(vec![]), n, "nothing is no change");
        runtime.block_on(written.wait_for(|w| w.changes == n)).unwrap();
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        assert_eq!(replay(&bytes).0.run, n);
    }
    drop(writer);
    assert!(written.has_changed().is_err(), "its thread has ended");
}

#[test]
fn a_full_disk_is_said_and_waited_for() {
    // A device that is always full.
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap().journal;
    journal.append(&[vec![Record::Run(1)]]).unwrap();
    journal.file = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let full = journal.append(&[vec![Record::Run(2)]]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!((journal.mirror.run, replay(&std::fs::read(dir.path().join(FILE)).unwrap()).0.run), (1, 1));
    let mut writer = Writer::start(journal).unwrap();
    let mut written = writer.written();
    writer.send(vec![Record::Run(2)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let failed = runtime.block_on(written.wait_for(|w| w.failed.is_some())).unwrap().clone();
    assert!(failed.failed.unwrap().contains("cannot be written") && failed.changes == 0);
}
