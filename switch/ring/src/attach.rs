//! The handshake: one request, one reply that carries the descriptors, then the connection is the
//! port's lifeline: whichever side closes it, the port is detached.
//!
//! ```text
//! client                                   switch (SOCK_SEQPACKET, <switch>.ring)
//!   Request {versions, port, ring wishes} ─▶
//!   ◀─ Reply {status, version, ring params} + SCM_RIGHTS: memfd, then per ring
//!      (transmit first) the eventfd it rings and the pipe it is called by
//! ```
//! All numbers are little-endian. Sizes are fixed, so that a message is either whole or refused.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::layout::{Layout, LayoutError, MAX_RINGS, RingParams};
use crate::notify::Pairing;

/// "VCRG": the first word of every message.
pub const MAGIC: u32 = u32::from_le_bytes(*b"VCRG");
/// The protocol that this build speaks.
pub const VERSION: u16 = 1;
/// In a request: the client is registered for membarrier(2) and may leave out its fences. In a reply: the
/// switch makes them, and it may ([`Pairing::Asymmetric`]).
pub const FLAG_BARRIERS: u32 = 1;
/// Most descriptors that Linux lets travel in one message.
const SCM_MAX_FD: usize = 253;
/// Most descriptors in a reply.
pub const MAX_FDS: usize = 1 + 2 * 2 * MAX_RINGS as usize;

/// What a client wants, as it travels.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct WireRequest {
    /// [`MAGIC`].
    pub magic: U32,
    /// Oldest protocol that the client speaks.
    pub min_version: U16,
    /// Newest protocol that the client speaks.
    pub max_version: U16,
    /// Wished transmit rings, 0 for the port's own.
    pub tx_rings: U16,
    /// Wished receive rings, 0 for the port's own.
    pub rx_rings: U16,
    /// Wished slots, 0 for the port's own.
    pub slots: U32,
    /// Wished buffer size in bytes, 0 for the port's own.
    pub buf_size: U32,
    /// Port name, NUL-padded.
    pub port: [u8; 64],
    /// [`FLAG_BARRIERS`].
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 36],
}

/// What the switch answers, as it travels.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct WireReply {
    /// [`MAGIC`].
    pub magic: U32,
    /// The protocol that both will speak.
    pub version: U16,
    /// 0: attached; else a [`Refusal`].
    pub status: U16,
    /// Transmit rings.
    pub tx_rings: U16,
    /// Receive rings.
    pub rx_rings: U16,
    /// Slots per ring.
    pub slots: U32,
    /// Buffer size.
    pub buf_size: U32,
    /// Bytes of the memfd.
    pub total: U64,
    /// [`FLAG_BARRIERS`].
    pub flags: U32,
    /// Why not, for people; NUL-padded UTF-8.
    pub text: [u8; 220],
}

/// A request that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Port name.
    pub port: String,
    /// Wished rings; `None` leaves it to the port.
    pub tx_rings: Option<u16>,
    /// As `tx_rings`.
    pub rx_rings: Option<u16>,
    /// Wished slots.
    pub slots: Option<u32>,
    /// Wished buffer size.
    pub buf_size: Option<u32>,
    /// What the client is prepared for.
    pub pairing: Pairing,
}

/// Why a message was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Wrong size.
    #[error("message of {got} bytes where {want} were expected")]
    Size {
        /// Received.
        got: usize,
        /// Expected.
        want: usize,
    },
    /// Not our protocol.
    #[error("not an attach message (first word {0:#010x})")]
    Magic(u32),
    /// No common version.
    #[error("the peer speaks attach protocol {min} to {max}, this side {VERSION}")]
    Version {
        /// Oldest.
        min: u16,
        /// Newest.
        max: u16,
    },
    /// The port name is no name.
    #[error("field `port`: empty, not UTF-8, or bytes after its end")]
    Port,
    /// Ring parameters out of range.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The reply lacks descriptors.
    #[error("{got} descriptors where {want} were expected")]
    Fds {
        /// Received.
        got: usize,
        /// Expected.
        want: usize,
    },
    /// The announced size does not follow from the ring parameters.
    #[error("field `total`: {got} bytes, but these rings take {want}")]
    Total {
        /// Announced.
        got: u64,
        /// Computed.
        want: u64,
    },
}

/// Why the switch refused; the reply's text says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Refusal {
    /// The message was not understood.
    BadRequest = 1,
    /// There is no such port.
    NoSuchPort = 2,
    /// Somebody else has it.
    Busy = 3,
    /// This user may not.
    Denied = 4,
    /// A limit forbids it.
    Limit = 5,
    /// The switch failed.
    Internal = 6,
}

