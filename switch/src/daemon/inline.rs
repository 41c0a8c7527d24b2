//! Attaching the process itself.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::listen::Lease;
use super::{Daemon, DaemonError};
use crate::inline::InlinePort;
use crate::port::os;
use crate::switch::SwitchError;

impl Daemon {
    /// Attaches this process to port `port` of `switch`, of kind `ring`: what it sends is forwarded in the thread that sends it,
    /// see [`crate::inline`]. The switch has as many such ports at once as its `inline` says. Who may attach (`allow_users`) is not
    /// asked: the process has the switch.
    ///
    /// # Errors
    /// There is no such port, it is not a ring, somebody is attached to it, or a limit forbids it.
    pub fn attach_inline(&self, switch: &str, port: &str) -> Result<InlinePort, DaemonError> {
        let fail = |source| SwitchError::Open { port: port.to_owned(), source };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|e| fail(os("socketpair")(e)))?;
        let keep = ours
            .try_clone()
            .map_err(|source| fail(crate::port::OpenError::Os { what: "its lifeline".into(), source }))?;
        let (inline, number) = self.with(switch, |s| s.attach_inline(port, keep, theirs))??;
        let lease = Lease { switch: switch.to_owned(), port: port.to_owned(), number, conn: ours };
        if let Some(l) = &self.lock().listener {
            l.watch(lease);
        }
        Ok(inline)
    }
}
