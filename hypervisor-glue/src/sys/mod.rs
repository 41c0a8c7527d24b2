//! The unsafe code of both buses.
//!
//! - [`fds`]: descriptors out of a received message;
//! - [`eventfd`]: strangers' eventfds, rung and read without ever waiting;
//! - [`mapping`]: a piece of guest memory, mapped, and the pointers into it;
//! - [`sigbus`]: what keeps the process alive if a client cuts that memory off;
//! - [`published`]: a value that one thread replaces whole under the eyes of others.

pub mod eventfd;
pub mod fds;
pub mod mapping;
pub mod published;
pub mod sigbus;
