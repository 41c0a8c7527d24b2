//! A vfio-user server: makes a device model in this process a PCI device of a VM in another.
//!
//! The VM's monitor (stock QEMU from 10.1, cloud-hypervisor) connects to a Unix socket, hands over the guest's memory
//! and eventfds for interrupts as descriptors, and passes on each register access of the guest as a message.
//! In the order of the data:
//!
//! - [`server`]: the socket, one client at a time, epoll; [`connection`]: that client's requests in and answers out;
//! - [`stream`]: bytes to messages, many per receive, with their descriptors;
//! - [`wire`]: the messages' layout; [`version`]: the first one;
//! - [`session`]: what each message does;
//! - [`pci`]: configuration space; [`irq`]: INTx and MSI, and how a client sets them up ([`wiring`]); [`memory`]: guest addresses to pointers;
//! - [`device`]: what a device model implements ([`Device`]) and what it and its workers are given ([`Bus`]);
//! - [`sys`]: all unsafe code.
//!
//! A client is a stranger. What it may make the server hold is bounded (one buffer, [`wire::MAX_FDS`] descriptors per
//! message, [`memory::MAX_MAPS`] maps, unsent answers); a request that makes no sense is answered with an errno and
//! the next one is found; a stream that cannot be followed is cut. Its memory cannot be pulled from under the workers: see
//! [`sys::sigbus`]. Its eventfds cannot block them: see [`wiring`].
//!
//! Not spoken, and refused with `ENOTSUP`: migration, dirty pages, ioeventfds for regions, and DMA by message, for a
//! switch that had to ask for each packet by a message would not be one.

pub mod connection;
pub mod device;
pub mod irq;
pub mod pci;
pub mod server;
pub mod session;
pub mod version;
pub mod wire;
pub mod wiring;

pub use crate::{memory, sys};

/// Requests, as they come in.
pub mod stream {
    pub use crate::stream::{Desync, Fill};

    /// A request.
    pub type Message<'a> = crate::stream::Message<'a, super::wire::Header>;
    /// The receiving half of a connection.
    pub type Stream = crate::stream::Stream<super::wire::Header>;
}

pub use device::{Bus, Counters, Device, Peer};
pub use irq::Interrupt;
pub use memory::{Direction, Fault, Snapshot};
pub use pci::{Bar, Command, Identity};
pub use server::{Server, ServerError};
pub use session::Session;
pub use sys::mapping::HostSlice;
