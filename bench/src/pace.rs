//! Pacing: how many frames are due, as a function of the time that is passed in.
//!
//! Frame `k` (from 0) is due at `start + k / rate`, exact to the nanosecond and computed from `k`, so errors
//! do not add up over a run however the caller is scheduled.

use std::fmt;
use std::str::FromStr;

/// Nanoseconds in a thousand seconds: [`Rate`] counts frames per thousand seconds.
const KILOSECOND_NS: u128 = 1_000_000_000_000;

/// Frames per second, in steps of a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Frames per thousand seconds; never 0.
    milli: u64,
}

/// What is wrong with a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate: a number of frames per second of at least 0.001, such as 1000, 14.88M or 2.5k")]
pub struct BadRate(String);

impl Rate {
    /// Fastest rate, in frames per second.
    pub const MAX_PPS: u64 = 1_000_000_000;

    /// `pps` frames per second, held to 1 and [`Self::MAX_PPS`].
    pub fn per_second(pps: u64) -> Self {
        Self { milli: pps.clamp(1, Self::MAX_PPS) * 1000 }
    }

    /// Frames per second.
    pub fn pps(self) -> f64 {
        self.milli as f64 / 1000.0
    }

    /// The `i`-th of `n` shares, which together give this rate; a share is at least 0.001 frames per second.
    pub fn share(self, i: usize, n: usize) -> Self {
        let n = n.max(1) as u64;
        let extra = u64::from((i as u64) < self.milli % n);
        Self { milli: (self.milli / n + extra).max(1) }
    }

    /// Frames that fall into `ns` nanoseconds, rounded down.
    pub fn frames_in(self, ns: u64) -> u64 {
        u64::try_from(u128::from(ns) * u128::from(self.milli) / KILOSECOND_NS).unwrap_or(u64::MAX)
    }

    /// When frame `k` is due, in ns after the first.
    pub fn at(self, k: u64) -> u64 {
        u64::try_from((u128::from(k) * KILOSECOND_NS).div_ceil(u128::from(self.milli))).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(s: &str) -> Result<Self, BadRate> {
        let bad = || BadRate(s.to_owned());
        let (number, unit) = match s.as_bytes().last() {
            Some(b'k' | b'K') => (&s[..s.len() - 1], 1e3),
            Some(b'm' | b'M') => (&s[..s.len() - 1], 1e6),
            Some(b'g' | b'G') => (&s[..s.len() - 1], 1e9),
            _ => (s, 1.0),
        };
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let value: f64 = number.parse().ok().filter(|_| plain).ok_or_else(bad)?;
        let milli = (value * unit * 1000.0).round();
        if !(1.0..=(Self::MAX_PPS * 1000) as f64).contains(&milli) {
            return Err(bad());
        }
        Ok(Self { milli: milli as u64 })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pps", self.pps())
    }
}

/// A schedule of frames at a constant rate. It never looks at a clock: every time is in ns on the caller's.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: Rate,
    start: u64,
    sent: u64,
    most_behind: u64,
    skipped: u64,
}

impl Pace {
    /// The first frame is due at `start` (ns). Every frame keeps its place, however late it is sent.
    pub fn new(rate: Rate, start: u64) -> Self {
        Self { rate, start, sent: 0, most_behind: u64::MAX, skipped: 0 }
    }

    /// Catches up on at most `ns` nanoseconds' worth of frames; what is older is skipped and counted.
    pub fn bounded(mut self, ns: u64) -> Self {
        self.most_behind = self.rate.frames_in(ns).max(1);
        self
    }

    /// Frames due at `now` (ns) and not yet sent.
    #[inline]
    pub fn due(&mut self, now: u64) -> u64 {
        let Some(elapsed) = now.checked_sub(self.start) else { return 0 };
        let due = (self.rate.frames_in(elapsed) + 1).saturating_sub(self.sent);
        if due <= self.most_behind {
            return due;
        }
        let lost = due - self.most_behind;
        self.sent += lost;
        self.skipped += lost;
        self.most_behind
    }

    /// `n` of the due frames were sent.
    #[inline]
    pub fn sent(&mut self, n: u64) {
        self.sent += n;
    }

    /// When the next frame is due, in ns.
    pub fn next_at(&self) -> u64 {
        self.batch_at(1)
    }

    /// When `n` frames will be due, in ns.
    pub fn batch_at(&self, n: u64) -> u64 {
        self.start.saturating_add(self.rate.at(self.sent + n.max(1) - 1))
    }

    /// When the next frame was meant to be sent, in ns: the time to measure its latency from.
    pub fn intended(&self) -> u64 {
        self.next_at()
    }

    /// Frames given up because the sender was too far behind.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_type() {
        let pps = |s: &str| s.parse::<Rate>().map(Rate::pps);
        assert_eq!(pps("1000"), Ok(1000.0));
        assert_eq!(pps("14.88M"), Ok(14_880_000.0));
        assert_eq!(pps("2.5k"), Ok(2500.0));
        assert_eq!(pps("0.5"), Ok(0.5));
        for bad in ["", "k", "-1", "0", "1e3", "nan", "inf", "2G", "1 k", "10kk"] {
            assert!(pps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounded_catch_up_skips_and_counts() {
        let mut p = Pace::new(Rate::per_second(1000), 0).bounded(SECOND / 10);
        assert_eq!(p.due(10 * SECOND), 100);
        assert_eq!(p.skipped(), 10_001 - 100);
        p.sent(100);
        assert_eq!(p.due(10 * SECOND), 0);
        assert_eq!(p.next_at(), 10 * SECOND + SECOND / 1000);
    }

    #[test]
    fn before_the_start_nothing_is_due() {
        let mut p = Pace::new(Rate::per_second(5), 100);
        assert_eq!((p.due(99), p.due(100), p.next_at()), (0, 1, 100));
    }

    proptest! {
        #[test]
        fn within_one_frame_of_rate_times_time(
            milli in 1000u64..60_000_000_000,
            start in 0u64..1 << 50,
            steps in prop::collection::vec(1u64..3_000_000, 1..60),
        ) {
            let mut p = Pace::new(Rate { milli }, start);
            let (mut now, mut sent) = (start, 0u64);
            for step in steps {
                now += step;
                let n = p.due(now);
                p.sent(n);
                sent += n;
                let ideal = (now - start) as f64 * milli as f64 / 1e12;
                prop_assert!((sent as f64 - ideal).abs() <= 1.0 + ideal * 1e-9, "{sent} vs {ideal}");
                prop_assert!(p.next_at() > now);
                prop_assert_eq!(p.due(p.next_at()), 1);
                prop_assert_eq!(p.due(p.next_at() - 1), 0);
            }
            prop_assert_eq!(p.skipped(), 0);
        }

        #[test]
        fn batches_are_due_when_announced(pps in 1u64..100_000_000, n in 1u64..1000, sent in 0u64..1 << 32) {
            let mut p = Pace::new(Rate::per_second(pps), 7);
            p.sent(sent);
            let at = p.batch_at(n);
            prop_assert!(p.due(at) >= n);
            prop_assert!(p.due(at - 1) < n);
        }

        #[test]
        fn shares_add_up(milli in 64u64..1 << 50, n in 1usize..64) {
            let rate = Rate { milli };
            let sum: u64 = (0..n).map(|i| rate.share(i, n).milli).sum();
            prop_assert_eq!(sum, milli);
        }
    }
}
