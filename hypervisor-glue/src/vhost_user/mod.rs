//! A vhost-user server: makes a port of the switch the virtio-net device of a VM in another process.
//!
//! The VM's monitor (stock QEMU, or user-mode Linux, which is its own) connects to a Unix socket and hands over the
//! guest's memory, where the device's virtqueues lie in it, and eventfds to ring and be rung by. From then on frames go
//! between guest memory and the switch with nobody in between. In the order of the data:
//!
//! - [`port`]: the port kind: the socket, one front end at a time, and the thread that talks to it; [`connection`]: its
//!   messages in and answers out;
//! - [`wire`]: the messages' layout; [`session`]: what each does; [`regions`]: guest memory; [`vring`]: rings as they are
//!   being set up; [`features`]: what is offered and what comes of it;
//! - [`queue`]: a ring that is set up, shared by a worker and this thread; [`ring`]: how it lies in guest memory;
//!   [`chain`]: lists of buffers in it;
//! - [`tx`]: what the guest sends, a source of frames; [`rx`]: what it receives, a destination, with the [`book`] of who
//!   fills which buffers;
//! - [`counters`].
//!
//! Front ends and guests are strangers. What they may make the port hold is bounded (one buffer, [`regions::Regions::MAX`]
//! regions, their descriptors); a message that makes no sense is refused if its sender asks for that (REPLY_ACK), else the
//! connection is cut, and the log says which field of which message it was. Each word of a ring is read once and
//! checked; an index that makes no sense stops that ring, a chain that makes none is a counted drop.
//!
//! Not spoken, and not offered: migration (dirty pages), in-flight buffers, packed rings, postcopy.

pub mod book;
pub mod chain;
pub mod connection;
pub mod counters;
pub mod features;
#[cfg(test)]
mod guest;
pub mod port;
pub mod queue;
pub mod regions;
pub mod ring;
pub mod rx;
pub mod session;
pub mod tx;
pub mod vring;
pub mod wire;

pub use port::VhostUser;
pub use session::{Pair, Plug, Session};
