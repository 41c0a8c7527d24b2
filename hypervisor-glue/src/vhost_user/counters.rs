//! What a port counts, over all front ends that it ever had.

use std::sync::atomic::{AtomicU64, Ordering};

/// One figure.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The figures of one port.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        impl Counters {
            /// All, by name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Front ends that came.
    clients,
    /// Front ends turned away: there was one already, or its user may not.
    turned_away,
    /// Messages.
    messages,
    /// Messages that made no sense or asked for what is not there.
    refused,
    /// Connections cut because of such a message, or of bytes that are none.
    broken,
    /// Times that rings were joined to the switch.
    starts,
    /// Times that a worker was woken by the guest.
    kicks,
    /// Times that the guest was interrupted.
    calls,
    /// Bursts after which the guest wanted no interrupt.
    suppressed_calls,
    /// Interrupts that the front end's descriptor did not take: a socket that is full (and still rings), or no eventfd.
    lost_calls,
    /// Descriptors, chains or indices that make no sense.
    bad_descriptors,
    /// Guest addresses that are not mapped.
    memory_errors,
    /// Sent frames that were read where they lie.
    tx_by_reference,
    /// Sent frames that came in pieces and were put together first.
    tx_gathered,
    /// Receive buffers given back empty.
    rx_returned,
}
