//! Receiving.

use std::io;
use std::time::Duration;

use valecast_ring::SlotFlags;
use valecast_ring::client::{RxRing, Slot};

use crate::clock::{SECOND, now_ns, sharpen_sleep};
use crate::dump::{Dump, dump_frame};
use crate::hist::Latency;
use crate::run::{End, LOOK_AROUND, Limits, Progress, Recorder, RunError, StopFlag, pin};
use crate::seq::{Seen, SeqCounts, Streams};
use crate::stamp::{Probe, SeqStamp};
use crate::wait::{LOOKS, between_looks, wait_any};

/// How to receive.
#[derive(Clone, Debug)]
pub struct RxConfig {
    /// When to end. The time runs from the start, not from the first frame.
    pub limits: Limits,
    /// End after so long without frames, once there was one.
    pub silence: Option<Duration>,
    /// Most slots taken at once.
    pub burst: u32,
    /// Follow the sequence numbers of `txseq` frames.
    pub sequence: bool,
    /// Tell standard error about gaps, at most once a second.
    pub tell_gaps: bool,
    /// Bytes of virtio header in front of frames.
    pub vnet: usize,
    /// Never sleep: measures the switch without the time it takes to wake a process, and takes a core.
    pub busy: bool,
    /// Bind the thread to this CPU.
    pub cpu: Option<usize>,
    /// Show what is received.
    pub dump: Dump,
}

impl Default for RxConfig {
    /// Receives in bursts of 512 until stopped.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            silence: None,
            burst: 512,
            sequence: false,
            tell_gaps: false,
            vnet: 0,
            busy: false,
            cpu: None,
            dump: Dump::Off,
        }
    }
}

/// What was received.
#[derive(Clone, Debug)]
pub struct RxReport {
    /// Frames.
    pub packets: u64,
    /// Bytes in them, without CRC.
    pub bytes: u64,
    /// Bursts that were not empty.
    pub bursts: u64,
    /// Probes among the frames.
    pub probes: u64,
    /// What the numbers of probes and `txseq` frames said.
    pub seq: SeqCounts,
    /// One-way latency of probes in ns, from when they were meant to be sent.
    pub latency: Latency,
    /// One-way latency of probes in ns, from when they were put into the sender's ring.
    pub latency_sent: Latency,
    /// When the first frame came (the run began, if none did), in ns of [`now_ns`].
    pub start: u64,
    /// When the last burst came, in ns.
    pub end: u64,
    /// Why it ended.
    pub why: End,
}

/// Receives from `rings` with the calling thread until `cfg` says so, `stop`, or the end of the switch.
pub fn run_rx(
    cfg: &RxConfig,
    rings: &mut [RxRing],
    stop: &StopFlag,
    progress: &Progress,
) -> Result<RxReport, RunError> {
    if rings.is_empty() {
        return Err(RunError::NoRing);
    }
    if let Some(cpu) = cfg.cpu {
        pin(cpu)?;
    }
    sharpen_sleep();
    let mut r = Receiver::new(cfg, rings.len());
    let why = match r.run(rings, stop, progress) {
        Ok(why) => why,
        Err(e) => End::Gone(e.to_string()),
    };
    r.report.why = why;
    r.report.seq = r.probe_streams.counts();
    r.seq_streams.iter().for_each(|s| r.report.seq.add(&s.counts()));
    r.report.latency = r.recorder.finish(progress);
    Ok(r.report)
}

struct Receiver<'a> {
    cfg: &'a RxConfig,
    report: RxReport,
    recorder: Recorder,
    probe_len: usize,
    probe_streams: Streams,
    /// One each ring: a sender that names no stream is told apart by its ring.
    seq_streams: Vec<Streams>,
    /// Each ring: the next slot continues a frame.
    inside: Vec<bool>,
    told: u64,
}

impl<'a> Receiver<'a> {
    fn new(cfg: &'a RxConfig, rings: usize) -> Self {
        let now = now_ns();
        let report = RxReport {
            packets: 0,
            bytes: 0,
            bursts: 0,
            probes: 0,
            seq: SeqCounts::default(),
            latency: Latency::new(),
            latency_sent: Latency::new(),
            start: now,
            end: now,
            why: End::Stopped,
        };
        Self {
            cfg,
            report,
            recorder: Recorder::default(),
            probe_len: Probe::FRAME_LEN + cfg.vnet,
            probe_streams: Streams::default(),
            seq_streams: vec![Streams::default(); rings],
            inside: vec![false; rings],
            told: 0,
        }
    }

