//! Steiner trees: the links that carry one transfer from a site to a set of others (QuickCast, section IV-A).

mod arcs;
mod exact;
mod flac;
mod heap;
mod paths;
mod solver;

pub use solver::{NoTree, Steiner};

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, LinkId, Node};

/// A multicast tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tree {
    /// Where the data comes from.
    pub root: Node,
    /// Its links, the one into a site before those out of it.
    pub links: Vec<LinkId>,
}

/// Why links are no tree from a root to terminals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATree {
    /// A link that is not there.
    #[error("link {0} does not exist")]
    NoLink(LinkId),
    /// A site is not there.
    #[error("node {0} does not exist")]
    NoNode(Node),
    /// Data would reach a site twice.
    #[error("{0} is reached twice")]
    Twice(String),
    /// A link into the root.
    #[error("a link leads back to the root {0}")]
    IntoRoot(String),
    /// A link starts where no link before it ends.
    #[error("link {link} starts at {from}, which no link before it reaches")]
    OutOfOrder {
        /// The link.
        link: LinkId,
        /// Where it starts.
        from: String,
    },
    /// A terminal is left out.
    #[error("terminal {0} is not reached")]
    Missed(String),
    /// A branch that leads to no terminal.
    #[error("the branch that ends at {0} serves no terminal")]
    DeadEnd(String),
}

impl Tree {
    /// Checks that this is an arborescence from its root that reaches all `terminals`, every leaf of it one of them.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self, graph: &Graph, terminals: &[Node]) -> Result<(), NotATree> {
        let nodes = graph.nodes();
        if let Some(&n) = terminals.iter().chain([&self.root]).find(|n| **n as usize >= nodes) {
            return Err(NotATree::NoNode(n));
        }
        let name = |n: Node| graph.name(n).to_owned();
        // Whether a site is reached, and how many links of the tree leave it.
        let (mut reached, mut leaving) = (vec![false; nodes], vec![0u32; nodes]);
        reached[self.root as usize] = true;
        for &link in &self.links {
            let l = *graph.links().get(link as usize).ok_or(NotATree::NoLink(link))?;
            if l.to == self.root {
                return Err(NotATree::IntoRoot(name(l.to)));
            }
            if !reached[l.from as usize] {
                return Err(NotATree::OutOfOrder { link, from: name(l.from) });
            }
            if std::mem::replace(&mut reached[l.to as usize], true) {
                return Err(NotATree::Twice(name(l.to)));
            }
            leaving[l.from as usize] += 1;
        }
        if let Some(&t) = terminals.iter().find(|t| !reached[**t as usize]) {
            return Err(NotATree::Missed(name(t)));
        }
        for &link in &self.links {
            let end = graph.link(link).to;
            if leaving[end as usize] == 0 && !terminals.contains(&end) {
                return Err(NotATree::DeadEnd(name(end)));
            }
        }
        Ok(())
    }

    /// The sum of its links' costs.
    #[must_use]
    pub fn cost(&self, cost: &[f64]) -> f64 {
        self.links.iter().map(|l| cost[*l as usize]).sum()
    }

    /// The highest rate that its links allow: the least capacity.
    #[must_use]
    pub fn bottleneck(&self, graph: &Graph) -> f64 {
        self.links.iter().map(|l| graph.link(*l).capacity).fold(f64::INFINITY, f64::min)
    }
}

/// How a tree is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum TreeAlgorithm {
    /// GreedyFLAC (Watel and Weisser, J. Comb. Opt. 2016), which QuickCast uses.
    #[default]
    GreedyFlac,
    /// Takahashi and Matsuyama: the nearest terminal next, over the cheapest path from the tree.
    TakahashiMatsuyama,
    /// Dreyfus and Wagner: the cheapest tree there is; for few terminals.
    Exact,
    /// The cheaper of GreedyFLAC's and Takahashi-Matsuyama's, improved by sites that make it cheaper still.
    Improved,
    /// Fewest links, whatever they cost: GreedyFLAC's with every link costing 1.
    MinimumEdge,
    /// Paths with the fewest links, merged: what unicast routing would take.
    MinimumHop,
}

impl TreeAlgorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::GreedyFlac,
        Self::TakahashiMatsuyama,
        Self::Exact,
        Self::Improved,
        Self::MinimumEdge,
        Self::MinimumHop,
    ];

    /// Its name on command lines and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GreedyFlac => "gflac",
            Self::TakahashiMatsuyama => "tm",
            Self::Exact => "exact",
            Self::Improved => "improved",
            Self::MinimumEdge => "min-edge",
            Self::MinimumHop => "min-hop",
        }
    }
}

/// No such algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no tree algorithm \"{0}\": use gflac, tm, exact, improved, min-edge or min-hop")]
pub struct NoAlgorithm(String);

impl FromStr for TreeAlgorithm {
    type Err = NoAlgorithm;

    fn from_str(name: &str) -> Result<Self, NoAlgorithm> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| NoAlgorithm(name.to_owned()))
    }
}

impl TryFrom<String> for TreeAlgorithm {
    type Error = NoAlgorithm;

    fn try_from(name: String) -> Result<Self, NoAlgorithm> {
        name.parse()
    }
}

impl From<TreeAlgorithm> for &'static str {
    fn from(algorithm: TreeAlgorithm) -> Self {
        algorithm.name()
    }
}
