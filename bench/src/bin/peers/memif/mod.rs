//! memif, the shared-memory interface of VPP and DPDK, written from its published layout (DPDK's
//! `drivers/net/memif/memif.h` and guide): `message` is the control channel's messages, `link` the handshake in both
//! roles, `shm` the rings and the only unsafe code.
//!
//! The *client* of a memif owns the memory. When we are the client, frames lie prepared in our buffers and the
//! switch copies them out and in; when the switch is (its zero-copy mode), we copy into and read from its buffers.

pub mod link;
pub mod message;
pub mod shm;