    fn run(&mut self, rings: &mut [RxRing], stop: &StopFlag, progress: &Progress) -> io::Result<End> {
        let begun = self.report.start;
        let deadline = self.cfg.limits.deadline(begun);
        let silence = self.cfg.silence.map(|s| s.as_nanos() as u64);
        let mut idle = 0;
        loop {
            let now = now_ns();
            if stop.is_set() {
                return Ok(End::Stopped);
            } else if now >= deadline {
                return Ok(End::Time);
            } else if self.cfg.limits.left(self.report.packets) == 0 {
                return Ok(End::Count);
            }
            let mut any = false;
            for (at, ring) in rings.iter_mut().enumerate() {
                any |= self.burst(at, ring, progress);
            }
            if any {
                idle = 0;
                self.recorder.tick(now, progress);
                progress.store(self.report.packets, self.report.bytes, self.report.bursts);
                continue;
            }
            let quiet = now - self.report.end.min(now);
            if silence.is_some_and(|s| self.report.packets > 0 && quiet >= s) {
                return Ok(End::Silence);
            }
            idle += 1;
            if idle <= LOOKS || self.cfg.busy {
                between_looks(idle);
            } else {
                self.recorder.tick(now, progress);
                wait_any(rings, LOOK_AROUND.min(Duration::from_nanos(deadline - now)))?;
                idle = 0;
            }
        }
    }

    /// Takes what waits in `ring`, up to a burst; `false` if nothing does.
    #[inline]
    fn burst(&mut self, at: usize, ring: &mut RxRing, progress: &Progress) -> bool {
        let pending = ring.pending();
        let n = pending.min(self.cfg.burst.max(1));
        if n == 0 {
            return false;
        }
        // After the look at the ring: what came before this moment is what is in it.
        let now = now_ns();
        progress.note_space(ring.slots() - 1 - pending);
        if self.report.packets == 0 {
            self.report.start = now;
        }
        let (mut packets, mut bytes) = (0, 0);
        let mut inside = self.inside[at];
        let look = self.cfg.sequence || self.cfg.dump != Dump::Off;
        for i in 0..n {
            let slot = ring.frame(i);
            bytes += slot.data.len() as u64;
            let ends = !slot.flags.contains(SlotFlags::MORE_FRAG);
            packets += u64::from(ends);
            // Only the length is looked at, which came with the descriptor: frames stay untouched.
            if look || (slot.data.len() == self.probe_len && !inside) {
                self.look(at, i, slot, inside, now);
            }
            inside = !ends;
        }
        self.inside[at] = inside;
        ring.advance(n);
        ring.release();
        self.report.packets += packets;
        self.report.bytes += bytes;
        self.report.bursts += 1;
        self.report.end = now;
        true
    }

    #[inline(never)]
    fn look(&mut self, at: usize, i: u32, slot: Slot<'_>, inside: bool, now: u64) {
        if self.cfg.dump != Dump::Off {
            dump_frame(self.cfg.dump, i, slot.data);
        }
        let Some(frame) = slot.data.get(self.cfg.vnet..).filter(|_| !inside) else { return };
        let seen = if let Some(p) = Probe::read(frame).filter(|_| slot.data.len() == self.probe_len) {
            self.report.probes += 1;
            self.recorder.latency.record(now.saturating_sub(p.intended));
            self.report.latency_sent.record(now.saturating_sub(p.sent));
            self.probe_streams.note(p.stream, p.seq)
        } else if self.cfg.sequence {
            let Some((stream, seq)) = SeqStamp::read(frame) else { return };
            self.seq_streams[at].note(stream, seq)
        } else {
            return;
        };
        if self.cfg.tell_gaps && seen != Seen::InOrder && now >= self.told {
            self.told = now + SECOND;
            eprintln!("ring {at}: {seen:?}");
        }
    }
}
