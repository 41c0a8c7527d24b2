//! The queue before a line, as the switch's workers see it: a destination with room for so many bytes.
//!
//! Room is claimed in bytes before frames are put in, and given back when they leave the queue. Several workers put
//! frames in without a lock; frames of one of them stay in order.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crossbeam::queue::ArrayQueue;
use valecast_ring::doorbell::Kick;
use valecast_ring::notify::{self, Pairing};

use super::Settings;
use super::outlet::Change;
use crate::frame::{Burst, Entry};
use crate::port::sys::io::append;
use crate::port::{About, Caps, Egress, OpenError, Tally};

/// Least bytes that a frame counts.
const LEAST: u64 = 128;
/// Most frames made of one that the queue takes beyond its limit.
const RUN: usize = 2048;
/// Bytes of a place in the queue.
pub const ITEM: u64 = 48;
/// Buffers kept for further use, and bytes of the largest of them.
const SPARE: usize = 4096;
const KEEP: usize = 16 << 10;

/// Places in a queue for `limit` bytes, and for one run beyond them.
pub fn slots(limit: u64) -> usize {
    usize::try_from(limit / LEAST).unwrap_or(usize::MAX).saturating_add(2 * RUN)
}

/// A frame that waits.
pub struct Item {
    /// When it came (ns).
    pub came: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a frame counts in the queue.
pub fn charge(len: usize) -> u64 {
    (len as u64).max(LEAST)
}

/// Frames that wait.
pub struct Queue {
    /// First come, first served.
    pub frames: ArrayQueue<Item>,
    /// Bytes claimed.
    used: AtomicU64,
    limit: u64,
}

impl Queue {
    fn new(limit: u64) -> Self {
        Self { frames: ArrayQueue::new(slots(limit)), used: AtomicU64::new(0), limit }
    }

    /// Bytes that were claimed are free again.
    pub fn give_back(&self, bytes: u64) {
        // ORDERING: AcqRel: what was done in the queue is seen by whoever claims this room.
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether it is worth waking somebody who waits for room.
    fn has_room(&self) -> bool {
        // ORDERING: as in `give_back`; `notify` has the fences.
        self.used.load(Ordering::Acquire) <= self.limit - self.limit / 4
    }

    /// The frames of `list` that are admitted with `used` bytes in the queue, and their bytes. While there is room at
    /// all a frame is admitted, with all that was made of it: else what is larger than the queue would wait for ever.
    fn fit(&self, burst: &Burst, list: &[Entry], used: u64) -> (usize, u64) {
        let (mut n, mut bytes) = (0, 0);
        for e in list {
            let follows = n > 0 && list[n - 1].orig == e.orig;
            if used + bytes >= self.limit && !follows {
                break;
            }
            bytes += charge(burst.frames[usize::from(e.frame)].len());
            n += 1;
        }
        (n, bytes)
    }
}

/// What happened to frames, beside being lost.
#[derive(Default)]
pub struct Counts {
    /// Delivered twice.
    pub duplicated: AtomicU64,
    /// Overtaken by others.
    pub reordered: AtomicU64,
    /// With a bit flipped.
    pub corrupted: AtomicU64,
}

/// What entrance and outlet share, whatever queue is between them.
pub struct Common {
    /// Buffers to use again.
    spare: ArrayQueue<Vec<u8>>,
    /// The outlet sleeps.
    pub asleep: AtomicU32,
    /// Rung for it.
    pub work: Kick,
    /// A worker waits for room.
    starved: AtomicU32,
    room: Kick,
    /// What went wrong.
    pub counts: Counts,
}

impl Common {
    /// Keeps a buffer for later.
    pub fn recycle(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= KEEP {
            bytes.clear();
            // Full means that there are plenty.
            let _ = self.spare.push(bytes);
        }
    }

