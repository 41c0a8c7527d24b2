//! Round trips: [`run_ping`] asks, [`crate::pong::run_pong`] answers.
//!
//! With a rate, pings leave on schedule whether or not answers came, and each is measured from the moment it
//! was *meant* to leave: a stall of the switch shows in every ping that it delayed. Without one, a burst
//! leaves when the one before was answered.

use std::io;
use std::time::Duration;

use valecast_ring::client::{RxRing, TxRing};
use zerocopy::IntoBytes;

use crate::clock::{now_ns, sharpen_sleep};
use crate::flight::Flight;
use crate::generate::{FrameSpec, Generator};
use crate::hist::Latency;
use crate::pace::Pace;
pub use crate::ping_config::{PingConfig, PingReport};
use crate::run::{End, LOOK_AROUND, Progress, Recorder, RunError, StopFlag, pin};
use crate::seq::SeqCounts;
use crate::stamp::PingStamp;
use crate::wait::wait_any;

/// Waits shorter than this (ns) are spun while looking for answers.
const SPIN_NS: u64 = 40_000;
/// Load that the switch held up is caught up on by this much, in ns.
const LOAD_CATCH_UP_NS: u64 = 100_000_000;
/// Most load frames between two looks for answers.
const LOAD_BURST: u64 = 64;

/// Pings over `tx` and takes answers from `rings` with the calling thread.
pub fn run_ping(
    cfg: &PingConfig,
    tx: &mut TxRing,
    rings: &mut [RxRing],
    stop: &StopFlag,
    progress: &Progress,
) -> Result<PingReport, RunError> {
    let size = cfg.frame.size + cfg.frame.vnet;
    if size > tx.buf_size() {
        let (part, slots) = (tx.buf_size(), size.div_ceil(tx.buf_size()));
        return Err(RunError::Frame { bytes: size, slots, part, most: 1 });
    }
    if rings.is_empty() {
        return Err(RunError::NoRing);
    }
    if let Some(cpu) = cfg.cpu {
        pin(cpu)?;
    }
    sharpen_sleep();
    let mut p = Pinger::new(cfg)?;
    p.report.why = match p.run(tx, rings, stop, progress) {
        Ok(why) => why,
        Err(e) => End::Gone(e.to_string()),
    };
    p.report.seq = p.flight.counts();
    p.report.latency = p.recorder.finish(progress);
    Ok(p.report)
}

struct Pinger<'a> {
    cfg: &'a PingConfig,
    ping: Generator,
    pace: Option<Pace>,
    load: Option<(Generator, Pace)>,
    flight: Flight,
    recorder: Recorder,
    report: PingReport,
    /// When patience with the pings under way ends, in ns.
    give_up: u64,
    /// Pings without an answer that are not waited for any more.
    given_up: u64,
}

impl<'a> Pinger<'a> {
    fn new(cfg: &'a PingConfig) -> Result<Self, RunError> {
        let spec = FrameSpec { sequence: None, ..cfg.frame.clone() };
        let ping = Generator::new(&spec, PingStamp::LEN)?;
        let load = Generator::new(&spec, 0)?;
        let start = now_ns();
        let report = PingReport {
            packets: 0,
            bytes: 0,
            load: 0,
            bursts: 0,
            seq: SeqCounts::default(),
            latency: Latency::new(),
            latency_sent: Latency::new(),
            other: 0,
            start,
            end: start,
            why: End::Stopped,
        };
        Ok(Self {
            cfg,
            ping,
            // Unbounded: a ping that could not leave in time is the very thing to measure.
            pace: cfg.rate.map(|r| Pace::new(r, start)),
            load: cfg.load.map(|r| (load, Pace::new(r, start).bounded(LOAD_CATCH_UP_NS))),
            flight: Flight::default(),
            recorder: Recorder::default(),
            report,
            give_up: u64::MAX,
            given_up: 0,
        })
    }

