//! One front end's connection: messages in, answers out.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

use super::session::{Plug, Session};
use super::wire::Stream;
use crate::stream::Fill;
pub use crate::stream::Gone;

/// Receives before others in the epoll set get their turn.
const ROUNDS: usize = 16;

/// A connected front end.
#[derive(Debug)]
pub struct Connection {
    sock: UnixStream,
    stream: Stream,
    out: Vec<u8>,
}

impl Connection {
    /// A front end that has not said anything yet; `sock` does not block.
    pub fn new(sock: UnixStream) -> Self {
        Self { sock, stream: Stream::default(), out: Vec::new() }
    }

    /// Takes messages and answers them, as many as there are within reason.
    pub fn serve<P: Plug>(&mut self, session: &mut Session<P>) -> Result<(), Gone> {
        for _ in 0..ROUNDS {
            match self.stream.fill(self.sock.as_fd())? {
                Fill::Some => self.answer(session)?,
                Fill::Empty => return Ok(()),
                Fill::End => return Err(Gone::Closed),
            }
        }
        Ok(())
    }

    /// Does what was received, all of it: nobody rings for that again.
    fn answer<P: Plug>(&mut self, session: &mut Session<P>) -> Result<(), Gone> {
        loop {
            match self.stream.message() {
                Ok(Some(m)) => {
                    let done = session.handle(m, &mut self.out);
                    self.flush()?;
                    done.map_err(|e| Gone::Broken(e.to_string()))?;
                }
                Ok(None) => return Ok(()),
                Err(e) => return Err(Gone::Broken(e.to_string())),
            }
        }
    }

    /// Sends the answer. A front end waits for each, so one that lets them pile up is none.
    fn flush(&mut self) -> Result<(), Gone> {
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.sock.as_raw_fd(), rest, flags) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(Gone::Broken("it does not take its answers".into())),
                Err(e) => return Err(e.into()),
            }
        }
        self.out.clear();
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }
}
