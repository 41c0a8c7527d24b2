//! What each message does: one front end's conversation, without its socket.
//!
//! Rings are joined to the switch and parted from it through [`Plug`], all ready pairs at once. Parting is done when the
//! message comes that asks for it and before it is answered; joining waits for [`Session::settle`], a moment after the
//! last message, for front ends set up one ring after another.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use vhost::vhost_user::message::{
    FrontendReq, VHOST_USER_CONFIG_SIZE, VhostUserConfig, VhostUserU64, VhostUserVringAddr,
    VhostUserVringState,
};
use vm_memory::ByteValued;

use super::counters::Counters;
use super::features::{Shape, protocol};
use super::queue::Queue;
use super::regions::Regions;
use super::ring::Places;
use super::vring::Vring;
use super::wire::{self, Message, NEED_REPLY, NO_FD, REPLY, VERSION, VERSION_MASK};
use crate::event::{Bell, eventfd};

mod joining;

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

    fn act(
        &mut self,
        request: FrontendReq,
        body: &[u8],
        fds: Vec<OwnedFd>,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Refusal> {
        use FrontendReq as R;
        let number = || part::<VhostUserU64>(body).map(|n| n.value);
        let mut answer = |n: u64| {
            wire::reply(out, request, &[&n.to_ne_bytes()]);
            Ok(Answer::Given)
        };
        match request {
            R::GET_FEATURES => answer(self.shape.features()),
            R::GET_PROTOCOL_FEATURES => answer(protocol()),
            R::GET_QUEUE_NUM => answer(self.shape.pairs.into()),
            R::GET_MAX_MEM_SLOTS => answer(Regions::MAX as u64),
            R::SET_OWNER | R::SET_CONFIG => Ok(Answer::None),
            R::SET_FEATURES => done(self.set_features(number()?)),
            R::SET_PROTOCOL_FEATURES => {
                let n = number()?;
                offered("protocol features", n, protocol())?;
                self.protocol = n;
                Ok(Answer::None)
            }
            R::RESET_OWNER | R::RESET_DEVICE => {
                self.part();
                self.vrings.iter_mut().for_each(|v| *v = Vring::default());
                self.features = 0;
                Ok(Answer::None)
            }
            R::SET_MEM_TABLE => done(self.memory_changes(|r| r.replace(body, fds))),
            R::ADD_MEM_REG => done(self.memory_changes(|r| r.add(body, fds))),
            R::REM_MEM_REG => done(self.memory_changes(|r| r.remove(body))),
            R::SET_VRING_NUM => {
                let s = part::<VhostUserVringState>(body)?;
                done(self.ring(s.index)?.set_size(s.num))
            }
            R::SET_VRING_BASE => {
                let s = part::<VhostUserVringState>(body)?;
                let base = u16::try_from(s.num)
                    .map_err(|_| Refusal(format!("num: {} is no index of a split ring", { s.num })))?;
                let v = self.ring(s.index)?;
                (v.base, v.used) = (base, None);
                Ok(Answer::None)
            }
            R::SET_VRING_ADDR => {
                let a = part::<VhostUserVringAddr>(body)?;
                let p = Places { descriptors: a.descriptor, available: a.available, used: a.used };
                done(self.ring(a.index)?.set_places(p))
            }
            R::GET_VRING_BASE => {
                let s = part::<VhostUserVringState>(body)?;
                let v = self.ring(s.index)?;
                v.stop();
                let state = VhostUserVringState::new(s.index, v.base.into());
                wire::reply(out, request, &[state.as_slice()]);
                Ok(Answer::Given)
            }
            R::SET_VRING_KICK => {
                let (index, fd) = bell_of(number()?, fds)?;
                let fd = fd.map(eventfd).transpose().map_err(|e| Refusal(format!("descriptor: {e}")))?;
                self.ring(index)?.kick = Some(fd.map(Arc::new));
                Ok(Answer::None)
            }
            R::SET_VRING_CALL => {
                let (index, fd) = bell_of(number()?, fds)?;
                let fd = fd.map(Bell::new).transpose().map_err(|e| Refusal(format!("descriptor: {e}")))?;
                self.set_call(index, fd)?;
                Ok(Answer::None)
            }
            R::SET_VRING_ERR => {
                let (index, fd) = bell_of(number()?, fds)?;
                let fd = fd.map(Bell::new).transpose().map_err(|e| Refusal(format!("descriptor: {e}")))?;
                self.find(index)?.error = fd.map(Arc::new);
                Ok(Answer::None)
            }
            R::SET_VRING_ENABLE => {
                let s = part::<VhostUserVringState>(body)?;
                let on = match s.num {
                    0 => false,
                    1 => true,
                    n => return Err(Refusal(format!("num: {n}; 0 or 1 is due"))),
                };
                // Said again for each pair by some.
                if self.find(s.index)?.enabled != on {
                    self.ring(s.index)?.enabled = on;
                }
                Ok(Answer::None)
            }
            R::NET_SET_MTU => {
                let n = number()?;
                let mtu = u16::try_from(n).ok().filter(|m| *m >= 68);
                self.mtu = Some(mtu.ok_or_else(|| Refusal(format!("mtu: {n}; 68 to 65535 is due")))?);
                Ok(Answer::None)
            }
            R::SET_BACKEND_REQ_FD => {
                let fd =
                    fds.into_iter().next().ok_or_else(|| Refusal("no descriptor came with it".into()))?;
                self._back = Some(fd);
                Ok(Answer::None)
            }
            R::GET_CONFIG => {
                let (c, _) = wire::split::<VhostUserConfig>(body).ok_or_else(|| short(body))?;
                let end = u64::from(c.offset) + u64::from(c.size);
                if end > u64::from(VHOST_USER_CONFIG_SIZE) || c.size == 0 {
                    // No room for an error but this.
                    wire::reply(out, request, &[]);
                    return Ok(Answer::Given);
                }
                let mut space = vec![0; end as usize];
                let config = self.shape.config();
                let n = config.len().min(space.len());
                space[..n].copy_from_slice(&config[..n]);
                wire::reply(out, request, &[c.as_slice(), &space[c.offset as usize..]]);
                Ok(Answer::Given)
            }
            _ => Err(Refusal("not spoken here: its feature was not offered".into())),
        }
    }

    fn set_features(&mut self, n: u64) -> Result<(), Refusal> {
        offered("features", n, self.shape.features())?;
        if self.features != n {
            self.part();
            self.features = n;
        }
        Ok(())
    }

    fn find(&mut self, index: u32) -> Result<&mut Vring, Refusal> {
        let n = self.vrings.len();
        self.vrings
            .get_mut(index as usize)
            .ok_or_else(|| Refusal(format!("index: ring {index} of {n}; raise the port's `queues` for more")))
    }

    /// A ring that is about to change: parted from the switch, if it was joined.
    fn ring(&mut self, index: u32) -> Result<&mut Vring, Refusal> {
        if self.find(index)?.live.is_some() {
            self.part();
        }
        self.dirty = true;
        self.find(index)
    }

    /// The front end is gone.
    pub fn reset(&mut self) {
        self.part();
        self.vrings.iter_mut().for_each(|v| *v = Vring::default());
        self.regions.clear();
        (self.features, self.protocol, self.mtu, self._back, self.dirty) = (0, 0, None, None, false);
    }
}

/// Whether a message's answer was given already.
enum Answer {
    Given,
    None,
}

fn done(r: Result<(), Refusal>) -> Result<Answer, Refusal> {
    r.map(|()| Answer::None)
}

fn short(body: &[u8]) -> Refusal {
    Refusal(format!("size: {} bytes are too few", body.len()))
}

fn part<T: ByteValued>(body: &[u8]) -> Result<T, Refusal> {
    wire::split(body).map(|(t, _)| t).ok_or_else(|| short(body))
}

fn offered(what: &str, n: u64, offered: u64) -> Result<(), Refusal> {
    match n & !offered {
        0 => Ok(()),
        over => Err(Refusal(format!("{what}: {over:#x} were not offered"))),
    }
}

/// Ring and descriptor of SET_VRING_KICK and its kind.
fn bell_of(n: u64, fds: Vec<OwnedFd>) -> Result<(u32, Option<OwnedFd>), Refusal> {
    let fd = fds.into_iter().next();
    if fd.is_none() && n & NO_FD == 0 {
        return Err(Refusal("no descriptor came with it".into()));
    }
    Ok(((n & 0xff) as u32, fd))
}
