//! The vfio-user server, from a client's side.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../fuzz/src/vfio_user.rs"]
mod cases;
mod config;
mod conversation;
mod crate_client;
mod hostile;
mod interrupts;
mod memory;
mod peer;
mod seeded;
mod sigbus;

use cases::scratch;
