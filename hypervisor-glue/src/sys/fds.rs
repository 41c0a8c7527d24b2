//! One receive from the socket: bytes, and the descriptors that came with them.

use std::io::IoSliceMut;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recvmsg};

/// Most descriptors that Linux lets through in one message (SCM_MAX_FD).
const KERNEL_MAX: usize = 253;
/// `struct cmsghdr` of 64-bit Linux: a word of length, level and type of 4 bytes each.
const CMSG_HEADER: usize = size_of::<usize>() + 8;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// Room for ancillary data, reused from receive to receive.
#[derive(Debug)]
pub struct Space(Vec<u8>);

impl Default for Space {
    fn default() -> Self {
        Self(vec![0; CMSG_HEADER + KERNEL_MAX.next_multiple_of(2) * size_of::<RawFd>()])
    }
}

/// What one receive brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes; 0 at the end of the stream.
    pub bytes: usize,
    /// Descriptors, all close-on-exec. The kernel ends a receive after the segment that carries some, so they
    /// belong to the message that the last byte is part of.
    pub fds: Vec<OwnedFd>,
    /// Some were lost: the process has too many open.
    pub lost: bool,
}

/// Receives what is there, without waiting.
pub fn receive(sock: BorrowedFd<'_>, into: &mut [u8], space: &mut Space) -> Result<Received, Errno> {
    // The kernel writes from the start and only what it has; a length of 0 then means that nothing came.
    space.0[..CMSG_HEADER].fill(0);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (bytes, lost) = {
        let mut iov = [IoSliceMut::new(into)];
        let m = recvmsg::<()>(sock.as_raw_fd(), &mut iov, Some(&mut space.0), flags)?;
        (m.bytes, m.flags.contains(MsgFlags::MSG_CTRUNC))
    };
    Ok(Received { bytes, fds: take(&space.0), lost })
}

/// Also when the kernel says that the list is cut short: those that did come are ours to close.
fn take(space: &[u8]) -> Vec<OwnedFd> {
    let word = |at: usize| -> Option<usize> {
        Some(usize::from_ne_bytes(space.get(at..at + size_of::<usize>())?.try_into().ok()?))
    };
    let int =
        |at: usize| -> Option<i32> { Some(i32::from_ne_bytes(space.get(at..at + 4)?.try_into().ok()?)) };
    let len = word(0).unwrap_or(0).min(space.len());
    let level = int(size_of::<usize>());
    let kind = int(size_of::<usize>() + 4);
    if len < CMSG_HEADER || level != Some(SOL_SOCKET) || kind != Some(SCM_RIGHTS) {
        return Vec::new();
    }
    (CMSG_HEADER..len)
        .step_by(size_of::<RawFd>())
        .filter_map(int)
        .filter(|fd| *fd >= 0)
        // SAFETY: the kernel has just opened these for us in this very receive (the length was zeroed
        // before it), and nobody else knows of them.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}
