//! Sending.

use std::io;
use std::time::Duration;

use valecast_ring::client::TxRing;

use crate::clock::{now_ns, sharpen_sleep, wait_until};
use crate::dump::Dump;
use crate::pace::{Pace, Rate};
use crate::run::{End, LOOK_AROUND, Limits, Progress, RunError, StopFlag, pin};
use crate::schedule::Schedule;
use crate::source::{Fragments, RingState, What, Writer};
use crate::stamp::{ProbeMaker, stream_id};
use crate::wait::{LOOKS, between_looks};

/// Probes older than this (ns) are not sent any more, but counted as skipped.
const PROBE_CATCH_UP_NS: u64 = 1_000_000_000;

/// How to send.
#[derive(Clone, Debug)]
pub struct TxConfig {
    /// What to send.
    pub what: What,
    /// When to end. The count includes probes.
    pub limits: Limits,
    /// Frames per second; as many as possible if `None`.
    pub rate: Option<Rate>,
    /// Most frames handed over at once.
    pub burst: u32,
    /// How frames are cut into slots.
    pub fragments: Fragments,
    /// Copy every frame into its slot, even if the slot holds it already (`-o 4`).
    pub copy: bool,
    /// Probes per second beside the load, with their maker.
    pub probe: Option<(Rate, ProbeMaker)>,
    /// Bind the thread to this CPU.
    pub cpu: Option<usize>,
    /// Show what is sent.
    pub dump: Dump,
}

impl TxConfig {
    /// Sends `what` in bursts of 512 as fast as possible until stopped.
    pub fn new(what: What) -> Self {
        Self {
            what,
            limits: Limits::default(),
            rate: None,
            burst: 512,
            fragments: Fragments::default(),
            copy: false,
            probe: None,
            cpu: None,
            dump: Dump::Off,
        }
    }

    /// Adds probes at `rate`, from and to the first Ethernet addresses of generated frames. `thread` tells
    /// the streams of several threads apart.
    pub fn with_probes(mut self, rate: Rate, thread: usize) -> Self {
        let maker = match &self.what {
            What::Generated(s) => ProbeMaker::new(&s.src_mac, &s.dst_mac, s.vnet, stream_id(thread)),
            _ => {
                let [src, dst] = [[2, 0, 0, 0, 0, 1], [0xff; 6]].map(crate::addr::MacRange::single);
                ProbeMaker::new(&src, &dst, 0, stream_id(thread))
            }
        };
        self.probe = Some((rate, maker));
        self
    }
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxReport {
    /// Frames, probes included.
    pub packets: u64,
    /// Bytes in them, without CRC.
    pub bytes: u64,
    /// Bursts that were not empty.
    pub bursts: u64,
    /// Probes among the frames.
    pub probes: u64,
    /// Frames and probes that were due but given up, because the switch left no room for too long.
    pub skipped: u64,
    /// Times that the ring was full.
    pub stalls: u64,
    /// When the run began, in ns of [`now_ns`].
    pub start: u64,
    /// When the switch had taken the last frame, in ns.
    pub end: u64,
    /// Why it ended.
    pub why: End,
}

/// Sends over `rings` with the calling thread until `cfg.limits`, `stop`, or the end of the switch.
pub fn run_tx(
    cfg: &TxConfig,
    rings: &mut [TxRing],
    stop: &StopFlag,
    progress: &Progress,
) -> Result<TxReport, RunError> {
    if let Some(cpu) = cfg.cpu {
        pin(cpu)?;
    }
    sharpen_sleep();
    let mut sender = Sender::new(cfg, rings)?;
    let why = match sender.run(rings, stop, progress) {
        Ok(why) => why,
        Err(e) => End::Gone(e.to_string()),
    };
    Ok(sender.finish(rings, why, stop))
}

struct Sender<'a> {
    cfg: &'a TxConfig,
    writer: Writer,
    states: Vec<RingState>,
    schedule: Schedule,
    probes: Option<(Pace, ProbeMaker)>,
    /// Ring to try first.
    at: usize,
    report: TxReport,
}

impl<'a> Sender<'a> {
    fn new(cfg: &'a TxConfig, rings: &[TxRing]) -> Result<Self, RunError> {
        let shape = rings.iter().map(|r| (r.slots(), r.buf_size())).min().ok_or(RunError::NoRing)?;
        let writer = Writer::new(&cfg.what, cfg.fragments, cfg.copy, cfg.dump, shape)?;
        let probe_len = cfg.probe.as_ref().map_or(0, |(_, maker)| maker.frame_len());
        if probe_len > shape.1 {
            return Err(RunError::Frame { bytes: probe_len, slots: 2, part: shape.1, most: 1 });
        }
        let start = now_ns();
        let probes = cfg
            .probe
            .as_ref()
            .map(|(rate, maker)| (Pace::new(*rate, start).bounded(PROBE_CATCH_UP_NS), maker.clone()));
        let report = TxReport {
            packets: 0,
            bytes: 0,
            bursts: 0,
            probes: 0,
            skipped: 0,
            stalls: 0,
            start,
            end: start,
            why: End::Count,
        };
        let states = rings.iter().map(|_| RingState::default()).collect();
        let schedule = Schedule::new(&cfg.what, cfg.rate, start);
        Ok(Self { cfg, writer, states, schedule, probes, at: 0, report })
    }

