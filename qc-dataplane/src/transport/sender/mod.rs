//! The sender of one partition, on one of its trees: polls, merges what its receivers lack, and sends that, lowest first.
//!
//! - [`options`]: rates, patience;
//! - [`holes`]: what is to be sent, merged;
//! - [`peers`]: what is known of each receiver, of the same size whatever the file's;
//! - `repair`: which content goes next, and how;
//! - [`shares`]: what of it, where several trees lead to the same receivers;
//! - `control`: hellos and polls;
//! - `call`: who was given up is asked again, after the end;
//! - `reports`: what receivers say that they lack;
//! - `rounds`: what was sent since which poll, so that reports that could not know of it do not ask for it again.

mod call;
mod control;
pub mod holes;
pub mod options;
pub mod peers;
mod repair;
mod reports;
mod rounds;
pub mod shares;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Steady;
use super::files::FileError;
use super::files::source::Source;
use super::wire::body::{self, room_for_spans};
use super::wire::{Envelope, HelloHead, Mac, Message, Reject, Shape, State, parse};
use holes::{Holes, Who};
pub use options::{SenderCounters, SenderOptions};
use peers::{Outcome, Peer, PeerStatus};
use rounds::Rounds;
use shares::Share;

/// Runs of chunks that are remembered at once: about 3 MiB.
const MOST_HOLES: usize = 32_768;
/// Polls without an answer after which a silent receiver may be given up.
const UNANSWERED: u32 = 5;
/// After so many polls in a row without an answer each goes out twice, after as many more four times.
const PATIENT: u32 = 4;
/// How often the end is said.
const ENDS: u32 = 3;
/// Bytes that are hashed in one call when nothing is to be sent.
const HASH_STEP: usize = 4 << 20;
/// Blocks whose next parity shard is remembered.
const MOST_BLOCKS: usize = 4096;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until all have answered, or the time.
    Hold(u64),
    Sending,
    /// Ends still to say.
    Ending(u32),
    Done,
}

/// One sender, one tree.
pub struct Sender {
    options: SenderOptions,
    source: Source,
    shape: Shape,
    hash: Option<[u8; 32]>,
    clock: Steady,
    phase: Phase,
    peers: Vec<Peer>,
    /// Where other trees lead to the same receivers.
    share: Option<Share>,
    /// Since when nothing was to be sent that is not others'.
    idle: Option<u64>,
    parts: Holes,
    holes: Holes,
    rounds: Rounds,
    /// Chunks below were all sent or had by all, or are holes.
    cursor: u64,
    next_poll: u64,
    poll_every: u64,
    /// The last poll has yet to leave.
    poll_waits: bool,
    /// So many copies of it, which is the last frame that was made, are still to go.
    poll_copies: u32,
    /// When the last poll's answers should be here.
    answered: u64,
    next_census: u64,
    /// News of repairs are due, and not before.
    advert: Option<u64>,
    hello: bool,
    /// Somebody lacks a hello: one goes with the next poll.
    lost_hello: bool,
    /// Most chunks that one receiver lacks of a block.
    needs: BTreeMap<u64, u64>,
    /// Next parity shard of blocks that were sent.
    shards: HashMap<u64, u16>,
    /// Parity that goes out now: block, shard.
    parity: VecDeque<(u64, u16)>,
    coded: Option<(u64, Vec<Vec<u8>>)>,
    /// Chunks of the block that was sent last.
    visit: (u64, u64),
    /// Unicast copies that the tree's frames have paid for.
    credit: u64,
    unicast: VecDeque<(u64, u32)>,
    counters: SenderCounters,
    frame: Vec<u8>,
}

