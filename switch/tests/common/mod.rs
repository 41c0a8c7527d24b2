//! A daemon in this process and clients on its rings: what every test of the data path begins with.
#![allow(dead_code, missing_docs)] // each test file uses a part

pub mod flow;
pub mod proc;
pub mod raw;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use valecast_config::Config;
use valecast_ring::client::{AttachOptions, Link, Port, RxRing, TxRing};
use valecast_switch::daemon::Daemon;
use valecast_switch::switch::show::StatsView;

pub struct Rig {
    pub daemon: Daemon,
    pub dir: tempfile::TempDir,
}

pub struct Client {
    pub link: Link,
    pub tx: TxRing,
    pub rx: RxRing,
}

impl Rig {
    /// `toml` without `run_dir`.
    pub fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("run_dir = {:?}\n{toml}", dir.path());
        let file = dir.path().join("v.toml");
        std::fs::write(&file, &text).unwrap();
        let config = Config::parse("test.toml", &text).unwrap_or_else(|e| panic!("{e}"));
        let daemon = Daemon::start(config, Some(file)).unwrap();
        Self { daemon, dir }
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("v.toml")
    }

    /// A switch `vale0` with ring ports of these names; `extra` goes into each port, `rest` after them.
    pub fn rings(names: &[&str], extra: &str, rest: &str) -> Self {
        let ports: String = names
            .iter()
            .map(|n| format!("[[switch.port]]\nname = {n:?}\nkind = \"ring\"\n{extra}\n"))
            .collect();
        Self::new(&format!("[[switch]]\nname = \"vale0\"\n{ports}{rest}"))
    }

    pub fn socket(&self) -> PathBuf {
        Daemon::ring_socket(self.dir.path(), "vale0")
    }

    pub fn attach(&self, port: &str) -> Client {
        self.attach_to("vale0", port)
    }

    pub fn attach_to(&self, switch: &str, port: &str) -> Client {
        let socket = Daemon::ring_socket(self.dir.path(), switch);
        let p = Port::attach(&socket, port, &AttachOptions::default()).unwrap();
        let (link, tx, rx) = p.split();
        Client { link, tx: tx.into_iter().next().unwrap(), rx: rx.into_iter().next().unwrap() }
    }

    pub fn stats(&self) -> StatsView {
        self.daemon.with("vale0", |s| s.stats_view()).unwrap()
    }

    /// Waits until nothing waits in a line any more, then checks the books.
    pub fn settled(&self, switch: &str) -> StatsView {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let v = self.daemon.with(switch, |s| s.stats_view()).unwrap();
            let all = || v.ports.iter().chain([&v.retired]);
            let copies: u64 = all().map(|p| p.copies).sum();
            let out: u64 = all().map(|p| p.out_frames + p.out_drops.values().sum::<u64>()).sum();
            if copies == out || Instant::now() > end {
                check(&v);
                return v;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until nothing moves any more, then checks the books.
    pub fn books(&self) -> StatsView {
        let mut last = self.stats();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            std::thread::sleep(Duration::from_millis(30));
            let now = self.stats();
            let moving = |v: &StatsView| v.ports.iter().map(|p| p.in_frames + p.out_frames).sum::<u64>();
            if moving(&now) == moving(&last) {
                check(&now);
                return now;
            }
            assert!(Instant::now() < end, "the switch does not come to rest");
            last = now;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.daemon.stop();
    }
}

/// Every frame in ends as copies or as a named drop; every copy ends delivered or as a named drop.
pub fn check(v: &StatsView) {
    let (mut copies, mut ends) = (0, 0);
    for p in v.ports.iter().chain([&v.retired]) {
        let drops: u64 = p.in_drops.values().sum();
        assert_eq!(p.in_frames, p.forwarded + drops, "frames in at {}: {p:?}", p.name);
        copies += p.copies;
        ends += p.out_frames + p.out_drops.values().sum::<u64>();
    }
    assert_eq!(copies, ends, "copies: {v:?}");
}

pub fn frame(dst: u8, src: u8, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5];
    if dst == 0xff {
        f[..6].fill(0xff);
    }
    f.extend_from_slice(payload);
    f.resize(f.len().max(60), 0);
    f
}

impl Client {
    pub fn send(&mut self, f: &[u8]) {
        while !self.tx.push(f) {
            self.tx.publish();
            self.tx.wait(1, Some(Duration::from_secs(5))).unwrap();
        }
        self.tx.publish();
    }

    /// The next frame, or `None` if none comes in far more time than any machine takes.
    pub fn recv(&mut self) -> Option<Vec<u8>> {
        self.recv_within(Duration::from_secs(20))
    }

    pub fn recv_within(&mut self, t: Duration) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            if self.rx.pending() == 0 && !self.rx.wait(1, Some(t)).unwrap() {
                return None;
            }
            let s = self.rx.frame(0);
            whole.extend_from_slice(s.data);
            let more = s.flags.contains(valecast_ring::SlotFlags::MORE_FRAG);
            self.rx.advance(1);
            self.rx.release();
            if !more {
                return Some(whole);
            }
        }
    }

    pub fn silent(&mut self) -> bool {
        self.recv_within(Duration::from_millis(50)).is_none()
    }
}
