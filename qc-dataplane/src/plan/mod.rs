//! From a transfer to partitions and their trees (QuickCast, algorithms 1 and 2).

mod planner;
mod predict;
mod scheme;
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
