//! Every count of the data path, and every reason to drop, in one place: `ctl`, `top`, Prometheus and
//! tests read the same words.
//!
//! Each worker has a block of its own per port and is its only writer, so counting is a plain add and
//! reading disturbs nobody. At any quiet moment, per switch:
//!
//! ```text
//! in_frames = forwarded + sum(in_drops)            (per port, and so in sum)
//! sum(copies) = sum(out_frames) + sum(out_drops)   (each flood, group or mirror copy counts)
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a frame, or a copy of one, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Cause { $($(#[$doc])* $name,)* }

        impl Cause {
            /// All of them.
            pub const ALL: &[Cause] = &[$(Cause::$name,)*];

            /// As scripts see it.
            pub fn name(self) -> &'static str {
                match self { $(Cause::$name => $text,)* }
            }
        }
    };
}

causes! {
    /// Shorter than an Ethernet header.
    Runt = "runt",
    /// The client's slot pointed outside its memory or was longer than its buffer.
    BadSlot = "bad_slot",
    /// A datagram that holds no frame.
    Malformed = "malformed",
    /// A frame from another host than the tunnel's other end, or of another network.
    Stranger = "stranger",
    /// The source address is not on the port's allow-list.
    MacDenied = "mac_denied",
    /// The VLAN is not carried by the port.
    Vlan = "vlan",
    /// The destination lives on the port that the frame came from.
    OwnPort = "own_port",
    /// No port is left to send it to.
    NoDestination = "no_destination",
    /// It would be flooded, and the port it came from does not let floods in.
    NoFlood = "no_flood",
    /// Over the rate of a policing meter.
    Policed = "policed",
    /// The receiver's ring is full.
    RingFull = "ring_full",
    /// Nobody is attached to the receiving port.
    PortDown = "port_down",
    /// Longer than the receiver can take.
    TooBig = "too_big",
    /// Segmentation or checksum could not be done for this frame.
    Offload = "offload",
    /// It was to be lost: a port's `faults` say so.
    Fault = "fault",
    /// The system refused to take it.
    TxError = "tx_error",
}

/// Number of causes.
pub const CAUSES: usize = Cause::ALL.len();

/// A word that one thread adds to and any may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`; only the block's own worker may.
    #[inline]
    pub fn add(&self, n: u64) {
        // ORDERING: Relaxed: one writer, and readers want a figure at a quiet moment.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Reads it.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts for one port.
#[derive(Debug, Default)]
pub struct Block {
    /// Frames that entered the switch here.
    pub in_frames: Count,
    /// Their bytes.
    pub in_bytes: Count,
    /// Of these, frames with at least one intended copy.
    pub forwarded: Count,
    /// Copies intended for frames that entered here.
    pub copies: Count,
    /// Frames that entered here and got no copy, by cause.
    pub in_drops: [Count; CAUSES],
    /// Copies delivered to this port.
    pub out_frames: Count,
    /// Their bytes.
    pub out_bytes: Count,
    /// Copies intended for this port and dropped, by cause.
    pub out_drops: [Count; CAUSES],
    /// Bursts taken from here.
    pub in_bursts: Count,
    /// Addresses not learned because of the port's limit.
    pub learn_refused: Count,
    /// The same by ring (or queue).
    pub rings: [RingBlock; MAX_RINGS],
}

/// Most rings of a port and direction.
pub const MAX_RINGS: usize = valecast_ring::layout::MAX_RINGS as usize;

/// What one worker counts for one ring.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the same words as in `Block`
pub struct RingBlock {
    pub in_frames: Count,
    pub in_bytes: Count,
    pub out_frames: Count,
    pub out_bytes: Count,
}

/// Figures of one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)] // the same words as in `Block`
pub struct RingSums {
    pub ring: usize,
    pub in_frames: u64,
    pub in_bytes: u64,
    pub out_frames: u64,
    pub out_bytes: u64,
}

/// A port's counters: one block per worker.
#[derive(Debug)]
pub struct PortStats {
    blocks: Box<[CachePadded<Block>]>,
}

impl PortStats {
    /// For `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self { blocks: (0..workers).map(|_| CachePadded::default()).collect() }
    }

    /// The block of a worker.
    #[inline]
    pub fn block(&self, worker: usize) -> &Block {
        &self.blocks[worker]
    }

    /// The sums of the first `n` rings over all workers.
    pub fn rings(&self, n: usize) -> Vec<RingSums> {
        let sum = |ring| {
            let mut s = RingSums { ring, ..RingSums::default() };
            for b in &self.blocks {
                let r: &RingBlock = &b.rings[ring];
                s.in_frames += r.in_frames.get();
                s.in_bytes += r.in_bytes.get();
                s.out_frames += r.out_frames.get();
                s.out_bytes += r.out_bytes.get();
            }
            s
        };
        (0..n.min(MAX_RINGS)).map(sum).collect()
    }

    /// The sums over all workers.
    pub fn sums(&self) -> Sums {
        let mut s = Sums::default();
        for b in &self.blocks {
            s.in_frames += b.in_frames.get();
            s.in_bytes += b.in_bytes.get();
            s.forwarded += b.forwarded.get();
            s.copies += b.copies.get();
            s.out_frames += b.out_frames.get();
            s.out_bytes += b.out_bytes.get();
            s.in_bursts += b.in_bursts.get();
            s.learn_refused += b.learn_refused.get();
            for c in 0..CAUSES {
                s.in_drops[c] += b.in_drops[c].get();
                s.out_drops[c] += b.out_drops[c].get();
            }
        }
        s
    }
}

/// Figures of a port, or of a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the same words as in `Block`
pub struct Sums {
    pub in_frames: u64,
    pub in_bytes: u64,
    pub forwarded: u64,
    pub copies: u64,
    pub in_drops: [u64; CAUSES],
    pub out_frames: u64,
    pub out_bytes: u64,
    pub out_drops: [u64; CAUSES],
    pub in_bursts: u64,
    pub learn_refused: u64,
}

impl Sums {
    /// Adds another port's.
    pub fn add(&mut self, o: &Sums) {
        self.in_frames += o.in_frames;
        self.in_bytes += o.in_bytes;
        self.forwarded += o.forwarded;
        self.copies += o.copies;
        self.out_frames += o.out_frames;
        self.out_bytes += o.out_bytes;
        self.in_bursts += o.in_bursts;
        self.learn_refused += o.learn_refused;
        for c in 0..CAUSES {
            self.in_drops[c] += o.in_drops[c];
            self.out_drops[c] += o.out_drops[c];
        }
    }

    /// Drops by name, only those that happened.
    pub fn named(drops: &[u64; CAUSES]) -> std::collections::BTreeMap<&'static str, u64> {
        Cause::ALL.iter().zip(drops).filter(|(_, n)| **n > 0).map(|(c, n)| (c.name(), *n)).collect()
    }
}
