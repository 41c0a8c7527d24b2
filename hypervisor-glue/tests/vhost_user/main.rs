//! vhost-user ports in a whole daemon, with a front end and a guest driver of our own on the other side.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod crate_frontend;
mod driver;
mod front;
mod hostile;
mod life;
mod many;
mod messages;
mod offload;
mod rig;
mod seeded;
mod talk;
mod wire;
