//! What the links already have to carry: the volume that trees have yet to send over them, and their rates.

use crate::graph::Graph;
use crate::tree::Tree;

/// Per link, the residual volume of all trees over it and how fast they send now.
///
/// Volumes are in capacity times time: with capacities in Gbit/s and seconds, in Gbit.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    volume: Vec<f64>,
    rate: Vec<f64>,
    /// Trees over each link: with the last of them gone, crumbs of rounding go too.
    trees: Vec<u32>,
}

impl Load {
    /// No load on any link of `graph`.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let links = graph.links().len();
        Self { volume: vec![0.0; links], rate: vec![0.0; links], trees: vec![0; links] }
    }

    /// A tree with this much to send is installed.
    pub fn add(&mut self, tree: &Tree, volume: f64) {
        for &l in &tree.links {
            self.volume[l as usize] += volume;
            self.trees[l as usize] += 1;
        }
    }

    /// A tree has sent this much and stays.
    pub fn sent(&mut self, tree: &Tree, volume: f64) {
        for &l in &tree.links {
            let left = &mut self.volume[l as usize];
            *left = (*left - volume).max(0.0);
        }
    }

    /// A tree that still had this much to send is gone.
    pub fn remove(&mut self, tree: &Tree, volume: f64) {
        for &l in &tree.links {
            let (left, trees) = (&mut self.volume[l as usize], &mut self.trees[l as usize]);
            *trees = trees.saturating_sub(1);
            *left = if *trees == 0 { 0.0 } else { (*left - volume).max(0.0) };
        }
    }

    /// Volume of something else on a link, such as what a file of loads says; counts as one tree.
    pub fn add_to_link(&mut self, link: u32, volume: f64) {
        self.volume[link as usize] += volume;
        self.trees[link as usize] += 1;
    }

    /// Residual volume, by link.
    #[must_use]
    pub fn volume(&self) -> &[f64] {
        &self.volume
    }

    /// What the trees over each link send now, for the weights that look at utilisation.
    #[must_use]
    pub fn rate(&self) -> &[f64] {
        &self.rate
    }

    /// Sets what the links carry now, by link, in the unit of their capacities.
    pub fn set_rate(&mut self) -> &mut [f64] {
        &mut self.rate
    }

    /// How many trees share a link that a tree uses, on average over all links of all trees; 0 without any.
    #[must_use]
    pub fn crowding(&self) -> f64 {
        let (mut sum, mut squares) = (0.0, 0.0);
        for trees in self.trees.iter().map(|t| f64::from(*t)) {
            sum += trees;
            squares += trees * trees;
        }
        if sum > 0.0 { squares / sum } else { 0.0 }
    }

    /// L_e: residual volume over capacity, the time that the link is busy for.
    #[must_use]
    pub fn of(&self, graph: &Graph, link: u32) -> f64 {
        self.volume[link as usize] / graph.link(link).capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Link;

    #[test]
    fn leaves_no_crumbs() {
        let link = |from, to| Link { from, to, capacity: 2.0 };
        let g = Graph::numbered(3, vec![link(0, 1), link(1, 2)]).unwrap();
        let (a, b) = (Tree { root: 0, links: vec![0, 1] }, Tree { root: 0, links: vec![0] });
        let mut load = Load::new(&g);
        load.add(&a, 0.3);
        load.add(&b, 0.1);
        assert_eq!((load.of(&g, 0), load.of(&g, 1)), (0.2, 0.15));
        // Two trees on link 0, one on link 1: of three uses of a link, two see two trees and one sees one.
        assert_eq!((load.crowding(), Load::new(&g).crowding()), (5.0 / 3.0, 0.0));
        load.sent(&b, 0.1);
        load.remove(&b, 0.0);
        load.remove(&a, 0.3);
        assert_eq!(load.volume(), [0.0, 0.0]);
    }
}
