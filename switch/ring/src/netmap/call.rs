//! Requests about netmap ports, and their answers.
//!
//! ```text
//! library                                   switch (SOCK_SEQPACKET, `netmap` in the run directory)
//!   connect
//!   ◀─ Welcome {token}                      stays in the program's descriptor; read by a caller
//!   Call {token of a descriptor, request} ─▶
//!   ◀─ Answer {errno, body, rings} + SCM_RIGHTS: memfd, bells
//! ```
//! Both sides are on one machine and numbers have its byte order. Sizes are fixed.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::abi::NAME;

/// "VCNM": the first word of every message.
pub const MAGIC: u32 = u32::from_ne_bytes(*b"VCNM");
/// The protocol that this build speaks.
pub const VERSION: u16 = 1;
/// Besides netmap's requests: what the descriptor with this token has registered.
pub const MAP: u16 = 0x100;
/// Bytes of a request's body.
pub const BODY: usize = 64;
/// Most rings of one descriptor: 16 of the port each way, and as many of the host.
pub const MAX_RINGS: usize = 64;
/// Most descriptors that Linux lets travel in one message.
const SCM_MAX_FD: usize = 253;

/// What proves that somebody holds a descriptor.
pub type Token = [u8; 16];

/// The first and only message on a program's descriptor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Welcome {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u16,
    /// Zero.
    pub pad: u16,
    /// Of this connection.
    pub token: Token,
}

/// A request.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Call {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u16,
    /// `NETMAP_REQ_*` or [`MAP`].
    pub reqtype: u16,
    /// Of the descriptor that it is about.
    pub token: Token,
    /// `nr_name`.
    pub name: [u8; NAME],
    /// The body, as netmap has it, and zeroes.
    pub body: [u8; BODY],
}

/// One ring of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireRing {
    /// Where its [`super::kring::Kring`] lies in the region.
    pub kring: u64,
    /// 0 transmit, 1 receive.
    pub dir: u32,
    /// Whether a descriptor to wait on came along (1), and one to wake the other side by (2), in this order.
    pub bells: u32,
}

/// An answer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Answer {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u16,
    /// Rings in `rings`.
    pub nrings: u16,
    /// 0, or why not (`errno`).
    pub errno: i32,
    /// Zero.
    pub pad: u32,
    /// `nr_name` as it is to be written back.
    pub name: [u8; NAME],
    /// The body as it is to be written back.
    pub body: [u8; BODY],
    /// With [`MAP`]: bytes of the region.
    pub total: u64,
    /// With [`MAP`]: where the descriptor's `netmap_if` lies.
    pub nifp: u64,
    /// With [`MAP`]: where [`super::kring::MemHeader`] lies.
    pub header: u64,
    /// With [`MAP`]: the `NR_*` flags registered with.
    pub flags: u64,
    /// With [`MAP`]: the descriptor's rings.
    pub rings: [WireRing; MAX_RINGS],
}

impl Answer {
    /// Nothing but an errno.
    pub fn errno(errno: i32) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            nrings: 0,
            errno,
            pad: 0,
            name: [0; NAME],
            body: [0; BODY],
            total: 0,
            nifp: 0,
            header: 0,
            flags: 0,
            rings: [WireRing::default(); MAX_RINGS],
        }
    }
}

/// A message that was checked for size, magic and version.
pub fn parse<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Option<T> {
    let head = bytes.first_chunk::<6>()?;
    let magic = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
    if magic != MAGIC || u16::from_ne_bytes([head[4], head[5]]) != VERSION {
        return None;
    }
    T::read_from_bytes(bytes).ok()
}

/// Receives one message of type `T` with the descriptors that came along.
///
/// # Errors
/// What the system says; `EPROTO` if it is something else, or the peer has closed.
pub fn receive<T: FromBytes + KnownLayout + Immutable>(
    sock: BorrowedFd<'_>,
    flags: MsgFlags,
) -> nix::Result<(T, Vec<OwnedFd>)> {
    let mut buf = [0u8; size_of::<Answer>() + 1];
    let mut space = cmsg_space!([RawFd; SCM_MAX_FD]);
    let (bytes, fds) = loop {
        let mut iov = [IoSliceMut::new(&mut buf)];
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        let msg = match recvmsg::<()>(sock.as_raw_fd(), &mut iov, Some(&mut space), flags) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut fds = Vec::new();
        for c in msg.cmsgs().map_err(|_| Errno::EPROTO)? {
            if let ControlMessageOwned::ScmRights(raw) = c {
                // SAFETY: the kernel has just made these descriptors for us and nobody else knows them.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if msg.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(Errno::EPROTO);
        }
        break (msg.bytes, fds);
    };
    let message = buf.get(..bytes).and_then(parse).ok_or(Errno::EPROTO)?;
    Ok((message, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_whole_and_its_own() {
        let welcome = Welcome { magic: MAGIC, version: VERSION, pad: 0, token: [7; 16] };
        let bytes = welcome.as_bytes().to_vec();
        assert_eq!(parse::<Welcome>(&bytes).map(|w| w.token), Some([7; 16]));
        assert!(parse::<Welcome>(&bytes[..23]).is_none());
        assert!(parse::<Call>(&bytes).is_none());
        for (at, v) in [(0, 0u8), (4, 9)] {
            let mut wrong = bytes.clone();
            wrong[at] = v;
            assert!(parse::<Welcome>(&wrong).is_none(), "byte {at}");
        }
    }
}
