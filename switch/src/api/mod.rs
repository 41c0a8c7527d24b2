//! The control API: HTTP/JSON on one Unix socket per switch, and for reading only on TCP.
//!
//! - `server`: the thread and its sockets; they follow the switches when the configuration is reloaded;
//! - `routes`: what can be asked, in one table; `openapi.json` describes it and a test compares the two;
//! - `handlers`: what is done then. All of them leave the runtime's thread, since the switch's lock may be
//!   held while a port is being attached;
//! - `error`: refusals as a status and a JSON object;
//! - `metrics`: the same figures for Prometheus;
//! - [`client`] asks over such a socket.
//!
//! Who may connect to a switch's socket (its mode and owner) may read everything and change that switch.
//! The TCP listener has no authentication, so nothing can be changed over it.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc::UnboundedSender;

use crate::daemon::Daemon;

pub mod client;
mod error;
mod handlers;
mod metrics;
mod routes;
mod server;

#[cfg(test)]
mod tests;

pub use server::{ApiHandle, serve};

/// What a request may change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    /// The switch whose socket it came over.
    Switch(String),
    /// Nothing.
    ReadOnly,
}

/// What the handlers of one listener share.
struct Api {
    daemon: Daemon,
    scope: Scope,
    changes: UnboundedSender<server::Change>,
    registry: Arc<Registry>,
}
