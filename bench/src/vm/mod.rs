//! A tiny monitor for bare guests, to measure VM ports with: KVM, one processor, no devices of its own.
//!
//! The guest's one device lives in the daemon. An e1000's register accesses leave the virtual machine and go over the port's
//! vfio-user socket ([`client`]), writes without an answer, as QEMU has them; virtio-net's doorbells are eventfds that KVM
//! writes, and the rest is said over the port's vhost-user socket (`front_end`). Interrupts come back by an eventfd that
//! KVM listens to itself. Memory is a memfd that the daemon maps, in large pages where there are any.
//!
//! - [`monitor`]: a guest as its owner has it, from boot to the end of its jobs;
//! - `machine`: what KVM is told;
//! - `processor`: the thread that runs the guest;
//! - `card`: what a machine asks of its card; [`client`]: the e1000, by vfio-user messages; `front_end`: virtio-net, by
//!   vhost-user;
//! - [`inside`]: the guests' drivers without a guest, for comparison;
//! - [`counted`]: two such drivers, their cards and a switch in one thread, whose instructions are counted;
//! - [`load`]: the payload ([`valecast_guest_bare`]) into memory.

mod card;
pub mod client;
pub mod counted;
mod front_end;
pub mod inside;
pub mod load;
mod machine;
pub mod monitor;
mod processor;

pub use valecast_guest::mailbox::{Counted, Job, Role};

pub use monitor::{Socket, Vm, VmError, have_kvm};
pub use processor::Exits;