    fn run(
        &mut self,
        tx: &mut TxRing,
        rings: &mut [RxRing],
        stop: &StopFlag,
        progress: &Progress,
    ) -> io::Result<End> {
        let deadline = self.cfg.limits.deadline(self.report.start);
        let mut ending = None;
        loop {
            let now = now_ns();
            if ending.is_none() {
                ending = match () {
                    () if stop.is_set() => Some(End::Stopped),
                    () if now >= deadline => Some(End::Time),
                    () if self.cfg.limits.left(self.report.packets) == 0 => Some(End::Count),
                    () => None,
                };
            }
            let waiting = self.is_waiting() && now < self.give_up;
            match ending.take() {
                Some(why) if !waiting => return Ok(why),
                why => ending = why,
            }
            if ending.is_none() {
                self.send(tx, now, waiting);
                progress.store(self.report.packets, self.report.bytes, self.report.bursts);
            }
            let mut any = false;
            for ring in &mut *rings {
                any |= self.receive(ring);
            }
            if !any {
                self.recorder.tick(now, progress);
                let next = if ending.is_some() { self.give_up } else { self.next_at().min(deadline) };
                self.idle(rings, next)?;
            }
        }
    }

    fn is_waiting(&self) -> bool {
        self.flight.waiting() > self.given_up
    }

    /// Sends what is due, as far as there is room.
    fn send(&mut self, tx: &mut TxRing, now: u64, waiting: bool) {
        let mut room = u64::from(tx.room());
        let left = self.cfg.limits.left(self.report.packets);
        let due = match &mut self.pace {
            Some(pace) => pace.due(now),
            None if waiting => 0,
            None => self.cfg.burst.max(1).into(),
        };
        let n = due.min(left).min(room);
        if self.pace.is_none() && n > 0 {
            self.given_up = self.flight.waiting();
        }
        for _ in 0..n {
            let sent = now_ns();
            let intended = self.pace.as_ref().map_or(sent, Pace::intended);
            let seq = self.report.packets as u32;
            let stamp = PingStamp::new(seq, sent);
            let frame = self.ping.make_stamped(stamp.as_bytes());
            self.report.bytes += frame.len() as u64;
            tx.push(frame);
            self.flight.sent(stamp, sent, intended);
            self.report.packets += 1;
            if let Some(pace) = &mut self.pace {
                pace.sent(1);
            }
        }
        if n > 0 {
            self.report.end = now;
            self.report.bursts += 1;
            self.give_up = now.saturating_add(self.cfg.patience.as_nanos() as u64);
            tx.publish();
        }
        room -= n;
        if let Some((frames, pace)) = &mut self.load {
            let n = pace.due(now).min(room).min(LOAD_BURST);
            for _ in 0..n {
                tx.push(frames.make());
            }
            pace.sent(n);
            self.report.load += n;
        }
        tx.publish();
    }

    /// Takes the answers in `ring`; `false` if there was nothing.
    fn receive(&mut self, ring: &mut RxRing) -> bool {
        let n = ring.pending();
        if n == 0 {
            return false;
        }
        let now = now_ns();
        self.report.end = now;
        for i in 0..n {
            let frame = ring.frame(i).data.get(self.cfg.frame.vnet..);
            match frame.and_then(PingStamp::read).and_then(|s| self.flight.answered(s)) {
                Some((sent, intended)) => {
                    self.recorder.latency.record(now.saturating_sub(intended));
                    self.report.latency_sent.record(now.saturating_sub(sent));
                }
                None => self.report.other += 1,
            }
        }
        ring.advance(n);
        ring.release();
        true
    }

    /// When there is something to send, in ns.
    fn next_at(&self) -> u64 {
        let ping = match &self.pace {
            Some(pace) => pace.next_at(),
            None if self.is_waiting() => self.give_up,
            None => 0,
        };
        ping.min(self.load.as_ref().map_or(u64::MAX, |(_, pace)| pace.next_at()))
    }

    /// Waits for an answer until `next` (ns).
    fn idle(&self, rings: &mut [RxRing], next: u64) -> io::Result<()> {
        for _ in 0..64 {
            if rings.iter_mut().any(|r| r.pending() > 0) {
                return Ok(());
            }
            (0..8).for_each(|_| std::hint::spin_loop());
        }
        let gap = next.saturating_sub(now_ns());
        if self.cfg.busy || gap <= SPIN_NS {
            if gap > SPIN_NS / 8 {
                std::thread::yield_now();
            }
            return Ok(());
        }
        wait_any(rings, Duration::from_nanos(gap - SPIN_NS / 2).min(LOOK_AROUND))
    }
}