impl Sender {
    /// A sender of `source` to receivers numbered as in `hops`, which says how many links lie before each (0: not known).
    pub fn new(options: SenderOptions, source: Source, hops: &[u32], now: u64) -> Self {
        let mut clock = Steady::default();
        let now = clock.at(now);
        let shape = *source.shape();
        let mut parts = Holes::new(MOST_HOLES);
        if !inline(&shape) {
            parts.add(0..shape.parts(), Who::one(0));
        }
        let poll_every = options.poll_every;
        Self {
            phase: Phase::Hold(now.saturating_add(options.hold)),
            peers: hops.iter().map(|h| Peer::new(*h, now)).collect(),
            share: None,
            idle: None,
            options,
            source,
            shape,
            hash: None,
            clock,
            parts,
            holes: Holes::new(MOST_HOLES),
            rounds: Rounds::default(),
            cursor: 0,
            next_poll: now,
            poll_every,
            poll_waits: false,
            poll_copies: 0,
            answered: now,
            next_census: now,
            advert: None,
            hello: true,
            lost_hello: false,
            needs: BTreeMap::new(),
            shards: HashMap::new(),
            parity: VecDeque::new(),
            coded: None,
            visit: (0, 0),
            credit: 64,
            unicast: VecDeque::new(),
            counters: SenderCounters::default(),
            frame: Vec::new(),
        }
    }

    /// Shares the content with senders on other trees to the same receivers.
    #[must_use]
    pub fn sharing(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// Takes a frame that came to the sender.
    ///
    /// # Errors
    ///
    /// Why it is not believed. That harms nothing.
    pub fn receive(&mut self, now: u64, frame: &[u8]) -> Result<(), Reject> {
        let taken = parse(frame).and_then(|(envelope, message)| {
            let mine = envelope.transfer == self.options.transfer
                && envelope.partition == self.options.partition
                && envelope.tag == body::tag(&self.source.manifest_hash());
            match message {
                _ if !mine => Err(Reject::Field("of another transfer, content or partition")),
                Message::Report(report) => self.report(now, envelope.from, &report),
                _ => Err(Reject::Field("not for a sender")),
            }
        });
        if taken.is_err() {
            self.counters.rejected += 1;
        }
        taken
    }

    /// Sends at most `room` frames through `out`; how many it were. Fewer than there is room for: nothing is to be sent
    /// before [`Self::wakes`] or the next report.
    ///
    /// # Errors
    ///
    /// The files cannot be read, or changed.
    pub fn send(&mut self, now: u64, room: usize, out: &mut dyn FnMut(&[u8])) -> Result<usize, FileError> {
        let now = self.clock.at(now);
        self.judge(now);
        let mut sent = 0;
        while sent < room {
            if self.phase == Phase::Done {
                break;
            }
            if !self.control(now, out) {
                if !self.content(out)? {
                    break;
                }
                self.ask_if_all_is_sent();
            }
            sent += 1;
        }
        if self.reads() {
            // Behind what was just sent, which the system still has in memory.
            let idle = self.holes.is_empty() || self.cursor == self.shape.chunks();
            let (to, most) = if idle {
                (self.shape.total(), HASH_STEP)
            } else {
                let to = self.holes.first().map_or(0, |(r, _)| r.start) * self.shape.chunk() as u64;
                // Where trees share it, what the others send is read here, too.
                let times = if self.share.is_some() { 16 } else { 2 };
                (to, (sent + 1) * times * self.shape.chunk())
            };
            self.hash = self.source.hash(to, most)?;
            self.hello |= self.hash.is_some();
        }
        Ok(sent)
    }

    /// When [`Self::send`] is to be called if no frame comes before; `None`: all is over.
    pub fn wakes(&self) -> Option<u64> {
        let at = match self.phase {
            Phase::Done => return None,
            // There is hashing to do, or a poll to repeat.
            _ if self.reads() || self.poll_copies > 0 => 0,
            Phase::Ending(_) => self.next_poll,
            _ if self.hello || !self.parts.is_empty() => 0,
            Phase::Sending if !self.holes.is_empty() || !self.parity.is_empty() => 0,
            Phase::Hold(until) => until.min(self.next_poll),
            _ => self.next_poll.min(self.advert.unwrap_or(u64::MAX)),
        };
        Some(self.clock.outside(at))
    }

    /// Whether all receivers have an outcome and the end has been said.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Tells all receivers that nothing more comes, whatever they lack.
    pub fn stop(&mut self) {
        if self.phase != Phase::Done {
            self.phase = Phase::Ending(ENDS);
            self.next_poll = self.clock.last;
        }
    }

    /// All receivers, in the order of their numbers.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        let chunks = self.shape.chunks();
        self.peers.iter().map(move |p| p.status(chunks, self.clock.last))
    }

