//! GreedyFLAC: flow from the terminals fills the links that enter them until it reaches the tree.
//!
//! D. Watel and M.-A. Weisser, "A practical greedy approximation for the directed Steiner tree problem",
//! J. Comb. Opt. 32 (2016). Each run of [`Flac::run`] finds the branch of least cost per terminal among those it
//! looks at; branches are added until no terminal is left. At most as many times the optimum as there are terminals.

use super::arcs::Arcs;
use super::heap::Heap;
use crate::graph::{LinkId, Node};

const NONE: u32 = u32::MAX;

/// Scratch memory, kept from tree to tree.
#[derive(Clone, Debug)]
pub(super) struct Flac {
    /// Words of a set of terminals.
    words: usize,
    /// Of each site, the terminals that its flow goes to: over full links, along one path each.
    sources: Vec<u64>,
    /// How many they are: how fast the links that enter the site fill.
    count: Vec<u32>,
    /// The link that fills next, as an index into the site's entering links; those before are done with.
    next: Vec<u32>,
    full: Vec<bool>,
    heap: Heap,
    /// Sites that flow has reached in this run.
    touched: Vec<Node>,
    /// Whether a site is part of the tree.
    reached: Vec<bool>,
    /// Number of a terminal that is still to be reached.
    terminal: Vec<u32>,
    /// Walks: sites seen since the last, and those to go to.
    seen: Vec<u32>,
    walk: u32,
    above: Vec<Node>,
}

impl Flac {
    pub(super) fn new(nodes: usize, links: usize) -> Self {
        Self {
            words: 1,
            sources: vec![0; nodes],
            count: vec![0; nodes],
            next: vec![0; nodes],
            full: vec![false; links],
            heap: Heap::new(nodes),
            touched: Vec::new(),
            reached: vec![false; nodes],
            terminal: vec![NONE; nodes],
            seen: vec![0; nodes],
            walk: 0,
            above: Vec::new(),
        }
    }

    /// Appends a tree from `root` to `terminals` (ascending, without the root) to `links`; the terminal that
    /// cannot be reached, if there is one.
    pub(super) fn tree(
        &mut self,
        arcs: &Arcs,
        root: Node,
        terminals: &[Node],
        links: &mut Vec<LinkId>,
    ) -> Result<(), Node> {
        let words = terminals.len().div_ceil(64).max(1);
        if words != self.words {
            self.words = words;
            self.sources.clear();
            self.sources.resize(arcs.nodes() * words, 0);
        }
        for (i, &t) in (0..).zip(terminals) {
            self.terminal[t as usize] = i;
        }
        let first = links.len();
        self.reached[root as usize] = true;
        let mut left = terminals.len();
        let mut result = Ok(());
        while left > 0 {
            let found = self.run(arcs, root, terminals);
            if let Some(link) = found {
                left -= self.take(arcs, link, links);
            }
            self.reset(arcs);
            if found.is_none() {
                result = Err(terminals
                    .iter()
                    .copied()
                    .find(|t| self.terminal[*t as usize] != NONE)
                    .unwrap_or(root));
                break;
            }
        }
        for &t in terminals {
            self.terminal[t as usize] = NONE;
        }
        self.reached[root as usize] = false;
        for &l in &links[first..] {
            self.reached[arcs.head(l) as usize] = false;
        }
        result
    }

    fn set(&self, node: Node) -> &[u64] {
        &self.sources[node as usize * self.words..][..self.words]
    }

    fn meet(&self, a: Node, b: Node) -> bool {
        self.set(a).iter().zip(self.set(b)).any(|(x, y)| x & y != 0)
    }

    /// Adds the terminals of `from` to those of `to`.
    fn join(&mut self, to: Node, from: Node) {
        let (t, f) = (to as usize * self.words, from as usize * self.words);
        let mut count = 0;
        for w in 0..self.words {
            let set = self.sources[t + w] | self.sources[f + w];
            self.sources[t + w] = set;
            count += set.count_ones();
        }
        self.count[to as usize] = count;
    }

    /// Flow reaches a site for the first time.
    fn begin(&mut self, arcs: &Arcs, node: Node, now: f64, root: Node) {
        self.touched.push(node);
        let range = arcs.entering(node);
        self.next[node as usize] = range.start;
        self.fill(arcs, node, range, 0.0, now, root);
    }

