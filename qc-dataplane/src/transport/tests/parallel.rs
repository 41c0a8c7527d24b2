//! Several trees to the same receivers: each with its sender, its speed and its losses, and one store at each receiver.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::check;
use super::sim::{MS, TRANSFER, source, temporary, write_file};
use crate::address::{receiver_address, sender_address, tree_address};
use crate::traffic::rng::unit;
use crate::transport::files::store::StoreOptions;
use crate::transport::receiver::{Place, Receiver, ReceiverOptions};
use crate::transport::sender::shares::Shares;
use crate::transport::sender::{Sender, SenderOptions};
use crate::transport::wire::{Mac, Reject};

/// From one end to the other.
const DELAY: u64 = 2 * MS;

struct Way {
    sender: Option<Sender>,
    /// Frames in a millisecond.
    room: usize,
    /// Part of frames lost at each receiver, and of reports.
    loss: f64,
}

struct Ways {
    now: u64,
    ways: Vec<Way>,
    receivers: Vec<Receiver>,
    queue: VecDeque<(u64, Vec<u8>)>,
    rng: ChaCha8Rng,
    bytes: Vec<u8>,
}

fn places(trees: u32, n: u32) -> Vec<Place> {
    let place = |tree| Place {
        sender: sender_address(tree),
        from: receiver_address(tree, n as u16 + 1),
        // Another number on each tree.
        number: (n + tree) % 3,
    };
    (1..=trees).map(place).collect()
}

impl Ways {
    /// Three receivers, and a tree for each of `rooms`.
    fn new(dir: &Path, len: usize, rooms: &[usize], fec: Option<(u16, u16)>, seed: u64) -> Self {
        let bytes = write_file(&dir.join("file"), len, seed);
        let shares = Arc::new(Shares::new(source(&dir.join("file"), fec).shape()));
        let ways = (1..).zip(rooms).map(|(tree, room)| {
            let mut options = SenderOptions::new(TRANSFER, 4, seed, sender_address(tree), tree_address(tree));
            options.lead = u16::from(fec.is_some());
            let sender = Sender::new(options, source(&dir.join("file"), fec), &[0; 3], 0);
            Way { sender: Some(sender.sharing(shares.of(tree))), room: *room, loss: 0.0 }
        });
        let receiver = |n: u32| {
            Receiver::new(ReceiverOptions {
                transfer: TRANSFER,
                partition: 4,
                places: places(rooms.len() as u32, n),
                seed: seed ^ u64::from(n),
                store: StoreOptions::new(dir.join(format!("r{n}"))),
            })
        };
        Self {
            now: 7 * MS,
            ways: ways.collect(),
            receivers: (0..3).map(receiver).collect(),
            queue: VecDeque::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            bytes,
        }
    }

    fn step(&mut self) {
        while self.queue.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, frame)) = self.queue.pop_front() else { break };
            let to = Mac(*frame.first_chunk().unwrap());
            for (tree, way) in (1..).zip(&mut self.ways) {
                if to == sender_address(tree)
                    && unit(&mut self.rng) > way.loss
                    && let Some(sender) = &mut way.sender
                {
                    sender.receive(self.now, &frame).unwrap();
                }
                for receiver in self.receivers.iter_mut().filter(|_| to == tree_address(tree)) {
                    if unit(&mut self.rng) > way.loss {
                        receiver.receive(self.now, &frame).unwrap();
                    }
                }
            }
        }
        let (now, queue) = (self.now, &mut self.queue);
        for receiver in &mut self.receivers {
            receiver.advance(now, &mut |f| queue.push_back((now + DELAY, f.to_vec())));
        }
        for way in &mut self.ways {
            let Some(sender) = &mut way.sender else { continue };
            sender.send(now, way.room, &mut |f| queue.push_back((now + DELAY, f.to_vec()))).unwrap();
        }
        // One reads for all, as the endpoint's threads do.
        if let Some(hash) = self.ways.iter().flat_map(|w| &w.sender).find_map(Sender::content_hash) {
            self.ways.iter_mut().flat_map(|w| &mut w.sender).for_each(|s| s.know_hash(hash));
        }
        self.now += MS;
    }

    fn steps(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// Until all senders that are left are done.
    fn run(&mut self, most: u64) {
        for _ in 0..most {
            self.step();
            if self.ways.iter().all(|w| w.sender.as_ref().is_none_or(Sender::is_done)) {
                return;
            }
        }
        panic!("not done after {most} ms: {:?}", self.chunks());
    }

    /// Chunks that each sender has sent.
    fn chunks(&self) -> Vec<u64> {
        self.ways.iter().map(|w| w.sender.as_ref().map_or(0, |s| s.counters().chunks)).collect()
    }

    fn all(&self) -> u64 {
        self.bytes.len().div_ceil(1408) as u64
    }

    fn have(&self) -> u64 {
        self.receivers[0].progress().map_or(0, |p| p.0)
    }

    fn all_verified(&self) -> bool {
        self.ways.iter().flat_map(|w| &w.sender).all(|s| s.peers().all(|p| p.is_verified()))
    }
}

