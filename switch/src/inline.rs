//! Inline ports: a thread of this very process forwards its frames itself, as a sender does in VALE.
//!
//! What a worker does with a burst ([`crate::pipeline`]) is done in [`InlineSender::send`], in the caller's thread: no
//! ring on the way in, no other core to hand frames to, one copy straight from where the caller has them into the
//! receivers' memory. What comes for the port comes by ordinary receive rings. [`crate::daemon::Daemon::attach_inline`] makes
//! one; the caller is trusted, being part of the process.
//!
//! Each sender forwards as a worker of its own: its seat among the `inline` ones that the switch is configured with has
//! its own counters, and by it the control side waits until nothing of before is in use. `wait` is how it sleeps.

use std::sync::Arc;

use crossbeam::epoch::Atomic;
use valecast_ring::client::{Link, RxRing};
use valecast_ring::notify;

use crate::clock::now_ns;
use crate::fdb::Fdb;
use crate::pipeline::Pipeline;
use crate::plan::Context;
use crate::port::inline::Lent;
use crate::route::LastRoute;
use crate::tables::{PortId, Tables};
use crate::worker::receivers::Receivers;
use crate::worker::{FRAMES, SETTLE_AT_LAST, TURNS, current};

pub(crate) mod seat;
mod wait;

use seat::Seat;

/// A port in the hands of this process. It stays attached as long as its link.
pub struct InlinePort {
    link: Link,
    sender: InlineSender,
    rx: Vec<RxRing>,
}

impl InlinePort {
    pub(crate) fn new(link: Link, sender: InlineSender, rx: Vec<RxRing>) -> Self {
        Self { link, sender, rx }
    }

    /// The link and both directions, one for each thread that wants one. Dropping the link detaches the port, whoever
    /// still holds the others.
    pub fn split(self) -> (Link, InlineSender, Vec<RxRing>) {
        (self.link, self.sender, self.rx)
    }
}

/// The port was detached, or its switch has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("port {port:?} is gone: it was detached, or its switch has stopped")]
pub struct Gone {
    /// The port.
    pub port: String,
}

/// What became of frames that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// So many, from the first on, are done with: delivered, or dropped and counted. Fewer than were given: the next one
    /// waits, for a meter or for a full receiver that must not lose anything. [`InlineSender::wait`] sleeps until then.
    pub frames: usize,
    /// When (ns, [`crate::clock::now_ns`]) the next one conforms to the meter, if that is what it waits for.
    pub hold_until: Option<u64>,
}

/// The sending side of an [`InlinePort`], for one thread at a time.
pub struct InlineSender {
    name: String,
    seat: Arc<Seat>,
    tables: Arc<Atomic<Tables>>,
    forwarder: Forwarder,
}

/// What it forwards with.
pub(crate) struct Forwarder {
    port: PortId,
    worker: usize,
    fdb: Arc<Fdb>,
    burst: usize,
    pipeline: Pipeline,
    last_route: LastRoute,
    /// Bursts and frames since the clock was read and the flags of those who may sleep were looked at.
    turns: u32,
    frames: usize,
    /// The time, until it is too old.
    now: Option<u64>,
    last_settled: u64,
    /// Receivers that got frames since the flags were looked at after a fence.
    fresh: Receivers,
    /// Receivers that may wait for more frames than they got.
    patient: Receivers,
    /// Why the last frames were not all taken.
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Not,
    /// By a meter, until then.
    Until(u64),
    /// By full receivers.
    Full,
}

impl Forwarder {
    pub fn new(port: PortId, worker: usize, fdb: Arc<Fdb>, burst: usize) -> Self {
        Self {
            port,
            worker,
            fdb,
            burst,
            pipeline: Pipeline::default(),
            last_route: LastRoute::default(),
            turns: 0,
            frames: 0,
            now: None,
            last_settled: 0,
            fresh: Receivers::default(),
            patient: Receivers::default(),
            held: Held::Not,
        }
    }

