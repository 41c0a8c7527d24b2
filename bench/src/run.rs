//! What every run has: a way to stop it, limits, numbers to watch, and a reason why it ended.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use crate::hist::Latency;

/// Longest single sleep of a run: how late a stop may be noticed.
pub(crate) const LOOK_AROUND: Duration = Duration::from_millis(100);
/// How often a run offers its latencies to whoever watches, in ns.
const OFFER_NS: u64 = 100_000_000;

/// Tells runs to stop; clones tell the same runs.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks for the stop.
    pub fn set(&self) {
        // ORDERING: Relaxed: the flag is the whole message.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    #[inline]
    pub fn is_set(&self) -> bool {
        // ORDERING: as in `set`.
        self.0.load(Ordering::Relaxed)
    }
}

/// When a run is over by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// After so many frames.
    pub count: Option<u64>,
    /// After so long.
    pub time: Option<Duration>,
}

impl Limits {
    /// Frames that may still follow after `done`.
    #[inline]
    pub(crate) fn left(&self, done: u64) -> u64 {
        self.count.map_or(u64::MAX, |n| n.saturating_sub(done))
    }

    /// The end in ns, for a run that began at `start` (ns).
    pub(crate) fn deadline(&self, start: u64) -> u64 {
        self.time.map_or(u64::MAX, |t| start.saturating_add(t.as_nanos() as u64))
    }
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The count was reached.
    Count,
    /// The time was up.
    Time,
    /// Somebody asked for it.
    Stopped,
    /// Nothing more came.
    Silence,
    /// The switch went away; what it said.
    Gone(String),
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Frames do not fit into the ring.
    #[error("a frame of {bytes} bytes takes {slots} slots of {part} bytes, and {most} is the most")]
    Frame {
        /// Frame size.
        bytes: usize,
        /// Slots that it takes.
        slots: usize,
        /// Bytes per slot.
        part: usize,
        /// Most slots that a frame may take.
        most: usize,
    },
    /// Frames are too short for what they have to carry.
    #[error("frames of {bytes} bytes are too short: sequence numbers and pings need at least {least}")]
    Short {
        /// Smallest size asked for.
        bytes: usize,
        /// Smallest size possible.
        least: usize,
    },
    /// No ring to work on.
    #[error("the port has no ring for this thread")]
    NoRing,
    /// The thread could not be bound to its CPU.
    #[error("cannot run on CPU {cpu}: {source}")]
    Cpu {
        /// The CPU.
        cpu: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The thread could not be started, or died.
    #[error("thread {0} failed")]
    Thread(usize),
}

/// Binds the calling thread to `cpu`.
pub fn pin(cpu: usize) -> Result<(), RunError> {
    let fail = |e: nix::Error| RunError::Cpu { cpu, source: e.into() };
    let mut set = CpuSet::new();
    set.set(cpu).map_err(fail)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(fail)
}

/// Numbers of one running thread, for others to look at. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Progress {
    packets: AtomicU64,
    bytes: AtomicU64,
    bursts: AtomicU64,
    /// Smallest free space seen, plus one; 0 when none was seen.
    min_space: AtomicU32,
    interval: Mutex<Handover>,
}

/// How latencies get from the running thread to a watcher without either waiting for the other.
#[derive(Debug, Default)]
enum Handover {
    /// Nobody asked.
    #[default]
    Unwanted,
    /// An empty histogram to swap in.
    Wanted(Box<Latency>),
    /// What was recorded since the last time.
    Ready(Box<Latency>),
}

/// A reading of [`Progress`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames so far.
    pub packets: u64,
    /// Bytes so far, without CRC.
    pub bytes: u64,
    /// Bursts so far that were not empty.
    pub bursts: u64,
    /// Fewest free slots seen in a receive ring since the last reading.
    pub min_space: Option<u32>,
}

