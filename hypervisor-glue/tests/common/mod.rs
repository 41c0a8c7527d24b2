//! A daemon in this process, with VM ports and ring clients.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::EventFd;
use valecast_config::Config;
use valecast_ring::client::{AttachOptions, Link, Port, RxRing, TxRing};
use valecast_switch::daemon::Daemon;
use valecast_switch::switch::show::{PortView, StatsView};

/// Far longer than anything takes here.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A daemon with switch `v`.
pub struct Rig {
    pub daemon: Daemon,
    pub dir: tempfile::TempDir,
}

/// A ring client.
pub struct Client {
    _link: Link,
    pub tx: TxRing,
    pub rx: RxRing,
}

impl Rig {
    /// `switch`: keys of the switch; ports: their names and keys.
    pub fn new(switch: &str, ports: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: String =
            ports.iter().map(|(n, keys)| format!("[[switch.port]]\nname = {n:?}\n{keys}\n")).collect();
        let text = format!("run_dir = {:?}\n[[switch]]\nname = \"v\"\n{switch}\n{ports}", dir.path());
        let config = Config::parse("test.toml", &text).unwrap_or_else(|e| panic!("{e}"));
        let kinds = valecast_hypervisor_glue::kinds();
        Self { daemon: Daemon::start_with(config, None, kinds).unwrap(), dir }
    }

    pub fn vm_socket(&self, port: &str) -> PathBuf {
        self.dir.path().join(format!("v.{port}.vm"))
    }

    pub fn client(&self, port: &str) -> Client {
        let socket = Daemon::ring_socket(self.dir.path(), "v");
        let (link, tx, rx) = Port::attach(&socket, port, &AttachOptions::default()).unwrap().split();
        Client { _link: link, tx: tx.into_iter().next().unwrap(), rx: rx.into_iter().next().unwrap() }
    }

    pub fn stats(&self) -> StatsView {
        self.daemon.with("v", |s| s.stats_view()).unwrap()
    }

    pub fn port(&self, name: &str) -> PortView {
        self.stats().ports.into_iter().find(|p| p.name == name).unwrap()
    }

    /// A port once nothing moves any more, and the books are right.
    #[track_caller]
    pub fn at_rest(&self, name: &str) -> PortView {
        self.books().ports.into_iter().find(|p| p.name == name).unwrap()
    }

    /// One of a port's counters.
    pub fn counter(&self, port: &str, name: &str) -> u64 {
        let view = self.port(port);
        *view.device.get(name).unwrap_or_else(|| panic!("no counter {name} in {:?}", view.device))
    }

    #[track_caller]
    pub fn until(&self, what: &str, port: &str, so: impl Fn(&PortView) -> bool) -> PortView {
        let end = Instant::now() + DEADLINE;
        loop {
            let view = self.port(port);
            if so(&view) {
                return view;
            }
            assert!(Instant::now() < end, "{what}: {view:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until nothing moves any more, then checks the books: every frame in ends as copies or as a named drop, every
    /// copy ends delivered or as a named drop.
    #[track_caller]
    pub fn books(&self) -> StatsView {
        let end = Instant::now() + DEADLINE;
        let moved = |v: &StatsView| v.ports.iter().map(|p| p.in_frames + p.out_frames).sum::<u64>();
        let mut last = self.stats();
        let now = loop {
            std::thread::sleep(Duration::from_millis(30));
            let now = self.stats();
            if moved(&now) == moved(&last) {
                break now;
            }
            assert!(Instant::now() < end, "the switch does not come to rest");
            last = now;
        };
        let (mut copies, mut ends) = (0, 0);
        for p in now.ports.iter().chain([&now.retired]) {
            let drops: u64 = p.in_drops.values().sum();
            assert_eq!(p.in_frames, p.forwarded + drops, "frames in at {}: {p:?}", p.name);
            copies += p.copies;
            ends += p.out_frames + p.out_drops.values().sum::<u64>();
        }
        assert_eq!(copies, ends, "copies: {now:?}");
        now
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.daemon.stop();
    }
}

/// An eventfd that blocks and is as full as it gets, until this goes: a worker that a failure left waiting there would keep
/// the daemon from ending, and the test from telling of it.
pub struct Brimful(OwnedFd);

impl Brimful {
    pub fn fill(fd: &EventFd) -> Self {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        fd.write(u64::MAX - 1).unwrap();
        Self(fd.as_fd().try_clone_to_owned().unwrap())
    }
}

impl Drop for Brimful {
    fn drop(&mut self) {
        let _ = fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        let _ = nix::unistd::read(&self.0, &mut [0; 8]);
    }
}

/// A frame of `len` bytes with a number in it, whose every byte is told by number and place.
pub fn frame(dst: u8, src: u8, number: u32, len: usize) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5];
    if dst == 0xff {
        f[..6].fill(0xff);
    }
    f.extend_from_slice(&number.to_be_bytes());
    let mut at = f.len() as u32;
    f.resize_with(len.max(18), || {
        at += 1;
        (number.wrapping_mul(31).wrapping_add(at)) as u8
    });
    f
}

impl Client {
    pub fn send(&mut self, f: &[u8]) {
        let end = Instant::now() + DEADLINE;
        while !self.tx.push(f) {
            assert!(Instant::now() < end, "no room");
            self.tx.publish();
            self.tx.wait(1, Some(Duration::from_secs(5))).unwrap();
        }
        self.tx.publish();
    }

    /// The next frame.
    #[track_caller]
    pub fn wait(&mut self) -> Vec<u8> {
        let end = Instant::now() + DEADLINE;
        while self.rx.pending() == 0 {
            assert!(Instant::now() < end, "no frame came");
            self.rx.wait(1, Some(Duration::from_secs(5))).unwrap();
        }
        let bytes = self.rx.frame(0).data.to_vec();
        self.rx.advance(1);
        self.rx.release();
        bytes
    }
}
