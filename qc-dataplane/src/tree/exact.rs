//! The cheapest tree, for few terminals (Dreyfus and Wagner, 1971, on directed links).
//!
//! The cheapest tree from a site to a set of terminals either starts with a link, or splits into two trees to
//! parts of the set. From small sets to large: 3^k n + 2^k (m + n log n) for k terminals, n sites, m links.

use super::arcs::Arcs;
use super::heap::Heap;
use crate::graph::{LinkId, Node};

/// How the cheapest tree from a site to a set goes on: over a link, or, with this bit, split off the set below it.
const SPLIT: u32 = 1 << 31;
const NONE: u32 = u32::MAX;

/// Most steps of merging sets that are taken: some seconds.
const MOST_STEPS: f64 = 1e10;
/// Most entries of the table, of 12 bytes each.
const MOST_ENTRIES: f64 = (1u32 << 25) as f64;

/// Most terminals that are possible among so many sites.
pub(super) fn most_terminals(nodes: usize) -> usize {
    let fits = |k: usize| {
        3f64.powi(k as i32) * nodes as f64 <= MOST_STEPS && 2f64.powi(k as i32) * nodes as f64 <= MOST_ENTRIES
    };
    (1..=20).rev().find(|k| fits(*k)).unwrap_or(1)
}

/// Scratch memory, kept from tree to tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Exact {
    cost: Vec<f64>,
    how: Vec<u32>,
    heap: Heap,
}

impl Exact {
    /// Appends the links of a cheapest tree from `root` to `terminals` to `links`, in no order; where links cost
    /// nothing, some may be too many. `bound` is the cost of a known tree.
    pub(super) fn tree(
        &mut self,
        arcs: &Arcs,
        root: Node,
        terminals: &[Node],
        bound: f64,
        links: &mut Vec<LinkId>,
    ) {
        let (n, sets) = (arcs.nodes(), 1usize << terminals.len());
        if terminals.is_empty() {
            return;
        }
        // No part of a cheapest tree costs more than the whole of a known one, but for rounding.
        let bound = bound * (1.0 + 1e-9);
        self.heap = Heap::new(n);
        self.cost.clear();
        self.cost.resize(sets * n, f64::INFINITY);
        self.how.clear();
        self.how.resize(sets * n, NONE);
        for set in 1..sets {
            if set.is_power_of_two() {
                let t = terminals[set.trailing_zeros() as usize];
                self.cost[set * n + t as usize] = 0.0;
            } else {
                self.merge(set, n);
            }
            self.grow(arcs, set, bound, (set == sets - 1).then_some(root));
        }
        let mut open = vec![(sets - 1, root)];
        while let Some((set, v)) = open.pop() {
            let how = self.how[set * n + v as usize];
            if how == NONE {
                continue;
            }
            if how & SPLIT == 0 {
                links.push(how);
                open.push((set, arcs.head(how)));
            } else {
                let part = (how & !SPLIT) as usize;
                open.extend([(part, v), (set ^ part, v)]);
            }
        }
    }

    /// The best split of a set, at each site.
    fn merge(&mut self, set: usize, n: usize) {
        let (below, here) = self.cost.split_at_mut(set * n);
        let (here, how) = (&mut here[..n], &mut self.how[set * n..(set + 1) * n]);
        // Each split once: the part with the lowest terminal.
        let lowest = set & set.wrapping_neg();
        let mut part = (set - 1) & set;
        while part > 0 {
            if part & lowest != 0 {
                let (a, b) = (&below[part * n..(part + 1) * n], &below[(set ^ part) * n..][..n]);
                for v in 0..n {
                    let cost = a[v] + b[v];
                    if cost < here[v] {
                        here[v] = cost;
                        how[v] = SPLIT | part as u32;
                    }
                }
            }
            part = (part - 1) & set;
        }
    }

    /// Trees that start with a link; only as far as `until`, if that is all that is wanted.
    fn grow(&mut self, arcs: &Arcs, set: usize, bound: f64, until: Option<Node>) {
        let n = arcs.nodes();
        let (cost, how) = (&mut self.cost[set * n..(set + 1) * n], &mut self.how[set * n..(set + 1) * n]);
        for (v, c) in (0..).zip(&mut *cost) {
            if *c <= bound {
                self.heap.set(v, *c, 0);
            } else {
                *c = f64::INFINITY;
            }
        }
        while let Some((at, v)) = self.heap.pop() {
            if until == Some(v) {
                self.heap.clear();
                break;
            }
            for i in arcs.entering(v) {
                let arc = arcs.at(i);
                let (u, c) = (arc.tail, at + arc.cost);
                if c < cost[u as usize] && c <= bound {
                    cost[u as usize] = c;
                    how[u as usize] = arc.link;
                    self.heap.set(u, c, 0);
                }
            }
        }
    }
}
