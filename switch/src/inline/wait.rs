//! How an inline sender sleeps until it is worth trying again.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use valecast_ring::notify::DOUBT;

use super::{Held, InlineSender};
use crate::clock::now_ns;
use crate::port::Egress;
use crate::worker::current;

const BELL: u64 = 0;
const ROOM: u64 = 1;

impl InlineSender {
    /// Wakes receivers as [`InlineSender::flush`], and sleeps until the frame that the last [`InlineSender::send`] did not
    /// take may go, if there was one. `Ok(false)` after the timeout or a signal.
    ///
    /// # Errors
    /// The port is gone, or the system has no descriptor left to wait with.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let until = timeout.map(|t| Instant::now() + t);
        // What rings from here on tells of tables newer than those that are looked at below.
        let _ = self.seat.bell.read();
        self.flush();
        if self.seat.is_over() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, self.gone()));
        }
        let done = match self.forwarder.held {
            Held::Not => true,
            Held::Until(at) => self.sleep_until(at, until)?,
            Held::Full => match self.full_receivers() {
                Some(full) => self.sleep_for_room(&full, until)?,
                None => true,
            },
        };
        if self.seat.is_over() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, self.gone()));
        }
        Ok(done)
    }

    /// The receivers that the last burst waits for; none if one of them is gone.
    fn full_receivers(&self) -> Option<Vec<Arc<dyn Egress>>> {
        let guard = crossbeam::epoch::pin();
        let _inside = self.seat.turns.enter();
        let t = current(&self.tables, &guard)?;
        let on = self.forwarder.pipeline.blocked_on();
        on.iter().map(|p| t.port(*p)?.egress.clone()).collect()
    }

    /// Whether it is `at` (ns) before `until`, or something has changed.
    fn sleep_until(&self, at: u64, until: Option<Instant>) -> io::Result<bool> {
        let left = Duration::from_nanos(at.saturating_sub(now_ns()));
        let most = until.map(|u| u.saturating_duration_since(Instant::now()));
        let first = most.is_none_or(|m| left <= m);
        let rang = doze(&self.seat.bell, Some(most.map_or(left, |m| m.min(left))))?;
        Ok(rang.unwrap_or(first))
    }

    /// Whether there may be room at one of `full` before `until`, or something has changed.
    fn sleep_for_room(&self, full: &[Arc<dyn Egress>], until: Option<Instant>) -> io::Result<bool> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&self.seat.bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        for fd in full.iter().flat_map(|e| e.room_fds()) {
            match epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, ROOM)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // Nobody reads these doorbells, so those that rang at any time say so once.
        let mut events = [EpollEvent::empty(); 16];
        while matches!(epoll.wait(&mut events, EpollTimeout::ZERO), Ok(n) if n == events.len()) {}
        // If one has room, what waits for the others will show.
        if !full.iter().all(|e| e.arm_room(0)) {
            return Ok(true);
        }
        // Once more after a while, where who makes room may have missed that this one sleeps.
        let mut doubt = full.iter().any(|e| e.missed_room(0).is_some());
        loop {
            let mut left = until.map(|u| u.saturating_duration_since(Instant::now()));
            let soon = Duration::from_nanos(DOUBT) * 2;
            let looks = doubt && left.is_none_or(|l| l > soon);
            if looks {
                left = Some(soon);
            }
            match doze(&epoll.0, left)? {
                Some(rang) => return Ok(rang),
                None if full.iter().any(|e| e.missed_room(0) == Some(true)) => return Ok(true),
                None if looks => doubt = false,
                None => return Ok(false),
            }
        }
    }
}

/// Sleeps until `fd` is readable: `Some(true)`; or a signal comes: `Some(false)`; or the time is over.
fn doze(fd: &impl AsFd, time: Option<Duration>) -> io::Result<Option<bool>> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let woken = match time {
        Some(t) => ppoll(&mut fds, Some(TimeSpec::from_duration(t)), None),
        None => poll(&mut fds, PollTimeout::NONE),
    };
    match woken {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(true)),
        Err(Errno::EINTR) => Ok(Some(false)),
        Err(e) => Err(e.into()),
    }
}
