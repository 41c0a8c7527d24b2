//! The controller's process: HTTP around the core, over a Unix socket, TLS, and plain TCP for reading.
//!
//! - `server`: the thread, its sockets and its clock; [`tls`] and [`peer`]: who is at the other end of a connection
//! - `routes`: what can be asked, in one table; `openapi.json` describes it and a test compares the two
//! - `handlers`: what is done then; `state`: the core behind a lock, the journal that answers wait for, and those who wait
//! - `metrics`: figures for Prometheus; `page.html`: the live map
//!
//! Whoever may open the Unix socket may do everything. Over TLS a site speaks for itself and an operator for all.

mod error;
mod handlers;
mod metrics;
pub mod peer;
mod routes;
mod server;
mod state;
pub mod tls;

#[cfg(test)]
mod tests;

pub use server::{Options, Running, ShellError, Tls, serve};
