//! What was sent after which poll.
//!
//! A report answers a poll. What was sent before that poll and is lacking got lost; what was sent after it may still be
//! on its way, and is not to be sent again because of that report.

use std::collections::VecDeque;
use std::ops::Range;

use super::holes::{Holes, Who};

/// Polls that are remembered; reports on older ones say nothing about what is lacking.
const KEPT: usize = 32;
/// Runs remembered for each; more are joined, which delays a repair by one poll.
const RUNS: usize = 1024;

struct Round {
    parts: Holes,
    chunks: Holes,
}

/// The last polls.
#[derive(Default)]
pub(super) struct Rounds {
    kept: VecDeque<Round>,
    current: u32,
}

impl Rounds {
    /// A poll goes out now.
    pub fn begin(&mut self) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Round { parts: Holes::new(RUNS), chunks: Holes::new(RUNS) });
        self.current = self.current.wrapping_add(1);
    }

    /// Number of the last poll.
    pub fn current(&self) -> u32 {
        self.current
    }

    /// Notes what is sent.
    pub fn sent(&mut self, parts: bool, r: Range<u64>) {
        if let Some(round) = self.kept.back_mut() {
            let of = if parts { &mut round.parts } else { &mut round.chunks };
            of.add(r, Who::one(0));
        }
    }

    /// Of `lacks` in a report on poll `round`, what was not sent since. `None` if that poll is not known any more.
    pub fn still(&self, round: u32, parts: bool, lacks: &[Range<u64>]) -> Option<Vec<Range<u64>>> {
        let age = self.current.wrapping_sub(round) as usize;
        let first = self.kept.len().checked_sub(age + 1)?;
        let mut holes: Vec<Range<u64>> = lacks.to_vec();
        for kept in self.kept.range(first..) {
            let of = if parts { &kept.parts } else { &kept.chunks };
            if !of.is_empty() {
                holes = without(&holes, of);
            }
        }
        Some(holes)
    }
}

/// `runs` without what is in `sent`.
fn without(runs: &[Range<u64>], sent: &Holes) -> Vec<Range<u64>> {
    let mut out = Vec::with_capacity(runs.len());
    for r in runs {
        let mut at = r.start;
        for (s, _) in sent.within(r) {
            if at < s.start {
                out.push(at..s.start);
            }
            at = at.max(s.end);
        }
        if at < r.end {
            out.push(at..r.end);
        }
    }
    out
}
