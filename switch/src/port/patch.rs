//! `patch`: joins two switches of one daemon.
//!
//! Each direction is a ring: one switch's workers deliver into it as into any client's, and a worker of
//! the other reads it as its client. Between two switches, as between any two parties, there is one copy.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};
use valecast_ring::SlotFlags;
use valecast_ring::client::{Link, Port, RxRing};
use valecast_ring::host::Endpoint;
use valecast_ring::layout::{Layout, RingParams};

use super::ring::{Extras, SlotAt, Slots, Special, take_slots};
use super::{Ingress, OpenError, Opened, os};
use crate::frame::{Burst, HEAD};
use crate::switch::over_rings;

/// What comes out of the other switch's end.
struct PatchIngress {
    rx: RxRing,
    _link: Link,
}

impl Slots for &RxRing {
    #[inline(always)]
    fn slot(&self, i: u32) -> SlotAt {
        let s = self.frame(i);
        Some((s.data.as_ptr(), s.data.len(), s.flags))
    }

    #[inline(always)]
    fn plain(&self, i: u32, _: u32, look: SlotFlags) -> impl Fn(u32) -> Option<(*const u8, usize)> {
        move |k| {
            self.prefetch(i + k);
            let s = self.frame(i + k);
            (s.data.len() >= HEAD && !s.flags.intersects(look)).then_some((s.data.as_ptr(), s.data.len()))
        }
    }
}

impl Ingress for PatchIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        let pending = self.rx.pending();
        // SAFETY: slots are ours to read until `complete` gives them back, which ends the burst.
        unsafe { take_slots(burst, pending, max, Extras::default(), &self.rx) };
    }

    fn complete(&mut self, burst: &Burst, n: usize) {
        self.rx.advance(burst.slots(n));
        self.rx.release();
    }

    fn arm(&mut self) -> bool {
        self.rx.arm()
    }

    fn disarm(&mut self) {
        self.rx.disarm();
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.rx.call_fd())
    }
}

/// One direction: the sender's egress, and the receiver's ingress. `exclusive`: the sending switch has one
/// worker.
fn one_way(name: &str, exclusive: bool) -> Result<(Opened, Box<dyn Ingress>), OpenError> {
    let layout = Layout::try_from(RingParams::default())?;
    let mut end = Endpoint::new(layout, name, exclusive)?;
    let lifeline: OwnedFd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(os("patch: eventfd"))?.into();
    let bells = std::mem::take(&mut end.bells);
    let (link, _tx, rx) = Port::local(&end.region, bells, lifeline).split();
    let mut opened = over_rings(&mut end, Vec::new(), Special::default());
    // The transmit ring of this region is nobody's: frames come back by the other direction's.
    opened.ingress.clear();
    let Some(rx) = rx.into_iter().next() else {
        return Err(OpenError::File("patch: no ring".into()));
    };
    Ok((opened, Box::new(PatchIngress { rx, _link: link })))
}

/// Both ends of a patch: of the first switch, and of the second.
pub fn pair(a: &str, a_exclusive: bool, b: &str, b_exclusive: bool) -> Result<(Opened, Opened), OpenError> {
    let (mut at_a, into_b) = one_way(a, a_exclusive)?;
    let (mut at_b, into_a) = one_way(b, b_exclusive)?;
    at_a.ingress.push(into_a);
    at_b.ingress.push(into_b);
    Ok((at_a, at_b))
}
