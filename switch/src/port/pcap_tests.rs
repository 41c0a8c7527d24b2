//! Files there and back, and when frames are due.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::frame::Entry;
use crate::port::Egress;

pub(crate) struct Dir(std::path::PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let p = std::env::temp_dir().join(format!("valecast-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&p).unwrap();
        Self(p)
    }
    pub(crate) fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn burst_of(frames: &[Vec<u8>]) -> (Burst, Vec<Entry>) {
    let mut b = Burst::default();
    for f in frames {
        // SAFETY: the tests' frames outlive their bursts.
        unsafe { b.push(f.as_ptr(), f.len(), 1) };
    }
    let list = (0..frames.len() as u16).map(|i| Entry { orig: i, frame: i }).collect();
    (b, list)
}

fn bytes(b: &Burst) -> Vec<Vec<u8>> {
    let list = (0..b.taken() as u16).map(|i| Entry { orig: i, frame: i });
    list.map(|e| {
        let mut v = Vec::new();
        crate::port::sys::io::append(&mut v, b, e);
        v
    })
    .collect()
}

pub(crate) fn frames(n: usize, len: usize) -> Vec<Vec<u8>> {
    (0..n).map(|i| (0..len + i % 7).map(|b| (b + i) as u8).collect()).collect()
}

pub(crate) fn put(e: &Arc<dyn Egress>, frames: &[Vec<u8>], now: u64) {
    for part in frames.chunks(1000) {
        let (b, list) = burst_of(part);
        let mut rest = &list[..];
        while !rest.is_empty() {
            let n = e.claim(&b, rest, 0);
            assert_eq!(e.put(&b, &rest[..n], 0, now).frames, n as u64);
            rest = &rest[n..];
        }
    }
    valecast_ring::notify::settle();
    e.wake_patient();
}

fn written(path: &Path, frames: &[Vec<u8>], now: u64) {
    let cfg = PcapPort { read: None, write: Some(path.into()), timing: Timing::Asap, repeat: 1 };
    let o = open("p", &cfg).unwrap();
    assert!(o.ingress.is_empty());
    put(&o.egress, frames, now);
}

fn replay(path: &Path, timing: Timing, repeat: u64) -> Replay {
    Replay::new(load::load(path).unwrap(), timing, repeat)
}

/// Takes until nothing is due; only the first `keep` of each burst are completed.
fn drain(r: &mut Replay, max: usize, keep: usize, now: u64) -> Vec<Vec<u8>> {
    let (mut burst, mut all) = (Burst::default(), Vec::new());
    loop {
        burst.clear();
        r.take(&mut burst, max, now);
        if burst.taken() == 0 {
            return all;
        }
        let n = keep.min(burst.taken());
        all.extend(bytes(&burst).into_iter().take(n));
        r.complete(&burst, n);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn comes_back_byte_for_byte(
        sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 14..3000), 1..60),
        ng in any::<bool>(), repeat in 1u64..4, max in 1usize..70, keep in 1usize..70,
    ) {
        let dir = Dir::new("round");
        let path = dir.at(if ng { "a.pcapng" } else { "a.pcap" });
        written(&path, &sent, crate::clock::now_ns());
        let magic = std::fs::read(&path).unwrap()[..4].to_vec();
        prop_assert_eq!(magic == [0x0a, 0x0d, 0x0d, 0x0a], ng);
        let mut r = replay(&path, Timing::Asap, repeat);
        let got = drain(&mut r, max, keep, 5);
        prop_assert_eq!(got, vec![sent; repeat as usize].concat());
        prop_assert_eq!(r.due(), None);
        prop_assert!(r.arm());
    }
}

#[test]
fn tcpdump_reads_what_was_written() {
    let dir = Dir::new("tcpdump");
    for name in ["a.pcap", "a.pcapng"] {
        let path = dir.at(name);
        written(&path, &frames(5, 60), crate::clock::now_ns());
        let Ok(out) = std::process::Command::new("tcpdump").arg("-ttnr").arg(&path).output() else {
            eprintln!("SKIPPED: no tcpdump here");
            return;
        };
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.lines().filter(|l| l.contains('.')).count() >= 5, "{text}");
        let time: f64 = text.split_whitespace().next().unwrap().parse().unwrap();
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!((since.as_secs_f64() - time).abs() < 10.0, "{time}");
    }
}

