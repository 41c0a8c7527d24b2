//! Trees put together from paths: the nearest terminal next (Takahashi and Matsuyama, 1980), and fewest links.

use std::collections::VecDeque;

use super::arcs::Arcs;
use super::heap::Heap;
use crate::graph::{LinkId, Node};

const NONE: LinkId = LinkId::MAX;

/// Scratch memory, kept from tree to tree.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// Cost of the cheapest known path from the tree.
    dist: Vec<f64>,
    /// Its last link; none for sites of the tree.
    by: Vec<LinkId>,
    wanted: Vec<bool>,
    heap: Heap,
    queue: VecDeque<Node>,
    /// Sites with a path.
    touched: Vec<Node>,
    /// Links of the tree out of each site.
    leaving: Vec<u32>,
}

impl Paths {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            dist: vec![f64::INFINITY; nodes],
            by: vec![NONE; nodes],
            wanted: vec![false; nodes],
            heap: Heap::new(nodes),
            queue: VecDeque::new(),
            touched: Vec::new(),
            leaving: vec![0; nodes],
        }
    }

    /// Appends a tree from `root` to `terminals` (without the root) to `links`: again and again, the cheapest path
    /// from the tree to a terminal, over links for which `usable` holds. The terminal that cannot be reached.
    pub(super) fn nearest_first(
        &mut self,
        arcs: &Arcs,
        usable: impl Fn(LinkId) -> bool,
        root: Node,
        terminals: &[Node],
        links: &mut Vec<LinkId>,
    ) -> Result<(), Node> {
        let mut left = self.want(terminals);
        self.touched.push(root);
        self.dist[root as usize] = 0.0;
        self.heap.set(root, 0.0, 0);
        while left > 0 {
            let Some((at, v)) = self.heap.pop() else { break };
            if std::mem::replace(&mut self.wanted[v as usize], false) {
                left -= 1;
                let first = links.len();
                self.back(arcs, v, links);
                // The path is part of the tree: what is near to it is near to the tree.
                for &l in &links[first..] {
                    let n = arcs.head(l);
                    self.dist[n as usize] = 0.0;
                    self.heap.set(n, 0.0, 0);
                }
                continue;
            }
            for &link in arcs.out(v) {
                let (to, dist) = (arcs.head(link), at + arcs.cost(link));
                if dist < self.dist[to as usize] && usable(link) {
                    if self.dist[to as usize].is_infinite() {
                        self.touched.push(to);
                    }
                    self.dist[to as usize] = dist;
                    self.by[to as usize] = link;
                    self.heap.set(to, dist, 0);
                }
            }
        }
        self.done(terminals)
    }

    /// The costliest link on the cheapest path to each of `sites`.
    pub(super) fn bottlenecks(&mut self, arcs: &Arcs, root: Node, sites: &[Node]) -> Result<Vec<f64>, Node> {
        let mut left = self.want(sites);
        self.touched.push(root);
        self.dist[root as usize] = 0.0;
        self.heap.set(root, 0.0, 0);
        while left > 0 {
            let Some((at, v)) = self.heap.pop() else { break };
            left -= usize::from(std::mem::replace(&mut self.wanted[v as usize], false));
            for &link in arcs.out(v) {
                let (to, dist) = (arcs.head(link), at + arcs.cost(link));
                if dist < self.dist[to as usize] {
                    if self.dist[to as usize].is_infinite() {
                        self.touched.push(to);
                    }
                    self.dist[to as usize] = dist;
                    self.by[to as usize] = link;
                    self.heap.set(to, dist, 0);
                }
            }
        }
        let costliest = |site: &Node| {
            let (mut v, mut most) = (*site, 0.0f64);
            while self.by[v as usize] != NONE {
                let link = self.by[v as usize];
                most = most.max(arcs.cost(link));
                v = arcs.tail(link);
            }
            most
        };
        let found = sites.iter().map(costliest).collect();
        self.done(sites).map(|()| found)
    }

    /// Appends the paths with the fewest links from `root` to `terminals`, merged.
    pub(super) fn fewest_hops(
        &mut self,
        arcs: &Arcs,
        root: Node,
        terminals: &[Node],
        links: &mut Vec<LinkId>,
    ) -> Result<(), Node> {
        let mut left = self.want(terminals);
        self.touched.push(root);
        self.dist[root as usize] = 0.0;
        self.queue.clear();
        self.queue.push_back(root);
        while left > 0 {
            let Some(v) = self.queue.pop_front() else { break };
            for &link in arcs.out(v) {
                let to = arcs.head(link);
                if self.dist[to as usize].is_infinite() && arcs.cost(link).is_finite() {
                    self.touched.push(to);
                    self.dist[to as usize] = self.dist[v as usize] + 1.0;
                    self.by[to as usize] = link;
                    self.queue.push_back(to);
                    left -= usize::from(std::mem::replace(&mut self.wanted[to as usize], false));
                }
            }
        }
        if left == 0 {
            for &t in terminals {
                self.back(arcs, t, links);
            }
        }
        self.done(terminals)
    }

    /// Marks terminals, none of them twice; how many they are.
    fn want(&mut self, terminals: &[Node]) -> usize {
        for &t in terminals {
            self.wanted[t as usize] = true;
        }
        terminals.len()
    }

    /// Appends the links from the tree to `node`, first one first, and takes them into the tree.
    fn back(&mut self, arcs: &Arcs, mut node: Node, links: &mut Vec<LinkId>) {
        let first = links.len();
        while self.by[node as usize] != NONE {
            let link = std::mem::replace(&mut self.by[node as usize], NONE);
            links.push(link);
            node = arcs.tail(link);
        }
        links[first..].reverse();
    }

    fn done(&mut self, terminals: &[Node]) -> Result<(), Node> {
        for v in self.touched.drain(..) {
            self.dist[v as usize] = f64::INFINITY;
            self.by[v as usize] = NONE;
        }
        self.heap.clear();
        let missed = terminals.iter().copied().find(|t| self.wanted[*t as usize]);
        for &t in terminals {
            self.wanted[t as usize] = false;
        }
        missed.map_or(Ok(()), Err)
    }

    /// Cuts off the branches that lead to no terminal.
    pub(super) fn prune(&mut self, arcs: &Arcs, terminals: &[Node], links: &mut Vec<LinkId>) {
        for &l in &*links {
            self.leaving[arcs.tail(l) as usize] += 1;
        }
        for &t in terminals {
            self.wanted[t as usize] = true;
        }
        // From the leaves up: a link comes after the one into its tail.
        let mut kept = links.len();
        for at in (0..links.len()).rev() {
            let link = links[at];
            let (tail, head) = (arcs.tail(link) as usize, arcs.head(link) as usize);
            if self.leaving[head] == 0 && !self.wanted[head] {
                self.leaving[tail] -= 1;
            } else {
                kept -= 1;
                links[kept] = link;
            }
        }
        links.drain(..kept);
        for &l in &*links {
            self.leaving[arcs.tail(l) as usize] = 0;
        }
        for &t in terminals {
            self.wanted[t as usize] = false;
        }
    }
}