#[test]
fn trees_share_the_content_by_how_fast_they_are() {
    for rooms in [&[20, 20][..], &[30, 10], &[5, 40, 10]] {
        let dir = temporary();
        let mut w = Ways::new(dir.path(), 12_000_000, rooms, None, 1);
        w.run(5_000);
        assert!(w.all_verified() && w.receivers.iter().all(Receiver::is_ended));
        check(dir.path(), 3, &w.bytes);
        let chunks = w.chunks();
        assert_eq!(chunks.iter().sum::<u64>(), w.all(), "no chunk is sent by two: {chunks:?}");
        for (sent, room) in chunks.iter().zip(rooms) {
            let part = *room as f64 / rooms.iter().sum::<usize>() as f64;
            let got = *sent as f64 / w.all() as f64;
            assert!((got / part - 1.0).abs() < 0.1, "{chunks:?} at {rooms:?}");
        }
    }
}

#[test]
fn what_gets_lost_is_repaired_by_whoever_sent_it() {
    for (seed, fec) in [(2, None), (3, Some((32, 8)))] {
        let dir = temporary();
        let mut w = Ways::new(dir.path(), 6_000_000, &[20, 15], fec, seed);
        (w.ways[0].loss, w.ways[1].loss) = (0.02, 0.2);
        w.run(30_000);
        assert!(w.all_verified());
        check(dir.path(), 3, &w.bytes);
        let repairs: Vec<u64> = w
            .ways
            .iter()
            .flat_map(|w| &w.sender)
            .map(|s| s.counters().repairs + s.counters().parity)
            .collect();
        assert!(repairs.iter().all(|r| *r > 0), "{repairs:?}");
    }
}

/// Its sender stops, as when the tree is withdrawn: the rest goes by the other.
#[test]
fn when_a_tree_goes_the_other_carries_the_rest() {
    for seed in 4..8 {
        let dir = temporary();
        let mut w = Ways::new(dir.path(), 12_000_000, &[20, 20], None, seed);
        w.steps(30 * (seed - 2));
        let (have, sent) = (w.have(), w.chunks());
        assert!(sent[1] > 100 && have < w.all(), "{sent:?}");
        w.ways[1].sender = None;
        w.run(5_000);
        assert!(w.all_verified());
        check(dir.path(), 3, &w.bytes);
        // What was on its way, and a range that was being sent, may come twice.
        let more = w.chunks()[0] + sent[1] - w.all();
        assert!(more < 400, "{more} chunks twice");
    }
}

