//! Parallel trees (the paper's future work): a partition's data over several trees at once.

use super::trees::Costs;
use super::{BadRequest, Partitioner, Plan, Planner};
use crate::graph::Node;
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
            let own = first.links.len() as f64;
            load.remove(first, volume);
            let room = most_links - (links - own);
            self.widen(load, &partition.receivers, &mut partition.trees, volume, room)?;
            links += mean_links(&partition.trees) - own;
            for tree in &partition.trees {
                load.add(tree, volume / partition.trees.len() as f64);
            }
        }
        Ok(())
    }

    /// Further trees for a partition that `trees` carry, of which `volume` is left: those that [`Self::plan`] would add if
    /// it were planned now. The load is that of others.
    ///
    /// # Errors
    /// When the request makes no sense, or a receiver cannot be reached.
    pub fn more(
        &mut self,
        load: &Load,
        receivers: &[Node],
        trees: &[Tree],
        volume: f64,
    ) -> Result<Vec<Tree>, BadRequest> {
        let Some(root) = trees.first().map(|t| t.root) else { return Ok(Vec::new()) };
        self.check(load, root, receivers, volume)?;
        let mut all = trees.to_vec();
        let found = self.room(load, root, receivers, volume).and_then(|room| {
            // What is there already may stay.
            self.widen(load, receivers, &mut all, volume, room.max(mean_links(trees)))
        });
        found.map_err(|e| self.said(e))?;
        Ok(all.split_off(trees.len()))
    }

    /// Links that trees to these receivers may take on average.
    fn room(&mut self, load: &Load, root: Node, receivers: &[Node], volume: f64) -> Result<f64, NoTree> {
        if self.scheme.partition != Partitioner::Search {
            return Ok(f64::INFINITY);
        }
        let mut cost = std::mem::take(&mut self.cost);
        weigh(self.scheme.weight, &self.graph, load, volume, &mut cost);
        self.trees.clear();
        let room = self.ceiling(Costs { algorithm: self.scheme.tree, cost: &cost, root, receivers });
        self.cost = cost;
        Ok(room? + 1e-9)
    }

    /// Adds trees to those of one partition, none of which is in `load`, while they take on average no more than `room`
    /// links.
    fn widen(
        &mut self,
        load: &Load,
        receivers: &[Node],
        trees: &mut Vec<Tree>,
        volume: f64,
        room: f64,
    ) -> Result<(), NoTree> {
        let Some((last, others)) = trees.split_last() else { return Ok(()) };
        let root = last.root;
        // The whole volume counts on the trees there are, so that the next one keeps off them.
        let mut avoid = load.clone();
        others.iter().for_each(|tree| avoid.add(tree, volume));
        weigh(self.scheme.weight, &self.graph, load, volume, &mut self.cost);
        let frozen = self.cost.clone();
        let single = trees.iter().map(|t| t.cost(&frozen)).fold(f64::INFINITY, f64::min);
        let mut time = self.finish(load, trees, volume);
        while trees.len() < self.scheme.parallel {
            if let Some(last) = trees.last() {
                avoid.add(last, volume);
            }
            weigh(self.scheme.weight, &self.graph, &avoid, volume, &mut self.cost);
            trees.push(self.steiner.tree(self.installed(), &self.cost, root, receivers)?);
            let cost = trees.iter().map(|t| t.cost(&frozen)).sum::<f64>() / trees.len() as f64;
            let sooner = self.finish(load, trees, volume);
            if cost > self.scheme.budget.max(1.0) * single
                || mean_links(trees) > room
                || sooner >= time * (1.0 - 1e-9)
            {
                trees.pop();
                break;
            }
            time = sooner;
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

/// Links of trees that share a volume, on average.
fn mean_links(trees: &[Tree]) -> f64 {
    trees.iter().map(|t| t.links.len() as f64).sum::<f64>() / trees.len().max(1) as f64
}
