//! Port kind `e1000`: a VM's network card, in the data path of a switch.
//!
//! ```text
//! guest driver ── registers ──▶ VM monitor ── vfio-user socket ──▶ [serve]: registers, timer
//!      │                            ▲                                  │ bells        │
//!      │ descriptors, frames        └────── INTx eventfd ◀─────────────┼──────────────┤
//!      ▼                                                               ▼              │
//! guest memory (shared memfd) ◀── in place ── worker: [ingress] ─ burst ─▶ [egress] ──┘
//! ```
//! In the order of the data:
//!
//! - [`open`]: from the configuration to a port that is served, and what it counts;
//! - [`serve`]: its thread. A monitor that connects plugs the card in: the port joins the data path, and parts when the
//!   monitor goes; then the card is as after power on and waits for the next;
//! - [`registers`]: the guest's accesses, to [`crate::e1000::chip`];
//! - [`shared`]: what that thread and the workers share: the card, its interrupt line, a [`timer`] for interrupts that
//!   come later, and [`bell`]s for workers that sleep;
//! - [`memory`]: the guest's memory, by the map table of the turn;
//! - [`ingress`]: the guest's frames, given by reference into its memory;
//! - [`egress`]: frames copied into the guest's buffers, the only copy from one VM to another.
//!
//! A worker that has frames to give or take makes no system call but for an interrupt that the guest wants; with the
//! CSB in use and both sides awake, there is none of these either, and no register access.

pub mod bell;
pub mod egress;
pub mod ingress;
pub mod memory;
pub mod open;
pub mod registers;
pub mod serve;
pub mod shared;
pub mod timer;

pub use open::{E1000, default_mac};
