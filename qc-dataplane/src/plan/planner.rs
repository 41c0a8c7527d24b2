//! Planning one transfer: algorithms 1 and 2, and what goes beyond them.

use super::scheme::{Partitioner, Scheme};
use super::trees::{Costs, Trees};
use super::{Partition, Plan};
use crate::graph::{Graph, LinkId, Node};
use crate::load::Load;
use crate::partition::{APART, Hops, Linkage};
use crate::tree::{NoTree, Steiner, Tree};
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
    graph: Graph,
    scheme: Scheme,
    steiner: Steiner,
    hops: Hops,
    linkage: Linkage,
    trees: Trees,
    cost: Vec<f64>,
    /// Scratch: trees of the plan over each link, and those links.
    over: Vec<u32>,
    seen: Vec<LinkId>,
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
        let plan = self.partitions(load, from, receivers, volume);
        let name = |n: Node| self.graph.name(n).to_owned();
        plan.map_err(|e| match e {
            NoTree::Unreachable { root, node } => {
                BadRequest::Unreachable { from: name(root), to: name(node) }
            }
            e => BadRequest::Tree(e),
        })
    }

    fn check(&self, load: &Load, from: Node, receivers: &[Node], volume: f64) -> Result<(), BadRequest> {
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
        let groups: Vec<Vec<u32>> = match self.scheme.partition {
            Partitioner::Single => vec![(0..receivers.len() as u32).collect()],
            Partitioner::Each => (0..receivers.len() as u32).map(|r| vec![r]).collect(),
            Partitioner::Hops | Partitioner::Search => {
                let mut cost = std::mem::take(&mut self.cost);
                weigh(self.scheme.weight, &self.graph, load, volume, &mut cost);
                let by = Costs { algorithm: self.scheme.tree, cost: &cost, root: from, receivers };
                self.trees.clear();
                let groups = if self.scheme.partition == Partitioner::Hops {
                    self.by_hops(by)
                } else {
                    self.by_search(by, load, volume)
                };
                self.cost = cost;
                groups?
            }
        };
        self.install(load, from, receivers, volume, groups)
    }

    /// Most partitions that the scheme allows.
    fn most(&self, receivers: usize) -> usize {
        self.scheme.most.unwrap_or(receivers).clamp(1, receivers)
    }

    /// Algorithm 2: of the hierarchy by hop distance, the layer with the most clusters that is within the budget.
    /// All layers are weighed with the costs before any tree of the transfer is installed.
    fn by_hops(&mut self, by: Costs<'_>) -> Result<Vec<Vec<u32>>, NoTree> {
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

    /// Of all layers of three hierarchies (hop distance; hop distance and the bottlenecks on the way from the sender;
    /// bottlenecks), the one within the budget whose receivers have the least sum of estimated completion times.
    fn by_search(&mut self, by: Costs<'_>, load: &Load, volume: f64) -> Result<Vec<Vec<u32>>, NoTree> {
        let receivers = by.receivers.len();
        let all: Vec<u32> = (0..receivers as u32).collect();
        let single = self.trees.find(&mut self.steiner, by, &all)?.clone();
        let budget = self.scheme.budget * single.1;
        let mut best = (self.estimate(&[&all], load, volume), vec![all]);
        let most = self.most(receivers);
        if most < 2 {
            return Ok(best.1);
        }
        // The costliest link on the way to each receiver, as a logarithm: ratios are what matters.
        let narrow = self.steiner.bottlenecks(by.cost, by.root, by.receivers)?;
        let narrow: Vec<f64> = narrow.iter().map(|c| c.max(1e-300).ln()).collect();
        for kind in 0..3 {
            let hierarchy = self.linkage.hierarchy(receivers, |a, b| {
                let apart = (narrow[a] - narrow[b]).abs();
                let hops = hops(&mut self.hops, &self.graph, by.receivers[a], by.receivers[b]);
                [hops, hops + 4.0 * apart, apart][kind]
            });
            for layer in 2..=most {
                let clusters = hierarchy.layer(layer);
                if self.trees.within(&mut self.steiner, by, &clusters, budget)?.is_some() {
                    let estimate = self.estimate(&clusters, load, volume);
                    if estimate < best.0 {
                        best = (estimate, clusters.into_iter().map(<[u32]>::to_vec).collect());
                    }
                }
            }
        }
        Ok(best.1)
    }

    /// The sum over receivers of the time for which the busiest link of their tree is busy, with all of these trees.
    fn estimate(&mut self, clusters: &[&[u32]], load: &Load, volume: f64) -> f64 {
        let trees: Vec<&Tree> = clusters.iter().filter_map(|c| self.trees.known(c)).map(|t| &t.0).collect();
        for tree in &trees {
            for &l in &tree.links {
                self.over[l as usize] += 1;
                self.seen.push(l);
            }
        }
        let busy = |l: &LinkId| {
            let own = f64::from(self.over[*l as usize]) * volume;
            (load.volume()[*l as usize] + own) / self.graph.link(*l).capacity
        };
        let longest = |tree: &Tree| tree.links.iter().map(busy).fold(0.0, f64::max);
        let sum = clusters.iter().zip(&trees).map(|(c, t)| c.len() as f64 * longest(t)).sum();
        for l in self.seen.drain(..) {
            self.over[l as usize] = 0;
        }
        sum
    }

    /// Algorithm 1 for each partition in turn, each seeing the load of those before.
    fn install(
        &mut self,
        load: &Load,
        from: Node,
        receivers: &[Node],
        volume: f64,
        groups: Vec<Vec<u32>>,
    ) -> Result<Plan, NoTree> {
        let mut load = load.clone();
        let mut partitions = Vec::with_capacity(groups.len());
        for members in groups {
            let receivers: Vec<Node> = members.iter().map(|m| receivers[*m as usize]).collect();
            weigh(self.scheme.weight, &self.graph, &load, volume, &mut self.cost);
            let tree = self.steiner.tree(self.scheme.tree, &self.cost, from, &receivers)?;
            let trees = self.parallel(&load, tree, &receivers, volume)?;
            for tree in &trees {
                load.add(tree, volume / trees.len() as f64);
            }
            partitions.push(Partition { receivers, trees });
        }
        Ok(Plan { partitions })
    }

    /// Further trees for a partition, each with an equal share of the volume: as many as the scheme asks for, while
    /// they make the partition finish earlier and cost together no more than the budget allows.
    fn parallel(
        &mut self,
        load: &Load,
        first: Tree,
        receivers: &[Node],
        volume: f64,
    ) -> Result<Vec<Tree>, NoTree> {
        let mut trees = vec![first];
        if self.scheme.parallel < 2 {
            return Ok(trees);
        }
        let frozen = self.cost.clone();
        let root = trees[0].root;
        let single = trees[0].cost(&frozen);
        // The whole volume counts on the trees there are, so that the next one keeps off them.
        let mut avoid = load.clone();
        let mut time = self.finish(load, &trees, volume);
        while trees.len() < self.scheme.parallel {
            if let Some(last) = trees.last() {
                avoid.add(last, volume);
            }
            weigh(self.scheme.weight, &self.graph, &avoid, volume, &mut self.cost);
            trees.push(self.steiner.tree(self.scheme.tree, &self.cost, root, receivers)?);
            let mean = trees.iter().map(|t| t.cost(&frozen)).sum::<f64>() / trees.len() as f64;
            let sooner = self.finish(load, &trees, volume);
            if mean > self.scheme.budget.max(1.0) * single || sooner >= time * (1.0 - 1e-9) {
                trees.pop();
                break;
            }
            time = sooner;
        }
        Ok(trees)
    }

    /// When the last of trees that share a volume is done, by the load of their links.
    fn finish(&self, load: &Load, trees: &[Tree], volume: f64) -> f64 {
        let mut all = load.clone();
        for tree in trees {
            all.add(tree, volume / trees.len() as f64);
        }
        let links = trees.iter().flat_map(|t| &t.links);
        links.map(|l| all.of(&self.graph, *l)).fold(0.0, f64::max)
    }
}

/// Hop distance; sites without a path between them are farther apart than any others.
fn hops(hops: &mut Hops, graph: &Graph, a: Node, b: Node) -> f64 {
    match hops.between(graph, a, b) {
        APART => graph.nodes() as f64,
        n => f64::from(n),
    }
}