impl Progress {
    /// The running thread's numbers. One thread writes, so plain stores do.
    #[inline]
    pub(crate) fn store(&self, packets: u64, bytes: u64, bursts: u64) {
        // ORDERING: Relaxed: readers want recent numbers, not matching ones.
        self.packets.store(packets, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.bursts.store(bursts, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn note_space(&self, free: u32) {
        // ORDERING: Relaxed. A reader's reset may get lost in between, which shows an older minimum once.
        let seen = self.min_space.load(Ordering::Relaxed);
        if seen == 0 || free + 1 < seen {
            self.min_space.store(free + 1, Ordering::Relaxed);
        }
    }

    /// Reads the numbers and begins a new minimum.
    pub fn counts(&self) -> Counts {
        // ORDERING: Relaxed, as in `store`.
        Counts {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            bursts: self.bursts.load(Ordering::Relaxed),
            min_space: self.min_space.swap(0, Ordering::Relaxed).checked_sub(1),
        }
    }

    /// The latencies recorded since the last call. The first call returns nothing, but asks the thread for
    /// them: from then on the final report holds only what was not taken this way.
    pub fn take_latency(&self) -> Option<Latency> {
        let mut h = self.interval.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *h) {
            Handover::Ready(mut full) => {
                let out = (*full).clone();
                full.clear();
                *h = Handover::Wanted(full);
                Some(out).filter(|l| !l.is_empty())
            }
            Handover::Wanted(empty) => {
                *h = Handover::Wanted(empty);
                None
            }
            Handover::Unwanted => {
                *h = Handover::Wanted(Box::default());
                None
            }
        }
    }

    fn offer(&self, latency: &mut Box<Latency>) {
        // A watcher holds the lock for moments only; next time then.
        if let Ok(mut h) = self.interval.try_lock() {
            *h = match std::mem::take(&mut *h) {
                Handover::Wanted(empty) if !latency.is_empty() => {
                    Handover::Ready(std::mem::replace(latency, empty))
                }
                other => other,
            };
        }
    }
}

/// Latencies being recorded, handed to a watcher now and then.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub latency: Box<Latency>,
    next: u64,
}

impl Recorder {
    /// Call once a burst with its time in ns.
    #[inline]
    pub(crate) fn tick(&mut self, now: u64, progress: &Progress) {
        if now >= self.next {
            self.next = now + OFFER_NS;
            progress.offer(&mut self.latency);
        }
    }

    /// What is left, and what was offered but not taken.
    pub(crate) fn finish(mut self, progress: &Progress) -> Latency {
        let mut h = progress.interval.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *h) {
            Handover::Ready(full) => self.latency.merge(&full),
            other => *h = other,
        }
        *self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_handed_over_exactly_once() {
        let p = Progress::default();
        let mut r = Recorder::default();
        r.latency.record(5);
        r.tick(0, &p);
        assert_eq!(r.latency.count(), 1, "nobody asked yet");
        assert!(p.take_latency().is_none());
        r.tick(OFFER_NS, &p);
        assert_eq!(r.latency.count(), 0);
        r.latency.record(6);
        assert_eq!(p.take_latency().unwrap().count(), 1);
        assert!(p.take_latency().is_none());
        r.tick(2 * OFFER_NS, &p);
        r.latency.record(7);
        assert_eq!(r.finish(&p).count(), 2);
        assert!(p.take_latency().is_none());
    }

    #[test]
    fn the_least_space_since_the_last_look() {
        let p = Progress::default();
        assert_eq!(p.counts().min_space, None);
        [7, 0, 9].iter().for_each(|n| p.note_space(*n));
        assert_eq!(p.counts().min_space, Some(0));
        assert_eq!(p.counts().min_space, None);
    }

    #[test]
    fn limits() {
        let l = Limits { count: Some(5), time: Some(Duration::from_secs(1)) };
        assert_eq!((l.left(3), l.left(9), l.deadline(7)), (2, 0, 1_000_000_007));
        assert_eq!(Limits::default().left(u64::MAX - 1), u64::MAX);
    }
}
