//! What each message does.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use vhost::vhost_user::message::{
    FrontendReq, VHOST_USER_CONFIG_SIZE, VhostUserConfig, VhostUserU64, VhostUserVringAddr,
    VhostUserVringState,
};
use vm_memory::ByteValued;

use super::super::features::protocol;
use super::super::regions::Regions;
use super::super::ring::Places;
use super::super::vring::Vring;
use super::super::wire::{self, NO_FD};
use super::{Plug, Refusal, Session};
use crate::event::{Bell, eventfd};

impl<P: Plug> Session<P> {
    /// Does what a message says, which is as long as it must be.
    pub(super) fn act(
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
            // Virtqueues, as the specification has it and cloud-hypervisor counts. QEMU counts pairs: if it is asked for more
            // of those than there are, it hears so when it describes the first that is not there.
            R::GET_QUEUE_NUM => answer(2 * u64::from(self.shape.pairs)),
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

    pub(super) fn find(&mut self, index: u32) -> Result<&mut Vring, Refusal> {
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
}

/// Whether a message's answer was given already.
pub(super) enum Answer {
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
