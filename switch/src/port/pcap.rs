//! `pcap`: frames from one capture file, frames to another.
//!
//! - [`load`]: reads a file as a whole when the port is opened;
//! - [`Replay`]: gives its frames when they are due;
//! - [`record`]: a thread that writes what the port is sent, to a [`sink`].

use std::os::fd::BorrowedFd;

use valecast_config::{PcapPort, Timing};

use super::{Ingress, OpenError, Opened, null};
use crate::frame::Burst;

pub mod load;
pub mod record;
pub mod sink;

use load::Capture;

/// The frames of a file, by the clock.
pub struct Replay {
    capture: Capture,
    timing: Timing,
    /// From the beginning of one round to that of the next (ns), by the file's own clock.
    round: u64,
    /// Rounds to go, the current one included; `None` goes on for ever.
    rounds: Option<u64>,
    /// Rounds done.
    done: u64,
    /// Next frame of this round.
    next: usize,
    /// When the first frame was due; known once somebody asks for frames.
    start: Option<u64>,
    now: u64,
}

impl Replay {
    /// Sends `capture` `repeat` times (0: for ever). Between two rounds lies the file's mean gap.
    pub fn new(capture: Capture, timing: Timing, repeat: u64) -> Self {
        let gaps = capture.frames.len().saturating_sub(1) as u64;
        let span = capture.frames.last().map_or(0, |f| f.time);
        let round = span + span.checked_div(gaps).unwrap_or(0);
        let rounds = (repeat > 0).then_some(repeat);
        Self { capture, timing, round, rounds, done: 0, next: 0, start: None, now: 0 }
    }

    /// When the frame that lies `ahead` frames after the next one is due; `None` if there is none.
    fn due_at(&self, start: u64, ahead: usize) -> Option<u64> {
        let n = self.capture.frames.len();
        let (round, i) = (self.done + ((self.next + ahead) / n) as u64, (self.next + ahead) % n);
        if self.rounds.is_some_and(|r| round >= r) {
            return None;
        }
        let after = match self.timing {
            Timing::Asap => 0,
            Timing::Original => round.saturating_mul(self.round).saturating_add(self.capture.frames[i].time),
            // In one step from the beginning, so that rounding does not add up.
            Timing::Pps(pps) => ((round as f64 * n as f64 + i as f64) * 1e9 / pps) as u64,
        };
        Some(start.saturating_add(after))
    }
}

impl Ingress for Replay {
    fn take(&mut self, burst: &mut Burst, max: usize, now: u64) {
        self.now = now;
        let start = *self.start.get_or_insert(now);
        let mut ahead = 0;
        while ahead < max && self.due_at(start, ahead).is_some_and(|due| due <= now) {
            let before = burst.taken();
            let data = self.capture.bytes((self.next + ahead) % self.capture.frames.len());
            // SAFETY: the capture is never written, and lives as long as the source.
            unsafe { burst.push(data.as_ptr(), data.len(), 1) };
            if burst.taken() == before {
                return;
            }
            ahead += 1;
        }
    }

    fn complete(&mut self, _burst: &Burst, n: usize) {
        let at = self.next + n;
        self.done += (at / self.capture.frames.len()) as u64;
        self.next = at % self.capture.frames.len();
    }

    fn arm(&mut self) -> bool {
        self.due().is_none_or(|due| due > self.now)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn due(&self) -> Option<u64> {
        self.due_at(self.start.unwrap_or(0), 0)
    }
}

/// Loads the file to send and creates the one to write. Without the latter, frames are counted and dropped.
pub fn open(name: &str, cfg: &PcapPort) -> Result<Opened, OpenError> {
    // First, so that a mistake here leaves the other file alone.
    let capture = cfg.read.as_deref().map(load::load).transpose()?;
    let mut opened = match &cfg.write {
        Some(path) => record::open(name, path)?,
        None => null::open(),
    };
    if let Some(capture) = capture {
        tracing::debug!(port = name, frames = capture.frames.len(), "capture is loaded");
        opened.ingress.push(Box::new(Replay::new(capture, cfg.timing, cfg.repeat)));
    }
    Ok(opened)
}

#[cfg(test)]
#[path = "pcap_tests.rs"]
mod tests;
