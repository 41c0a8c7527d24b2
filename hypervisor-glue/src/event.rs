//! Descriptors of bells that a monitor hands over.
//!
//! They come from a stranger: a pipe that nobody empties or a counter that is full must not block a worker. So sockets are
//! sent to without waiting, eventfds are rung and read by [`crate::sys::eventfd`], and nothing else is taken.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};

use crate::sys::eventfd::signal;

fn kind(fd: &OwnedFd) -> Result<SFlag, Errno> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode).intersection(SFlag::S_IFMT))
}

fn non_blocking(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(fd)
}

/// An eventfd. It is an anonymous inode (no file type), as are others that refuse to be written.
///
/// `EINVAL`: it is a file, a pipe, a socket or a device.
pub fn eventfd(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if !kind(&fd)?.is_empty() {
        return Err(Errno::EINVAL);
    }
    non_blocking(fd)
}

/// What a guest is interrupted by: an eventfd, or the socket that user-mode Linux has in its place.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
    socket: bool,
}

impl Bell {
    /// From a descriptor.
    ///
    /// `EINVAL`: it is a file, a pipe or a device.
    pub fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let socket = kind(&fd)? == SFlag::S_IFSOCK;
        Ok(Self { fd: if socket { fd } else { eventfd(fd)? }, socket })
    }

    /// Rings; false if it did not take it: a bell that still rings.
    pub fn ring(&self) -> bool {
        if self.socket {
            let one = 1u64.to_ne_bytes();
            send(self.fd.as_raw_fd(), &one, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).is_ok()
        } else {
            signal(self.fd.as_fd()).is_ok()
        }
    }
}
