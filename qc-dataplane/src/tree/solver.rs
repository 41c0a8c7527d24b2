//! The solver: one network, many trees, memory kept between them.

use super::arcs::Arcs;
use super::flac::Flac;
use super::{Tree, TreeAlgorithm};
use crate::graph::{Graph, LinkId, Node};

/// Why there is no tree.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoTree {
    /// Costs for other links.
    #[error("{costs} costs for {links} links")]
    Costs {
        /// Number of costs.
        costs: usize,
        /// Number of links.
        links: usize,
    },
    /// A cost that makes no sense.
    #[error("link {link}: cost is {cost}, must be at least 0 (infinite for a link that must not be used)")]
    Cost {
        /// The link.
        link: LinkId,
        /// Its cost.
        cost: f64,
    },
    /// A site is not there.
    #[error("node {node} does not exist, there are {nodes}")]
    NoNode {
        /// The site.
        node: Node,
        /// Number of sites.
        nodes: usize,
    },
    /// No path leads to a terminal.
    #[error("no usable path leads from node {root} to node {node}")]
    Unreachable {
        /// Where paths start.
        root: Node,
        /// The terminal.
        node: Node,
    },
    /// Too many terminals for the exact algorithm, whose time is three to their power.
    #[error(
        "{terminals} terminals are too many for an exact tree here, at most {most}: use gflac, tm or improved"
    )]
    TooMany {
        /// Number of terminals.
        terminals: usize,
        /// The bound for this network.
        most: usize,
    },
}

/// Finds trees in one network.
#[derive(Clone, Debug)]
pub struct Steiner {
    arcs: Arcs,
    flac: Flac,
    terminals: Vec<Node>,
}

impl Steiner {
    /// A solver for the links of `graph`; capacities play no role.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let arcs = Arcs::new(graph);
        let flac = Flac::new(arcs.nodes(), arcs.links());
        Self { arcs, flac, terminals: Vec::new() }
    }

    /// A tree from `root` to `terminals` (the root among them and repetitions do not matter) where links cost
    /// `cost`, at least 0 each; links of infinite cost are not used.
    ///
    /// # Errors
    /// When a site or cost is not valid, or a terminal cannot be reached.
    pub fn tree(
        &mut self,
        algorithm: TreeAlgorithm,
        cost: &[f64],
        root: Node,
        terminals: &[Node],
    ) -> Result<Tree, NoTree> {
        let nodes = self.arcs.nodes();
        if let Some(&node) = terminals.iter().chain([&root]).find(|n| **n as usize >= nodes) {
            return Err(NoTree::NoNode { node, nodes });
        }
        self.arcs.set(cost)?;
        self.terminals.clear();
        self.terminals.extend(terminals.iter().filter(|t| **t != root));
        self.terminals.sort_unstable();
        self.terminals.dedup();
        let mut links = Vec::new();
        let lost = |node| NoTree::Unreachable { root, node };
        match algorithm {
            _ => self.flac.tree(&self.arcs, root, &self.terminals, &mut links).map_err(lost)?,
        }
        Ok(Tree { root, links })
    }
}
