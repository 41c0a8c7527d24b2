//! Writes frames to a capture file, in a thread of its own so that no worker waits for a disk.
//!
//! Room in the queue is *credit*: a worker claims it before it puts frames in, and the writer gives it back once
//! they are written. So nothing is ever lost between a claim and the file.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam::queue::ArrayQueue;
use crossbeam::sync::{Parker, Unparker};
use pcap_file::PcapError;
use valecast_ring::doorbell::Kick;
use valecast_ring::notify::{self, Pairing};

use super::sink::{self, Sink};
use crate::frame::{Burst, Entry};
use crate::port::sys::io::append;
use crate::port::{Caps, Egress, OpenError, Opened, Tally};

/// Frames that may wait for the writer.
pub const QUEUE: usize = 4096;
/// Frames for which the writer is woken at once; for fewer when a worker runs dry.
const WAKE: usize = 256;
/// Credit for which workers that wait for some are woken while there is more to write.
const ROOM: usize = 64;
/// Buffers with more room than this are not kept.
const KEEP: usize = 16 << 10;
/// How long what was written may stay in memory.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// A frame on its way, with its time (ns, the workers' clock).
struct Item {
    time: u64,
    bytes: Vec<u8>,
}

struct Shared {
    queue: ArrayQueue<Item>,
    /// Buffers to use again.
    spare: ArrayQueue<Vec<u8>>,
    credit: AtomicUsize,
    /// The writer sleeps.
    asleep: AtomicU32,
    writer: Unparker,
    /// A worker waits for room.
    starved: AtomicU32,
    room: Kick,
    closed: AtomicBool,
    /// The file cannot be written.
    failed: AtomicBool,
}

impl Shared {
    fn give_back(&self, n: usize) {
        // ORDERING: AcqRel: what was done in the queue is seen by whoever claims this room.
        self.credit.fetch_add(n, Ordering::AcqRel);
    }

    fn has_room(&self) -> bool {
        // ORDERING: as in `give_back`; `notify` has the fences.
        self.credit.load(Ordering::Acquire) >= ROOM
    }
}

struct Recorder(Arc<Shared>);

impl Egress for Recorder {
    fn caps(&self) -> Caps {
        Caps { vnet: false, max_frame: usize::from(u16::MAX), max_run: QUEUE / 2, queues: 1 }
    }

    fn claim(&self, _burst: &Burst, list: &[Entry], _lane: usize) -> usize {
        let take = |have: usize| (have > 0).then(|| have - have.min(list.len()));
        // ORDERING: AcqRel, as in `give_back`.
        match self.0.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(had) => had.min(list.len()),
            Err(_) => 0,
        }
    }

    fn unclaim(&self, _burst: &Burst, list: &[Entry], _lane: usize) {
        self.0.give_back(list.len());
        // Another worker may have found nothing while this one held it.
        if notify::wanted(&self.0.starved, Pairing::Fences) {
            self.0.room.ring();
        }
    }

    fn put(&self, burst: &Burst, list: &[Entry], lane: usize, now: u64) -> Tally {
        let s = &*self.0;
        // ORDERING: Relaxed, as in `fail`.
        if s.failed.load(Ordering::Relaxed) {
            self.unclaim(burst, list, lane);
            return Tally { tx_error: list.len() as u64, ..Tally::default() };
        }
        let mut tally = Tally::default();
        for e in list {
            let mut bytes = s.spare.pop().unwrap_or_default();
            append(&mut bytes, burst, *e);
            let len = bytes.len() as u64;
            // There is room: it was claimed.
            if s.queue.push(Item { time: now, bytes }).is_ok() {
                tally.frames += 1;
                tally.bytes += len;
            } else {
                s.give_back(1);
                tally.tx_error += 1;
            }
        }
        self.wake();
        tally
    }

    fn wake(&self) {
        if notify::noticed_if(&self.0.asleep, || self.0.queue.len() >= WAKE) {
            self.0.writer.unpark();
        }
    }

    fn wake_patient(&self) {
        if notify::noticed_if(&self.0.asleep, || true) {
            self.0.writer.unpark();
        }
    }

    fn arm_room(&self, _lane: usize) -> bool {
        let s = &*self.0;
        notify::Flag::put(&s.starved, 1);
        // ORDERING: SeqCst fence pairs with the one in `notify::wanted`. Not `notify::arm`: that takes the flag
        // down when it finds room, and it may be another worker's that found none.
        fence(Ordering::SeqCst);
        !s.has_room()
    }

    fn room_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.0.room.fd()]
    }
}

struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    parker: Parker,
    /// From the workers' clock to the calendar (ns).
    offset: u64,
    /// The port, for messages.
    name: String,
    /// Frames that were taken and not written.
    lost: u64,
    /// Since when there is something to flush.
    dirty: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        loop {
            // Before the queue, so that what was put in before the end is written.
            // ORDERING: Acquire pairs with the Release in `Lifeline`.
            let closed = self.shared.closed.load(Ordering::Acquire);
            while self.batch() {}
            if notify::wanted(&self.shared.starved, Pairing::Fences) {
                self.shared.room.ring();
            }
            if closed {
                break;
            }
            self.sleep();
        }
        self.flush();
        if self.lost > 0 {
            tracing::error!(
                port = self.name,
                lost = self.lost,
                "frames were not written to the capture file"
            );
        }
    }

    /// Writes some frames; `false` when none are left.
    fn batch(&mut self) -> bool {
        let mut n = 0;
        while n < ROOM
            && let Some(Item { time, mut bytes }) = self.shared.queue.pop()
        {
            n += 1;
            self.write(time, &bytes);
            if bytes.capacity() <= KEEP {
                bytes.clear();
                // Full means that there are plenty.
                let _ = self.shared.spare.push(bytes);
            }
        }
        self.shared.give_back(n);
        notify::settle();
        if notify::noticed_if(&self.shared.starved, || self.shared.has_room()) {
            self.shared.room.ring();
        }
        n > 0
    }

    fn write(&mut self, time: u64, bytes: &[u8]) {
        // ORDERING: Relaxed, as in `fail`.
        if self.shared.failed.load(Ordering::Relaxed) {
            self.lost += 1;
            return;
        }
        self.dirty.get_or_insert_with(Instant::now);
        if let Err(e) = self.sink.write(Duration::from_nanos(time.saturating_add(self.offset)), bytes) {
            self.lost += 1;
            self.fail(&e);
        }
    }

    fn flush(&mut self) {
        self.dirty = None;
        // ORDERING: Relaxed, as in `fail`.
        if !self.shared.failed.load(Ordering::Relaxed)
            && let Err(e) = self.sink.flush()
        {
            self.fail(&e);
        }
    }

    fn fail(&self, e: &PcapError) {
        // ORDERING: Relaxed: nothing else depends on it.
        self.shared.failed.store(true, Ordering::Relaxed);
        let e = sink::reason(e);
        tracing::error!(
            port = self.name,
            "cannot write the capture file, frames are dropped from here on: {e}"
        );
    }

    fn sleep(&mut self) {
        let left = self.dirty.map(|since| FLUSH_AFTER.saturating_sub(since.elapsed()));
        if left == Some(Duration::ZERO) {
            self.flush();
            return;
        }
        let s = &self.shared;
        // ORDERING: Acquire, as in `run`.
        if notify::arm(&s.asleep, Pairing::Fences, || !s.queue.is_empty() || s.closed.load(Ordering::Acquire))
        {
            left.map_or_else(|| self.parker.park(), |t| self.parker.park_timeout(t));
            notify::disarm(&s.asleep);
        }
    }
}

/// Ends the thread and waits until the file is complete.
struct Lifeline {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // ORDERING: Release: what was put into the queue before is seen by the thread that sees this.
        self.shared.closed.store(true, Ordering::Release);
        self.shared.writer.unpark();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes a capture file ended in panic");
        }
    }
}

/// Creates the file and starts the thread that writes it; it ends, with the file complete, when what is kept
/// is dropped.
pub fn open(name: &str, path: &Path) -> Result<Opened, OpenError> {
    let what = |text: &str| format!("{text} {}", path.display());
    let sink = Sink::create(path)?;
    let room = Kick::new().map_err(|source| OpenError::Os { what: what("no doorbell for"), source })?;
    let parker = Parker::new();
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(QUEUE),
        spare: ArrayQueue::new(QUEUE),
        credit: AtomicUsize::new(QUEUE),
        asleep: AtomicU32::new(0),
        writer: parker.unparker().clone(),
        starved: AtomicU32::new(0),
        room,
        closed: AtomicBool::new(false),
        failed: AtomicBool::new(false),
    });
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let offset = (since.as_nanos() as u64).saturating_sub(crate::clock::now_ns());
    let name = name.to_owned();
    let writer = Writer { shared: shared.clone(), sink, parker, offset, name, lost: 0, dirty: None };
    let thread = std::thread::Builder::new()
        .name("pcap-writer".into())
        .spawn(move || writer.run())
        .map_err(|source| OpenError::Os { what: what("no thread for"), source })?;
    let keep = Box::new(Lifeline { shared: shared.clone(), thread: Some(thread) });
    Ok(Opened { ingress: Vec::new(), egress: Arc::new(Recorder(shared)), keep: vec![keep] })
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
