//! Parallel trees (the paper's future work): a partition's data over several trees at once.

use super::{Plan, Planner};
use crate::load::Load;
use crate::tree::{NoTree, Tree};
use crate::weight::weigh;

impl Planner {
    /// Further trees for the partitions of `plan`, those with the most receivers first: as many as the scheme allows,
    /// while they make a partition finish earlier, cost on average no more than the budget allows, and the plan takes
    /// no more than `most_links`. The plan's trees are in `load` already.
    pub(super) fn parallel(
        &mut self,
        load: &mut Load,
        plan: &mut Plan,
        volume: f64,
        most_links: f64,
    ) -> Result<(), NoTree> {
        let mut links: f64 =
            plan.partitions.iter().flat_map(|p| &p.trees).map(|t| t.links.len() as f64).sum();
        let mut order: Vec<usize> = (0..plan.partitions.len()).collect();
        order.sort_by_key(|p| std::cmp::Reverse(plan.partitions[*p].receivers.len()));
        for at in order {
            let partition = &mut plan.partitions[at];
            let Some(first) = partition.trees.first() else { continue };
            let (root, own) = (first.root, first.links.len() as f64);
            load.remove(first, volume);
            weigh(self.scheme.weight, &self.graph, load, volume, &mut self.cost);
            let frozen = self.cost.clone();
            let single = first.cost(&frozen);
            // The whole volume counts on the trees there are, so that the next one keeps off them.
            let mut avoid = load.clone();
            let mut time = self.finish(load, &partition.trees, volume);
            let trees = &mut partition.trees;
            let mut took = own;
            while trees.len() < self.scheme.parallel {
                if let Some(last) = trees.last() {
                    avoid.add(last, volume);
                }
                weigh(self.scheme.weight, &self.graph, &avoid, volume, &mut self.cost);
                trees.push(self.steiner.tree(self.installed(), &self.cost, root, &partition.receivers)?);
                let count = trees.len() as f64;
                let cost = trees.iter().map(|t| t.cost(&frozen)).sum::<f64>() / count;
                let mean = trees.iter().map(|t| t.links.len() as f64).sum::<f64>() / count;
                let sooner = self.finish(load, trees, volume);
                if cost > self.scheme.budget.max(1.0) * single
                    || links - own + mean > most_links
                    || sooner >= time * (1.0 - 1e-9)
                {
                    trees.pop();
                    break;
                }
                (time, took) = (sooner, mean);
            }
            links += took - own;
            for tree in &partition.trees {
                load.add(tree, volume / partition.trees.len() as f64);
            }
        }
        Ok(())
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
