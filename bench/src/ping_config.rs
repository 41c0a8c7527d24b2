//! What a pinger is told, and what it found.

use std::time::Duration;

use crate::generate::FrameSpec;
use crate::hist::Latency;
use crate::pace::Rate;
use crate::run::{End, Limits};
use crate::seq::SeqCounts;

/// How to ping.
#[derive(Clone, Debug)]
pub struct PingConfig {
    /// The pings, and the load's frames.
    pub frame: FrameSpec,
    /// When to end; the count is of pings.
    pub limits: Limits,
    /// Pings per second; as fast as answers come if `None`.
    pub rate: Option<Rate>,
    /// Pings sent at once without a rate.
    pub burst: u32,
    /// Frames per second sent beside the pings, over the same ring.
    pub load: Option<Rate>,
    /// An answer that takes longer counts as lost, unless it comes before the end of the run.
    pub patience: Duration,
    /// Never sleep: measures the switch without the time it takes to wake a process, and takes a core.
    pub busy: bool,
    /// Bind the thread to this CPU.
    pub cpu: Option<usize>,
}

impl PingConfig {
    /// Pings one at a time, as pkt-gen does, with a patience of a second.
    pub fn new(frame: FrameSpec) -> Self {
        Self {
            frame,
            limits: Limits::default(),
            rate: None,
            burst: 1,
            load: None,
            patience: Duration::from_secs(1),
            busy: false,
            cpu: None,
        }
    }
}

/// How it went.
#[derive(Clone, Debug)]
pub struct PingReport {
    /// Pings sent.
    pub packets: u64,
    /// Bytes in them, without CRC.
    pub bytes: u64,
    /// Load frames sent.
    pub load: u64,
    /// Bursts of pings.
    pub bursts: u64,
    /// Answers, lost, late and repeated ones.
    pub seq: SeqCounts,
    /// Round trips in ns: from the intended time with a rate, else from sending.
    pub latency: Latency,
    /// Round trips in ns, always from sending.
    pub latency_sent: Latency,
    /// Frames received that answer no ping.
    pub other: u64,
    /// When the run began, in ns of [`crate::clock::now_ns`].
    pub start: u64,
    /// When the last ping left or the last frame came, in ns.
    pub end: u64,
    /// Why it ended.
    pub why: End,
}
