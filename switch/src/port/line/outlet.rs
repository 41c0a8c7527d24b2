//! The other end of the queue: lets frames go when their time has come, to the port proper. One worker owns it.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use valecast_ring::notify::{self, Pairing};

use super::Settings;
use super::entrance::{Common, Entrance, Item, Queue, charge};
use super::fate::{Fate, Fates};
use super::pacer::Pacer;
use crate::counters::{Cause, PortStats};
use crate::frame::{Burst, Entry, MAX_BURST};
use crate::port::Egress;

/// While frames queue up, how much (ns) is let go at once: a wake-up for each would cost more than the frames.
const TOGETHER: u64 = 250_000;
/// How long (ns) a frame waits to be overtaken when no others come.
const OVERTAKEN_WITHIN: u64 = 20_000_000;
/// Most frames that are being overtaken at once.
const ASIDE: usize = 64;

/// Other settings for a line, with the queue that it is to turn to.
#[derive(Clone)]
pub struct Change {
    pub(super) queue: Arc<Queue>,
    pub(super) settings: Settings,
}

/// What one look at an outlet came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Let {
    /// Frames that left, or were lost.
    pub done: usize,
    /// When (ns) the next ones will, if there are any.
    pub next: Option<u64>,
    /// The port proper has no room for frames that are due.
    pub blocked: bool,
}

/// A frame behind the queue.
struct Ready {
    due: u64,
    /// The second of two: not counted.
    copy: bool,
    /// Bytes of the queue that it still takes.
    charged: u64,
    bytes: Vec<u8>,
}

/// A frame that is being overtaken.
struct Aside {
    left: u32,
    latest: u64,
    ready: Ready,
}

/// The sending end of a line.
pub struct Outlet {
    common: Arc<Common>,
    queue: Arc<Queue>,
    /// Queues to turn to when this one is empty.
    later: VecDeque<Arc<Queue>>,
    inner: Arc<dyn Egress>,
    stats: Arc<PortStats>,
    settings: Settings,
    pacer: Option<Pacer>,
    fates: Option<Fates>,
    delay: u64,
    /// The frame whose turn it is, while it cannot go.
    head: Option<Item>,
    /// By time.
    ready: VecDeque<Ready>,
    aside: Vec<Aside>,
    list: Vec<Entry>,
    /// Bytes of the queue that are free again.
    freed: u64,
}

impl Outlet {
    pub(super) fn new(entrance: &Entrance, settings: &Settings, stats: Arc<PortStats>) -> Self {
        let mut outlet = Self {
            common: entrance.common.clone(),
            queue: entrance.queue.clone(),
            later: VecDeque::new(),
            inner: entrance.inner.clone(),
            stats,
            settings: Settings { capacity: None, queue: 0, faults: None },
            pacer: None,
            fates: None,
            delay: 0,
            head: None,
            ready: VecDeque::new(),
            aside: Vec::new(),
            list: Vec::with_capacity(MAX_BURST),
            freed: 0,
        };
        outlet.set(settings.clone());
        outlet
    }

    fn set(&mut self, new: Settings) {
        match (&mut self.pacer, new.capacity) {
            (Some(pacer), Some(rate)) => pacer.set_rate(rate),
            (pacer, capacity) => *pacer = capacity.map(Pacer::new),
        }
        if self.settings.faults != new.faults {
            self.fates = new.faults.as_ref().map(Fates::new);
            let delay = new.faults.as_ref().map_or(0, |f| f.delay.as_nanos());
            self.delay = u64::try_from(delay).unwrap_or(u64::MAX);
        }
        self.settings = new;
    }

    /// Works by other settings from now on. Nobody puts frames into the queue before any more.
    pub fn change(&mut self, change: Change) {
        self.later.push_back(change.queue);
        self.set(change.settings);
    }

    /// The port proper.
    pub fn inner(&self) -> &Arc<dyn Egress> {
        &self.inner
    }

