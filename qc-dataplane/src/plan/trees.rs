//! The trees of one transfer under one set of costs: each set of receivers gets its tree once.

use std::collections::HashMap;

use crate::graph::Node;
use crate::tree::{NoTree, Steiner, Tree, TreeAlgorithm};

/// Trees by the receivers they serve, as numbers into a list of receivers.
#[derive(Clone, Debug, Default)]
pub(super) struct Trees {
    found: HashMap<Box<[u32]>, (Tree, f64)>,
    nodes: Vec<Node>,
}

/// What trees are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs<'a> {
    pub algorithm: TreeAlgorithm,
    pub cost: &'a [f64],
    pub root: Node,
    pub receivers: &'a [Node],
}

impl Trees {
    /// Forgets the trees of the last transfer.
    pub fn clear(&mut self) {
        self.found.clear();
    }

    /// What a tree to these receivers costs, if it has been asked for before.
    pub fn known(&self, members: &[u32]) -> Option<&(Tree, f64)> {
        self.found.get(members)
    }

    /// The tree to these receivers, and what it costs.
    pub fn find(
        &mut self,
        steiner: &mut Steiner,
        by: Costs<'_>,
        members: &[u32],
    ) -> Result<&(Tree, f64), NoTree> {
        if !self.found.contains_key(members) {
            self.nodes.clear();
            self.nodes.extend(members.iter().map(|m| by.receivers[*m as usize]));
            let tree = steiner.tree(by.algorithm, by.cost, by.root, &self.nodes)?;
            let cost = tree.cost(by.cost);
            self.found.insert(members.into(), (tree, cost));
        }
        Ok(&self.found[members])
    }

    /// What the trees to all clusters of a layer cost together, as long as that is within `budget`.
    pub fn within(
        &mut self,
        steiner: &mut Steiner,
        by: Costs<'_>,
        layer: &[&[u32]],
        budget: f64,
    ) -> Result<Option<f64>, NoTree> {
        // What is known already may settle it.
        let known: f64 = layer.iter().filter_map(|c| self.known(c)).map(|t| t.1).sum();
        if known > budget * (1.0 + 1e-9) {
            return Ok(None);
        }
        let mut sum = 0.0;
        for cluster in layer {
            sum += self.find(steiner, by, cluster)?.1;
            if sum > budget {
                return Ok(None);
            }
        }
        Ok(Some(sum))
    }
}
