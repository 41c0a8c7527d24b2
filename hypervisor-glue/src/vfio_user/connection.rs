//! One client's connection: batches of requests in, answers out.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, send};

use super::device::{Device, Peer};
use super::server::{CLIENT, RESAMPLE};
use super::session::Session;
use super::stream::{Fill, Stream};
pub use crate::stream::Gone;

/// Receives from one client before others in the epoll set get their turn.
const ROUNDS: usize = 16;
/// Bytes of unsent answers at which no more requests are taken. One batch may add to it at most what its reads ask for.
const MAX_OUT: usize = 256 * 1024;

/// A connected client.
#[derive(Debug)]
pub struct Connection {
    sock: UnixStream,
    peer: Peer,
    stream: Stream,
    out: Vec<u8>,
    sent: usize,
    blocked: bool,
    resample: Option<Arc<OwnedFd>>,
}

impl Connection {
    /// A client that has not said anything yet.
    pub fn new(sock: UnixStream, peer: Peer) -> Self {
        let stream = Stream::default();
        Self { sock, peer, stream, out: Vec::new(), sent: 0, blocked: false, resample: None }
    }

    /// Who it is.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Takes requests and answers them, as many as there are within reason. What was received is answered before this
    /// returns, or once the client takes answers: nothing else would tell of it.
    pub fn serve<D: Device>(&mut self, session: &mut Session<D>) -> Result<(), Gone> {
        for round in 0..=ROUNDS {
            loop {
                let answered = self.answer(session);
                // Before a cut, too: what could be answered is.
                let sent = self.flush();
                let all = answered?;
                sent?;
                if self.blocked {
                    return Ok(());
                }
                if all {
                    break;
                }
            }
            if round == ROUNDS {
                break;
            }
            match self.stream.fill(self.sock.as_fd())? {
                Fill::Some => session.bus().counters().receives.add(1),
                Fill::Empty => return Ok(()),
                Fill::End => return Err(Gone::Closed),
            }
        }
        Ok(())
    }

    /// Answers what was received; whether that is all of it, which it is not if answers pile up.
    fn answer<D: Device>(&mut self, session: &mut Session<D>) -> Result<bool, Gone> {
        while self.out.len() - self.sent < MAX_OUT {
            match self.stream.message() {
                Ok(Some(m)) => session.handle(m, &mut self.out),
                Ok(None) => return Ok(true),
                Err(desync) => return Err(Gone::Broken(desync.to_string())),
            }
        }
        Ok(false)
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> Result<(), Gone> {
        self.blocked = false;
        while self.sent < self.out.len() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.sock.as_raw_fd(), &self.out[self.sent..], flags) {
                Ok(n) => self.sent += n,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Waits for what comes next: room for answers, or requests; and the guest's end of interrupt.
    pub fn rearm<D: Device>(&mut self, epoll: &Epoll, session: &Session<D>) -> Result<(), Gone> {
        let wanted = if self.blocked { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
        epoll.modify(&self.sock, &mut EpollEvent::new(wanted, CLIENT))?;
        let now = session.resample();
        let same = match (&self.resample, now) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if !same {
            if let Some(old) = self.resample.take() {
                // It may be one that epoll never took.
                let _ = epoll.delete(&*old);
            }
            if let Some(new) = now {
                epoll.add(&**new, EpollEvent::new(EpollFlags::EPOLLIN, RESAMPLE))?;
                self.resample = Some(Arc::clone(new));
            }
        }
        Ok(())
    }

    /// Out of the epoll set.
    pub fn leave(&mut self, epoll: &Epoll) {
        // Descriptors that the client still holds stay in the set otherwise.
        if let Some(old) = self.resample.take() {
            let _ = epoll.delete(&*old);
        }
        let _ = epoll.delete(&self.sock);
    }
}
