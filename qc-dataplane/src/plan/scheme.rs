//! Named ways to plan, put together from parts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::tree::TreeAlgorithm;
use crate::weight::Weight;

/// How receivers are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioner {
    /// All in one partition.
    Single,
    /// Each alone.
    Each,
    /// Algorithm 2: layers of the hierarchy by hop distance, the largest number of partitions within the budget.
    Hops,
    /// Layers of several hierarchies, the one within the budget whose receivers are expected to finish first.
    Search,
}

impl Partitioner {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Single, Self::Each, Self::Hops, Self::Search];

    /// Its name on command lines and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Each => "each",
            Self::Hops => "hops",
            Self::Search => "search",
        }
    }
}

/// How to plan: parts that can be varied one by one, and the name they go by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// What reports call it.
    pub name: String,
    /// What a link costs.
    pub weight: Weight,
    /// How a tree is found.
    pub tree: TreeAlgorithm,
    /// How receivers are divided.
    pub partition: Partitioner,
    /// The partitioning factor: all trees together cost at most this times the single tree.
    pub budget: f64,
    /// Most partitions of a transfer (the paper's N_max); none for as many as there are receivers.
    pub most: Option<usize>,
    /// Trees of a partition, each with an equal share of the volume.
    pub parallel: usize,
    /// Most bandwidth of a plan of [`Partitioner::Search`], as a multiple of what Algorithm 2's plan would take in the
    /// same state; none for whatever the budget allows.
    #[serde(default)]
    pub ceiling: Option<f64>,
    /// Whether the trees that are installed are improved by sites that make them cheaper
    /// ([`TreeAlgorithm::Improved`]). Those that partitions are chosen by are not: there are many more of them.
    #[serde(default)]
    pub polish: bool,
    /// How rates are shared out: the name of a policy of [`crate::rate`] (`fair`, `weighted`, `fcfs`, `srpt`).
    pub rates: String,
}

/// Text that describes no scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoScheme(pub String);

impl Scheme {
    /// The names that [`Scheme::named`] knows, and what they are.
    pub const NAMES: [(&str, &str); 8] = [
        (
            "best",
            "partitions searched over hierarchies, parallel trees, adaptive rates, no more bandwidth than paper",
        ),
        ("fastest", "as best, with the bandwidth that the budget allows"),
        ("paper", "QuickCast as published: as many partitions as the budget allows, fair rates"),
        ("quickcast2", "QuickCast with at most two partitions"),
        ("single", "one load-aware tree, fair rates"),
        ("dccast", "one load-aware tree, first come first served"),
        ("min-edge", "one tree with the fewest links, fair rates"),
        ("unicast", "one flow per receiver over the fewest links, fair rates"),
    ];

    /// The scheme of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let paper = Self {
            name: name.to_owned(),
            weight: Weight::LoadAndVolume,
            tree: TreeAlgorithm::GreedyFlac,
            partition: Partitioner::Hops,
            budget: 1.1,
            most: None,
            parallel: 1,
            ceiling: None,
            polish: false,
            rates: "fair".into(),
        };
        let single = Self { partition: Partitioner::Single, ..paper.clone() };
        Some(match name {
            "best" => Self {
                partition: Partitioner::Search,
                parallel: 2,
                ceiling: Some(1.0),
                polish: true,
                rates: "adaptive".into(),
                ..paper
            },
            "fastest" => Self {
                partition: Partitioner::Search,
                parallel: 2,
                polish: true,
                rates: "adaptive".into(),
                ..paper
            },
            "paper" => paper,
            "quickcast2" => Self { most: Some(2), ..paper },
            "single" => single,
            "dccast" => Self { rates: "fcfs".into(), ..single },
            "min-edge" => Self { weight: Weight::One, ..single },
            "unicast" => Self {
                weight: Weight::One,
                tree: TreeAlgorithm::MinimumHop,
                partition: Partitioner::Each,
                ..paper
            },
            _ => return None,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = |what: &str| format!("{key}: \"{value}\" is not {what}");
        match key {
            "weight" => {
                let n: u8 = value.parse().map_err(|_| number("a number from 1 to 10"))?;
                self.weight = Weight::try_from(n).map_err(|e| e.to_string())?;
            }
            "tree" => self.tree = value.parse().map_err(|e: crate::tree::NoAlgorithm| e.to_string())?,
            "partition" => {
                let found = Partitioner::ALL.into_iter().find(|p| p.name() == value);
                self.partition = found.ok_or_else(|| number("single, each, hops or search"))?;
            }
            "budget" => {
                let factor = value.parse().ok().filter(|f: &f64| f.is_finite() && *f >= 0.0);
                self.budget = factor.ok_or_else(|| number("a number of at least 0, like 1.1"))?;
            }
            "most" if value == "all" => self.most = None,
            "most" => {
                let most = value.parse().ok().filter(|n| *n >= 1);
                self.most = Some(most.ok_or_else(|| number("a number of at least 1, or all"))?);
            }
            "parallel" => {
                let trees = value.parse().ok().filter(|n| (1..=16).contains(n));
                self.parallel = trees.ok_or_else(|| number("a number from 1 to 16"))?;
            }
            "ceiling" if value == "none" => self.ceiling = None,
            "ceiling" => {
                let factor = value.parse().ok().filter(|f: &f64| f.is_finite() && *f >= 0.0);
                self.ceiling = Some(factor.ok_or_else(|| number("a number of at least 0, or none"))?);
            }
            "polish" => {
                let found = [("yes", true), ("no", false)].into_iter().find(|c| c.0 == value);
                self.polish = found.ok_or_else(|| number("yes or no"))?.1;
            }
            "rates" if value.is_empty() => return Err("rates: no policy is named".into()),
            "rates" => value.clone_into(&mut self.rates),
            "name" => value.clone_into(&mut self.name),
            _ => {
                let keys = "name, weight, tree, partition, budget, most, parallel, ceiling, polish or rates";
                return Err(format!("a scheme has no \"{key}\": use {keys}"));
            }
        }
        Ok(())
    }
}

/// `NAME` or `NAME,key=value,...`: a named scheme with some parts exchanged, which then goes by the whole text
/// unless `name=` says otherwise.
impl FromStr for Scheme {
    type Err = NoScheme;

    fn from_str(text: &str) -> Result<Self, NoScheme> {
        let mut words = text.split(',').map(str::trim);
        let name = words.next().unwrap_or_default();
        let mut scheme = Self::named(name).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|n| n.0).collect();
            NoScheme(format!("there is no algorithm \"{name}\": use {}", names.join(", ")))
        })?;
        text.clone_into(&mut scheme.name);
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                return Err(NoScheme(format!("\"{word}\" in \"{text}\" is not key=value")));
            };
            scheme.set(key.trim(), value.trim()).map_err(NoScheme)?;
        }
        Ok(scheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