    /// A buffer to fill.
    pub fn buffer(&self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Tells those who wait for room in `queue`, if there is some. Comes after [`Queue::give_back`].
    pub fn tell_room(&self, queue: &Queue) {
        notify::settle();
        if notify::noticed_if(&self.starved, || queue.has_room()) {
            self.room.ring();
        }
    }
}

/// The destination that the workers see.
pub struct Entrance {
    pub(super) common: Arc<Common>,
    pub(super) queue: Arc<Queue>,
    pub(super) inner: Arc<dyn Egress>,
}

impl Entrance {
    pub(super) fn new(inner: Arc<dyn Egress>, settings: &Settings) -> Result<Self, OpenError> {
        let kick = || {
            let what = "no doorbell for a port with a capacity or faults";
            Kick::new().map_err(|source| OpenError::Os { what: what.into(), source })
        };
        let common = Common {
            spare: ArrayQueue::new(SPARE),
            asleep: AtomicU32::new(0),
            work: kick()?,
            starved: AtomicU32::new(0),
            room: kick()?,
            counts: Counts::default(),
        };
        Ok(Self { common: Arc::new(common), queue: Arc::new(Queue::new(settings.queue)), inner })
    }

    /// The same line with other settings: a new queue, which the outlet is to turn to once nobody uses this one.
    pub fn changed(&self, settings: &Settings) -> (Arc<Self>, Change) {
        let queue = Arc::new(Queue::new(settings.queue));
        let entrance = Self { common: self.common.clone(), queue: queue.clone(), inner: self.inner.clone() };
        (Arc::new(entrance), Change { queue, settings: settings.clone() })
    }

    /// The same line before the port as it is to be from now on, if that is another.
    pub fn anew(&self) -> Option<Arc<Self>> {
        let inner = self.inner.renewed()?;
        Some(Arc::new(Self { common: self.common.clone(), queue: self.queue.clone(), inner }))
    }

    /// What it counts, and what waits in it.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = &self.common.counts;
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        vec![
            ("queue_frames", self.queue.frames.len() as u64),
            ("queue_bytes", read(&self.queue.used)),
            ("fault_duplicated", read(&c.duplicated)),
            ("fault_reordered", read(&c.reordered)),
            ("fault_corrupted", read(&c.corrupted)),
        ]
    }

    fn wake_outlet(&self) {
        if notify::noticed_if(&self.common.asleep, || true) {
            self.common.work.ring();
        }
    }
}

impl Egress for Entrance {
    fn caps(&self) -> Caps {
        // A line carries frames, not what is to be cut into frames.
        Caps { vnet: false, max_frame: self.inner.caps().max_frame, max_run: RUN, queues: 1 }
    }

    fn renewed(&self) -> Option<Arc<dyn Egress>> {
        self.anew().map(|e| e as _)
    }

    fn about(&self) -> About {
        self.inner.about()
    }

    fn claim(&self, burst: &Burst, list: &[Entry], _lane: usize) -> usize {
        let mut fit = 0;
        // ORDERING: AcqRel, as in `give_back`.
        let _ = self.queue.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            let (n, bytes) = self.queue.fit(burst, list, used);
            fit = n;
            (n > 0).then(|| used + bytes)
        });
        fit
    }

    fn unclaim(&self, burst: &Burst, list: &[Entry], _lane: usize) {
        let bytes = list.iter().map(|e| charge(burst.frames[usize::from(e.frame)].len())).sum();
        self.queue.give_back(bytes);
        // Another worker may have found nothing while this one held it.
        if notify::wanted(&self.common.starved, Pairing::Fences) {
            self.common.room.ring();
        }
    }

    fn put(&self, burst: &Burst, list: &[Entry], _lane: usize, now: u64) -> Tally {
        // The outlet counts what leaves.
        let mut tally = Tally::default();
        for e in list {
            let mut bytes = self.common.buffer();
            append(&mut bytes, burst, *e);
            let charged = charge(bytes.len());
            // There is room: it was claimed.
            if self.queue.frames.push(Item { came: now, bytes }).is_err() {
                self.queue.give_back(charged);
                tally.tx_error += 1;
            }
        }
        tally
    }

    fn wake(&self) {
        self.wake_outlet();
        self.inner.wake();
    }

    fn wake_patient(&self) {
        self.wake_outlet();
        self.inner.wake_patient();
    }

    fn arm_room(&self, _lane: usize) -> bool {
        notify::Flag::put(&self.common.starved, 1);
        // ORDERING: SeqCst fence pairs with the one in `tell_room`. Not `notify::arm`: that takes the flag down when it
        // finds room, and it may be another worker's that found none.
        fence(Ordering::SeqCst);
        !self.queue.has_room()
    }

    fn room_fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = self.inner.room_fds();
        fds.push(self.common.room.fd());
        fds
    }
}
