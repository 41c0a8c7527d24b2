//! The file descriptors behind a kick.
//!
//! A client rings the switch by an **eventfd**, which the switch only ever watches (edge-triggered): it
//! neither reads nor writes it. The switch rings a client by a **pipe** whose write end never leaves the
//! daemon. An eventfd would not do there: `O_NONBLOCK` is a property of the open file that both
//! processes would share, so a client could clear it, fill the counter, and block the worker that rings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The end that the client rings (both sides hold the same eventfd).
#[derive(Debug)]
pub struct Kick(OwnedFd);

impl Kick {
    /// A new one (switch's side).
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?.into()))
    }

    /// One received from the switch (client's side).
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Rings. A full counter means that the switch has not looked yet: nothing to do.
    pub fn ring(&self) {
        let _ = nix::unistd::write(&self.0, &1u64.to_ne_bytes());
    }

    /// To watch, edge-triggered.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The switch's end of the bell toward a client.
#[derive(Debug)]
pub struct Caller(OwnedFd);

impl Caller {
    /// Rings. A full pipe is a bell that still rings.
    pub fn ring(&self) {
        let _ = nix::unistd::write(&self.0, &[1]);
    }
}

/// The client's end of the bell: readable while there is a call not yet taken.
#[derive(Debug)]
pub struct Call(OwnedFd);

impl Call {
    /// Wraps an end received from the switch.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Takes all calls so far.
    pub fn drain(&self) {
        let mut sink = [0u8; 512];
        loop {
            match nix::unistd::read(&self.0, &mut sink) {
                Ok(n) if n == sink.len() => {}
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
    }

    /// To wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A new bell toward a client.
pub fn bell() -> io::Result<(Caller, Call)> {
    let (r, w) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((Caller(w), Call(r)))
}
