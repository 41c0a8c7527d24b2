//! A tiny monitor for bare guests, to measure VM ports with: KVM, one processor, no devices of its own.
//!
//! The guest's one device lives in the daemon. Its register accesses leave the virtual machine and go over the port's
//! vfio-user socket ([`client`]), writes without an answer, as QEMU has them; its interrupt comes back by an eventfd
//! that KVM listens to itself, and so does the guest's end of interrupt. Memory is a memfd that the daemon maps.
//!
//! - [`monitor`]: the machine and its processor's thread;
//! - [`client`]: the vfio-user messages;
//! - [`load`]: the payload ([`valecast_guest_bare`]) into memory.

pub mod client;
pub mod load;
pub mod monitor;

pub use valecast_guest::mailbox::{Counted, Job, Role};

pub use monitor::{Exits, Vm, VmError, have_kvm};
