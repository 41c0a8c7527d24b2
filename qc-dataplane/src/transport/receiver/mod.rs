//! A receiver: takes chunks in any order, answers polls, checks the whole, and puts it in its place.
//!
//! - [`options`]: who it is;
//! - `joining`: takes the manifest;
//! - `seat`: its place on each of the trees that lead to it;
//! - `reports`: polls and answers; [`answer`]: when to answer a poll, and when to keep silent;
//! - `joined`: what there is once the manifest is known: the store, and parity that waits for its block.

pub mod answer;
mod joined;
mod joining;
pub mod options;
mod reports;
mod seat;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Steady;
use super::files::FileError;
use super::wire::body;
use super::wire::{Cause, Envelope, Message, Reject, Shape, State, parse};
use joined::Joined;
pub use options::{Place, ReceiverCounters, ReceiverOptions};
use seat::Seat;

/// Bytes that are read back in one call.
const HASH_STEP: usize = 4 << 20;

/// What came with the hello.
struct About {
    shape: Shape,
    manifest_hash: [u8; 32],
    content_hash: Option<[u8; 32]>,
}

/// One receiver of one transfer.
pub struct Receiver {
    options: ReceiverOptions,
    clock: Steady,
    rng: ChaCha8Rng,
    about: Option<About>,
    /// The manifest while it comes in parts, and the parts that are here.
    manifest: Vec<u8>,
    parts: Vec<bool>,
    joined: Option<Joined>,
    state: State,
    failure: Option<FileError>,
    /// Contents that were read back and were wrong.
    wrong: u32,
    seats: Vec<Seat>,
    counters: ReceiverCounters,
    rated: (u64, u64),
    rate: u64,
    frame: Vec<u8>,
}