    fn waiting(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.head.take().or_else(|| self.queue.frames.pop()) {
                return Some(item);
            }
            self.queue = self.later.pop_front()?;
            // What came by the one before takes no room in this one.
            self.freed = 0;
            let aside = self.aside.iter_mut().map(|a| &mut a.ready);
            self.ready.iter_mut().chain(aside).for_each(|r| r.charged = 0);
        }
    }

    /// Moves frames whose time on the line is over behind the queue, until `max` are due. When the next one's is.
    fn admit(&mut self, max: usize, now: u64, lost: &mut u64) -> Option<u64> {
        self.end_overtaking(now);
        while self.ready.get(max - 1).is_none_or(|r| r.due > now) {
            let item = self.waiting()?;
            let left = match &mut self.pacer {
                Some(pacer) => pacer.leave(item.bytes.len(), item.came, now),
                None => Ok(item.came),
            };
            let at = match left {
                Ok(at) => at,
                Err(at) => {
                    self.head = Some(item);
                    // Alone it goes at the moment it may.
                    let alone = self.queue.frames.is_empty();
                    return Some(if alone { at } else { at.max(now + TOGETHER) });
                }
            };
            let mut charged = charge(item.bytes.len());
            if self.pacer.is_some() {
                self.freed += std::mem::take(&mut charged);
            }
            let fate = self.fates.as_mut().map(|f| f.next(item.bytes.len())).unwrap_or_default();
            let due = at.saturating_add(self.delay);
            self.meet(Ready { due, copy: false, charged, bytes: item.bytes }, fate, lost);
        }
        None
    }

    /// What is to become of a frame becomes of it.
    fn meet(&mut self, mut frame: Ready, fate: Fate, lost: &mut u64) {
        if fate.lost {
            *lost += 1;
            self.freed += frame.charged;
            self.common.recycle(frame.bytes);
            return;
        }
        // One writer, this worker.
        let count = |n: &std::sync::atomic::AtomicU64| n.fetch_add(1, Ordering::Relaxed);
        if let Some(bit) = fate.flipped
            && let Some(byte) = frame.bytes.get_mut(14 + (bit / 8) as usize)
        {
            *byte ^= 1 << (bit % 8);
            count(&self.common.counts.corrupted);
        }
        let (due, bytes) = (frame.due, &frame.bytes);
        let copy = fate.twice.then(|| {
            count(&self.common.counts.duplicated);
            let mut again = self.common.buffer();
            again.extend_from_slice(bytes);
            Ready { due, copy: true, charged: 0, bytes: again }
        });
        if fate.overtaken > 0 && self.aside.len() < ASIDE {
            count(&self.common.counts.reordered);
            let latest = due.saturating_add(OVERTAKEN_WITHIN);
            self.aside.push(Aside { left: fate.overtaken, latest, ready: frame });
        } else {
            self.push(frame);
            self.overtake(due);
        }
        if let Some(copy) = copy {
            self.push(copy);
        }
    }

    fn push(&mut self, mut r: Ready) {
        // In order, also where a shorter delay follows a longer one.
        r.due = r.due.max(self.ready.back().map_or(0, |b| b.due));
        self.ready.push_back(r);
    }

    /// A frame that is due at `due` has overtaken those aside.
    fn overtake(&mut self, due: u64) {
        if self.aside.is_empty() {
            return;
        }
        self.aside.iter_mut().for_each(|a| a.left -= 1);
        while let Some(i) = self.aside.iter().position(|a| a.left == 0) {
            let mut ready = self.aside.remove(i).ready;
            ready.due = due;
            self.push(ready);
        }
    }

    /// Those that were not overtaken in time go anyway.
    fn end_overtaking(&mut self, now: u64) {
        while let Some(i) = self.aside.iter().position(|a| a.latest <= now) {
            let aside = self.aside.remove(i);
            self.push(Ready { due: aside.latest, ..aside.ready });
        }
    }

    /// Delivers what is due at `now`, at most `max` frames, and counts it as `worker`. `burst` is memory to work in.
    pub fn run(&mut self, burst: &mut Burst, max: usize, worker: usize, now: u64) -> Let {
        let max = max.clamp(1, MAX_BURST);
        if let Some(new) = self.inner.renewed() {
            self.inner = new;
        }
        let mut out = Gone::default();
        let mut next = self.admit(max, now, &mut out.lost);
        let longest = self.inner.caps().max_frame;
        while let Some(r) = self.ready.front().filter(|r| r.due <= now && r.bytes.len() > longest) {
            out.too_big += u64::from(!r.copy);
            self.drop_front();
        }
        burst.clear();
        self.list.clear();
        let due = self.ready.iter().take_while(|r| r.due <= now && r.bytes.len() <= longest);
        for (i, r) in (0u16..).zip(due.take(max)) {
            // SAFETY: the bytes stay where they are, unchanged, until the frame is dropped below, after the burst's use.
            unsafe { burst.push(r.bytes.as_ptr(), r.bytes.len(), 1) };
            self.list.push(Entry { orig: i, frame: i });
        }
        let fit = if self.list.is_empty() { 0 } else { self.inner.claim(burst, &self.list, 0) };
        if fit > 0 {
            let tally = self.inner.put(burst, &self.list[..fit], 0, now);
            let (mut frames, mut copied) = (0, 0);
            for _ in 0..fit {
                if let Some(r) = self.ready.front() {
                    frames += u64::from(!r.copy);
                    copied += if r.copy { r.bytes.len() as u64 } else { 0 };
                }
                self.drop_front();
            }
            out.tx_error = tally.tx_error.min(frames);
            out.frames = frames - out.tx_error;
            out.bytes = tally.bytes.saturating_sub(copied);
        }
        out.count(&self.stats, worker);
        if self.freed > 0 {
            self.queue.give_back(std::mem::take(&mut self.freed));
            self.common.tell_room(&self.queue);
        }
        let blocked = fit < self.list.len();
        let mut sooner = |at: u64| next = Some(next.map_or(at, |n| n.min(at)));
        if let Some(r) = self.ready.front().filter(|_| !blocked) {
            sooner(r.due);
        }
        self.aside.iter().for_each(|a| sooner(a.latest));
        Let { done: fit + (out.lost + out.too_big) as usize, next, blocked }
    }

    fn drop_front(&mut self) {
        if let Some(r) = self.ready.pop_front() {
            self.freed += r.charged;
            self.common.recycle(r.bytes);
        }
    }

    /// The port is gone: counts what did not leave.
    pub fn finish(mut self, worker: usize) {
        let mut left = self.ready.iter().filter(|r| !r.copy).count() + self.aside.len();
        while self.waiting().is_some() {
            left += 1;
        }
        self.stats.block(worker).out_drops[Cause::PortDown as usize].add(left as u64);
    }

    /// Asks to be woken by [`Outlet::fd`]; `false` if there are frames.
    pub fn arm(&mut self) -> bool {
        let empty = || self.head.is_none() && self.queue.frames.is_empty() && self.later.is_empty();
        notify::arm(&self.common.asleep, Pairing::Fences, || !empty())
    }

    /// No wake-ups are needed for now.
    pub fn disarm(&self) {
        notify::disarm(&self.common.asleep);
    }

    /// What becomes readable (edge-triggered) when frames come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.common.work.fd()
    }
}

/// What is to be counted.
#[derive(Default)]
struct Gone {
    frames: u64,
    bytes: u64,
    lost: u64,
    too_big: u64,
    tx_error: u64,
}

impl Gone {
    fn count(&self, stats: &PortStats, worker: usize) {
        let block = stats.block(worker);
        block.out_frames.add(self.frames);
        block.out_bytes.add(self.bytes);
        block.rings[0].out_frames.add(self.frames);
        block.rings[0].out_bytes.add(self.bytes);
        for (n, cause) in
            [(self.lost, Cause::Fault), (self.too_big, Cause::TooBig), (self.tx_error, Cause::TxError)]
        {
            block.out_drops[cause as usize].add(n);
        }
    }
}
