//! The thread of a tree: the transport's sender over its port.
//!
//! What paces it is the meter that the plan puts on the port: frames that may not go yet stay in the ring. A ring
//! that is full of them would make polls as late as itself, so no more wait there than go in `AHEAD`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender as Tell;
use std::time::{Duration, Instant};

use valecast_ring::client::{Link, RxRing, TxRing};

use super::{Common, Shared, TreeEnd, source};
use crate::address::{sender_address, tree_address};
use crate::control::TreeStatus;
use crate::endpoint::EndpointError;
use crate::endpoint::clock::Clock;
use crate::endpoint::port;
use crate::endpoint::send::pace::{Pushed, between_polls};
use crate::transport::files::FileError;
use crate::transport::sender::{Sender, SenderOptions};

/// What waits in the ring goes within this time at the tree's rate.
const AHEAD: Duration = Duration::from_millis(20);
/// Fewest frames that may wait there, so that a burst is one.
const FEW: u64 = 16;
/// Bytes of a poll when there is nothing else to send; the controller gives a tree little then, and that little is for polls.
const POLL: usize = 128;
/// How often the view is made anew.
const LOOK: Duration = Duration::from_millis(50);
/// How long the last frames may take to leave.
const LEAVE: Duration = Duration::from_secs(2);
/// When there is something to do and nothing could be done, this passes before the next try.
const PAUSE: Duration = Duration::from_micros(200);

struct Run<'a> {
    shared: &'a Shared,
    common: &'a Common,
    clock: Clock,
    sender: Sender,
    link: Link,
    tx: TxRing,
    rx: RxRing,
    scratch: Vec<u8>,
    /// Slots of a frame.
    slots: u32,
    looked: Instant,
    tell: &'a Tell<()>,
    /// Reports that were taken when outcomes were counted last, and how many there were.
    counted: (u64, usize),
    pushed: Pushed,
    /// All has been sent that receivers are known to lack: others can have the rate.
    spent: bool,
}

/// Sends until all is over, or it is told to stop.
pub(super) fn run(
    common: &Common,
    status: &TreeStatus,
    shared: &Shared,
    tell: &Tell<()>,
) -> Result<TreeEnd, EndpointError> {
    let source = source(&common.path, common.cut, common.manifest)?;
    let (link, tx, rx) = port::open(&common.socket, &status.port)?;
    let mut options = SenderOptions::new(
        common.transfer,
        status.partition,
        common.session,
        sender_address(status.tree),
        tree_address(status.tree),
    );
    options.lead = common.cut.lead;
    options.give_up = u64::try_from(common.silence.as_nanos()).unwrap_or(u64::MAX);
    if status.unicast_repairs {
        options.tree_links = u32::try_from(status.links.len()).unwrap_or(0);
    }
    let clock = Clock::default();
    // One for each receiver, whatever the controller said about hops.
    let hops: Vec<u32> =
        (0..status.receivers.len()).map(|i| status.hops.get(i).copied().unwrap_or(0)).collect();
    let slots = common.cut.frame().div_ceil(tx.buf_size().max(1)) as u32;
    let mut sender = Sender::new(options, source, &hops, clock.now());
    if let Some(shares) = &common.shares {
        sender = sender.sharing(shares.of(status.tree));
    }
    let mut run = Run {
        shared,
        common,
        clock,
        sender,
        link,
        tx,
        rx,
        scratch: Vec::new(),
        slots,
        looked: Instant::now(),
        tell,
        counted: (0, 0),
        pushed: Pushed::default(),
        spent: false,
    };
    run.look();
    let lost = |source| EndpointError::Port { port: status.port.clone(), source };
    loop {
        if shared.stop.load(Ordering::Relaxed) {
            run.look();
            return Ok(TreeEnd::Stopped);
        }
        if run.turn().map_err(EndpointError::Files)? {
            run.leave().map_err(lost)?;
            run.look();
            if !run.call().map_err(lost)? {
                return Ok(TreeEnd::Done);
            }
        }
        run.rest().map_err(lost)?;
    }
}

