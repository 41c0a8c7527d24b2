//! Who a receiver is, and what it counts.

use crate::transport::files::store::StoreOptions;
use crate::transport::wire::Mac;

/// Who a receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// Which transfer.
    pub transfer: u64,
    /// Which partition this receiver is in. Content of others is taken too.
    pub partition: u16,
    /// Its place on each tree of the partition.
    pub places: Vec<Place>,
    /// Of its random delays.
    pub seed: u64,
    /// Where the files go.
    pub store: StoreOptions,
}

/// A receiver's place on a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The sender's address there. Others are not listened to.
    pub sender: Mac,
    /// The receiver's own.
    pub from: Mac,
    /// Its number there.
    pub number: u32,
}

/// What a receiver has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounters {
    /// Frames of the transfer.
    pub frames: u64,
    /// New bytes of content.
    pub bytes: u64,
    /// Chunks and shards that were not needed.
    pub duplicates: u32,
    /// Chunks that came before the manifest.
    pub early: u32,
    /// Chunks that parity gave.
    pub recovered: u64,
    /// Frames that were not right.
    pub rejected: u32,
    /// Reports sent.
    pub reports: u64,
    /// Polls not answered because the repair was announced.
    pub suppressed: u64,
}
