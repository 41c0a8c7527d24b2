//! Sends transfers.
//!
//! - [`tree`]: one tree: a thread that runs the transport's sender over the tree's port; `pace`: what follows from its rate;
//! - [`tally`]: how far each receiver is, over all trees that it was on;
//! - [`parcel`]: what is to be sent;
//! - [`job`]: one transfer: does what the controller says, and tells it how far all is.

pub mod job;
mod pace;
pub mod parcel;
pub mod tally;
pub mod tree;

use crate::transport::wire::{BEFORE_BODY, DEFAULT_CHUNK, PieceHead};

/// How the content is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of a chunk.
    pub chunk: u16,
    /// Chunks of a block and its parity shards, if there is to be parity.
    pub fec: Option<(u16, u16)>,
    /// Parity shards that go out with each block before anybody asks.
    pub lead: u16,
}

impl Default for Cut {
    fn default() -> Self {
        Self { chunk: DEFAULT_CHUNK, fec: None, lead: 0 }
    }
}

impl Cut {
    /// Frames' bytes for each byte of content.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        let frame = (BEFORE_BODY + size_of::<PieceHead>() + usize::from(self.chunk)) as f64;
        let lead = self.fec.map_or(0.0, |(k, m)| f64::from(self.lead.min(m)) / f64::from(k.max(1)));
        frame / f64::from(self.chunk.max(1)) * (1.0 + lead)
    }

    /// Bytes of a frame with a whole chunk.
    #[must_use]
    pub fn frame(&self) -> usize {
        BEFORE_BODY + size_of::<PieceHead>() + usize::from(self.chunk)
    }
}