impl Refusal {
    fn from_wire(v: u16) -> Self {
        match v {
            2 => Self::NoSuchPort,
            3 => Self::Busy,
            4 => Self::Denied,
            5 => Self::Limit,
            6 => Self::Internal,
            _ => Self::BadRequest,
        }
    }
}

fn text_of(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    if field[end..].iter().any(|&b| b != 0) {
        return None;
    }
    std::str::from_utf8(&field[..end]).ok()
}

impl Request {
    /// Checks a message that anybody may have sent.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let want = size_of::<WireRequest>();
        let w = WireRequest::read_from_bytes(bytes)
            .map_err(|_| ProtocolError::Size { got: bytes.len(), want })?;
        if w.magic.get() != MAGIC {
            return Err(ProtocolError::Magic(w.magic.get()));
        }
        let (min, max) = (w.min_version.get(), w.max_version.get());
        if !(min..=max).contains(&VERSION) {
            return Err(ProtocolError::Version { min, max });
        }
        let port = text_of(&w.port).filter(|p| !p.is_empty()).ok_or(ProtocolError::Port)?.to_owned();
        let some16 = |v: U16| (v.get() != 0).then_some(v.get());
        let some32 = |v: U32| (v.get() != 0).then_some(v.get());
        let r = Self {
            port,
            tx_rings: some16(w.tx_rings),
            rx_rings: some16(w.rx_rings),
            slots: some32(w.slots),
            buf_size: some32(w.buf_size),
            pairing: pairing(w.flags),
        };
        // Each wish must be possible by itself; the port's own limits come later.
        let d = RingParams::default();
        Layout::try_from(r.over(d))?;
        Ok(r)
    }

    /// These wishes where there are some, `base` elsewhere.
    pub fn over(&self, base: RingParams) -> RingParams {
        RingParams {
            tx_rings: self.tx_rings.unwrap_or(base.tx_rings),
            rx_rings: self.rx_rings.unwrap_or(base.rx_rings),
            slots: self.slots.unwrap_or(base.slots),
            buf_size: self.buf_size.unwrap_or(base.buf_size),
        }
    }

    /// As it travels. Names longer than the field are refused by the switch, not cut: see [`Self::parse`].
    pub fn to_wire(&self) -> Result<WireRequest, ProtocolError> {
        let mut port = [0u8; 64];
        let name = self.port.as_bytes();
        if name.is_empty() || name.len() > port.len() || name.contains(&0) {
            return Err(ProtocolError::Port);
        }
        port[..name.len()].copy_from_slice(name);
        Ok(WireRequest {
            magic: MAGIC.into(),
            min_version: VERSION.into(),
            max_version: VERSION.into(),
            tx_rings: self.tx_rings.unwrap_or(0).into(),
            rx_rings: self.rx_rings.unwrap_or(0).into(),
            slots: self.slots.unwrap_or(0).into(),
            buf_size: self.buf_size.unwrap_or(0).into(),
            port,
            flags: flags(self.pairing),
            reserved: [0; 36],
        })
    }
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Attached, with these rings, and so do both sides sleep.
    Attached(Layout, Pairing),
    /// Refused, and why.
    Refused(Refusal, String),
}

impl Reply {
    /// Checks a reply.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let want = size_of::<WireReply>();
        let w =
            WireReply::read_from_bytes(bytes).map_err(|_| ProtocolError::Size { got: bytes.len(), want })?;
        if w.magic.get() != MAGIC {
            return Err(ProtocolError::Magic(w.magic.get()));
        }
        if w.status.get() != 0 {
            let text = text_of(&w.text).unwrap_or("(no reason given)").to_owned();
            return Ok(Self::Refused(Refusal::from_wire(w.status.get()), text));
        }
        if w.version.get() != VERSION {
            return Err(ProtocolError::Version { min: w.version.get(), max: w.version.get() });
        }
        let layout = Layout::try_from(RingParams {
            tx_rings: w.tx_rings.get(),
            rx_rings: w.rx_rings.get(),
            slots: w.slots.get(),
            buf_size: w.buf_size.get(),
        })?;
        let (got, want) = (w.total.get(), layout.total() as u64);
        if got != want {
            return Err(ProtocolError::Total { got, want });
        }
        Ok(Self::Attached(layout, pairing(w.flags)))
    }

    /// As it travels.
    pub fn to_wire(&self) -> WireReply {
        let mut w = WireReply {
            magic: MAGIC.into(),
            version: VERSION.into(),
            status: 0.into(),
            tx_rings: 0.into(),
            rx_rings: 0.into(),
            slots: 0.into(),
            buf_size: 0.into(),
            total: 0.into(),
            flags: 0.into(),
            text: [0; 220],
        };
        match self {
            Self::Attached(l, pairing) => {
                let p = l.params();
                w.flags = flags(*pairing);
                w.tx_rings = p.tx_rings.into();
                w.rx_rings = p.rx_rings.into();
                w.slots = p.slots.into();
                w.buf_size = p.buf_size.into();
                w.total = (l.total() as u64).into();
            }
            Self::Refused(why, text) => {
                w.status = (*why as u16).into();
                let mut end = text.len().min(w.text.len());
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                w.text[..end].copy_from_slice(&text.as_bytes()[..end]);
            }
        }
        w
    }
}