    /// The link that filled last is done with, the next one fills.
    fn advance(&mut self, arcs: &Arcs, node: Node, now: f64, root: Node) {
        let before = arcs.at(self.next[node as usize]).cost;
        self.next[node as usize] += 1;
        self.fill(arcs, node, arcs.entering(node), before, now, root);
    }

    fn fill(
        &mut self,
        arcs: &Arcs,
        node: Node,
        range: std::ops::Range<u32>,
        before: f64,
        now: f64,
        root: Node,
    ) {
        let next = self.next[node as usize];
        if next < range.end {
            let arc = arcs.at(next);
            let time = now + (arc.cost - before) / f64::from(self.count[node as usize]);
            self.heap.set(node, time, u32::from(arc.tail != root));
        }
    }

    /// Collects in `above` the sites from which full links lead to `node`, itself first. False when the flow of
    /// one of them goes to a terminal of `below` already: it would have two paths there.
    fn climb(&mut self, arcs: &Arcs, node: Node, below: Node) -> bool {
        self.walk += 1;
        self.above.clear();
        self.above.push(node);
        self.seen[node as usize] = self.walk;
        let mut at = 0;
        while let Some(&v) = self.above.get(at) {
            at += 1;
            if self.count[v as usize] == 0 {
                continue;
            }
            if self.meet(v, below) {
                return false;
            }
            for i in arcs.entering(v).start..self.next[v as usize] {
                let arc = arcs.at(i);
                if self.full[arc.link as usize] && self.seen[arc.tail as usize] != self.walk {
                    self.seen[arc.tail as usize] = self.walk;
                    self.above.push(arc.tail);
                }
            }
        }
        true
    }

    /// Lets flow go up until it reaches the tree; the link over which it does.
    fn run(&mut self, arcs: &Arcs, root: Node, terminals: &[Node]) -> Option<LinkId> {
        if self.walk > u32::MAX / 2 {
            self.walk = 0;
            self.seen.fill(0);
        }
        for (i, &t) in terminals.iter().enumerate() {
            if self.terminal[t as usize] != NONE {
                self.sources[t as usize * self.words + i / 64] |= 1 << (i % 64);
                self.count[t as usize] = 1;
                self.begin(arcs, t, 0.0, root);
            }
        }
        while let Some((now, v)) = self.heap.pop() {
            let arc = arcs.at(self.next[v as usize]);
            let u = arc.tail;
            if self.reached[u as usize] {
                self.full[arc.link as usize] = true;
                return Some(arc.link);
            }
            let free = self.climb(arcs, u, v);
            self.advance(arcs, v, now, root);
            if !free {
                continue;
            }
            self.full[arc.link as usize] = true;
            for i in 0..self.above.len() {
                let w = self.above[i];
                let old = self.count[w as usize];
                self.join(w, v);
                if old == 0 {
                    self.begin(arcs, w, now, root);
                } else {
                    let slower = f64::from(old) / f64::from(self.count[w as usize]);
                    self.heap.lower(w, |time| now + (time - now) * slower);
                }
            }
        }
        None
    }

    /// Takes the link and all that full links lead to below it into the tree; how many terminals that were.
    fn take(&mut self, arcs: &Arcs, link: LinkId, links: &mut Vec<LinkId>) -> usize {
        let mut terminals = 0;
        let mut at = links.len();
        links.push(link);
        while let Some(&l) = links.get(at) {
            at += 1;
            let v = arcs.head(l);
            self.reached[v as usize] = true;
            if std::mem::replace(&mut self.terminal[v as usize], NONE) != NONE {
                terminals += 1;
            }
            links.extend(arcs.out(v).iter().filter(|l| self.full[**l as usize]));
        }
        terminals
    }

    /// Forgets the flow of a run.
    fn reset(&mut self, arcs: &Arcs) {
        self.heap.clear();
        for v in self.touched.drain(..) {
            let i = v as usize;
            for arc in arcs.entering(v).start..(self.next[i] + 1).min(arcs.entering(v).end) {
                self.full[arcs.at(arc).link as usize] = false;
            }
            self.sources[i * self.words..(i + 1) * self.words].fill(0);
            self.count[i] = 0;
        }
    }
}
