//! How fast each tree may send in a timeslot (extended paper, section IV-C; INFOCOM'18, Algorithm 1).
//!
//! A tree sends at one rate over all of its links. [`Policy`] says who comes first, [`Demand`] is a tree as the
//! allocation sees it, and an [`Allocator`] gives a slice of them their rates, with memory that it reuses:
//!
//! - `fill`: weighted max-min fairness by progressive filling, a link after the other, and the paper's own
//!   DispatchRates, which takes trees in the order of their shares
//! - `strict`: first come, first served, and shortest remaining volume first; whoever comes later gets what is left

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::graph::LinkId;

mod fill;
mod strict;
#[cfg(test)]
mod tests;

pub use fill::Allocator;

/// A tree as the allocation sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand<'a> {
    /// The links it uses, each once, as indices into the capacities.
    pub links: &'a [LinkId],
    /// Most it can use, in the unit of the capacities: its residual volume over the slot's length. Infinite for
    /// "as much as there is".
    pub limit: f64,
    /// Its share relative to others, above 0: see [`Policy::weight`]. Only [`Policy::Fair`] and
    /// [`Policy::Weighted`] look at it.
    pub weight: f64,
    /// Trees are served by this, lowest first, where the policy is strict: see [`Policy::rank`]. Trees of one
    /// rank are served in the order of the slice.
    pub rank: f64,
}

/// Who gets how much of a link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// Max-min fair, all trees alike: what QuickCast uses.
    Fair,
    /// INFOCOM'18, Algorithm 1 (DispatchRates): trees in the order of their shares, which is max-min fair but for
    /// trees that need less than their share.
    Dispatch,
    /// First come, first served.
    Fcfs,
    /// The smallest residual volume first.
    Srpt,
    /// Max-min fair with weight (receivers / residual volume) to this power: between 0, which is fair but for
    /// nothing, and large, which is shortest first. Who is nearly done or serves many goes ahead, and nobody starves.
    /// `weighted` is `w1`.
    Weighted(f64),
    /// [`Policy::Weighted`] with a power that grows with the crowding of the links ([`Policy::at`]): close to fair as
    /// long as the network keeps up, where going ahead of large transfers would only make the last ones later, and
    /// close to shortest first where it does not.
    Adaptive,
}

/// Crowding above which the power of [`Policy::Adaptive`] rises, by 1 for each doubling.
const CROWDED: f64 = 5.0;
/// Its least and its largest power.
const POWERS: (f64, f64) = (0.5, 3.0);

/// Halvings of a transfer's volume at which [`Policy::Weighted`] looks at it again. Between them its weight holds,
/// so rates change rarely; below the last, it holds until the end.
const HALVINGS: i32 = 5;

impl Policy {
    /// The policy for links that are so crowded ([`crate::load::Load::crowding`]): [`Policy::Adaptive`] with its power
    /// settled, all others as they are.
    #[must_use]
    pub fn at(self, crowding: f64) -> Self {
        match self {
            Self::Adaptive => {
                let power = POWERS.0 + (crowding.max(1.0) / CROWDED).log2();
                Self::Weighted(power.clamp(POWERS.0, POWERS.1))
            }
            other => other,
        }
    }

    /// The weight of a tree whose partition has so many receivers and still has `residual` of `volume` to get.
    #[must_use]
    pub fn weight(self, receivers: usize, residual: f64, volume: f64) -> f64 {
        let power = match self {
            Self::Weighted(power) => power,
            Self::Adaptive => POWERS.0,
            _ => return 1.0,
        };
        let class = volume * 0.5f64.powi(halvings(residual, volume));
        // Far beyond what bulk transfers have, and numbers stay numbers.
        (receivers as f64 / class.max(1e-100)).powf(power).clamp(1e-100, 1e100)
    }

    /// The residual volume at which the weight changes next, 0 if it holds until the end.
    #[must_use]
    pub fn weight_holds_to(self, residual: f64, volume: f64) -> f64 {
        let next = halvings(residual, volume) + 1;
        match self {
            Self::Weighted(_) | Self::Adaptive if next <= HALVINGS => volume * 0.5f64.powi(next),
            _ => 0.0,
        }
    }

