//! Frames of one transfer, between the ring and the transfer's worker.
//!
//! Two buffers change places: one is filled while the worker goes through the other. So each holds what arrives while
//! the worker waits for its disk, up to a bound; beyond it the ring's thread waits a moment, and then frames are lost,
//! which the transport repairs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes for the buffers of all transfers.
const MEMORY: usize = 128 << 20;
/// Most bytes that wait for one worker, and what it gets at least.
const MOST: usize = 16 << 20;
const LEAST: usize = 1 << 20;
/// How long the ring waits for a full inbox, once.
const PATIENCE: Duration = Duration::from_millis(50);

/// Frames in a row.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// The frames, in the order in which they came.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        self.ends.iter().filter_map(move |end| self.bytes.get(std::mem::replace(&mut at, *end)..*end))
    }

    /// Forgets them; a large buffer that was hardly used is given back.
    fn clear(&mut self) {
        let used = self.bytes.len();
        self.bytes.clear();
        self.ends.clear();
        if self.bytes.capacity() > LEAST && used < self.bytes.capacity() / 8 {
            self.bytes.shrink_to(LEAST);
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    filling: Batch,
    /// The ring has waited in vain: it does not again before the worker has come by.
    given_up: bool,
    closed: bool,
}

/// How many inboxes there are, which divide their memory.
#[derive(Debug, Default)]
pub struct Share(AtomicUsize);

impl Share {
    /// How many transfers there are.
    pub fn transfers(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Bytes for each.
    pub fn bytes(&self) -> usize {
        (MEMORY / self.transfers().max(1)).clamp(LEAST, MOST)
    }
}

/// One transfer's frames.
#[derive(Debug)]
pub struct Inbox {
    inner: Mutex<Inner>,
    some: Condvar,
    room: Condvar,
    share: std::sync::Arc<Share>,
    lost: AtomicU64,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.share.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inbox {
    /// An empty one.
    pub fn new(share: std::sync::Arc<Share>) -> Self {
        share.0.fetch_add(1, Ordering::Relaxed);
        Self {
            inner: Mutex::default(),
            some: Condvar::new(),
            room: Condvar::new(),
            share,
            lost: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts frames in, through `Put::frame`. The worker is told when that is dropped.
    pub fn put(&self) -> Put<'_> {
        Put { inbox: self, inner: Some(self.lock()), most: self.share.bytes() }
    }

    /// Takes what is there into `batch`, whose old frames are forgotten; waits for some, at most so long. `false`: it is
    /// closed, and nothing is left.
    pub fn take(&self, batch: &mut Batch, most: Duration) -> bool {
        batch.clear();
        let mut inner = self.lock();
        if inner.filling.ends.is_empty() && !inner.closed && !most.is_zero() {
            let idle = |i: &mut Inner| i.filling.ends.is_empty() && !i.closed;
            inner = self.some.wait_timeout_while(inner, most, idle).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut inner.filling, batch);
        inner.given_up = false;
        let open = !inner.closed || !batch.ends.is_empty();
        drop(inner);
        self.room.notify_one();
        open
    }

    /// Takes no more frames; what is there can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.some.notify_one();
        self.room.notify_one();
    }

    /// Frames for which there was no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Frames on their way into an inbox.
pub struct Put<'a> {
    inbox: &'a Inbox,
    /// Always there but for a moment.
    inner: Option<MutexGuard<'a, Inner>>,
    most: usize,
}

impl Put<'_> {
    /// Puts a frame in.
    pub fn frame(&mut self, frame: &[u8]) {
        let most = self.most;
        let full = |i: &Inner| i.filling.bytes.len() + frame.len() > most && !i.filling.ends.is_empty();
        let Some(mut inner) = self.inner.take() else { return };
        if full(&inner) && !inner.given_up && !inner.closed {
            self.inbox.some.notify_one();
            let wait = self.inbox.room.wait_timeout_while(inner, PATIENCE, |i| full(i) && !i.closed);
            inner = wait.unwrap_or_else(PoisonError::into_inner).0;
            inner.given_up = full(&inner);
        }
        if full(&inner) || inner.closed {
            self.inbox.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            inner.filling.bytes.extend_from_slice(frame);
            let end = inner.filling.bytes.len();
            inner.filling.ends.push(end);
        }
        self.inner = Some(inner);
    }
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        self.inner = None;
        self.inbox.some.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let share = Arc::new(Share::default());
        let inbox = Inbox::new(share.clone());
        let mut batch = Batch::default();
        for round in 0..3u8 {
            let mut put = inbox.put();
            for n in 0..10u8 {
                put.frame(&vec![n; usize::from(n + round)]);
            }
            drop(put);
            assert!(inbox.take(&mut batch, Duration::ZERO));
            let got: Vec<&[u8]> = batch.frames().collect();
            assert_eq!(got.len(), 10);
            for (n, frame) in (0u8..).zip(got) {
                assert_eq!(frame, vec![n; usize::from(n + round)]);
            }
        }
        inbox.put().frame(&[1]);
        inbox.close();
        inbox.put().frame(&[2]);
        assert!(inbox.take(&mut batch, Duration::MAX) && batch.frames().eq([&[1u8][..]]));
        assert!(!inbox.take(&mut batch, Duration::MAX));
        assert_eq!((inbox.lost(), share.transfers()), (1, 1));
        drop(inbox);
        assert_eq!(share.transfers(), 0);
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let inbox = Inbox::new(Arc::default());
        let frame = vec![0; 1 << 20];
        for _ in 0..40 {
            inbox.put().frame(&frame);
        }
        assert_eq!(inbox.lost(), 40 - (MOST >> 20) as u64);
        let mut batch = Batch::default();
        assert!(inbox.take(&mut batch, Duration::ZERO));
        assert_eq!(batch.frames().count(), MOST >> 20);
        inbox.put().frame(&frame);
        assert!(inbox.take(&mut batch, Duration::ZERO) && batch.frames().count() == 1);
    }
}
