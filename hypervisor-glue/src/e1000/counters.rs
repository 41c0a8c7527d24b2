//! What the device counts for its owner, by name. Nothing that a guest does wrong goes uncounted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Counters that any thread may add to; added to once per burst, not per frame.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $field: Counter,)* }

        impl Counters {
            /// All of them, by name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.get()),)*]
            }
        }
    };
}

/// One count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        if n != 0 {
            // ORDERING: Relaxed; a count orders nothing.
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Reads it.
    pub fn get(&self) -> u64 {
        // ORDERING: Relaxed; as above.
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Writes of TDT.
    tx_kicks,
    /// Writes of RDT.
    rx_kicks,
    /// Frames that the guest sent (a frame to be segmented is one).
    tx_frames,
    /// Their bytes.
    tx_bytes,
    /// Of these, frames that left by reference: nothing of them, or only their headers, was copied on the way to the switch.
    tx_by_reference,
    /// Frames that were given to the guest.
    rx_frames,
    /// Their bytes.
    rx_bytes,
    /// Frames that the guest's filters refused.
    rx_filtered,
    /// Frames longer than the guest takes.
    rx_too_long,
    /// Frames while the guest did not receive.
    rx_disabled,
    /// Frames for which there was room when it was claimed, and none any more when they came.
    rx_no_room,
    /// Times that frames waited (or were dropped by the switch) for want of receive buffers.
    rx_full,
    /// Descriptors or buffers that are not guest memory.
    dma_errors,
    /// Frames to send that were lost to one.
    tx_dma_dropped,
    /// Frames to receive that were lost to one.
    rx_dma_dropped,
    /// Frames to send that are too long, or too short to be one.
    tx_bad_length,
    /// Frames whose checksum or segmentation request makes no sense.
    tx_bad_offload,
    /// Rings full of descriptors of which none ends a frame.
    tx_endless,
    /// Head or tail outside the ring, or ring of no length.
    bad_ring,
    /// Accesses to registers that are none, or of a wrong size.
    bad_access,
    /// Resets by the guest.
    resets,
    /// Times that the transmit side went to sleep with the CSB in use.
    csb_tx_sleeps,
    /// Times that the receive side waited for buffers with the CSB in use.
    csb_rx_sleeps,
    /// Interrupt causes that the CSB showed to be unwanted.
    csb_causes_spared,
    /// Blocks that are not guest memory.
    csb_errors,
}
