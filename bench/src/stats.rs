//! Lowest, median and highest of some samples, ratios, and the burst that suits a contender best.

use std::collections::BTreeMap;

use serde::Serialize;

/// A summary of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Lowest.
    pub min: f64,
    /// Median; of an even number of samples the mean of the two in the middle.
    pub median: f64,
    /// Highest.
    pub max: f64,
    /// How many.
    pub count: usize,
}

impl Summary {
    /// `None` without samples. What is not a number is left out.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut v: Vec<f64> = samples.into_iter().filter(|x| !x.is_nan()).collect();
        v.sort_by(f64::total_cmp);
        let (min, max) = (*v.first()?, *v.last()?);
        let mid = v.len() / 2;
        let median = if v.len() % 2 == 1 { v[mid] } else { f64::midpoint(v[mid - 1], v[mid]) };
        Some(Self { min, median, max, count: v.len() })
    }
}

/// `ours / theirs`, if that means something.
pub fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    (theirs > 0.0 && ours.is_finite() && theirs.is_finite()).then_some(ours / theirs)
}

/// The key with the best median: of two equals, the first.
pub fn best<K: Ord + Clone>(medians: &BTreeMap<K, f64>, more_is_better: bool) -> Option<(K, f64)> {
    let mut best: Option<(K, f64)> = None;
    for (k, v) in medians.iter().filter(|(_, v)| !v.is_nan()) {
        let better = best.as_ref().is_none_or(|(_, b)| if more_is_better { v > b } else { v < b });
        if better {
            best = Some((k.clone(), *v));
        }
    }
    best
}

/// Three digits, as few as tell the size: 104, 10.4, 1.04, 0.104.
pub fn three_digits(x: f64) -> String {
    match x.abs() {
        a if !a.is_finite() => "-".to_owned(),
        a if a >= 99.95 => format!("{x:.0}"),
        a if a >= 9.995 => format!("{x:.1}"),
        a if a >= 0.9995 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([f64::NAN]), None);
        let s = Summary::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((s.min, s.median, s.max, s.count), (1.0, 2.0, 3.0, 3));
        assert_eq!(Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
    }

    #[test]
    fn ratios() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(3.0, 0.0), None);
        assert_eq!(ratio(f64::NAN, 1.0), None);
    }

    #[test]
    fn the_best_burst() {
        let m = BTreeMap::from([(1, 2.0), (32, 45.0), (256, 30.0), (512, f64::NAN)]);
        assert_eq!(best(&m, true), Some((32, 45.0)));
        assert_eq!(best(&m, false), Some((1, 2.0)));
        assert_eq!(best(&BTreeMap::<u32, f64>::new(), true), None);
    }

    #[test]
    fn digits() {
        for (x, want) in [
            (104.2, "104"),
            (99.96, "100"),
            (10.44, "10.4"),
            (9.996, "10.0"),
            (1.044, "1.04"),
            (0.9996, "1.00"),
            (0.1, "0.100"),
        ] {
            assert_eq!(three_digits(x), want);
        }
        assert_eq!(three_digits(f64::NAN), "-");
    }
}