impl Run<'_> {
    /// Frames that may wait in the ring.
    fn limit(&self) -> u32 {
        let all = (self.tx.slots() - 1) / self.slots;
        match self.shared.rate.load(Ordering::Relaxed) {
            0 => all,
            rate => {
                let bits = self.common.cut.frame() as u64 * 8;
                let ahead = u128::from(rate) * AHEAD.as_nanos() / 1_000_000_000 / u128::from(bits);
                u32::try_from(ahead.max(FEW.into())).unwrap_or(u32::MAX).min(all)
            }
        }
    }

    /// Takes reports and sends what is to be sent; whether all is over.
    fn turn(&mut self) -> Result<bool, FileError> {
        let (sender, clock) = (&mut self.sender, self.clock);
        port::drain(&mut self.rx, &mut self.scratch, u32::MAX, |frame| {
            // What is wrong with it is counted there.
            let _ = sender.receive(clock.now(), frame);
        });
        if let Some(hash) = self.common.hash.get() {
            self.sender.know_hash(*hash);
        }
        let rate = self.shared.rate.load(Ordering::Relaxed);
        let frame = if self.spent { POLL } else { self.common.cut.frame() };
        self.sender.poll_every(between_polls(rate, frame));
        let waiting = self.tx.pending().div_ceil(self.slots);
        let room = self.limit().saturating_sub(waiting).min(self.tx.room() / self.slots);
        self.sender.poll_waits(self.pushed.waiting(waiting).1 > 0);
        let tx = &mut self.tx;
        let before = self.sender.counters();
        let sent = self.sender.send(clock.now(), room as usize, &mut |frame| {
            // There is room; a frame that did not fit would be lost like any other.
            let _ = tx.push(frame);
        })?;
        self.tx.publish();
        let after = self.sender.counters();
        self.pushed.add(sent as u64, after.content() != before.content(), after.control != before.control);
        let spent = sent < room as usize && self.residual() == 0;
        let was = std::mem::replace(&mut self.spent, spent);
        let news = spent && !was;
        if let Some(hash) = self.sender.content_hash() {
            let _ = self.common.hash.set(hash);
        }
        let reports = self.sender.counters().reports;
        let before = self.counted;
        if reports != before.0 {
            self.counted = (reports, self.sender.ended());
        }
        if self.counted.1 != before.1 || news {
            self.look();
            // A job that is gone needs nothing.
            let _ = self.tell.send(());
        } else if self.looked.elapsed() >= LOOK {
            self.look();
        }
        Ok(self.sender.is_done())
    }

    /// Sleeps until there is something to do.
    fn rest(&mut self) -> std::io::Result<()> {
        let Some(wakes) = self.sender.wakes() else { return Ok(()) };
        let wait = self.clock.until(wakes);
        let limit = self.limit();
        let pending = self.tx.pending().div_ceil(self.slots);
        // Until no more frames than these wait.
        let until = |frames: u32| Some((self.tx.slots() - 1).saturating_sub(frames * self.slots).max(1));
        if pending >= limit {
            self.nap(until(limit / 2), LOOK)
        } else if !wait.is_zero() {
            self.nap(None, wait.min(LOOK.max(Duration::from_millis(1))))
        } else if self.sender.reads() {
            // It reads.
            Ok(())
        } else if self.pushed.waiting(pending).1 > 0 {
            // A poll is due when the one before has left.
            self.nap(until(self.pushed.behind_control(pending)), LOOK)
        } else {
            self.nap(None, PAUSE)
        }
    }

    fn nap(&mut self, room: Option<u32>, most: Duration) -> std::io::Result<()> {
        let tx = room.map(|room| (&mut self.tx, room));
        port::sleep(&self.link, &self.shared.bell, Some(&mut self.rx), tx, most)
    }

    /// Waits until the switch has taken the last frames, which go with the port.
    fn leave(&mut self) -> std::io::Result<()> {
        let until = Instant::now() + LEAVE;
        while self.tx.pending() > 0 && Instant::now() < until && !self.shared.stop.load(Ordering::Relaxed) {
            let all = self.tx.slots() - 1;
            port::sleep(&self.link, &self.shared.bell, None, Some((&mut self.tx, all)), LOOK)?;
        }
        Ok(())
    }

    /// All is over here, but as long as others go on those that were given up may come back; whether one has.
    fn call(&mut self) -> std::io::Result<bool> {
        let tell = |shared: &Shared, end| {
            shared.view.lock().unwrap_or_else(PoisonError::into_inner).end = end;
        };
        tell(self.shared, Some(TreeEnd::Done));
        while self.sender.misses_some() && !self.shared.stop.load(Ordering::Relaxed) {
            let (sender, tx, clock) = (&mut self.sender, &mut self.tx, self.clock);
            port::drain(&mut self.rx, &mut self.scratch, u32::MAX, |frame| {
                let _ = sender.receive(clock.now(), frame);
            });
            if !sender.is_done() {
                self.look();
                tell(self.shared, None);
                return Ok(true);
            }
            let pushed = &mut self.pushed;
            sender.call(clock.now(), &mut |frame| {
                pushed.add(u64::from(tx.push(frame)), false, true);
            });
            tx.publish();
            self.nap(None, LOOK)?;
        }
        Ok(false)
    }

    /// Bytes of content that have yet to leave. What waits in the ring counts: a rate that is taken away as soon as the last
    /// frame is in there would hold up all of them, by seconds.
    fn residual(&mut self) -> u64 {
        let (waiting, _) = self.pushed.waiting(self.tx.pending().div_ceil(self.slots));
        let (left, shape) = (self.sender.residual(), self.sender.shape());
        if self.sender.ended() == self.sender.peers().count() {
            return 0;
        }
        left.saturating_add(waiting.saturating_mul(shape.chunk() as u64)).min(shape.total())
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        let left = self.residual();
        let mut view = self.shared.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.residual = left;
        view.peers.clear();
        view.peers.extend(self.sender.peers());
        view.counters = self.sender.counters();
    }
}
