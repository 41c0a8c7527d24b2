//! Descriptors of bells that a monitor hands over.
//!
//! They come from a stranger: a pipe that nobody empties or a counter that is full must not block a worker, so all are
//! made non-blocking.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

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

/// An eventfd, or the pipe that user-mode Linux uses for one.
///
/// `EINVAL`: it is a file, a socket or a device.
pub fn bell(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    let kind = kind(&fd)?;
    if !kind.is_empty() && kind != SFlag::S_IFIFO {
        return Err(Errno::EINVAL);
    }
    non_blocking(fd)
}
