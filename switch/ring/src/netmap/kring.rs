//! The books about each ring of a netmap program, which in netmap are the kernel's (`struct netmap_kring`).
//!
//! They lie in the spare part of the region, behind a [`MemHeader`], and belong to everybody who syncs the ring:
//! threads, processes that share the descriptor, both ends of a pipe, monitors. All fields are atomics, so that
//! references are sound whoever else writes. The switch makes them and never believes them afterwards: a
//! program that garbles them garbles its own traffic.

use std::sync::atomic::{AtomicU32, AtomicU64};

/// Most monitors of one ring and kind.
pub const MAX_MONITORS: usize = 4;

/// What a ring is connected to.
pub mod kind {
    /// Transmits to the switch.
    pub const SWITCH_TX: u32 = 0;
    /// Receives from the switch.
    pub const SWITCH_RX: u32 = 1;
    /// Transmits to the other end of a pipe.
    pub const PIPE_TX: u32 = 2;
    /// Receives from the other end of a pipe.
    pub const PIPE_RX: u32 = 3;
    /// A monitor's receive ring.
    pub const MONITOR_RX: u32 = 4;
    /// A monitor's transmit ring: every sync fails.
    pub const MONITOR_TX: u32 = 5;
    /// Takes everything: rings of NULL ports, of ports outside a switch, and of hosts.
    pub const NULL_TX: u32 = 6;
    /// Gives nothing.
    pub const NULL_RX: u32 = 7;
}

/// The head of the spare part.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct MemHeader {
    /// Not 0: the port has been taken away.
    pub dead: AtomicU32,
    /// Buffers in the region.
    pub nbufs: AtomicU32,
    /// Bytes from one to the next.
    pub stride: AtomicU32,
    /// Unused.
    pub pad: AtomicU32,
    /// Where buffer 0 lies in the region.
    pub bufs: AtomicU64,
}

/// The books about one ring. Offsets are from the beginning of the region.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Kring {
    /// 0, or the process that syncs it now.
    pub lock: AtomicU32,
    /// The process-id namespace of that process.
    pub lock_ns: AtomicU32,
    /// One of [`kind`].
    pub kind: AtomicU32,
    /// Slots in the ring.
    pub slots: AtomicU32,
    /// Where the ring lies.
    pub ring: AtomicU64,
    /// Where its `atok` entry lies, if it is connected to a switch.
    pub atok: AtomicU64,
    /// Where its `ktoa` entry lies.
    pub ktoa: AtomicU64,
    /// The ring at the other end of a pipe; of a copy monitor, the receive ring that it watches.
    pub peer: AtomicU64,
    /// The program's head when it was last synced (`nr_hwcur`; what lies before is given away).
    pub hwcur: AtomicU32,
    /// The tail that the program was last told (`nr_hwtail`).
    pub hwtail: AtomicU32,
    /// The program's head and cur, as last seen to be valid.
    pub rhead: AtomicU32,
    /// As `rhead`.
    pub rcur: AtomicU32,
    /// How far the other end of a pipe, or whoever writes a monitor's ring, has come.
    pub pipe_tail: AtomicU32,
    /// How far copy monitors have been shown a receive ring.
    pub mon_tail: AtomicU32,
    /// Not 0: somebody sleeps until the other end has moved, and is to be woken.
    pub need_kick: AtomicU32,
    /// How many sleep on this ring.
    pub waiters: AtomicU32,
    /// Taken while a monitor's ring is written.
    pub write_lock: AtomicU32,
    /// The process-id namespace of who holds it.
    pub write_ns: AtomicU32,
    /// Not 0: what is monitored has gone.
    pub orphan: AtomicU32,
    /// Unused.
    pub pad: AtomicU32,
    /// Copy monitors' rings.
    pub monitors: [AtomicU64; MAX_MONITORS],
    /// Zero-copy monitors' rings. The first gets the buffers that the program is done with, others copies of them.
    pub zmonitors: [AtomicU64; MAX_MONITORS],
}

const _: () = {
    assert!(size_of::<MemHeader>() == 128 && size_of::<Kring>() == 256);
};
