//! When a worker lets frames gather: a client that hands them over one by one, in a row, is faster the less often both look
//! at the same cache lines.
//!
//! A worker that keeps up with such a client finds a frame or two in each turn, and for each of them the ring's indices, the
//! descriptor and what is told of it go from core to core and back. If it looks away for a moment, they go once for
//! all that came meanwhile. Whoever sends a frame and waits for what comes of it leaves many turns empty in between, and is
//! served at once; so is a client that hands over few in that moment, as it is not the worker that keeps it from more.

use crate::clock::now_ns;

/// How long (ns) it looks away.
const PAUSE: u64 = 1000;
/// Counts as so many turns, so that who sleeps is not forgotten over it.
pub(super) const AS_TURNS: u32 = 2;
/// Frames of a turn that are few.
const FEW: usize = 4;
/// Turns with frames in a row, before it looks away the first time.
const STREAK: u32 = 16;
/// Empty turns, one after the other, that end the row.
const GAP: u32 = 3;
/// Frames that must have gathered when it looks again, at least.
const WORTH: usize = 12;
/// Turns in which it does not look away, if they had not.
const REST: u32 = 1024;

/// Looks away for a moment. The time after it.
pub(super) fn pause() -> u64 {
    let begun = now_ns();
    // Not by the clock alone, which ends it long before.
    for _ in 0..PAUSE {
        std::hint::spin_loop();
        let now = now_ns();
        if now >= begun + PAUSE {
            return now;
        }
    }
    begun
}

/// How the last turns were.
#[derive(Debug, Default)]
pub(super) struct Pace {
    streak: u32,
    empty: u32,
    /// It looked away before this turn.
    away: bool,
    /// Turns until it may look away again.
    rest: u32,
    /// A source in this turn that is no client's ring, or gave few because it may give no more at once.
    other: bool,
}

impl Pace {
    /// A source was served, with so many of `burst` frames; `ring`: it is a client's.
    #[inline]
    pub fn served(&mut self, frames: usize, burst: usize, ring: bool) {
        let full = frames >= burst && burst <= FEW;
        self.other |= frames > 0 && (!ring || full);
    }

    /// A turn is over, in which so many frames were done. Whether to let some gather before the next.
    #[inline]
    pub fn turn(&mut self, frames: usize) -> bool {
        let other = std::mem::take(&mut self.other);
        if std::mem::take(&mut self.away) && frames < WORTH {
            self.rest = REST;
        }
        if self.rest > 0 {
            self.rest -= 1;
            self.streak = 0;
            return false;
        }
        if frames == 0 {
            self.empty += 1;
            if self.empty >= GAP {
                self.streak = 0;
            }
            return false;
        }
        self.empty = 0;
        if other {
            self.streak = 0;
            return false;
        }
        // What gathered in a pause belongs to the same row.
        self.streak = self.streak.saturating_add(1);
        self.away = frames <= FEW && self.streak > STREAK;
        self.away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(p: &mut Pace, n: u32, frames: usize) -> u32 {
        (0..n).filter(|_| p.turn(frames)).count() as u32
    }

    #[test]
    fn a_row_of_few_frames_gathers() {
        let mut p = Pace::default();
        assert_eq!(turns(&mut p, STREAK, 1), 0);
        for _ in 0..10 {
            assert_eq!(turns(&mut p, 1, FEW), 1);
            // What gathered is served at once, also if that is a full burst, and the row goes on.
            p.served(32, 32, true);
            assert_eq!(turns(&mut p, 1, WORTH), 0);
            assert_eq!(turns(&mut p, 9, 32), 0);
            assert_eq!(turns(&mut p, GAP - 1, 0), 0);
        }
    }

    #[test]
    fn a_stream_that_gathers_few_is_left_alone() {
        for gathered in [0, 1, FEW, WORTH - 1] {
            let mut p = Pace::default();
            assert_eq!(turns(&mut p, STREAK, 1), 0);
            for _ in 0..3 {
                assert_eq!(turns(&mut p, 1, 1), 1);
                assert_eq!(turns(&mut p, 1, gathered), 0);
                assert_eq!(turns(&mut p, REST - 1 + STREAK, 1), 0);
            }
        }
    }

    #[test]
    fn who_waits_for_an_answer_is_served_at_once() {
        let mut p = Pace::default();
        for _ in 0..1000 {
            assert_eq!(turns(&mut p, 1, 1) + turns(&mut p, GAP, 0), 0);
        }
    }

    #[test]
    fn others_than_rings_and_full_bursts_do_not_wait() {
        for (frames, burst, ring) in [(1, 32, false), (2, 2, true)] {
            let mut p = Pace::default();
            for _ in 0..1000 {
                p.served(frames, burst, ring);
                p.served(1, 32, true);
                assert!(!p.turn(frames + 1));
            }
        }
        // One that has nothing is no reason.
        let mut p = Pace::default();
        let mut turn = |frames| {
            p.served(0, 32, false);
            p.served(frames, 32, true);
            p.turn(frames)
        };
        let paused = (0..1000).filter(|_| turn(1) && !turn(WORTH));
        assert_eq!(paused.count(), 1000 - STREAK as usize);
    }
}
