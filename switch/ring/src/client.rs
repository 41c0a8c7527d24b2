//! The client API: attach to a port of a running switch, then put and take bursts.
//!
//! ```no_run
//! use valecast_ring::client::{AttachOptions, Port};
//! let port = Port::attach("/run/valecast/vale0.ring".as_ref(), "a", &AttachOptions::default())?;
//! let (_link, mut tx, mut rx) = port.split();
//! if tx[0].wait(1, None)? {
//!     tx[0].push(&[0xff; 60]);
//!     tx[0].publish();
//! }
//! while rx[0].wait(1, None)? {
//!     rx[0].take(u32::MAX, |slot| println!("{} bytes", slot.data.len()));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The switch is the one party that a client trusts: it writes a receive buffer only before it publishes
//! the slot and reads a transmit buffer only after the client has, which is why slots owned by the client
//! can be handed out as slices.

mod end;
mod rx;
mod tx;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, recv, shutdown, socket,
};
use zerocopy::IntoBytes;

use crate::attach::{ProtocolError, Refusal, Reply, Request, recv_msg, send_msg};
use crate::doorbell::{Call, Kick};
use crate::layout::{Layout, RingParams};
use crate::notify::{self, Pairing};
use crate::region::{Region, RegionError};
use end::End;
pub use rx::{RxRing, Slot};
pub use tx::TxRing;

/// What a client may wish for; `None` takes what the port is configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Transmit rings.
    pub tx_rings: Option<u16>,
    /// Receive rings.
    pub rx_rings: Option<u16>,
    /// Slots per ring, a power of two.
    pub slots: Option<u32>,
    /// Least bytes per buffer.
    pub buf_size: Option<u32>,
}

/// Why attaching failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No switch listens there.
    #[error("cannot reach a switch at {path}: {source} (is `valecast run` up?)")]
    Connect {
        /// The socket.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The switch said no.
    #[error("{1}")]
    Refused(Refusal, String),
    /// The answer made no sense.
    #[error("answer of the switch: {0}")]
    Protocol(#[from] ProtocolError),
    /// The memory could not be mapped.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The connection broke.
    #[error("handshake: {0}")]
    Io(#[from] io::Error),
}

/// An attached port.
#[derive(Debug)]
pub struct Port {
    link: Link,
    tx: Vec<TxRing>,
    rx: Vec<RxRing>,
}

/// Keeps a port attached; dropping it detaches, whoever still holds rings.
#[derive(Debug)]
pub struct Link {
    sock: Arc<OwnedFd>,
    params: RingParams,
}

impl Port {
    /// Attaches to port `name` of the switch that listens at `socket`.
    pub fn attach(socket_path: &Path, name: &str, want: &AttachOptions) -> Result<Self, AttachError> {
        let fail =
            |e: Errno| AttachError::Connect { path: socket_path.display().to_string(), source: e.into() };
        let sock =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).map_err(fail)?;
        let addr = UnixAddr::new(socket_path).map_err(fail)?;
        connect(std::os::fd::AsRawFd::as_raw_fd(&sock), &addr).map_err(fail)?;
        let request = Request {
            port: name.to_owned(),
            tx_rings: want.tx_rings,
            rx_rings: want.rx_rings,
            slots: want.slots,
            buf_size: want.buf_size,
            pairing: if notify::allow_barriers() { Pairing::Asymmetric } else { Pairing::Fences },
        };
        let io = |e: Errno| AttachError::Io(e.into());
        send_msg(sock.as_fd(), request.to_wire()?.as_bytes(), &[]).map_err(io)?;
        let (bytes, fds) = recv_msg(sock.as_fd(), MsgFlags::empty()).map_err(io)?;
        match Reply::parse(&bytes)? {
            Reply::Refused(why, text) => Err(AttachError::Refused(why, text)),
            Reply::Attached(layout, pairing) => Self::open(sock, layout, pairing, fds),
        }
    }

    fn open(sock: OwnedFd, layout: Layout, pairing: Pairing, fds: Vec<OwnedFd>) -> Result<Self, AttachError> {
        let want = 1 + 2 * layout.rings_total();
        if fds.len() != want {
            return Err(ProtocolError::Fds { got: fds.len(), want }.into());
        }
        let mut fds = fds.into_iter();
        let mut bells = Vec::new();
        let memfd = fds.next().ok_or(ProtocolError::Fds { got: 0, want })?;
        while let (Some(kick), Some(call)) = (fds.next(), fds.next()) {
            bells.push((Arc::new(Kick::from_fd(kick)), Call::from_fd(call)));
        }
        let region = Arc::new(Region::open(memfd, layout)?);
        Ok(Self::over(Arc::new(sock), &region, bells, pairing))
    }

    /// A client in the switch's own process (patches, pcap writers): no handshake, same rings. `lifeline`
    /// is any descriptor that becomes readable when the port goes away.
    pub fn local(region: &Arc<Region>, bells: Vec<(Arc<Kick>, Call)>, lifeline: OwnedFd) -> Self {
        Self::over(Arc::new(lifeline), region, bells, Pairing::Fences)
    }

    fn over(
        sock: Arc<OwnedFd>,
        region: &Arc<Region>,
        bells: Vec<(Arc<Kick>, Call)>,
        pairing: Pairing,
    ) -> Self {
        let params = region.layout().params();
        let (mut tx, mut rx) = (Vec::new(), Vec::new());
        for (ring, (kick, call)) in bells.into_iter().enumerate() {
            let end = End {
                _region: region.clone(),
                view: region.ring(ring),
                kick,
                call,
                pairing,
                link: sock.clone(),
            };
            let mask = params.slots - 1;
            let first_buf = region.layout().first_buf(ring, 0);
            if ring < usize::from(params.tx_rings) {
                tx.push(TxRing::new(end, mask, first_buf));
            } else {
                rx.push(RxRing::new(end, mask, first_buf));
            }
        }
        Self { link: Link { sock, params }, tx, rx }
    }

    /// The link and the rings, one for each thread that wants one.
    pub fn split(self) -> (Link, Vec<TxRing>, Vec<RxRing>) {
        (self.link, self.tx, self.rx)
    }
}

impl Link {
    /// Whether the switch still serves this port.
    pub fn is_alive(&self) -> bool {
        alive(&self.sock)
    }

    /// What the rings look like.
    pub fn params(&self) -> RingParams {
        self.params
    }

    /// Becomes readable when the switch is gone.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.sock), Shutdown::Both);
    }
}

fn alive(sock: &OwnedFd) -> bool {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    match recv(std::os::fd::AsRawFd::as_raw_fd(sock), &mut [0], flags) {
        Ok(n) => n > 0,
        Err(Errno::EAGAIN | Errno::EINTR) => true,
        // Not a socket: a local client's lifeline, which lives as long as the process wants.
        Err(Errno::ENOTSOCK) => true,
        Err(_) => false,
    }
}
