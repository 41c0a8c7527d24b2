//! Latencies: recorded, merged, summed up.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart, in ns (one hour); longer ones count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Latencies in ns, exact to 3 significant digits.
#[derive(Clone, Debug)]
pub struct Latency {
    hist: Histogram<u64>,
}

/// What percentiles say, in ns; all 0 when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Median.
    pub p50: u64,
    /// 90 of 100 were at most this.
    pub p90: u64,
    /// 99 of 100 were at most this.
    pub p99: u64,
    /// 999 of 1000 were at most this.
    pub p999: u64,
    /// The longest.
    pub max: u64,
    /// How many were recorded.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// The average.
    pub mean: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Histogram<u64>> for Latency {
    fn from(h: Histogram<u64>) -> Self {
        let mut all = Self::new();
        for v in h.iter_recorded() {
            all.hist.saturating_record_n(v.value_iterated_to(), v.count_at_value());
        }
        all
    }
}

impl Latency {
    /// An empty one.
    pub fn new() -> Self {
        let hist = match Histogram::new_with_bounds(1, LONGEST_NS, 3) {
            Ok(h) => h,
            Err(_) => unreachable!("constant bounds that hdrhistogram accepts"),
        };
        Self { hist }
    }

    /// Notes one latency, in ns.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.hist.saturating_record(ns.max(1));
    }

    /// Adds everything that `other` recorded.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so there is nothing that could not be added.
        let _ = self.hist.add(&other.hist);
    }

    /// What this has beyond `part`, all of which must be in it.
    pub fn without(&self, part: &Self) -> Self {
        let mut rest = self.clone();
        // Fails only where `part` has more, which it has not.
        let _ = rest.hist.subtract(&part.hist);
        rest
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.hist.reset();
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.hist.is_empty()
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.hist.len()
    }

    /// The latency that `fraction` (0 to 1) of all did not exceed, in ns.
    pub fn quantile(&self, fraction: f64) -> u64 {
        if self.is_empty() { 0 } else { self.hist.value_at_quantile(fraction).min(self.hist.max()) }
    }

    /// The usual percentiles.
    pub fn summary(&self) -> Summary {
        if self.is_empty() {
            return Summary::default();
        }
        Summary {
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.hist.max(),
            count: self.hist.len(),
            min: self.hist.min(),
            mean: self.hist.mean().round() as u64,
        }
    }

    /// How many lie between `lo` (included) and `hi` (not included), in ns, to the histogram's precision.
    pub fn count_in(&self, lo: u64, hi: u64) -> u64 {
        let recorded = self.hist.iter_recorded();
        recorded
            .filter(|v| (lo..hi).contains(&v.value_iterated_to()))
            .map(|v| v.count_since_last_iteration())
            .sum()
    }

    /// The histogram itself.
    pub fn inner(&self) -> &Histogram<u64> {
        &self.hist
    }
}

/// `ns` for people: three digits and a unit, such as `12.3 µs`.
pub fn show_ns(ns: u64) -> String {
    let (value, unit) = match ns {
        0..=999 => return format!("{ns} ns"),
        1_000..=999_999 => (ns as f64 / 1e3, "µs"),
        1_000_000..=999_999_999 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// One interval of a run, for a log.
#[derive(Clone, Debug)]
pub struct Interval {
    /// When it began, after the start of the run.
    pub start: Duration,
    /// How long it was.
    pub length: Duration,
    /// What was recorded in it.
    pub latency: Latency,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_recorded_is_all_zero() {
        assert_eq!(Latency::new().summary(), Summary::default());
        assert_eq!(Latency::new().quantile(0.5), 0);
    }

    #[test]
    fn numbers_for_people() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (123_456, "123 µs"),
            (99_960, "100 µs"),
            (1_500_000, "1.50 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(show_ns(ns), text);
        }
    }

    #[test]
    fn beyond_an_hour_is_an_hour() {
        let mut l = Latency::new();
        l.record(u64::MAX);
        l.record(0);
        assert_eq!(l.count(), 2);
        assert_eq!(l.summary().min, 1);
        assert!(l.summary().max >= LONGEST_NS);
    }

    proptest! {
        #[test]
        fn percentiles_are_near_the_sorted_values(
            mut a in prop::collection::vec(1u64..10_000_000_000, 1..200),
            b in prop::collection::vec(1u64..10_000_000, 0..200),
        ) {
            let (mut la, mut lb) = (Latency::new(), Latency::new());
            a.iter().for_each(|v| la.record(*v));
            b.iter().for_each(|v| lb.record(*v));
            la.merge(&lb);
            a.extend(b);
            a.sort_unstable();
            let s = la.summary();
            prop_assert_eq!(s.count, a.len() as u64);
            for (q, got) in [(0.5, s.p50), (0.9, s.p90), (0.99, s.p99), (0.999, s.p999), (1.0, s.max)] {
                let want = a[((q * a.len() as f64).ceil() as usize).clamp(1, a.len()) - 1] as f64;
                prop_assert!((got as f64 - want).abs() <= want * 0.002 + 1.0, "{q}: {got} vs {want}");
            }
            prop_assert_eq!(la.count_in(0, u64::MAX), s.count);
            prop_assert_eq!(la.without(&lb).count(), s.count - lb.count());
        }
    }
}
