//! The network as the tree algorithms walk it: links by site, those that enter a site cheapest first.

use crate::graph::{Graph, LinkId, Node};
use crate::tree::NoTree;

/// A link as seen from where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    pub(super) cost: f64,
    pub(super) tail: Node,
    pub(super) link: LinkId,
}

/// Links and what they cost now.
#[derive(Clone, Debug)]
pub(super) struct Arcs {
    tail: Vec<Node>,
    head: Vec<Node>,
    cost: Vec<f64>,
    /// Where the links that enter each site start in `arcs`; one more than there are sites.
    start: Vec<u32>,
    /// Where the usable ones end.
    end: Vec<u32>,
    arcs: Vec<Arc>,
    out_start: Vec<u32>,
    out: Vec<LinkId>,
}

impl Arcs {
    pub(super) fn new(graph: &Graph) -> Self {
        let nodes = graph.nodes();
        let (mut start, mut out_start) = (vec![0; nodes + 1], vec![0; nodes + 1]);
        let (mut arcs, mut out) = (Vec::new(), Vec::new());
        for n in 0..nodes {
            for &link in graph.in_to(n as Node) {
                arcs.push(Arc { cost: f64::INFINITY, tail: graph.link(link).from, link });
            }
            out.extend(graph.out_of(n as Node));
            start[n + 1] = arcs.len() as u32;
            out_start[n + 1] = out.len() as u32;
        }
        let (tail, head) = graph.links().iter().map(|l| (l.from, l.to)).unzip();
        // Every link unusable, until `set`.
        let cost = vec![f64::INFINITY; arcs.len()];
        Self { tail, head, cost, end: start[..nodes].to_vec(), start, arcs, out_start, out }
    }

    pub(super) fn nodes(&self) -> usize {
        self.end.len()
    }

    pub(super) fn links(&self) -> usize {
        self.tail.len()
    }

    pub(super) fn tail(&self, link: LinkId) -> Node {
        self.tail[link as usize]
    }

    pub(super) fn head(&self, link: LinkId) -> Node {
        self.head[link as usize]
    }

    pub(super) fn cost(&self, link: LinkId) -> f64 {
        self.cost[link as usize]
    }

    /// The links that leave a site, usable or not.
    pub(super) fn out(&self, node: Node) -> &[LinkId] {
        let n = node as usize;
        &self.out[self.out_start[n] as usize..self.out_start[n + 1] as usize]
    }

    /// The usable links that enter a site, by cost, then tail, then number; as a range of [`Arcs::at`].
    pub(super) fn entering(&self, node: Node) -> std::ops::Range<u32> {
        self.start[node as usize]..self.end[node as usize]
    }

    pub(super) fn at(&self, index: u32) -> Arc {
        self.arcs[index as usize]
    }

    /// Sets what links cost, and sorts. With the costs of the last time, does nothing.
    pub(super) fn set(&mut self, cost: &[f64]) -> Result<(), NoTree> {
        if cost == self.cost {
            return Ok(());
        }
        if cost.len() != self.links() {
            return Err(NoTree::Costs { costs: cost.len(), links: self.links() });
        }
        if let Some((link, value)) = (0..).zip(cost).find(|(_, c)| c.is_nan() || **c < 0.0) {
            return Err(NoTree::Cost { link, cost: *value });
        }
        self.cost.clear();
        // Minus zero sorts as zero.
        self.cost.extend(cost.iter().map(|c| c + 0.0));
        for node in 0..self.end.len() {
            let (from, to) = (self.start[node] as usize, self.start[node + 1] as usize);
            let arcs = &mut self.arcs[from..to];
            for a in &mut *arcs {
                a.cost = self.cost[a.link as usize];
            }
            arcs.sort_unstable_by(|a, b| {
                a.cost.total_cmp(&b.cost).then(a.tail.cmp(&b.tail)).then(a.link.cmp(&b.link))
            });
            let usable = arcs.partition_point(|a| a.cost.is_finite());
            self.end[node] = (from + usable) as u32;
        }
        Ok(())
    }
}
