//! Group-table entries (extended paper, section V-E): a switch needs one for each tree that it replicates.
//!
//! A switch replicates when a tree leaves it over two or more links, or when it delivers here and forwards as well.
//! Branching at the sender is free: it sends several streams.

use crate::graph::{Graph, Node};
use crate::tree::Tree;

/// Entries in use, by switch.
#[derive(Clone, Debug)]
pub struct Groups {
    entries: Vec<u32>,
    /// Links of the tree at hand that leave each switch; all 0 between calls.
    leaving: Vec<u32>,
    stale: bool,
    most_now: u32,
    /// The largest number of entries in any switch at any time.
    pub most: u32,
    /// The largest number of buckets in any entry: links that leave, and one for delivery.
    pub buckets: u32,
}

impl Groups {
    /// No entries in the switches of `graph`.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let none = vec![0; graph.nodes()];
        Self { entries: none.clone(), leaving: none, stale: false, most_now: 0, most: 0, buckets: 0 }
    }

    /// The switches in which `tree`, which serves `receivers`, needs an entry, after counting them.
    pub fn install(&mut self, graph: &Graph, tree: &Tree, receivers: &[Node]) -> Box<[Node]> {
        for &l in &tree.links {
            self.leaving[graph.link(l).from as usize] += 1;
        }
        let mut at = Vec::new();
        for &l in &tree.links {
            let node = graph.link(l).from;
            let links = std::mem::take(&mut self.leaving[node as usize]);
            let buckets = links + u32::from(receivers.contains(&node));
            // A switch comes up once: its count is taken above.
            if node != tree.root && links >= 1 && buckets >= 2 {
                self.entries[node as usize] += 1;
                self.buckets = self.buckets.max(buckets);
                self.most = self.most.max(self.entries[node as usize]);
                at.push(node);
            }
        }
        self.stale = true;
        at.into()
    }

    /// Takes the entries of a tree away, which are in the switches `at`.
    pub fn remove(&mut self, at: &[Node]) {
        for &node in at {
            self.entries[node as usize] -= 1;
        }
        self.stale = true;
    }

    /// The entries of the switch that has most now.
    pub fn most_now(&mut self) -> u32 {
        if std::mem::take(&mut self.stale) {
            self.most_now = self.entries.iter().copied().max().unwrap_or(0);
        }
        self.most_now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Link;

    fn graph(links: &[(Node, Node)]) -> (Graph, Tree) {
        let nodes = links.iter().map(|l| l.1).max().unwrap() as usize + 1;
        let links: Vec<_> = links.iter().map(|l| Link { from: l.0, to: l.1, capacity: 1.0 }).collect();
        let all = (0..links.len() as u32).collect();
        (Graph::numbered(nodes, links).unwrap(), Tree { root: 0, links: all })
    }

    #[test]
    fn binary_tree_and_star() {
        // The paper's two examples: eight receivers as leaves of a complete binary tree, and around one switch.
        let binary: Vec<_> = (1..15).map(|n| ((n - 1) / 2, n)).collect();
        let (g, tree) = graph(&binary);
        let mut groups = Groups::new(&g);
        let at = groups.install(&g, &tree, &[7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!((at.len(), groups.buckets, groups.most_now()), (6, 2, 1));
        groups.remove(&at);
        assert_eq!((groups.most_now(), groups.most), (0, 1));

        let star: Vec<_> = [(0, 1)].into_iter().chain((2..10).map(|n| (1, n))).collect();
        let (g, tree) = graph(&star);
        let mut groups = Groups::new(&g);
        let at = groups.install(&g, &tree, &[2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((&at[..], groups.buckets), (&[1][..], 8));
    }

    #[test]
    fn delivering_and_forwarding_replicates_too() {
        let (g, tree) = graph(&[(0, 1), (1, 2), (2, 3)]);
        let mut groups = Groups::new(&g);
        assert_eq!(&groups.install(&g, &tree, &[1, 3])[..], &[1]);
        assert_eq!(groups.buckets, 2);
    }
}
