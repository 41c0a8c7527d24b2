//! What strangers can send to a VM port: what each fuzz target does with a case. The files are also compiled into the
//! tests, which feed them seeded cases on a stable compiler.
#![allow(missing_docs)]

mod e1000;
mod vfio_user;
mod vhost_user;
mod virtio_around;
mod virtio_device;
mod virtio_net;

pub use e1000::*;
pub use vfio_user::*;
pub use vhost_user::*;
pub use virtio_net::*;
