//! How a sender sends, and what it counts.

use crate::transport::SECOND;
use crate::transport::wire::Mac;

/// How a sender sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderOptions {
    /// Which transfer.
    pub transfer: u64,
    /// Which partition of it.
    pub partition: u16,
    /// Of this run of the sender; at random.
    pub session: u64,
    /// The sender's own address, to which reports come.
    pub from: Mac,
    /// The tree.
    pub tree: Mac,
    /// Links of the tree; 0 if not known, then all repairs go over the tree.
    pub tree_links: u32,
    /// How long the first chunk waits for receivers that have not answered, in nanoseconds.
    pub hold: u64,
    /// Nanoseconds between two polls for what is lacking.
    pub poll_every: u64,
    /// Nanoseconds between two polls that everybody answers.
    pub census_every: u64,
    /// Reports in a second that the sender wants to get at most.
    pub reports: u32,
    /// Nanoseconds of silence after which a receiver is given up.
    pub give_up: u64,
    /// Parity shards that go out with each block before anybody asks.
    pub lead: u16,
}

impl SenderOptions {
    /// What serves on a network of hosts or sites: 200 ms for all to answer first, polls every 50 ms, a census a second, 2000
    /// reports a second, a minute's patience.
    pub fn new(transfer: u64, partition: u16, session: u64, from: Mac, tree: Mac) -> Self {
        Self {
            transfer,
            partition,
            session,
            from,
            tree,
            tree_links: 0,
            hold: SECOND / 5,
            poll_every: SECOND / 20,
            census_every: SECOND,
            reports: 2000,
            give_up: 60 * SECOND,
            lead: 0,
        }
    }

    /// Nanoseconds over which `n` receivers spread their answers.
    pub(super) fn spread(&self, n: usize) -> u64 {
        (n as u64 * SECOND / u64::from(self.reports.max(1))).clamp(SECOND / 1000, 60 * SECOND)
    }
}

/// What a sender has sent and heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounters {
    /// Chunks on the tree.
    pub chunks: u64,
    /// Of these, chunks that had been sent before.
    pub repairs: u64,
    /// Chunks to one receiver alone.
    pub unicast: u64,
    /// Parity shards.
    pub parity: u64,
    /// Parts of the manifest.
    pub parts: u64,
    /// Hellos, polls, news and ends.
    pub control: u64,
    /// Reports that were taken.
    pub reports: u64,
    /// Reports that came too late to say what is lacking, or from another session.
    pub stale: u64,
    /// Frames that were not right.
    pub rejected: u64,
}

impl SenderCounters {
    /// Frames of content, and of the list of files.
    pub fn content(&self) -> u64 {
        self.chunks + self.unicast + self.parity + self.parts
    }
}