fn flags(p: Pairing) -> U32 {
    U32::new(if p == Pairing::Asymmetric { FLAG_BARRIERS } else { 0 })
}

fn pairing(flags: U32) -> Pairing {
    if flags.get() & FLAG_BARRIERS != 0 { Pairing::Asymmetric } else { Pairing::Fences }
}

/// Sends one message with descriptors.
pub fn send_msg(sock: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> nix::Result<()> {
    let iov = [IoSlice::new(bytes)];
    let rights = [ControlMessage::ScmRights(fds)];
    let cmsgs = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(sock.as_raw_fd(), &iov, cmsgs, flags, None).map(|_| ())
}

/// Receives one message with the descriptors that came along. An empty message means that the peer closed.
pub fn recv_msg(sock: BorrowedFd<'_>, flags: MsgFlags) -> nix::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buf = [0u8; 512];
    // Room for whatever a hostile peer may send along: descriptors that do not fit would stay open unseen.
    let mut space = cmsg_space!([RawFd; SCM_MAX_FD]);
    let mut iov = [IoSliceMut::new(&mut buf)];
    let msg =
        recvmsg::<()>(sock.as_raw_fd(), &mut iov, Some(&mut space), flags | MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for c in msg.cmsgs().map_err(|_| Errno::EPROTO)? {
        if let ControlMessageOwned::ScmRights(raw) = c {
            // SAFETY: the kernel has just made these descriptors for us and nobody else knows them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if msg.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    let n = msg.bytes;
    Ok((buf[..n].to_vec(), fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> Request {
        let pairing = Pairing::Asymmetric;
        Request {
            port: "a".into(),
            tx_rings: Some(2),
            rx_rings: None,
            slots: Some(64),
            buf_size: None,
            pairing,
        }
    }

    #[test]
    fn survives_the_trip() {
        let r = request();
        assert_eq!(Request::parse(r.to_wire().unwrap().as_bytes()), Ok(r));
        for reply in [
            Reply::Attached(Layout::try_from(RingParams::default()).unwrap(), Pairing::Fences),
            Reply::Attached(Layout::try_from(RingParams::default()).unwrap(), Pairing::Asymmetric),
            Reply::Refused(Refusal::Busy, "port a: in use by pid 7".into()),
        ] {
            assert_eq!(Reply::parse(reply.to_wire().as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let with = |f: fn(&mut WireRequest)| {
            let mut w = request().to_wire().unwrap();
            f(&mut w);
            Request::parse(w.as_bytes()).unwrap_err().to_string()
        };
        assert!(with(|w| w.magic = 1.into()).contains("first word 0x00000001"));
        assert!(with(|w| w.min_version = 9.into()).contains("protocol 9 to 1"));
        assert!(with(|w| w.port = [0; 64]).contains("`port`"));
        assert!(with(|w| w.port[3] = b'x').contains("`port`"));
        assert!(with(|w| w.slots = 17.into()).contains("17 slots"));
        assert!(Request::parse(&[0; 3]).unwrap_err().to_string().contains("3 bytes"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Request::parse(&bytes);
            let _ = Reply::parse(&bytes);
        }

        #[test]
        fn mutations_are_refused_or_valid(at in 0usize..128, v in any::<u8>()) {
            let mut w = request().to_wire().unwrap().as_bytes().to_vec();
            if at < w.len() {
                w[at] = v;
            }
            if let Ok(r) = Request::parse(&w) {
                prop_assert!(Layout::try_from(r.over(RingParams::default())).is_ok());
            }
        }
    }
}
