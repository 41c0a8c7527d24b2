//! Hierarchies of receivers (QuickCast, section IV-B): near ones first in one cluster, in the end all.
//!
//! Agglomerative clustering with average linkage; layer l of a hierarchy has l clusters.

use kodama::{Dendrogram, LinkageState, Method};

use crate::graph::{Graph, Node};

/// Numbers of links on shortest paths, found when first asked for and kept.
#[derive(Clone, Debug)]
pub struct Hops {
    rows: Vec<Option<Box<[u32]>>>,
}

/// What [`Hops::between`] says of sites without a path.
pub const APART: u32 = u32::MAX;

impl Hops {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        Self { rows: vec![None; graph.nodes()] }
    }

    /// Links on the shortest path between two sites, in the direction that has fewer; [`APART`] without any.
    /// `graph` is always the same.
    pub fn between(&mut self, graph: &Graph, a: Node, b: Node) -> u32 {
        self.row(graph, a)[b as usize].min(self.row(graph, b)[a as usize])
    }

    fn row(&mut self, graph: &Graph, from: Node) -> &[u32] {
        self.rows[from as usize].get_or_insert_with(|| {
            let mut hops = vec![APART; graph.nodes()].into_boxed_slice();
            let mut queue = Vec::with_capacity(graph.nodes());
            hops[from as usize] = 0;
            queue.push(from);
            let mut at = 0;
            while let Some(&v) = queue.get(at) {
                at += 1;
                for &link in graph.out_of(v) {
                    let to = graph.link(link).to;
                    if hops[to as usize] == APART {
                        hops[to as usize] = hops[v as usize] + 1;
                        queue.push(to);
                    }
                }
            }
            hops
        })
    }
}

/// A hierarchy of things numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The members of each cluster, ascending: first each thing alone, then what each merge makes.
    clusters: Vec<Vec<u32>>,
    /// The merge that each cluster goes into; the last goes into none.
    into: Vec<usize>,
}

/// Scratch memory for making hierarchies.
#[derive(Debug)]
pub struct Linkage {
    state: LinkageState<f64>,
    steps: Dendrogram<f64>,
    matrix: Vec<f64>,
}

impl Default for Linkage {
    fn default() -> Self {
        Self { state: LinkageState::new(), steps: Dendrogram::new(0), matrix: Vec::new() }
    }
}

impl Linkage {
    /// The hierarchy of `things` things that are `distance` apart, which must be finite and symmetric.
    pub fn hierarchy(&mut self, things: usize, mut distance: impl FnMut(usize, usize) -> f64) -> Hierarchy {
        self.matrix.clear();
        for a in 0..things {
            self.matrix.extend((a + 1..things).map(|b| distance(a, b)));
        }
        let mut clusters: Vec<Vec<u32>> = (0..things as u32).map(|t| vec![t]).collect();
        let mut into = vec![usize::MAX; (2 * things).saturating_sub(1)];
        if things > 1 {
            kodama::linkage_with(&mut self.state, &mut self.matrix, things, Method::Average, &mut self.steps);
            for (merge, step) in self.steps.steps().iter().enumerate() {
                let mut members = Vec::with_capacity(step.size);
                for part in [step.cluster1, step.cluster2] {
                    members.extend(&clusters[part]);
                    into[part] = merge;
                }
                members.sort_unstable();
                clusters.push(members);
            }
        }
        Hierarchy { clusters, into }
    }
}

impl Hierarchy {
    /// Number of things.
    #[must_use]
    pub fn things(&self) -> usize {
        self.clusters.len().div_ceil(2)
    }

    /// The clusters of the layer that has `layer` of them (1 to [`things`](Self::things)), ordered by their
    /// first member.
    pub fn layer(&self, layer: usize) -> Vec<&[u32]> {
        let merges = self.things().saturating_sub(layer);
        let there = self.clusters.len().min(self.things() + merges);
        let alive = (0..there).filter(|c| self.into[*c] >= merges).map(|c| &self.clusters[c][..]);
        let mut alive: Vec<&[u32]> = alive.collect();
        alive.sort_unstable();
        alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Link;
    use proptest::prelude::*;

    #[test]
    fn counts_hops() {
        let link = |from, to| Link { from, to, capacity: 1.0 };
        let g = Graph::numbered(5, vec![link(0, 1), link(1, 2), link(2, 3), link(3, 0)]).unwrap();
        let mut hops = Hops::new(&g);
        assert_eq!((hops.between(&g, 0, 2), hops.between(&g, 0, 3), hops.between(&g, 3, 0)), (2, 1, 1));
        assert_eq!((hops.between(&g, 1, 1), hops.between(&g, 0, 4)), (0, APART));
    }

    #[test]
    fn merges_the_nearest_first() {
        // On a line at 0, 10, 11, 13: the averages decide. {10, 11}, then 13 (2.5 away), then 0.
        let at = [0.0f64, 10.0, 11.0, 13.0];
        let h = Linkage::default().hierarchy(4, |a, b| (at[a] - at[b]).abs());
        assert_eq!(h.layer(4), [&[0][..], &[1], &[2], &[3]]);
        assert_eq!(h.layer(3), [&[0][..], &[1, 2], &[3]]);
        assert_eq!(h.layer(2), [&[0][..], &[1, 2, 3]]);
        assert_eq!(h.layer(1), [&[0, 1, 2, 3][..]]);
        assert_eq!(Linkage::default().hierarchy(1, |_, _| 0.0).layer(1), [&[0][..]]);
        assert!(Linkage::default().hierarchy(0, |_, _| 0.0).layer(1).is_empty());
    }

    proptest! {
        /// Each layer has as many clusters as its number says, together everything once, and refines the next.
        #[test]
        fn layers_are_partitions(at in proptest::collection::vec(0.0f64..10.0, 1..20)) {
            let h = Linkage::default().hierarchy(at.len(), |a, b| (at[a] - at[b]).abs());
            let mut coarser: Vec<Vec<u32>> = vec![];
            for layer in 1..=at.len() {
                let clusters = h.layer(layer);
                prop_assert_eq!(clusters.len(), layer);
                let mut all: Vec<u32> = clusters.iter().copied().flatten().copied().collect();
                all.sort_unstable();
                prop_assert_eq!(all, (0..at.len() as u32).collect::<Vec<_>>());
                for c in &clusters {
                    prop_assert!(layer == 1 || coarser.iter().any(|l| c.iter().all(|m| l.contains(m))));
                }
                coarser = clusters.iter().map(|c| c.to_vec()).collect();
            }
        }
    }
}
