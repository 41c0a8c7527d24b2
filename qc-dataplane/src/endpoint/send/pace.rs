//! What follows from a tree's rate.

use std::time::Duration;

/// Frames of content that go between two polls where the rate is low, and how long that may take at most.
const PER_POLL: u64 = 64;
const RAREST: Duration = Duration::from_millis(250);

/// Nanoseconds between two polls at a rate in bit/s, with frames of so many bytes.
pub fn between_polls(rate: u64, frame: usize) -> u64 {
    let bits = u128::from(PER_POLL) * 8 * frame as u128;
    let time = (bits * 1_000_000_000).checked_div(rate.into()).unwrap_or(0);
    u64::try_from(time.min(RAREST.as_nanos())).unwrap_or(u64::MAX)
}

/// Frames that wait up to the last one of content: of all that were `pushed`, so many were when that one was, and so many
/// are pending.
pub fn waiting(pushed: (u64, u64), pending: u32) -> u64 {
    let taken = pushed.0.saturating_sub(pending.into());
    pushed.1.saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::{between_polls, waiting};

    #[test]
    fn polls_are_rare_where_frames_are() {
        // 64 frames of 1458 bytes are 746 kbit.
        assert_eq!(between_polls(10_000_000, 1458), 74_649_600);
        assert_eq!(between_polls(1_000_000_000, 1458), 746_496);
        assert_eq!(between_polls(100_000, 1458), 250_000_000);
        assert_eq!(between_polls(0, 1458), 0, "no limit");
    }

    #[test]
    fn content_waits_until_it_is_taken_and_polls_behind_it_do_not_count() {
        assert_eq!(waiting((0, 0), 0), 0);
        assert_eq!(waiting((3, 0), 3), 0, "hellos and polls");
        assert_eq!(waiting((100, 98), 20), 18);
        assert_eq!(waiting((100, 98), 2), 0);
    }
}
