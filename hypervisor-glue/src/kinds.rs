//! The kinds of ports that this crate adds to a daemon.

use valecast_switch::port::outside::Kinds;

use crate::e1000_port::E1000;
use crate::vhost_user::VhostUser;

/// All of them, for [`Daemon::start_with`](valecast_switch::daemon::Daemon::start_with).
pub fn kinds() -> Kinds {
    Kinds::new(vec![Box::new(E1000), Box::new(VhostUser)])
}
