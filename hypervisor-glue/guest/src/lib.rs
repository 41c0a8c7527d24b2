//! Guests' drivers for the e1000 and for virtio-net, and what the two sides of those devices have in common.
//!
//! Needs only `core`, no heap and no other crate: the same code drives the devices in unit tests and fuzzers, in one
//! process with the device, and in a virtual machine without an operating system (`valecast-guest-bare`).
//!
//! - [`regs`], [`desc`], [`csb`]: registers, descriptors, and the page of the paravirtual extension;
//! - [`dma`]: memory that both sides reach by guest-physical address;
//! - [`driver`]: the driver, as the paper's are: with Send Combining (section 3.2), or by the CSB (section 3.3);
//! - [`virtio`]: the driver for virtio-net; [`nic`]: what both drivers have in common;
//! - [`mailbox`]: the page through which a monitor tells a bare guest what to do, and hears how it goes.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod csb;
pub mod desc;
pub mod dma;
pub mod driver;
pub mod mailbox;
pub mod nic;
pub mod regs;
pub mod virtio;