/// A capture with frames at these times (ns).
fn timed(dir: &Dir, times: &[u64]) -> std::path::PathBuf {
    let path = dir.at("timed.pcap");
    let cfg = PcapPort { read: None, write: Some(path.clone()), timing: Timing::Asap, repeat: 1 };
    let o = open("p", &cfg).unwrap();
    for (t, f) in times.iter().zip(frames(times.len(), 60)) {
        put(&o.egress, &[f], *t);
    }
    path
}

#[test]
fn keeps_recorded_gaps_and_goes_round() {
    let dir = Dir::new("gaps");
    // The third was recorded with a clock set back.
    let path = timed(&dir, &[1000, 1300, 1200, 1900]);
    let mut r = replay(&path, Timing::Original, 2);
    assert_eq!(r.due(), Some(0));
    let mut seen = Vec::new();
    let mut now = 50_000;
    loop {
        let n = drain(&mut r, 10, 10, now).len();
        if n > 0 {
            seen.push((now - 50_000, n));
        }
        match r.due() {
            Some(due) => {
                assert!(due > now && r.arm());
                assert!(drain(&mut r, 10, 10, due - 1).is_empty());
                now = due;
            }
            None => break,
        }
    }
    // 900 ns over three gaps: a round takes 1200.
    assert_eq!(seen, [(0, 1), (300, 2), (900, 1), (1200, 1), (1500, 2), (2100, 1)]);
}

#[test]
fn keeps_a_rate_exactly_and_for_ever() {
    let dir = Dir::new("rate");
    let mut r = replay(&timed(&dir, &[0, 0, 0]), Timing::Pps(3.0), 0);
    assert_eq!(drain(&mut r, 100, 100, 7).len(), 1);
    assert_eq!(r.due(), Some(7 + 333_333_333));
    assert_eq!(drain(&mut r, 100, 100, 7 + 1_000_000_000).len(), 3);
    assert_eq!(drain(&mut r, 1000, 1000, 7 + 3600 * 1_000_000_000).len(), 3 * 3600 - 3);
    assert_eq!(r.due(), Some(7 + 3600 * 1_000_000_000 + 333_333_333));
}

#[test]
fn what_is_not_completed_comes_again() {
    let dir = Dir::new("again");
    let path = timed(&dir, &[0, 10, 20]);
    let mut r = replay(&path, Timing::Original, 1);
    let mut b = Burst::default();
    r.take(&mut b, 100, 0);
    b.clear();
    r.take(&mut b, 100, 1000);
    assert_eq!(b.taken(), 3);
    assert!(!r.arm(), "there is work");
    r.complete(&b, 1);
    b.clear();
    r.take(&mut b, 100, 1000);
    assert_eq!(bytes(&b), frames(3, 60)[1..]);
}

#[test]
fn mistakes_name_the_file_and_the_record() {
    let dir = Dir::new("bad");
    let say = |name: &str, content: &[u8]| {
        let path = dir.at(name);
        std::fs::write(&path, content).unwrap();
        load::load(&path).unwrap_err().to_string()
    };
    let good = std::fs::read(timed(&dir, &[1, 2, 3])).unwrap();
    assert!(say("short", b"ab").ends_with("short: is no capture file: it is too short"));
    assert!(say("text", b"this is text, not a capture").contains("is no capture file"));
    assert!(say("none", &good[..24]).ends_with("none: has no frames to send"));
    let cut = say("cut", &good[..good.len() - 1]);
    assert!(cut.ends_with("cut: record 3: the file ends in the middle, or a length is wrong"), "{cut}");
    let mut wifi = good.clone();
    wifi[20] = 105;
    assert!(say("wifi", &wifi).contains("only Ethernet"));
    let missing = load::load(&dir.at("missing")).unwrap_err().to_string();
    assert!(missing.contains("missing") && missing.contains("No such file"), "{missing}");
    let cfg = PcapPort { read: None, write: Some(dir.at("no/such/dir")), timing: Timing::Asap, repeat: 1 };
    let e = open("p", &cfg).err().unwrap().to_string();
    assert!(e.contains("cannot create") && e.contains("no/such/dir"), "{e}");
}

proptest! {
    #[test]
    fn a_damaged_file_is_refused_or_read_but_nothing_worse(
        ng in any::<bool>(), at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = Dir::new("damaged");
        let path = dir.at(if ng { "a.pcapng" } else { "a.pcap" });
        written(&path, &frames(4, 40), 1);
        let mut content = std::fs::read(&path).unwrap();
        for (i, byte) in at {
            let i = i.index(content.len());
            content[i] = byte;
        }
        content.truncate(cut.index(content.len()) + content.len() / 2);
        std::fs::write(&path, content).unwrap();
        let _ = load::load(&path);
    }
}