    /// Bytes of content that are still to be sent, as far as is known: what receivers said that they lack, and what
    /// they have not spoken of. Nothing once all have an outcome.
    pub fn residual(&self) -> u64 {
        let chunks = self.shape.chunks();
        let horizon = self.peers.iter().filter(|p| p.outcome.is_none()).map(|p| p.horizon).min();
        let Some(known) = horizon.map(|h| h.min(chunks)) else { return 0 };
        // What was sent before it was asked for counts as had, until somebody says that it is not.
        let known = known.max(self.cursor);
        let left = self.holes.count(&(0..known)) + (chunks - known);
        (left.saturating_mul(self.shape.chunk() as u64)).min(self.shape.total())
    }

    /// Polls so often from now on, but never oftener than its options say. Where frames are slow, so are polls: they and
    /// their answers must not take what content needs.
    pub fn poll_every(&mut self, nanoseconds: u64) {
        let before = std::mem::replace(&mut self.poll_every, nanoseconds.max(self.options.poll_every));
        if self.poll_every < before {
            self.next_poll = self.next_poll.min(self.clock.last.saturating_add(self.poll_every));
        }
    }

    /// Whether the last frame that was no content has yet to leave. No poll follows it then: who was not asked has nothing
    /// to answer, and nobody is given up for that.
    pub fn poll_waits(&mut self, waits: bool) {
        self.poll_waits = waits;
    }

    /// BLAKE3 of the content, once it is known.
    pub fn content_hash(&self) -> Option<[u8; 32]> {
        self.hash
    }

    /// Tells the hash of the same content, found by another sender of it, so that it need not be read for that.
    pub fn know_hash(&mut self, hash: [u8; 32]) {
        if self.hash.is_none() {
            self.hash = Some(hash);
            self.source.hash_is_known();
            self.hello = true;
        }
    }

    /// Whether it still reads the content for its hash.
    pub fn reads(&self) -> bool {
        self.phase == Phase::Sending && self.hash.is_none() && self.share.as_ref().is_none_or(Share::reads)
    }

    /// Receivers that have an outcome.
    pub fn ended(&self) -> usize {
        self.peers.iter().filter(|p| p.outcome.is_some()).count()
    }

    /// What was sent and heard so far.
    pub fn counters(&self) -> SenderCounters {
        self.counters
    }

    /// How the content is cut.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    fn judge(&mut self, now: u64) {
        match self.phase {
            Phase::Hold(until) => {
                let ready = |p: &Peer| p.outcome.is_some() || p.state.is_some_and(|s| s != State::Joining);
                if self.peers.iter().all(ready) || (now >= until && self.peers.iter().any(ready)) {
                    self.phase = Phase::Sending;
                    self.next_poll = now + self.poll_every;
                }
            }
            Phase::Sending => {}
            Phase::Ending(_) | Phase::Done => return,
        }
        for peer in &mut self.peers {
            peer.give_up(now, self.options.give_up, UNANSWERED);
        }
        if self.peers.iter().all(|p| p.outcome.is_some()) {
            // If this is because nobody answers here, they may well by another tree.
            self.share.iter().for_each(Share::release);
            self.phase = Phase::Ending(ENDS);
            self.next_poll = now;
        }
    }

    fn envelope(&self, to: Mac) -> Envelope {
        Envelope {
            to,
            from: self.options.from,
            transfer: self.options.transfer,
            tag: body::tag(&self.source.manifest_hash()),
            partition: self.options.partition,
        }
    }
}

/// Whether the manifest goes into the hello.
fn inline(shape: &Shape) -> bool {
    shape.manifest() <= room_for_spans(shape.chunk(), size_of::<HelloHead>())
}

impl PeerStatus {
    /// Whether the receiver has all of it.
    pub fn is_verified(&self) -> bool {
        self.outcome == Some(Outcome::Verified)
    }
}
