//! From a transfer to partitions and their trees (QuickCast, algorithms 1 and 2).

mod parallel;
mod planner;
mod predict;
mod scheme;
mod search;
#[cfg(test)]
mod tests;
mod trees;

pub use planner::{BadRequest, MOST_VOLUME, Planner};
pub use predict::{Prediction, predict};
pub use scheme::{NoScheme, Partitioner, Scheme};

use serde::{Deserialize, Serialize};

use crate::graph::Node;
use crate::tree::Tree;

/// Receivers that get their data together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Who they are.
    pub receivers: Vec<Node>,
    /// Their trees; each carries a share of the volume, all the same where there are several.
    pub trees: Vec<Tree>,
}

/// How one transfer is carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// A partition of the receivers.
    pub partitions: Vec<Partition>,
}

impl Plan {
    /// Links that a unit of volume crosses on its way to everybody: bandwidth per volume.
    #[must_use]
    pub fn links(&self) -> f64 {
        let of = |p: &Partition| {
            p.trees.iter().map(|t| t.links.len() as f64).sum::<f64>() / p.trees.len().max(1) as f64
        };
        self.partitions.iter().map(of).sum()
    }
}
