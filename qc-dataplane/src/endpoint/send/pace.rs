//! What follows from a tree's rate.

use std::time::Duration;

/// Frames that could go between two polls where the rate is low, and how long that may take at most.
const PER_POLL: u64 = 64;
const RAREST: Duration = Duration::from_secs(1);

/// Nanoseconds between two polls at a rate in bit/s, with frames of so many bytes.
pub fn between_polls(rate: u64, frame: usize) -> u64 {
    let bits = u128::from(PER_POLL) * 8 * frame as u128;
    let time = (bits * 1_000_000_000).checked_div(rate.into()).unwrap_or(0);
    u64::try_from(time.min(RAREST.as_nanos())).unwrap_or(u64::MAX)
}

/// Frames that went into the ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pushed {
    /// All.
    pub all: u64,
    /// How many it were after the last one of content.
    pub content: u64,
    /// After the last one of another kind.
    pub control: u64,
}

impl Pushed {
    /// So many more went in, with or without content and others among them.
    pub fn add(&mut self, frames: u64, content: bool, control: bool) {
        self.all += frames;
        if content {
            self.content = self.all;
        }
        if control {
            self.control = self.all;
        }
    }

    /// Of what is pending, frames up to the last one of content, and up to the last one of another kind.
    pub fn waiting(&self, pending: u32) -> (u64, u64) {
        let taken = self.all.saturating_sub(pending.into());
        (self.content.saturating_sub(taken), self.control.saturating_sub(taken))
    }

    /// Of what is pending, frames behind the last one that is no content.
    pub fn behind_control(&self, pending: u32) -> u32 {
        u32::try_from(self.all - self.control).unwrap_or(u32::MAX).min(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pushed, between_polls};

    #[test]
    fn polls_are_rare_where_frames_are() {
        // 64 frames of 1458 bytes are 746 kbit.
        assert_eq!(between_polls(10_000_000, 1458), 74_649_600);
        assert_eq!(between_polls(1_000_000_000, 1458), 746_496);
        assert_eq!(between_polls(100_000, 1458), 1_000_000_000);
        assert_eq!(between_polls(688_000, 128), 95_255_813, "what an end has on a link of 60 Mbit/s");
        assert_eq!(between_polls(0, 1458), 0, "no limit");
    }

    #[test]
    fn content_waits_until_it_is_taken_and_polls_behind_it_do_not_count() {
        let mut pushed = Pushed::default();
        assert_eq!(pushed.waiting(0), (0, 0));
        pushed.add(3, false, true);
        assert_eq!(pushed.waiting(3), (0, 3), "hellos and polls");
        pushed.add(90, true, false);
        assert_eq!(pushed.waiting(91), (91, 1));
        assert_eq!(pushed.waiting(90), (90, 0));
        pushed.add(2, false, true);
        assert_eq!(pushed.waiting(20), (18, 20));
        assert_eq!(pushed.waiting(2), (0, 2));
        pushed.add(5, true, false);
        assert_eq!((pushed.behind_control(7), pushed.behind_control(3)), (5, 3));
    }
}
