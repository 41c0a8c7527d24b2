//! The solver: one network, many trees, memory kept between them.

use super::arcs::Arcs;
use super::exact::{Exact, most_terminals};
use super::flac::Flac;
use super::paths::Paths;
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

/// Rounds of improvement: each looks at the sites of the tree and next to it.
const ROUNDS: usize = 4;

/// Finds trees in one network.
#[derive(Clone, Debug)]
pub struct Steiner {
    arcs: Arcs,
    flac: Flac,
    paths: Paths,
    exact: Exact,
    terminals: Vec<Node>,
    /// Costs of 1, where links are only counted.
    unit: Vec<f64>,
    /// Whether a site has at least three neighbours: at others no tree branches.
    junction: Vec<bool>,
}

impl Steiner {
    /// A solver for the links of `graph`; capacities play no role.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let arcs = Arcs::new(graph);
        let (flac, paths) = (Flac::new(arcs.nodes(), arcs.links()), Paths::new(arcs.nodes()));
        let junction = (0..graph.nodes() as Node).map(|n| neighbours(graph, n) >= 3).collect();
        let (exact, terminals, unit) = (Exact::default(), Vec::new(), Vec::new());
        Self { arcs, flac, paths, exact, terminals, unit, junction }
    }

    /// A tree from `root` to `terminals` (the root among them and repetitions do not matter) where links cost
    /// `cost`, at least 0 each; links of infinite cost are not used.
    ///
    /// # Errors
    /// When a site or cost is not valid, a terminal cannot be reached, or there are too many of them for the
    /// exact algorithm.
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
        if algorithm == TreeAlgorithm::MinimumEdge {
            self.unit.clear();
            self.unit.extend(cost.iter().map(|c| if c.is_finite() && *c >= 0.0 { 1.0 } else { *c }));
            self.arcs.set(&self.unit)?;
        } else {
            self.arcs.set(cost)?;
        }
        self.terminals.clear();
        self.terminals.extend(terminals.iter().filter(|t| **t != root));
        self.terminals.sort_unstable();
        self.terminals.dedup();
        let found = match algorithm {
            TreeAlgorithm::GreedyFlac | TreeAlgorithm::MinimumEdge => self.flac(root),
            TreeAlgorithm::TakahashiMatsuyama => self.nearest_first(root),
            TreeAlgorithm::MinimumHop => {
                let mut links = Vec::new();
                self.paths.fewest_hops(&self.arcs, root, &self.terminals, &mut links).map(|()| links)
            }
            TreeAlgorithm::Improved => self.improved(root),
            TreeAlgorithm::Exact => {
                let (terminals, most) = (self.terminals.len(), most_terminals(nodes));
                if terminals > most {
                    return Err(NoTree::TooMany { terminals, most });
                }
                self.exact(root)
            }
        };
        let links = found.map_err(|node| NoTree::Unreachable { root, node })?;
        Ok(Tree { root, links })
    }

    /// The cost of the costliest link on the cheapest path from `root` to each of `sites`.
    ///
    /// # Errors
    /// As [`Steiner::tree`].
    pub fn bottlenecks(&mut self, cost: &[f64], root: Node, sites: &[Node]) -> Result<Vec<f64>, NoTree> {
        let nodes = self.arcs.nodes();
        if let Some(&node) = sites.iter().chain([&root]).find(|n| **n as usize >= nodes) {
            return Err(NoTree::NoNode { node, nodes });
        }
        self.arcs.set(cost)?;
        let found = self.paths.bottlenecks(&self.arcs, root, sites);
        found.map_err(|node| NoTree::Unreachable { root, node })
    }

    fn flac(&mut self, root: Node) -> Result<Vec<LinkId>, Node> {
        let mut links = Vec::new();
        self.flac.tree(&self.arcs, root, &self.terminals, &mut links).map(|()| links)
    }

    fn nearest_first(&mut self, root: Node) -> Result<Vec<LinkId>, Node> {
        let mut links = Vec::new();
        self.paths.nearest_first(&self.arcs, |_| true, root, &self.terminals, &mut links).map(|()| links)
    }

    fn cost(&self, links: &[LinkId]) -> f64 {
        links.iter().map(|l| self.arcs.cost(*l)).sum()
    }

    fn better_of_both(&mut self, root: Node) -> Result<Vec<LinkId>, Node> {
        let (a, b) = (self.flac(root)?, self.nearest_first(root)?);
        Ok(if self.cost(&a) <= self.cost(&b) { a } else { b })
    }

    fn exact(&mut self, root: Node) -> Result<Vec<LinkId>, Node> {
        let known = self.better_of_both(root)?;
        let bound = self.cost(&known);
        let mut all = Vec::new();
        self.exact.tree(&self.arcs, root, &self.terminals, bound, &mut all);
        all.sort_unstable();
        // Put in order; links of cost 0 that close a circle are left out.
        let mut links = Vec::new();
        let usable = |l: LinkId| all.binary_search(&l).is_ok();
        self.paths.nearest_first(&self.arcs, usable, root, &self.terminals, &mut links)?;
        Ok(links)
    }

    /// The better of both, then sites that the tree should go by are put in and taken out as long as that helps.
    fn improved(&mut self, root: Node) -> Result<Vec<LinkId>, Node> {
        let mut best = self.better_of_both(root)?;
        let mut cost = self.cost(&best);
        let (mut keys, mut wanted, mut near): (Vec<Node>, Vec<Node>, Vec<Node>) = Default::default();
        for _ in 0..ROUNDS {
            let before = cost;
            self.near(&best, root, &mut near);
            for &site in &near {
                // The sites where the tree branches make it what it is.
                self.branching(&best, &mut keys);
                wanted.clear();
                wanted.extend(self.terminals.iter().chain(&keys).filter(|n| **n != root && **n != site));
                if !keys.contains(&site) {
                    wanted.push(site);
                }
                wanted.sort_unstable();
                wanted.dedup();
                let mut links = Vec::new();
                if self.paths.nearest_first(&self.arcs, |_| true, root, &wanted, &mut links).is_ok() {
                    self.paths.prune(&self.arcs, &self.terminals, &mut links);
                    let now = self.cost(&links);
                    if now < cost * (1.0 - 1e-12) {
                        (best, cost) = (links, now);
                    }
                }
            }
            if cost >= before {
                break;
            }
        }
        Ok(best)
    }

    /// The sites of a tree and those next to it where it could branch, but for the root and the terminals.
    fn near(&self, links: &[LinkId], root: Node, near: &mut Vec<Node>) {
        near.clear();
        for n in links.iter().map(|l| self.arcs.head(*l)).chain([root]) {
            near.push(n);
            near.extend(self.arcs.out(n).iter().map(|l| self.arcs.head(*l)));
        }
        near.sort_unstable();
        near.dedup();
        near.retain(|n| self.junction[*n as usize] && *n != root && !self.terminals.contains(n));
    }

    /// The sites that more than one link of a tree leaves.
    fn branching(&self, links: &[LinkId], keys: &mut Vec<Node>) {
        keys.clear();
        keys.extend(links.iter().map(|l| self.arcs.tail(*l)));
        keys.sort_unstable();
        // Of each run of equal ones, one if there are at least two.
        let mut at = 0;
        for i in 1..keys.len() {
            if keys[i] == keys[i - 1] && (at == 0 || keys[at - 1] != keys[i]) {
                keys[at] = keys[i];
                at += 1;
            }
        }
        keys.truncate(at);
    }
}

/// Sites that a link leads to from a site, or that have a link to it.
fn neighbours(graph: &Graph, site: Node) -> usize {
    let out = graph.out_of(site).iter().map(|l| graph.link(*l).to);
    let mut near: Vec<Node> = out.chain(graph.in_to(site).iter().map(|l| graph.link(*l).from)).collect();
    near.sort_unstable();
    near.dedup();
    near.len()
}