    fn send(&mut self, t: &Tables, frames: &[&[u8]]) -> Option<Sent> {
        let port = t.port(self.port)?;
        let (mut source, mut sent) = (Lent(frames), Sent::default());
        self.held = Held::Not;
        while !source.0.is_empty() {
            let now = self.time(t);
            let cx = Context { tables: t, fdb: &self.fdb, port, lane: 0, worker: self.worker, now };
            let served = self.pipeline.serve(cx, &mut source, &mut self.last_route, self.burst);
            sent.frames += served.done;
            if served.done > 0 {
                for p in self.pipeline.touched() {
                    self.fresh.add(*p);
                }
            }
            self.turns += 1;
            self.frames += served.done;
            if served.done < served.taken {
                sent.hold_until = served.hold_until;
                self.held = served.hold_until.map_or(Held::Full, Held::Until);
                // Whoever has to make room must be awake for it, and the caller may go and do something else.
                self.flush(t);
                break;
            }
            if self.turns >= TURNS || self.frames >= FRAMES {
                self.wake(t);
            }
        }
        // The frames are the caller's again.
        self.pipeline.memory().clear();
        Some(sent)
    }

    /// The time, not older than a few bursts if the caller goes on sending.
    #[inline]
    fn time(&mut self, t: &Tables) -> u64 {
        if let Some(now) = self.now {
            return now;
        }
        let now = now_ns();
        self.now = Some(now);
        if now.saturating_sub(self.last_settled) > SETTLE_AT_LAST {
            self.last_settled = now;
            if !self.patient.list.is_empty() {
                notify::settle();
                self.patient.wake_patient(t);
            }
        }
        now
    }

    /// Wakes those who sleep and have what they wait for.
    fn wake(&mut self, t: &Tables) {
        (self.turns, self.frames, self.now) = (0, 0, None);
        if !self.fresh.list.is_empty() {
            notify::settle();
            self.fresh.wake(t, &mut self.patient);
        }
    }

    /// Wakes those who sleep and have some of what they wait for.
    fn flush(&mut self, t: &Tables) {
        let settled = !self.fresh.list.is_empty();
        self.wake(t);
        if !self.patient.list.is_empty() {
            if !settled {
                notify::settle();
            }
            self.patient.wake_patient(t);
        }
    }
}

impl InlineSender {
    pub(crate) fn new(
        name: String,
        seat: Arc<Seat>,
        tables: Arc<Atomic<Tables>>,
        forwarder: Forwarder,
    ) -> Self {
        Self { name, seat, tables, forwarder }
    }

    fn gone(&self) -> Gone {
        Gone { port: self.name.clone() }
    }

    /// Forwards `frames` (whole Ethernet frames without checksum), from the first on, before it returns. How many
    /// were taken: fewer than there are if a receiver with `overflow = "backpressure"` is full, or a meter with
    /// `mode = "shape"` makes them wait.
    ///
    /// Receivers that sleep are woken every few calls, not by each: call [`InlineSender::flush`] before doing anything
    /// else than sending, or [`InlineSender::wait`], which does that. If not all frames were taken it was done.
    ///
    /// # Errors
    /// The port is gone. None of the frames was taken.
    #[inline]
    pub fn send(&mut self, frames: &[&[u8]]) -> Result<Sent, Gone> {
        // Before the turn begins: this may take apart what is not in use any more, which must not hold up the control side.
        let guard = crossbeam::epoch::pin();
        let inside = self.seat.turns.enter();
        if self.seat.is_over() {
            return Err(self.gone());
        }
        let sent = current(&self.tables, &guard).and_then(|t| self.forwarder.send(t, frames));
        drop(inside);
        sent.ok_or_else(|| self.gone())
    }

    /// Wakes all receivers that sleep and have got frames. To be called when there is nothing more to send for now: until then
    /// they may sleep on.
    pub fn flush(&mut self) {
        let guard = crossbeam::epoch::pin();
        let _inside = self.seat.turns.enter();
        if let Some(t) = current(&self.tables, &guard) {
            self.forwarder.flush(t);
        }
    }
}

impl Drop for InlineSender {
    fn drop(&mut self) {
        self.flush();
        self.seat.leave();
    }
}
