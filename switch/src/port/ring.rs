//! `ring`: a client process over shared memory.
//!
//! `take` puts the frames of slots into a burst, whosever slots they are; `ingress` has the client's transmit ring do so;
//! `egress` writes a burst into its receive rings; `across` moves frames from one client's ring into another's where
//! no burst is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

mod across;
mod egress;
mod ingress;
mod take;

pub(crate) use across::{Across, Desk};
pub use egress::RingEgress;
pub use ingress::RingIngress;
pub(super) use take::{Each, Extras, SlotAt, Slots, take_slots};

/// Longest offload header before a frame.
const MAX_HDR: usize = 12;
/// Slots that are dealt with one by one: for so few, getting ready for many costs more.
const FEW: u32 = 2;

/// What sets a netmap client's frames apart from another's.
#[derive(Clone, Debug, Default)]
pub struct Special {
    /// Bytes of virtio-net header before each frame: 0, 10 or 12.
    pub hdr: Arc<AtomicU8>,
    /// Bits 8-15 of a transmitted slot's flags name the port that the frame goes to.
    pub steer: bool,
}

impl Special {
    #[inline]
    fn hdr(&self) -> usize {
        // ORDERING: Relaxed; a figure by itself.
        usize::from(self.hdr.load(Ordering::Relaxed)).min(MAX_HDR)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