    fn run(&mut self, rings: &mut [TxRing], stop: &StopFlag, progress: &Progress) -> io::Result<End> {
        let deadline = self.cfg.limits.deadline(self.report.start);
        let burst = u64::from(self.cfg.burst.max(1));
        loop {
            let now = now_ns();
            let left = self.cfg.limits.left(self.report.packets);
            if stop.is_set() {
                return Ok(End::Stopped);
            } else if now >= deadline {
                return Ok(End::Time);
            } else if left == 0 {
                return Ok(End::Count);
            }
            let due = self.schedule.due(now, burst.min(left));
            let probes = self.probes.as_mut().map_or(0, |(pace, _)| pace.due(now)).min(left);
            if due == 0 && probes == 0 {
                let probe_at = self.probes.as_ref().map_or(u64::MAX, |(pace, _)| pace.next_at());
                wait_until(self.schedule.batch_at(burst.min(left)).min(probe_at).min(deadline));
                continue;
            }
            let per = self.writer.slots_per_frame;
            let Some(at) = self.find_room(rings, due.max(1) as u32 * per, deadline)? else { continue };
            let (ring, state) = (&mut rings[at], &mut self.states[at]);
            let mut room = ring.room();
            let probes = probes.min(room.into());
            if let Some((pace, maker)) = &mut self.probes {
                for _ in 0..probes {
                    let frame = maker.make(pace.intended(), now_ns());
                    self.report.bytes += frame.len() as u64;
                    self.writer.put_other(ring, state, frame);
                    pace.sent(1);
                }
                room -= probes as u32;
            }
            let n = due.min(left - probes).min(u64::from(room / per));
            self.report.bytes += self.writer.fill(ring, state, n as u32);
            ring.publish();
            self.schedule.sent(n);
            self.report.probes += probes;
            self.report.packets += probes + n;
            self.report.bursts += u64::from(probes + n > 0);
            progress.store(self.report.packets, self.report.bytes, self.report.bursts);
        }
    }

    /// A ring with room for `want` slots, or what is worth a burst; `None` after waiting for a while.
    ///
    /// Many small bursts would cost the switch more than few large ones, so a sender at full speed
    /// waits until half of the ring is free before it goes on.
    fn find_room(&mut self, rings: &mut [TxRing], want: u32, deadline: u64) -> io::Result<Option<usize>> {
        let n = rings.len();
        let need = |ring: &TxRing| want.min((ring.slots() - 1) / 2).max(self.writer.slots_per_frame);
        for looks in 1..=LOOKS {
            for k in 0..n {
                let i = (self.at + k) % n;
                if rings[i].room() >= need(&rings[i]) {
                    self.at = (i + 1) % n;
                    return Ok(Some(i));
                }
            }
            if looks == 1 {
                self.report.stalls += 1;
            }
            between_looks(looks);
        }
        let ring = &mut rings[self.at];
        let min = if self.schedule.is_free() { (ring.slots() - 1) / 2 } else { need(ring) };
        // With several rings another one may get room first.
        let longest = if n == 1 { LOOK_AROUND } else { Duration::from_millis(1) };
        let rest = Duration::from_nanos(deadline.saturating_sub(now_ns()));
        ring.wait(min.max(self.writer.slots_per_frame), Some(longest.min(rest)))?;
        Ok(None)
    }

    /// Waits until the switch has taken everything, but not for a switch that takes nothing for a second.
    fn finish(mut self, rings: &mut [TxRing], why: End, stop: &StopFlag) -> TxReport {
        for ring in rings {
            ring.publish();
            let (mut before, mut idle) = (u32::MAX, 0);
            while !matches!(why, End::Gone(_)) && ring.pending() > 0 && idle < 10 {
                let all = ring.slots() - 1;
                let stuck = ring.wait(all, Some(LOOK_AROUND)).is_err() || stop.is_set() && idle > 0;
                if stuck {
                    break;
                }
                idle = if ring.pending() < before { 0 } else { idle + 1 };
                before = ring.pending();
            }
        }
        let probes = self.probes.as_ref().map_or(0, |(pace, _)| pace.skipped());
        self.report.skipped = self.schedule.skipped() + probes;
        self.report.end = now_ns();
        self.report.why = why;
        self.report
    }
}
