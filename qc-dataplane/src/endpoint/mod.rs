//! Files in and out at a site: transport over the switch's rings, as the controller says.
//!
//! - [`local`]: the site's local socket, by which an endpoint learns what to do and says how far it is;
//! - [`port`]: a port of the switch as an endpoint uses it: bursts, and sleep until something is to be done;
//! - [`send`]: sends one transfer, on as many trees as the controller gives it;
//! - [`receive`]: takes whatever transfers arrive at a site;
//! - [`clock`]: the time that the transport is told, and numbers at random.
//!
//! Threads: one for each tree that is sent on; one for the frames that arrive, which only sorts them, and one for each
//! transfer that is received, which hashes and writes. So no disk holds up the ring.

pub mod clock;
pub mod local;
pub mod port;
pub mod receive;
pub mod send;

use std::io;
use std::path::PathBuf;

use valecast_ring::client::AttachError;

use crate::transport::files::FileError;

/// Why an endpoint cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Nobody answers at the site's socket.
    #[error("no site answers at {socket}: {source} (is `valecast run` up, with a [qc] table?)", socket = socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The site or the controller said no.
    #[error("{said}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why.
        said: String,
    },
    /// The answer is not what was asked for.
    #[error("the site's answer makes no sense: {0}")]
    Answer(serde_json::Error),
    /// The port cannot be opened.
    #[error("port {port}: {source}")]
    Attach {
        /// The port.
        port: String,
        /// Why not.
        source: AttachError,
    },
    /// The port went away, or the system refused to wait for it.
    #[error("port {port}: {source}")]
    Port {
        /// The port.
        port: String,
        /// What happened.
        source: io::Error,
    },
    /// The files cannot be read.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The system refused a thread, a descriptor, or randomness.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl EndpointError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// Whether it may be otherwise in a moment: somebody is being restarted.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Port { .. } | Self::Attach { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Answer(_) | Self::Files(_) | Self::System { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
