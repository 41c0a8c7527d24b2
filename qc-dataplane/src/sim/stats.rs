//! Means, quantiles and how far to trust them.

use serde::Serialize;

/// The mean, 0 of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The geometric mean, 1 of nothing.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> f64 {
    mean(&values.iter().map(|v| v.ln()).collect::<Vec<_>>()).exp()
}

/// The smallest of the `sorted` values that at least the part `q` of them does not exceed; 0 of nothing.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// A mean over runs and the half-width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the interval; infinite for a single run.
    pub half: f64,
}

impl Estimate {
    /// Of independent runs, by Student's t.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let (n, mean) = (values.len(), mean(values));
        if n < 2 {
            return Self { mean, half: f64::INFINITY };
        }
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let half = student(n - 1) * (squares / (n - 1) as f64 / n as f64).sqrt();
        Self { mean, half }
    }

    /// The ratio of sums `over` to `under`, which come in pairs (one per seed): with jackknife confidence, as a
    /// mean of ratios would be ruled by runs with a small denominator.
    #[must_use]
    pub fn ratio(over: &[f64], under: &[f64]) -> Self {
        let n = over.len().min(under.len());
        let (a, b): (f64, f64) = (over[..n].iter().sum(), under[..n].iter().sum());
        if n < 2 {
            return Self { mean: a / b, half: f64::INFINITY };
        }
        let without: Vec<f64> = over.iter().zip(under).map(|(x, y)| (a - x) / (b - y)).collect();
        let centre = mean(&without);
        let squares: f64 = without.iter().map(|v| (v - centre).powi(2)).sum();
        Self { mean: a / b, half: student(n - 1) * (squares * (n - 1) as f64 / n as f64).sqrt() }
    }

    /// The interval's ends.
    #[must_use]
    pub fn ends(&self) -> (f64, f64) {
        (self.mean - self.half, self.mean + self.half)
    }
}

/// Student's t for 95 % two-sided confidence.
fn student(freedom: usize) -> f64 {
    const T: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    // Beyond the table within 0.1 %.
    T.get(freedom.max(1) - 1).copied().unwrap_or(1.96 + 2.42 / freedom as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.5), 50.0);
        assert_eq!(quantile(&sorted, 0.99), 99.0);
        assert_eq!((quantile(&sorted, 1.0), quantile(&sorted, 0.0), quantile(&[], 0.5)), (100.0, 1.0, 0.0));
        assert!((geometric_mean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn confidence() {
        // Mean 3, standard deviation sqrt(2.5), five values: 3 +- 2.776 * sqrt(2.5 / 5).
        let e = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((e.mean - 3.0).abs() < 1e-12 && (e.half - 2.776 * 0.5f64.sqrt()).abs() < 1e-9);
        assert_eq!(Estimate::of(&[7.0]), Estimate { mean: 7.0, half: f64::INFINITY });
        let r = Estimate::ratio(&[2.0, 4.0, 6.0], &[1.0, 2.0, 3.0]);
        assert!((r.mean - 2.0).abs() < 1e-12 && r.half < 1e-9);
        // With all denominators 1 it is the mean and its interval.
        let (r, e) = (Estimate::ratio(&[1.0, 2.0, 6.0], &[1.0; 3]), Estimate::of(&[1.0, 2.0, 6.0]));
        assert!((r.mean - e.mean).abs() < 1e-12 && (r.half - e.half).abs() < 1e-9);
        assert!((student(60) - 2.000).abs() < 0.002);
    }
}
