//! A network between a sender and its receivers, in virtual time: what is lost, late, doubled or changed follows from a
//! seed. Files are real.

use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::address::receiver_address;
use crate::traffic::rng::{below, unit};
use crate::transport::files::source::Source;
use crate::transport::files::store::StoreOptions;
use crate::transport::receiver::{Place, Receiver, ReceiverOptions};
use crate::transport::sender::{Sender, SenderOptions};
use crate::transport::wire::Mac;

pub const MS: u64 = 1_000_000;
pub const TRANSFER: u64 = 0xabcd;
pub const TREE: Mac = Mac([3, 0, 0, 1, 0, 0]);
pub const SENDER: Mac = Mac([2, 0, 0, 1, 0, 0]);

/// A directory of a file system in memory, where there is one: what is tested here is not how long disks take.
pub fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// What happens to frames on the way to one receiver, and back.
#[derive(Clone, Copy, Default)]
pub struct Path1 {
    /// Part of frames lost, each by itself.
    pub loss: f64,
    /// In bursts: part of the time in which nothing passes; a burst is 50 frames on average.
    pub burst: f64,
    /// Up to so many more ms late.
    pub jitter: u64,
    pub twice: f64,
    pub flipped: f64,
}

struct Event {
    at: u64,
    order: u64,
    /// `u32::MAX`: the sender.
    to: u32,
    frame: Vec<u8>,
}
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

pub struct Sim {
    pub now: u64,
    /// Added to what the two sides are told.
    pub clock: i64,
    pub sender: Option<Sender>,
    pub receivers: Vec<Option<Receiver>>,
    pub paths: Vec<Path1>,
    /// Frames that are lost for all receivers alike.
    pub root_loss: f64,
    /// Frames in a millisecond.
    pub room: usize,
    /// Reports on their way to the sender, in all.
    pub reports: u64,
    /// Most reports in one millisecond.
    pub peak: u64,
    /// Frames on the tree.
    pub sent: u64,
    rng: ChaCha8Rng,
    bad: Vec<bool>,
    queue: BinaryHeap<Event>,
    order: u64,
}

pub fn write_file(path: &Path, len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    std::fs::write(path, &bytes).unwrap();
    bytes
}

pub fn sender_options(session: u64) -> SenderOptions {
    SenderOptions::new(TRANSFER, 0, session, SENDER, TREE)
}

pub fn receiver(dir: &Path, number: u32, seed: u64) -> Receiver {
    let dir: PathBuf = dir.join(format!("r{number}"));
    let mut store = StoreOptions::new(&dir);
    // Small, so that a test sees many of them.
    store.checkpoint = 256 << 10;
    Receiver::new(ReceiverOptions {
        transfer: TRANSFER,
        partition: 0,
        places: vec![Place { sender: SENDER, from: receiver_address(1, number as u16 + 1), number }],
        seed: seed ^ u64::from(number),
        store,
    })
}

impl Sim {
    pub fn new(sender: Sender, receivers: Vec<Receiver>, path: Path1, seed: u64) -> Self {
        let n = receivers.len();
        Self {
            now: 5_000 * MS,
            clock: 0,
            sender: Some(sender),
            receivers: receivers.into_iter().map(Some).collect(),
            paths: vec![path; n],
            root_loss: 0.0,
            room: 40,
            reports: 0,
            peak: 0,
            sent: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            bad: vec![false; n],
            queue: BinaryHeap::new(),
            order: 0,
        }
    }

    pub fn told(&self) -> u64 {
        self.now.saturating_add_signed(self.clock)
    }

    fn pass(&mut self, path: Path1, via: u32, to: u32, frame: &[u8]) {
        let i = via as usize;
        if path.burst > 0.0 {
            let leave = if self.bad[i] { 1.0 / 50.0 } else { path.burst / (1.0 - path.burst) / 50.0 };
            if unit(&mut self.rng) <= leave {
                self.bad[i] = !self.bad[i];
            }
            if self.bad[i] {
                return;
            }
        }
        let copies = if unit(&mut self.rng) <= path.twice { 2 } else { 1 };
        for _ in 0..copies {
            if unit(&mut self.rng) <= path.loss {
                continue;
            }
            let mut frame = frame.to_vec();
            if unit(&mut self.rng) <= path.flipped {
                let at = below(&mut self.rng, frame.len());
                frame[at] ^= 1 << below(&mut self.rng, 8);
            }
            let late =
                if path.jitter > 0 { below(&mut self.rng, path.jitter as usize + 1) as u64 } else { 0 };
            self.order += 1;
            self.queue.push(Event { at: self.now + (2 + late) * MS, order: self.order, to, frame });
        }
    }

    /// A frame of the tree goes out.
    pub fn send_all(&mut self, frame: &[u8]) {
        for i in 0..self.receivers.len() as u32 {
            self.pass(self.paths[i as usize], i, i, frame);
        }
    }

    /// One millisecond.
    pub fn step(&mut self) {
        let told = self.told();
        let mut here = 0;
        while self.queue.peek().is_some_and(|e| e.at <= self.now) {
            let Some(event) = self.queue.pop() else { break };
            if event.to == u32::MAX {
                here += 1;
                if let Some(sender) = &mut self.sender {
                    let _ = sender.receive(told, &event.frame);
                }
            } else if let Some(r) = &mut self.receivers[event.to as usize] {
                let _ = r.receive(told, &event.frame);
            }
        }
        self.peak = self.peak.max(here);
        for i in 0..self.receivers.len() {
            let mut out = Vec::new();
            if let Some(r) = &mut self.receivers[i] {
                r.advance(told, &mut |f| out.push(f.to_vec()));
            }
            for f in out {
                self.reports += 1;
                self.pass(self.paths[i], i as u32, u32::MAX, &f);
            }
        }
        let mut out = Vec::new();
        if let Some(sender) = &mut self.sender {
            let n = sender.send(told, self.room, &mut |f| out.push(f.to_vec())).unwrap();
            assert!(n == out.len() && n <= self.room);
        }
        for f in out {
            if f[..6] == TREE.0 {
                self.sent += 1;
                if self.root_loss > 0.0 && unit(&mut self.rng) <= self.root_loss {
                    continue;
                }
                self.send_all(&f);
            } else {
                let i = (0..self.receivers.len() as u32)
                    .find(|i| f[..6] == receiver_address(1, *i as u16 + 1).0)
                    .unwrap();
                self.pass(self.paths[i as usize], i, i, &f);
            }
        }
        self.now += MS;
    }

    /// Until the sender is done, but no longer than so many milliseconds.
    pub fn run(&mut self, most: u64) {
        for _ in 0..most {
            self.step();
            if self.sender.as_ref().is_none_or(Sender::is_done) {
                return;
            }
        }
        let peers: Vec<_> = self.sender.iter().flat_map(Sender::peers).take(4).collect();
        panic!("not done after {most} ms: {peers:#?} {:?}", self.sender.as_ref().map(Sender::counters));
    }

    pub fn all_verified(&self) -> bool {
        self.sender.as_ref().is_some_and(|s| s.peers().all(|p| p.is_verified()))
    }
}

pub fn source(path: &Path, fec: Option<(u16, u16)>) -> Source {
    Source::open(path, 1408, fec).unwrap()
}
