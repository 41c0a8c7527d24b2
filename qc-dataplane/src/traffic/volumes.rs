//! Sizes of transfers (extended paper, Table III), each distribution with the mean that is asked for.

use std::fmt;
use std::str::FromStr;

use rand_chacha::rand_core::Rng;

use super::rng;

/// The authors' point masses of Facebook's inter-datacenter flows; see `data/README.md`.
const FACEBOOK: &str = include_str!("../../data/traffic/authors_fb_interdc.csv");

/// A distribution of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Light-tailed: exponential.
    Exponential,
    /// Heavy-tailed: Pareto from a tenth of the mean, nothing above a hundred times the mean (2 and 2000 full
    /// timeslots with the paper's mean of 20). The paper's text gives no shape; this has the mean that it states.
    Pareto,
    /// Facebook's cache followers.
    CacheFollower,
    /// Facebook's Hadoop.
    Hadoop,
    /// All the same.
    Constant,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Exponential, Self::Pareto, Self::CacheFollower, Self::Hadoop, Self::Constant];

    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exponential => "exponential",
            Self::Pareto => "pareto",
            Self::CacheFollower => "cache-follower",
            Self::Hadoop => "hadoop",
            Self::Constant => "constant",
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "traffic \"{0}\" is none of exponential, pareto, cache-follower, hadoop, constant, and no file (FILE.csv)"
)]
pub struct NoDistribution(String);

impl FromStr for Distribution {
    type Err = NoDistribution;

    fn from_str(name: &str) -> Result<Self, NoDistribution> {
        Self::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| NoDistribution(name.to_owned()))
    }
}

/// A mean that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("mean volume is {0}, must be above 0 and below 1e15")]
pub struct BadMean(f64);

/// Something to draw volumes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Volumes {
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Exponential {
        mean: f64,
    },
    Pareto {
        least: f64,
        most: f64,
        alpha: f64,
    },
    /// Sizes and the probability of each one or a smaller.
    Points(Vec<(f64, f64)>),
    Constant(f64),
}

impl Volumes {
    /// Volumes of this distribution and mean.
    ///
    /// # Errors
    /// When the mean is none.
    pub fn new(distribution: Distribution, mean: f64) -> Result<Self, BadMean> {
        if !(mean > 0.0 && mean < 1e15) {
            return Err(BadMean(mean));
        }
        let shape = match distribution {
            Distribution::Exponential => Shape::Exponential { mean },
            Distribution::Constant => Shape::Constant(mean),
            Distribution::Pareto => {
                let (least, most) = (mean * 0.1, mean * 100.0);
                Shape::Pareto { least, most, alpha: pareto_shape(least, most, mean) }
            }
            Distribution::CacheFollower => Shape::Points(points("cache_follower", mean)),
            Distribution::Hadoop => Shape::Points(points("hadoop", mean)),
        };
        Ok(Self { shape })
    }

    /// One volume.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        match &self.shape {
            Shape::Exponential { mean } => mean * rng::exponential(rng).max(1e-9),
            Shape::Pareto { least, most, alpha } => (least * rng::unit(rng).powf(-1.0 / alpha)).min(*most),
            Shape::Constant(volume) => *volume,
            Shape::Points(points) => {
                let u = rng::unit(rng);
                let found = points.iter().find(|(_, upto)| u <= *upto).or(points.last());
                found.map_or(1.0, |(size, _)| *size)
            }
        }
    }
}

/// The mean of a Pareto variable of this shape from `least`, all above `most` counted as `most`.
fn pareto_mean(least: f64, most: f64, alpha: f64) -> f64 {
    if (alpha - 1.0).abs() < 1e-9 {
        return least * (1.0 + (most / least).ln());
    }
    least * (alpha - (least / most).powf(alpha - 1.0)) / (alpha - 1.0)
}

/// The shape with this mean, by bisection: the mean falls as the shape rises.
fn pareto_shape(least: f64, most: f64, mean: f64) -> f64 {
    let (mut low, mut high) = (1e-3, 64.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if pareto_mean(least, most, middle) > mean { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The rows of one distribution, scaled to the mean.
fn points(name: &str, mean: f64) -> Vec<(f64, f64)> {
    let rows = FACEBOOK.lines().filter_map(|line| {
        let mut fields = line.split(',');
        let right = fields.next() == Some(name);
        let mut number = || fields.next()?.trim().parse::<f64>().ok();
        let (size, probability) = (number()?, number()?);
        right.then_some((size, probability))
    });
    let rows: Vec<_> = rows.collect();
    let relative: f64 = rows.iter().map(|(size, p)| size * p).sum();
    let mut upto = 0.0;
    let scaled = rows.into_iter().map(|(size, p)| {
        upto += p;
        (size * mean / relative, upto)
    });
    scaled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn point_masses_are_the_authors() {
        let near = |points: Vec<(f64, f64)>, want: &[f64]| {
            assert_eq!(points.len(), want.len());
            for ((size, _), w) in points.iter().zip(want) {
                assert!((size / w - 1.0).abs() < 1e-3, "{size} for {w}");
            }
            assert!((points.last().unwrap().1 - 1.0).abs() < 1e-12);
        };
        near(points("cache_follower", 20.0), &[0.002_72, 0.0272, 0.272, 2.72, 27.2, 272.0]);
        near(points("hadoop", 20.0), &[0.7905, 7.905, 79.05, 790.5]);
    }

    #[test]
    fn pareto_has_the_stated_mean() {
        assert!((pareto_shape(2.0, 2000.0, 20.0) - 0.9265).abs() < 1e-4);
        assert!((pareto_mean(2.0, 2000.0, 1.111) - 11.65).abs() < 0.01);
    }

    #[test]
    fn means_come_out() {
        for d in Distribution::ALL {
            let volumes = Volumes::new(d, 20.0).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let n = 400_000;
            let drawn: Vec<f64> = (0..n).map(|_| volumes.draw(&mut rng)).collect();
            let mean = drawn.iter().sum::<f64>() / f64::from(n);
            assert!((mean / 20.0 - 1.0).abs() < 0.03, "{d}: {mean}");
            assert!(drawn.iter().all(|v| *v > 0.0 && v.is_finite()));
            if d == Distribution::Pareto {
                assert!(drawn.iter().all(|v| (2.0..=2000.0).contains(v)));
            }
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for mean in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                Volumes::new(Distribution::Hadoop, mean).unwrap_err().to_string().contains("mean volume is")
            );
        }
        let e = "nope".parse::<Distribution>().unwrap_err().to_string();
        assert!(e.starts_with("traffic \"nope\" is none of exponential, pareto"), "{e}");
    }
}
