//! Inline ports: attaching this process itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::unistd::{getegid, geteuid, getpid};
use valecast_ring::attach::Request;
use valecast_ring::client;
use valecast_ring::layout::Spare;
use valecast_ring::notify::Pairing;

use super::ports::HangUp;
use super::{Client, Switch, SwitchError, over_rings};
use crate::inline::seat::Seat;
use crate::inline::{Forwarder, InlinePort, InlineSender};
use crate::port::os;
use crate::port::ring::Special;

impl Switch {
    /// Attaches this process to port `name`, of kind `ring`. `ours` and `theirs` are the two ends of its lifeline. What the
    /// caller gets, and the number of the attachment.
    pub(crate) fn attach_inline(
        &mut self,
        name: &str,
        ours: OwnedFd,
        theirs: OwnedFd,
    ) -> Result<(InlinePort, u64), SwitchError> {
        let request = Request {
            port: name.to_owned(),
            // What is sent does not go by a ring, and a region without one is none.
            tx_rings: Some(1),
            rx_rings: None,
            slots: None,
            buf_size: None,
            pairing: Pairing::Fences,
        };
        let (mut end, bytes) = self.rings_for(&request, None, Spare::default())?;
        let at = self.free_seat(name)?;
        let seat = Seat::new().map_err(os("eventfd"));
        let seat = seat.map_err(|source| SwitchError::Open { port: name.to_owned(), source })?;
        let seat = Arc::new(seat);
        let bells = std::mem::take(&mut end.bells);
        let (link, _, rx) = client::Port::local(&end.region, bells, theirs).split();
        let mut opened = over_rings(&mut end, vec![Box::new(HangUp(ours))], Special::default());
        opened.ingress.clear();
        let me = Client { pid: getpid().as_raw(), uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let number = self.connect(name, opened, Some(me), bytes, Some(end.resets.clone()))?;
        self.seats[at] = Some(seat.clone());
        let Some(p) = self.ports.get_mut(name) else { return Err(self.none("port", name)) };
        if let Some(a) = &mut p.attached {
            a.seat = Some(seat.clone());
        }
        let forwarder = Forwarder::new(p.id, self.cfg.workers + at, self.fdb.clone(), self.cfg.burst);
        let sender = InlineSender::new(name.to_owned(), seat, self.tables.clone(), forwarder);
        Ok((InlinePort::new(link, sender, rx), number))
    }

    /// A place that no inline sender has, for one at port `name`.
    fn free_seat(&self, name: &str) -> Result<usize, SwitchError> {
        let free = self.seats.iter().position(|s| s.as_ref().is_none_or(|s| s.is_free()));
        free.ok_or_else(|| {
            let n = self.seats.len();
            SwitchError::Limit(if n == 0 {
                format!(
                    "port {name:?}: the switch has no inline ports: give it as many as are to be attached at once, `inline = 1` in \
                     [[switch]]"
                )
            } else {
                format!(
                    "port {name:?}: all {n} inline ports of the switch are in use: drop the sender of one, or raise `inline` in \
                     [[switch]]"
                )
            })
        })
    }
}
