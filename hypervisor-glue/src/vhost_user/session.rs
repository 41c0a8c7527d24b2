//! One front end's conversation, without its socket. `act` has what each message does, `joining` what becomes of the
//! rings then.
//!
//! Rings are joined to the switch and parted from it through [`Plug`], all ready pairs at once. Parting is done when the
//! message comes that asks for it and before it is answered; joining waits for [`Session::settle`], a moment after the
//! last message, for front ends set up one ring after another.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use vhost::vhost_user::message::FrontendReq;

use super::counters::Counters;
use super::features::Shape;
use super::queue::Queue;
use super::regions::Regions;
use super::vring::Vring;
use super::wire::{self, Message, NEED_REPLY, REPLY, VERSION, VERSION_MASK};

mod act;
mod joining;

use act::Answer;

const REPLY_ACK: u64 = 1 << 3;

/// A pair of queues, ready for the switch.
#[derive(Clone)]
pub struct Pair {
    /// To the guest.
    pub receive: Arc<Queue>,
    /// From the guest.
    pub transmit: Arc<Queue>,
}

/// The port's place in the switch.
pub trait Plug {
    /// Joins these, at least one. `mtu`: longest IP packet that the guest takes in one piece, if that was agreed on. False:
    /// it cannot be.
    fn join(&mut self, pairs: &[Pair], mtu: Option<u16>) -> bool;
    /// Parts them. When this returns no worker uses them.
    fn part(&mut self);
}

/// Why a message is refused: what is wrong with which of its fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    /// With a text for the log.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The conversation cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

/// See the [module](self).
pub struct Session<P> {
    shape: Shape,
    plug: P,
    regions: Regions,
    features: u64,
    protocol: u64,
    mtu: Option<u16>,
    vrings: Vec<Vring>,
    plugged: bool,
    dirty: bool,
    /// Kept open for user-mode Linux.
    _back: Option<OwnedFd>,
    counters: Arc<Counters>,
}

impl<P: Plug> Session<P> {
    /// Nothing said yet.
    pub fn new(shape: Shape, plug: P, counters: Arc<Counters>) -> Self {
        let vrings = (0..2 * shape.pairs).map(|_| Vring::default()).collect();
        Self {
            shape,
            plug,
            regions: Regions::default(),
            features: 0,
            protocol: 0,
            mtu: None,
            vrings,
            plugged: false,
            dirty: false,
            _back: None,
            counters,
        }
    }

    /// The port's place in the switch.
    pub fn plug(&mut self) -> &mut P {
        &mut self.plug
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether [`Session::settle`] has something to do.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Bytes of guest memory.
    pub fn memory(&self) -> u64 {
        self.regions.bytes()
    }

    /// Does what a message says; answers go to `out`.
    ///
    /// # Errors
    /// It makes no sense and its sender did not ask to be told: the connection is to be cut.
    pub fn handle(&mut self, m: Message<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.counters.messages.add(1);
        let (flags, number) = (m.header.flags.get(), m.header.request.get());
        if flags & VERSION_MASK != VERSION {
            let v = flags & VERSION_MASK;
            return Err(Broken(format!(
                "message {number}: flags: version {v}, version 1 of vhost-user is due"
            )));
        }
        if flags & REPLY != 0 {
            return Err(Broken(format!("message {number}: flags: an answer to nothing")));
        }
        let request = FrontendReq::try_from(number);
        let name = request.map_or_else(|()| format!("message {number}"), |r| format!("{r:?}"));
        tracing::debug!(message = name, bytes = m.body.len(), fds = m.fds.len(), "from the front end");
        let bad = m.bad;
        let done = match (request, bad) {
            (_, Some(e)) => Err(Refusal(format!("size or descriptors: {e}"))),
            (Err(()), None) => Err(Refusal("nothing known by this number".into())),
            (Ok(r), None) => self.act(r, m.body, m.fds, out),
        };
        let ask = flags & NEED_REPLY != 0 && self.protocol & REPLY_ACK != 0;
        match done {
            Ok(Answer::Given) => Ok(()),
            Ok(Answer::None) => {
                if let (true, Ok(r)) = (ask, request) {
                    wire::reply(out, r, &[&0u64.to_ne_bytes()]);
                }
                Ok(())
            }
            Err(why) => {
                self.counters.refused.add(1);
                match request {
                    Ok(r) if ask => {
                        tracing::warn!("{name} refused: {why}");
                        wire::reply(out, r, &[&1u64.to_ne_bytes()]);
                        Ok(())
                    }
                    _ => Err(Broken(format!("{name}: {why}"))),
                }
            }
        }
    }

    /// The front end is gone.
    pub fn reset(&mut self) {
        self.part();
        self.vrings.iter_mut().for_each(|v| *v = Vring::default());
        self.regions.clear();
        (self.features, self.protocol, self.mtu, self._back, self.dirty) = (0, 0, None, None, false);
    }
}