impl Receiver {
    /// A receiver that waits for its transfer's hello.
    pub fn new(options: ReceiverOptions) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            seats: options.places.iter().map(|p| Seat::new(*p)).collect(),
            options,
            clock: Steady::default(),
            about: None,
            manifest: Vec::new(),
            parts: Vec::new(),
            joined: None,
            state: State::Joining,
            failure: None,
            wrong: 0,
            counters: ReceiverCounters::default(),
            rated: (0, 0),
            rate: 0,
            frame: Vec::new(),
        }
    }

    /// Listens to the senders of these trees and no others: to those that it listens to already as before.
    pub fn sit(&mut self, places: &[Place]) {
        self.seats.retain(|s| places.contains(&s.place));
        for place in places {
            if !self.seats.iter().any(|s| s.place == *place) {
                self.seats.push(Seat::new(*place));
            }
        }
    }

    /// Takes a frame. What the disk refuses is not an error here: it becomes [`State::Failed`].
    ///
    /// # Errors
    ///
    /// Why the frame is not believed. That harms nothing.
    pub fn receive(&mut self, now: u64, frame: &[u8]) -> Result<(), Reject> {
        let taken = parse(frame).and_then(|(envelope, message)| self.take(now, &envelope, message));
        if taken.is_err() {
            self.counters.rejected = self.counters.rejected.wrapping_add(1);
        }
        taken
    }

    fn take(&mut self, now: u64, envelope: &Envelope, message: Message<'_>) -> Result<(), Reject> {
        let now = self.clock.at(now);
        if envelope.transfer != self.options.transfer {
            return Err(Reject::Field("of another transfer"));
        }
        if self.about.as_ref().is_some_and(|a| envelope.tag != body::tag(&a.manifest_hash)) {
            return Err(Reject::Field("of another content"));
        }
        let mine = |s: &Seat| envelope.partition == self.options.partition && s.place.sender == envelope.from;
        let seat = self.seats.iter().position(mine);
        match (message, seat) {
            (Message::Hello(hello), seat) => {
                self.hello(&hello)?;
                if let Some(seat) = seat {
                    self.seats[seat].tag = Some(envelope.tag);
                }
            }
            (Message::Manifest(n, bytes), _) => self.part(n, bytes)?,
            (Message::Data(n, bytes), _) => {
                let Some(joined) = self.content(n, bytes)? else { return Ok(()) };
                let result = joined.data(n, bytes);
                self.stored(result);
            }
            (Message::Parity(block, shard, bytes), _) => {
                let Some(joined) = self.shard(block, shard, bytes)? else { return Ok(()) };
                let result = joined.parity(block, shard, bytes);
                self.stored(result);
            }
            (Message::Poll(poll), Some(seat)) => {
                self.seats[seat].tag = Some(envelope.tag);
                self.poll(now, seat, &poll);
            }
            (Message::End(session), Some(seat)) => {
                let seat = &mut self.seats[seat];
                seat.ended |= session == seat.session;
            }
            (Message::Poll(_) | Message::End(_), None) => return Err(Reject::Field("of another tree")),
            (Message::Report(_), _) => return Err(Reject::Field("not for a receiver")),
        }
        self.counters.frames += 1;
        Ok(())
    }

    fn fail(&mut self, e: FileError) {
        self.state = State::Failed(e.cause());
        self.failure = Some(e);
        self.joined = None;
        self.has_news();
    }

    /// There is something to tell to all senders.
    fn has_news(&mut self) {
        self.seats.iter_mut().for_each(|s| s.news = true);
    }

    /// Where a chunk goes, if one of that length is wanted at all.
    fn content(&mut self, n: u64, bytes: &[u8]) -> Result<Option<&mut Joined>, Reject> {
        if self.about.as_ref().is_some_and(|a| a.shape.len_of(n) != bytes.len()) {
            return Err(Reject::Field("chunk of another length"));
        }
        Ok(self.receiving())
    }

    fn shard(&mut self, block: u64, shard: u16, bytes: &[u8]) -> Result<Option<&mut Joined>, Reject> {
        if let Some(about) = &self.about {
            let fits = about.shape.fec().is_some_and(|(_, m)| usize::from(shard) < m)
                && block < about.shape.blocks()
                && bytes.len() == about.shape.chunk();
            if !fits {
                return Err(Reject::Field("parity that this transfer does not have"));
            }
        }
        Ok(self.receiving())
    }

    fn receiving(&mut self) -> Option<&mut Joined> {
        let of = match self.state {
            State::Receiving => return self.joined.as_mut(),
            State::Joining => &mut self.counters.early,
            _ => &mut self.counters.duplicates,
        };
        *of = of.wrapping_add(1);
        None
    }

    fn stored(&mut self, result: Result<joined::Taken, FileError>) {
        match result {
            Ok(taken) => {
                self.counters.bytes += taken.bytes;
                self.counters.recovered += taken.recovered;
                if taken.duplicate {
                    self.counters.duplicates = self.counters.duplicates.wrapping_add(1);
                }
                if self.joined.as_ref().is_some_and(|j| j.store.left() == 0) {
                    self.state = State::Checking;
                    self.has_news();
                }
            }
            Err(e) => self.fail(e),
        }
    }

    /// Does what is due: an answer through `out`, a step of reading back.
    pub fn advance(&mut self, now: u64, out: &mut dyn FnMut(&[u8])) {
        let now = self.clock.at(now);
        self.check();
        let over = matches!(self.state, State::Verified | State::Failed(_));
        for seat in 0..self.seats.len() {
            if over {
                self.seats[seat].tell_end(now, &mut self.rng);
            }
            if let Some(answer) = self.seats[seat].answer.take_if(|a| now >= a.due) {
                self.report(now, seat, &answer, out);
            }
        }
    }

    /// When [`Self::advance`] is to be called if no frame comes before; `None`: no need to.
    pub fn wakes(&self) -> Option<u64> {
        let hash = self.about.as_ref().and_then(|a| a.content_hash);
        let reads = match (&self.joined, self.state) {
            (Some(joined), State::Checking) => hash.is_some() || joined.can_hash(),
            _ => false,
        };
        let due = self.seats.iter().filter_map(|s| s.answer.as_ref()).map(|a| a.due).min();
        if reads { Some(0) } else { due.map(|at| self.clock.outside(at)) }
    }

    fn check(&mut self) {
        let Some(joined) = &mut self.joined else { return };
        if !matches!(self.state, State::Receiving | State::Checking) {
            return;
        }
        let found = match joined.hash(HASH_STEP) {
            Ok(found) => found,
            Err(e) => return self.fail(e),
        };
        let want = self.about.as_ref().and_then(|a| a.content_hash);
        let (Some(found), Some(want)) = (found, want) else { return };
        self.seats.iter_mut().for_each(|s| s.news = true);
        if found == want {
            match joined.store.place() {
                Ok(()) => self.state = State::Verified,
                Err(e) => self.fail(e),
            }
            return;
        }
        self.wrong += 1;
        match joined.clear() {
            Ok(()) if self.wrong < 2 => self.state = State::Receiving,
            Ok(()) => {
                self.state = State::Failed(Cause::Mismatch);
                self.joined = None;
            }
            Err(e) => self.fail(e),
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the disk or the manifest refused, if it failed.
    pub fn failure(&self) -> Option<&FileError> {
        self.failure.as_ref()
    }

    /// Whether the senders of all trees have said that nothing more comes.
    pub fn is_ended(&self) -> bool {
        self.seats.iter().all(|s| s.ended)
    }

    /// Chunks that are here and chunks of all; nothing before the hello.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.about.as_ref().map(|a| (self.have(), a.shape.chunks()))
    }

    /// How the content is cut; nothing before the hello.
    pub fn shape(&self) -> Option<&Shape> {
        self.about.as_ref().map(|a| &a.shape)
    }

    /// What was taken so far.
    pub fn counters(&self) -> ReceiverCounters {
        self.counters
    }

    /// Brings what is here to the disk, for a later continuation.
    ///
    /// # Errors
    ///
    /// The disk is full, or fails.
    pub fn pause(&mut self) -> Result<(), FileError> {
        match &mut self.joined {
            Some(joined) if self.state != State::Verified => joined.store.checkpoint(),
            _ => Ok(()),
        }
    }

    /// Removes what is kept for a continuation; what is verified stays in its place.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn forget(mut self) -> Result<(), FileError> {
        self.joined.take().map_or(Ok(()), |joined| joined.store.forget())
    }
}
