//! Frames for the guest, copied into its buffers.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::epoch::pin;
use valecast_switch::frame::{Burst, Entry};
use valecast_switch::port::{Caps, Egress, Tally};

use super::memory::Mapped;
use super::shared::Shared;

/// Bytes of an Ethernet header with one VLAN tag.
const HEADER: usize = 18;

/// The receive ring of a guest's card.
pub struct E1000Egress {
    shared: Arc<Shared>,
    max_frame: usize,
    /// The time of the turn that put frames last.
    now: AtomicU64,
}

impl E1000Egress {
    /// Of a card, with its `mtu` as it is now.
    pub fn new(shared: Arc<Shared>) -> Self {
        let max_frame = longest(&shared);
        Self { shared, max_frame, now: AtomicU64::new(0) }
    }
}

/// Longest frame for the guest.
fn longest(shared: &Shared) -> usize {
    let chip = crate::e1000::rx::MAX_FRAME;
    // ORDERING: Relaxed; a figure by itself.
    match shared.mtu.load(Ordering::Relaxed) {
        0 => chip,
        mtu => chip.min(mtu as usize + HEADER),
    }
}

/// The memory table of the turn, as `$mem`.
macro_rules! memory {
    ($self:ident, $guard:ident, $mem:ident) => {
        let $guard = pin();
        // SAFETY: the receive side makes no bursts; what it uses of the table is used while `$guard` lives.
        let $mem = unsafe { Mapped::new($self.shared.bus.memory(&$guard)) };
    };
}

impl Egress for E1000Egress {
    fn caps(&self) -> Caps {
        Caps { vnet: false, max_frame: self.max_frame, max_run: usize::MAX, queues: 1 }
    }

    fn renewed(&self) -> Option<Arc<dyn Egress>> {
        (longest(&self.shared) != self.max_frame)
            .then(|| Arc::new(Self::new(self.shared.clone())) as Arc<dyn Egress>)
    }

    fn claim(&self, burst: &Burst, list: &[Entry], _lane: usize) -> usize {
        memory!(self, guard, mem);
        self.shared.device.claim(&mem, burst, list)
    }

    fn unclaim(&self, burst: &Burst, list: &[Entry], _lane: usize) {
        self.shared.device.unclaim(burst, list);
    }

    fn put(&self, burst: &Burst, list: &[Entry], _lane: usize, now: u64) -> Tally {
        // ORDERING: Relaxed; whichever worker's turn it is, its time is about right.
        self.now.store(now, Ordering::Relaxed);
        memory!(self, guard, mem);
        self.shared.device.put(&mem, burst, list)
    }

    fn wake(&self) {
        memory!(self, guard, mem);
        let rose = self.shared.device.notify(&mem, self.now.load(Ordering::Relaxed));
        self.shared.told(rose);
    }

    fn arm_room(&self, _lane: usize) -> bool {
        memory!(self, guard, mem);
        self.shared.room.arm_shared(|| !self.shared.device.arm_room(&mem))
    }

    fn room_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.shared.room.fd()]
    }
}
