//! Planning one transfer: algorithms 1 and 2, and what goes beyond them.

use super::scheme::{Partitioner, Scheme};
use super::trees::{Costs, Trees};
use super::{Partition, Plan};
use crate::graph::{Graph, LinkId, Node};
use crate::load::Load;
use crate::partition::{APART, Hops, Linkage};
use crate::tree::{NoTree, Steiner, TreeAlgorithm};
use crate::weight::weigh;

/// Largest volume of a transfer, in capacity times time.
pub const MOST_VOLUME: f64 = 1e15;

/// Why a transfer cannot be planned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadRequest {
    /// A volume that makes no sense.
    #[error("volume is {0}, must be above 0 and at most 1e15")]
    Volume(f64),
    /// A transfer to nobody.
    #[error("there are no receivers")]
    NoReceivers,
    /// A site is not there.
    #[error("node {node} does not exist, there are {nodes}")]
    NoNode {
        /// The site.
        node: Node,
        /// Number of sites.
        nodes: usize,
    },
    /// A site would send to itself.
    #[error("{0} is the sender and a receiver")]
    Itself(String),
    /// A receiver is named twice.
    #[error("{0} is a receiver twice")]
    Twice(String),
    /// No path leads to a receiver.
    #[error("no path leads from {from} to {to}")]
    Unreachable {
        /// The sender.
        from: String,
        /// The receiver.
        to: String,
    },
    /// The load is that of another network.
    #[error("the load is of {load} links, the network has {links}")]
    OtherLoad {
        /// Links of the load.
        load: usize,
        /// Links of the network.
        links: usize,
    },
    /// The scheme's tree algorithm gave up.
    #[error(transparent)]
    Tree(NoTree),
}

/// Plans transfers of one network by one scheme.
#[derive(Debug)]
pub struct Planner {
    pub(super) graph: Graph,
    pub(super) scheme: Scheme,
    pub(super) steiner: Steiner,
    pub(super) hops: Hops,
    pub(super) linkage: Linkage,
    pub(super) trees: Trees,
    pub(super) cost: Vec<f64>,
    /// Scratch: trees of the plan over each link, and those links.
    pub(super) over: Vec<u32>,
    pub(super) seen: Vec<LinkId>,
}

impl Planner {
    /// A planner for transfers over `graph`.
    #[must_use]
    pub fn new(graph: &Graph, scheme: Scheme) -> Self {
        Self {
            graph: graph.clone(),
            scheme,
            steiner: Steiner::new(graph),
            hops: Hops::new(graph),
            linkage: Linkage::default(),
            trees: Trees::default(),
            cost: Vec::new(),
            over: vec![0; graph.links().len()],
            seen: Vec::new(),
        }
    }

    /// Its scheme.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Its network.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How to carry `volume` (capacity times time) from a site to others, on top of `load`. The load stays as it
    /// is: who installs the plan adds its trees.
    ///
    /// # Errors
    /// When the request makes no sense, or a receiver cannot be reached.
    pub fn plan(
        &mut self,
        load: &Load,
        from: Node,
        receivers: &[Node],
        volume: f64,
    ) -> Result<Plan, BadRequest> {
        self.check(load, from, receivers, volume)?;
        self.partitions(load, from, receivers, volume).map_err(|e| self.said(e))
    }

    pub(super) fn said(&self, e: NoTree) -> BadRequest {
        let name = |n: Node| self.graph.name(n).to_owned();
        match e {
            NoTree::Unreachable { root, node } => {
                BadRequest::Unreachable { from: name(root), to: name(node) }
            }
            e => BadRequest::Tree(e),
        }
    }

    pub(super) fn check(
        &self,
        load: &Load,
        from: Node,
        receivers: &[Node],
        volume: f64,
    ) -> Result<(), BadRequest> {
        if !(volume > 0.0 && volume <= MOST_VOLUME) {
            return Err(BadRequest::Volume(volume));
        }
        if receivers.is_empty() {
            return Err(BadRequest::NoReceivers);
        }
        let (nodes, links) = (self.graph.nodes(), self.graph.links().len());
        if let Some(&node) = receivers.iter().chain([&from]).find(|n| **n as usize >= nodes) {
            return Err(BadRequest::NoNode { node, nodes });
        }
        if receivers.contains(&from) {
            return Err(BadRequest::Itself(self.graph.name(from).to_owned()));
        }
        let mut sorted = receivers.to_vec();
        sorted.sort_unstable();
        if let Some(w) = sorted.windows(2).find(|w| w[0] == w[1]) {
            return Err(BadRequest::Twice(self.graph.name(w[0]).to_owned()));
        }
        if load.volume().len() != links {
            return Err(BadRequest::OtherLoad { load: load.volume().len(), links });
        }
        Ok(())
    }

