//! Ports of kind `e1000` in a daemon: VMs played by the `vfio_user` crate's client and the guest driver of this crate.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod csb;
mod hostile;
mod life;
mod rig;
mod talk;
mod vm;
