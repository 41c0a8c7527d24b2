//! From bytes to whole messages, with the descriptors that belong to each.
//!
//! One receive brings as many messages as fit. The buffer is as large as it will ever be; a message too long for it is
//! reported by its header and its bytes are skipped, so that the next message is found.

use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::sys::fds::{Space, receive};

/// What the messages of a protocol begin with, and how long they get.
pub trait Framing: FromBytes + KnownLayout + Immutable + Copy {
    /// Longest message in bytes, header included.
    const MAX_MESSAGE: usize;
    /// Most descriptors of one message.
    const MAX_FDS: usize;

    /// Bytes of the whole message, header included.
    fn total(&self) -> u64;
}

/// A message.
#[derive(Debug)]
pub struct Message<'a, H> {
    /// Its header.
    pub header: H,
    /// What follows the header.
    pub body: &'a [u8],
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
    /// It cannot be used: `E2BIG`, too long (the body was skipped); `EMFILE`, descriptors were lost, there being too
    /// many for the message or for the process.
    pub bad: Option<Errno>,
}

/// The stream cannot be followed any more: a message claims to be shorter than its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes, less than its header")]
pub struct Desync(pub u64);

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Bytes.
    Some,
    /// None yet.
    Empty,
    /// None any more.
    End,
}

/// Why the other side of a connection is no more.
#[derive(Debug, PartialEq, Eq)]
pub enum Gone {
    /// It closed the connection.
    Closed,
    /// What it sent makes no sense.
    Broken(String),
}

impl From<Errno> for Gone {
    fn from(e: Errno) -> Self {
        match e {
            Errno::ECONNRESET | Errno::EPIPE => Self::Closed,
            e => Self::Broken(e.to_string()),
        }
    }
}

/// Descriptors and the place in the stream of the last byte that they came with.
#[derive(Debug, Default)]
struct Pending {
    at: u64,
    fds: Vec<OwnedFd>,
    lost: bool,
}

/// The receiving half of one connection.
#[derive(Debug)]
pub struct Stream<H> {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Place in the stream of `buffer[start]`.
    position: u64,
    /// Bytes still to be skipped.
    skip: u64,
    pending: Vec<Pending>,
    space: Space,
    framing: PhantomData<H>,
}

impl<H: Framing> Default for Stream<H> {
    fn default() -> Self {
        Self {
            // One message of the greatest length and plenty of short ones.
            buffer: vec![0; 2 * H::MAX_MESSAGE],
            start: 0,
            end: 0,
            position: 0,
            skip: 0,
            pending: Vec::new(),
            space: Space::default(),
            framing: PhantomData,
        }
    }
}

impl<H: Framing> Stream<H> {
    /// Receives once, without waiting. All whole messages must have been taken before.
    pub fn fill(&mut self, sock: BorrowedFd<'_>) -> Result<Fill, Errno> {
        self.compact();
        let got = match receive(sock, &mut self.buffer[self.end..], &mut self.space) {
            Ok(got) => got,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Fill::Empty),
            Err(e) => return Err(e),
        };
        if got.bytes == 0 {
            return Ok(Fill::End);
        }
        self.arrived(got.bytes, got.fds, got.lost);
        Ok(Fill::Some)
    }

    /// Takes bytes as if they had been received; those that fit.
    pub fn feed(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) -> usize {
        self.compact();
        let n = bytes.len().min(self.buffer.len() - self.end);
        self.buffer[self.end..self.end + n].copy_from_slice(&bytes[..n]);
        if n > 0 {
            self.arrived(n, fds, false);
        }
        n
    }

    fn compact(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    fn arrived(&mut self, bytes: usize, fds: Vec<OwnedFd>, lost: bool) {
        self.end += bytes;
        if fds.is_empty() && !lost {
            return;
        }
        let at = self.position + self.end as u64 - 1;
        // What is held for a message that is not whole yet is bounded; the kernel bounds what one receive brings.
        let held: usize = self.pending.iter().map(|p| p.fds.len()).sum();
        let over = held + fds.len() > 2 * H::MAX_FDS || self.pending.len() > H::MAX_FDS;
        if over {
            self.pending.clear();
        }
        let fds = if over { Vec::new() } else { fds };
        self.pending.push(Pending { at, fds, lost: lost || over });
    }

    /// The next whole message, if there is one.
    pub fn message(&mut self) -> Result<Option<Message<'_, H>>, Desync> {
        if self.skip > 0 {
            let n = (self.end - self.start).min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.advance(n);
            self.skip -= n as u64;
            let _ = self.descriptors();
        }
        let at = self.start;
        let Ok((header, rest)) = H::read_from_prefix(&self.buffer[at..self.end]) else {
            return Ok(None);
        };
        let (total, own) = (header.total(), size_of::<H>());
        if total < own as u64 {
            return Err(Desync(total));
        }
        if total > H::MAX_MESSAGE as u64 {
            self.advance(own);
            self.skip = total - own as u64;
            return Ok(Some(Message { header, body: &[], fds: Vec::new(), bad: Some(Errno::E2BIG) }));
        }
        let size = total as usize;
        if rest.len() < size - own {
            return Ok(None);
        }
        self.advance(size);
        let (fds, lost) = self.descriptors();
        let bad = (lost || fds.len() > H::MAX_FDS).then_some(Errno::EMFILE);
        let body = &self.buffer[at + own..at + size];
        Ok(Some(Message { header, body, fds, bad }))
    }

    fn advance(&mut self, n: usize) {
        self.start += n;
        self.position += n as u64;
    }

    /// Those that came with bytes before the current position.
    fn descriptors(&mut self) -> (Vec<OwnedFd>, bool) {
        let (mut fds, mut lost) = (Vec::new(), false);
        let position = self.position;
        self.pending.retain_mut(|p| {
            if p.at < position {
                fds.append(&mut p.fds);
                lost |= p.lost;
            }
            p.at >= position
        });
        (fds, lost)
    }
}