    /// The rank of a tree whose transfer was the `arrival`-th and that has `residual` to send. What differs by rounding
    /// only has the same rank: the partitions of a transfer begin with one volume and often come to be level again, and
    /// who goes first must not depend on how the same sum was added up.
    #[must_use]
    pub fn rank(self, arrival: usize, residual: f64) -> f64 {
        match self {
            Self::Srpt => f64::from(residual as f32),
            _ => arrival as f64,
        }
    }
}

/// How often the volume has been halved. What is within rounding of the next half counts as there.
fn halvings(residual: f64, volume: f64) -> i32 {
    let times = (volume / residual.max(1e-300) * (1.0 + 1e-9)).log2().floor();
    times.clamp(0.0, f64::from(HALVINGS)) as i32
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "rate policy \"{0}\" is none of fair, dispatch, fcfs, srpt, weighted, adaptive, or w and a power from 0 to 8, as w0.5"
)]
pub struct NoPolicy(String);

impl FromStr for Policy {
    type Err = NoPolicy;

    fn from_str(name: &str) -> Result<Self, NoPolicy> {
        match name {
            "fair" => Ok(Self::Fair),
            "dispatch" => Ok(Self::Dispatch),
            "fcfs" => Ok(Self::Fcfs),
            "srpt" => Ok(Self::Srpt),
            "weighted" => Ok(Self::Weighted(1.0)),
            "adaptive" => Ok(Self::Adaptive),
            _ => {
                let power = name.strip_prefix('w').and_then(|p| p.parse::<f64>().ok());
                let power = power.filter(|p| (0.0..=8.0).contains(p));
                power.map(Self::Weighted).ok_or_else(|| NoPolicy(name.to_owned()))
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fair => f.write_str("fair"),
            Self::Dispatch => f.write_str("dispatch"),
            Self::Fcfs => f.write_str("fcfs"),
            Self::Srpt => f.write_str("srpt"),
            Self::Adaptive => f.write_str("adaptive"),
            Self::Weighted(power) => write!(f, "w{power}"),
        }
    }
}

impl TryFrom<String> for Policy {
    type Error = NoPolicy;

    fn try_from(name: String) -> Result<Self, NoPolicy> {
        name.parse()
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

/// Why there is no allocation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadDemand {
    /// A tree names a link that is not there.
    #[error("tree {tree}: link {link} does not exist, there are {links}")]
    NoLink {
        /// The tree.
        tree: usize,
        /// The link.
        link: LinkId,
        /// Number of links.
        links: usize,
    },
    /// A number that makes no sense.
    #[error("tree {tree}: {what} is {value}, must be {must}")]
    Number {
        /// The tree.
        tree: usize,
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        must: &'static str,
    },
    /// A capacity that makes no sense.
    #[error("link {link}: capacity is {value}, must be finite and not negative")]
    Capacity {
        /// The link.
        link: usize,
        /// Its value.
        value: f64,
    },
    /// Nothing bounds a tree.
    #[error("tree {tree}: no links and no limit, so its rate would be infinite")]
    Unbounded {
        /// The tree.
        tree: usize,
    },
}

fn check(capacity: &[f64], trees: &[Demand<'_>]) -> Result<(), BadDemand> {
    if let Some((link, value)) = capacity.iter().enumerate().find(|(_, c)| !c.is_finite() || **c < 0.0) {
        return Err(BadDemand::Capacity { link, value: *value });
    }
    for (tree, d) in trees.iter().enumerate() {
        if let Some(&link) = d.links.iter().find(|l| **l as usize >= capacity.len()) {
            return Err(BadDemand::NoLink { tree, link, links: capacity.len() });
        }
        if !(d.weight > 0.0 && d.weight.is_finite()) {
            let must = "finite and above 0";
            return Err(BadDemand::Number { tree, what: "weight", value: d.weight, must });
        }
        if d.limit.is_nan() || d.limit < 0.0 {
            return Err(BadDemand::Number { tree, what: "limit", value: d.limit, must: "at least 0" });
        }
        if d.rank.is_nan() {
            return Err(BadDemand::Number { tree, what: "rank", value: d.rank, must: "a number" });
        }
        if d.links.is_empty() && d.limit.is_infinite() {
            return Err(BadDemand::Unbounded { tree });
        }
    }
    Ok(())
}
