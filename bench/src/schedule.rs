//! When a sender's frames are due: at once, at a rate, or at the times of a capture.

use std::sync::Arc;

use crate::pace::{Pace, Rate};
use crate::pcap::Capture;
use crate::source::What;

/// A paced sender that the switch held up catches up on this much, in ns.
const CATCH_UP_NS: u64 = 100_000_000;
/// Frames due within this, in ns, are sent together: sleeping and waking for each would cost a core.
const BATCH_NS: u64 = 100_000;

/// The plan of one run.
#[derive(Debug)]
pub(crate) enum Schedule {
    /// As fast as possible.
    Free,
    /// At a rate.
    Paced(Pace),
    /// As captured.
    Captured(Captured),
}

/// Frames at the times of a capture.
#[derive(Debug)]
pub(crate) struct Captured {
    frames: Arc<Capture>,
    speed: f64,
    start: u64,
    next: u64,
}

impl Captured {
    fn at(&self, k: u64) -> u64 {
        self.start.saturating_add((self.frames.at(k) as f64 / self.speed) as u64)
    }
}

impl Schedule {
    /// The plan for `what` at `rate`, beginning at `start` (ns).
    pub(crate) fn new(what: &What, rate: Option<Rate>, start: u64) -> Self {
        match (what, rate) {
            (What::Capture { frames, speed: Some(speed) }, _) => {
                Self::Captured(Captured { frames: frames.clone(), speed: *speed, start, next: 0 })
            }
            (_, Some(rate)) => Self::Paced(Pace::new(rate, start).bounded(CATCH_UP_NS)),
            (_, None) => Self::Free,
        }
    }

    /// Whether frames are sent as fast as possible.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// Frames due at `now` (ns), at most `most`.
    #[inline]
    pub(crate) fn due(&mut self, now: u64, most: u64) -> u64 {
        match self {
            Self::Free => most,
            Self::Paced(pace) => pace.due(now).min(most),
            Self::Captured(c) => (0..most).take_while(|i| c.at(c.next + i) <= now).count() as u64,
        }
    }

    /// `n` frames were sent.
    #[inline]
    pub(crate) fn sent(&mut self, n: u64) {
        match self {
            Self::Free => {}
            Self::Paced(pace) => pace.sent(n),
            Self::Captured(c) => c.next += n,
        }
    }

    /// When it is worth sending again, in ns, with bursts of at most `most` frames.
    pub(crate) fn batch_at(&self, most: u64) -> u64 {
        match self {
            Self::Free => 0,
            Self::Paced(pace) => pace.batch_at(pace.rate().frames_in(BATCH_NS).clamp(1, most.max(1))),
            Self::Captured(c) => c.at(c.next),
        }
    }

    /// Frames given up because the switch left no room for too long.
    pub(crate) fn skipped(&self) -> u64 {
        match self {
            Self::Paced(pace) => pace.skipped(),
            _ => 0,
        }
    }
}