/// The tree that was left goes on; another comes, and takes its share of what is lacking then.
#[test]
fn a_tree_that_comes_later_takes_its_share() {
    for (seed, alone) in [(12, true), (13, false)] {
        let dir = temporary();
        let mut w = Ways::new(dir.path(), 12_000_000, &[20, 20], None, seed);
        let late = w.ways[1].sender.take().unwrap();
        if alone {
            w.receivers.iter_mut().enumerate().for_each(|(n, r)| r.sit(&places(1, n as u32)));
        }
        w.steps(100);
        let have = w.have();
        assert!(have > 0 && have < w.all() / 2, "{have}");
        w.ways[1].sender = Some(late);
        w.receivers.iter_mut().enumerate().for_each(|(n, r)| r.sit(&places(2, n as u32)));
        w.run(5_000);
        assert!(w.all_verified() && w.receivers.iter().all(Receiver::is_ended));
        check(dir.path(), 3, &w.bytes);
        let chunks = w.chunks();
        let twice = chunks.iter().sum::<u64>() - w.all();
        let half = (w.all() - have) / 2;
        assert!(chunks[1].abs_diff(half) < half / 5, "{chunks:?} of {}, {have} before", w.all());
        assert!(twice < 400, "{twice} chunks twice");
        // Who sits elsewhere does not listen to them any more.
        w.receivers.iter_mut().enumerate().for_each(|(n, r)| r.sit(&places(2, n as u32)[1..]));
        assert!(w.receivers.iter().all(Receiver::is_ended));
    }
}

/// It is there, and nothing passes, of which nobody tells its sender: it goes on sending.
#[test]
fn a_tree_that_leads_nowhere_keeps_nothing_back() {
    for from in [0, 120] {
        let dir = temporary();
        let mut w = Ways::new(dir.path(), 12_000_000, &[20, 20], None, 9);
        w.steps(from);
        w.ways[1].loss = 1.0;
        let before = w.now;
        while w.receivers.iter().any(|r| r.progress().is_none_or(|(have, all)| have < all)) {
            w.step();
            assert!(w.now - before < 20_000 * MS, "it waits for what does not come: {:?}", w.chunks());
        }
    }
}

/// One that is far slower than it was does not hold up the end.
#[test]
fn a_tree_that_becomes_slow_does_not_hold_up_the_end() {
    let dir = temporary();
    let mut w = Ways::new(dir.path(), 12_000_000, &[20, 20], None, 10);
    w.steps(120);
    w.ways[1].room = 0;
    let before = w.now;
    while w.receivers.iter().any(|r| r.progress().is_none_or(|(have, all)| have < all)) {
        w.step();
        assert!(w.now - before < 20_000 * MS, "it waits for the slow one: {:?}", w.chunks());
    }
    w.ways[1].room = 20;
    w.run(5_000);
    check(dir.path(), 3, &w.bytes);
}

/// Neither polls nor the end are believed that do not come from the sender of one of its trees.
#[test]
fn receivers_listen_to_their_trees_only() {
    let dir = temporary();
    let mut w = Ways::new(dir.path(), 1_000_000, &[10, 10], None, 11);
    let options = SenderOptions::new(TRANSFER, 4, 99, sender_address(7), tree_address(7));
    let mut stranger = Sender::new(options, source(&dir.path().join("file"), None), &[0; 3], 0);
    stranger.stop();
    let (mut ends, mut polls) = (0, 0);
    for ms in 0..400 {
        w.step();
        let mut frames = Vec::new();
        stranger.send(ms * MS, 9, &mut |f| frames.push(f.to_vec())).unwrap();
        for f in &frames {
            for r in &mut w.receivers {
                match r.receive(w.now, f) {
                    Err(Reject::Field("of another tree")) if f[17] == 5 => polls += 1,
                    Err(Reject::Field("of another tree")) => ends += 1,
                    other => assert!(other.is_ok() && f[17] < 5, "{other:?} to a frame of kind {}", f[17]),
                }
            }
        }
        assert!(w.queue.iter().all(|(_, f)| f[..6] != sender_address(7).0), "it was answered");
    }
    assert!(ends > 0, "{polls} polls, {ends} ends");
    w.run(5_000);
    check(dir.path(), 3, &w.bytes);
}
