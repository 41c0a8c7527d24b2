//! What joins virtual machines to the switch.
//!
//! - [`kinds`]: the kinds of ports that a daemon learns of from here;
//! - [`e1000_port`]: the kind `e1000`: the card in the data path, from [`vfio_user`]'s socket to bursts;
//! - [`e1000`]: the network card that a guest sees, and the engine behind it;
//! - [`vfio_user`]: the bus. A server of the vfio-user protocol, through which stock VM monitors plug a device model of
//!   this process into their VMs;
//! - [`vhost_user`]: the other bus: virtio-net devices whose rings lie in the guest's memory;
//! - [`stream`], [`memory`]: what buses share: messages with descriptors off a socket, and the guest's memory as its
//!   monitor has handed it over, [`event`]: and its bells; [`sys`]: their unsafe code;
//! - [`csb`]: the communication status block (CSB) of "Speeding Up Packet I/O in Virtual Machines",
//!   section 3.3: the page that a guest's e1000 driver and the device share, so that neither needs an exit
//!   to tell the other of new descriptors while both are awake.

pub mod e1000;
pub mod e1000_port;
pub mod event;
mod kinds;
pub mod memory;
pub mod stream;
pub mod sys;
pub mod vfio_user;
pub mod vhost_user;

pub use kinds::kinds;
pub use valecast_guest::csb;