    fn partitions(
        &mut self,
        load: &Load,
        from: Node,
        receivers: &[Node],
        volume: f64,
    ) -> Result<Plan, NoTree> {
        let all = || (0..receivers.len() as u32).collect::<Vec<u32>>();
        // Links that the plan may take, over all partitions.
        let mut most_links = f64::INFINITY;
        let groups = match self.scheme.partition {
            Partitioner::Single => vec![all()],
            Partitioner::Each => all().into_iter().map(|r| vec![r]).collect(),
            Partitioner::Hops | Partitioner::Search => {
                let mut cost = std::mem::take(&mut self.cost);
                weigh(self.scheme.weight, &self.graph, load, volume, &mut cost);
                let by = Costs { algorithm: self.scheme.tree, cost: &cost, root: from, receivers };
                self.trees.clear();
                let groups = if self.scheme.partition == Partitioner::Hops {
                    self.by_hops(by)
                } else {
                    self.ceiling(by).and_then(|links| {
                        most_links = links + 1e-9;
                        self.by_search(by, load, volume, most_links)
                    })
                };
                self.cost = cost;
                groups?
            }
        };
        let mut loaded = load.clone();
        let mut plan = self.install(&mut loaded, from, receivers, volume, groups)?;
        if self.scheme.parallel > 1 {
            self.parallel(&mut loaded, &mut plan, volume, most_links)?;
        }
        Ok(plan)
    }

    /// Most partitions that the scheme allows.
    pub(super) fn most(&self, receivers: usize) -> usize {
        self.scheme.most.unwrap_or(receivers).clamp(1, receivers)
    }

    /// Algorithm 2: of the hierarchy by hop distance, the layer with the most clusters that is within the budget.
    /// All layers are weighed with the costs before any tree of the transfer is installed.
    pub(super) fn by_hops(&mut self, by: Costs<'_>) -> Result<Vec<Vec<u32>>, NoTree> {
        let receivers = by.receivers.len();
        let all: Vec<u32> = (0..receivers as u32).collect();
        let budget = self.scheme.budget * self.trees.find(&mut self.steiner, by, &all)?.1;
        let hierarchy = self
            .linkage
            .hierarchy(receivers, |a, b| hops(&mut self.hops, &self.graph, by.receivers[a], by.receivers[b]));
        for layer in (2..=self.most(receivers)).rev() {
            let clusters = hierarchy.layer(layer);
            if self.trees.within(&mut self.steiner, by, &clusters, budget)?.is_some() {
                return Ok(clusters.into_iter().map(<[u32]>::to_vec).collect());
            }
        }
        Ok(vec![all])
    }

    /// Algorithm 1 for each partition in turn, each seeing the load of those before.
    fn install(
        &mut self,
        load: &mut Load,
        from: Node,
        receivers: &[Node],
        volume: f64,
        groups: Vec<Vec<u32>>,
    ) -> Result<Plan, NoTree> {
        let mut partitions = Vec::with_capacity(groups.len());
        for members in groups {
            let receivers: Vec<Node> = members.iter().map(|m| receivers[*m as usize]).collect();
            weigh(self.scheme.weight, &self.graph, load, volume, &mut self.cost);
            let tree = self.steiner.tree(self.installed(), &self.cost, from, &receivers)?;
            load.add(&tree, volume);
            partitions.push(Partition { receivers, trees: vec![tree] });
        }
        Ok(Plan { partitions })
    }

    /// The algorithm for trees that are installed.
    pub(super) fn installed(&self) -> TreeAlgorithm {
        if self.scheme.polish { TreeAlgorithm::Improved } else { self.scheme.tree }
    }
}

/// Hop distance; sites without a path between them are farther apart than any others.
pub(super) fn hops(hops: &mut Hops, graph: &Graph, a: Node, b: Node) -> f64 {
    match hops.between(graph, a, b) {
        APART => graph.nodes() as f64,
        n => f64::from(n),
    }
}
