//! What both directions of a ring have: how a client publishes, and how it sleeps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, ppoll};
use nix::sys::time::TimeSpec;

use super::alive;
use crate::doorbell::{Call, Kick};
use crate::notify::{self, Pairing};
use crate::region::{Region, RingView};

/// How long to wait for more slots when there are some: a little more than a busy switch takes to tell that it
/// has no more for now.
const LINGER: Duration = Duration::from_micros(300);

/// What both directions have.
#[derive(Debug)]
pub(super) struct End {
    /// Keeps what `view` points into mapped.
    pub _region: Arc<Region>,
    pub view: RingView,
    pub kick: Arc<Kick>,
    pub call: Call,
    /// How the switch sleeps; this side always makes its own fence before it does.
    pub pairing: Pairing,
    pub link: Arc<OwnedFd>,
}

impl End {
    /// Sleeps until `min` slots are available, as `count` tells; a switch that runs dry wakes earlier if `less`
    /// will do.
    pub fn wait(
        &self,
        min: u32,
        less: bool,
        timeout: Option<Duration>,
        count: impl Fn() -> u32,
    ) -> io::Result<bool> {
        if count() >= min {
            return Ok(true);
        }
        let until = timeout.map(|t| Instant::now() + t);
        let v = &self.view;
        self.tell_wish(min);
        loop {
            self.call.drain();
            if !notify::arm(v.atok_need_kick(), Pairing::Fences, || count() >= min) {
                return Ok(true);
            }
            let mut left = until.map(|u| u.saturating_duration_since(Instant::now()));
            if less && count() > 0 {
                // The switch may have said already that there is no more.
                left = Some(left.map_or(LINGER, |l| l.min(LINGER)));
            }
            let polled = self.sleep(left);
            notify::disarm(v.atok_need_kick());
            let now = count();
            match polled {
                _ if now >= min => return Ok(true),
                Err(Errno::EINTR) => return Ok(false),
                Err(e) => return Err(e.into()),
                Ok(true) if !alive(&self.link) => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the switch detached this port",
                    ));
                }
                Ok(_) if less && now > 0 => return Ok(false),
                // A kick that belonged to an earlier wait.
                Ok(_) if left.is_none_or(|l| !l.is_zero()) => {}
                Ok(_) => return Ok(false),
            }
        }
    }

    /// Whether the link stirred.
    fn sleep(&self, left: Option<Duration>) -> nix::Result<bool> {
        let (call, link) = (self.call.fd(), self.link.as_fd());
        let mut fds = [PollFd::new(call, PollFlags::POLLIN), PollFd::new(link, PollFlags::POLLIN)];
        match left {
            Some(t) => ppoll(&mut fds, Some(TimeSpec::from_duration(t)), None)?,
            None => nix::poll::poll(&mut fds, PollTimeout::NONE)?,
        };
        Ok(fds[1].any().unwrap_or(false))
    }

    /// Before this side sleeps: how many slots it waits for, and netmap's place for the same, which the switch does not look at.
    pub fn tell_wish(&self, min: u32) {
        let v = &self.view;
        v.atok_cur().store(v.atok_head().load(Ordering::Relaxed), Ordering::Relaxed);
        v.atok_wake_slots().store(min, Ordering::Relaxed);
    }

    /// Publishes `head` and kicks the switch if it sleeps.
    #[inline]
    pub fn publish(&self, head: u32) {
        let v = &self.view;
        // ORDERING: Release: slots and buffers are visible to a switch that reads head with Acquire.
        v.atok_head().store(head, Ordering::Release);
        if notify::wanted(v.ktoa_need_kick(), self.pairing) {
            self.kick.ring();
        }
    }

    /// The switch's tail, held to the ring.
    #[inline]
    pub fn tail(&self, mask: u32) -> u32 {
        // ORDERING: Acquire pairs with the switch's Release of hwtail.
        self.view.ktoa_hwtail().load(Ordering::Acquire) & mask
    }
}
