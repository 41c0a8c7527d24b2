//! The controller (the paper's traffic-engineering server): what `valecast qc serve` runs.
//!
//! - [`core`] decides: sites' reports, transfers and time go in, plans and rates come out; no sockets, no clock
//! - [`journal`] keeps what must outlive the process, on disk before anybody hears of it
//! - [`shell`] is the process: HTTP on a Unix socket and over TLS, the clock, the page
//! - [`keys`] makes certificates for TLS

pub mod core;
pub mod journal;
pub mod keys;
pub mod shell;
