//! The search for partitions that goes beyond algorithm 2: layers of several hierarchies, the same budget.

use super::Planner;
use super::planner::hops;
use super::trees::Costs;
use crate::graph::LinkId;
use crate::load::Load;
use crate::tree::{NoTree, Tree};

impl Planner {
    /// Links that a plan should take by the scheme: a multiple of those of algorithm 2's plan; infinite without a
    /// ceiling.
    pub(super) fn ceiling(&mut self, by: Costs<'_>) -> Result<f64, NoTree> {
        let Some(factor) = self.scheme.ceiling else { return Ok(f64::INFINITY) };
        let published = self.by_hops(by)?;
        let layer: Vec<&[u32]> = published.iter().map(Vec::as_slice).collect();
        Ok(factor * self.links(&layer) as f64)
    }

    /// Of all layers of three hierarchies (hop distance; hop distance and the bottlenecks on the way from the sender;
    /// bottlenecks), the one within the budget whose receivers have the least sum of estimated completion times.
    /// Layers that take more than `most_links` do not count.
    pub(super) fn by_search(
        &mut self,
        by: Costs<'_>,
        load: &Load,
        volume: f64,
        most_links: f64,
    ) -> Result<Vec<Vec<u32>>, NoTree> {
        let receivers = by.receivers.len();
        let all: Vec<u32> = (0..receivers as u32).collect();
        let budget = self.scheme.budget * self.trees.find(&mut self.steiner, by, &all)?.1;
        let mut best = (self.estimate(&[&all], load, volume), vec![all]);
        let most = self.most(receivers);
        if most < 2 {
            return Ok(best.1);
        }
        // The costliest link on the way to each receiver, as a logarithm: ratios are what matters.
        let narrow = self.steiner.bottlenecks(by.cost, by.root, by.receivers)?;
        let narrow: Vec<f64> = narrow.iter().map(|c| c.max(1e-300).ln()).collect();
        for kind in 0..3 {
            let hierarchy = self.linkage.hierarchy(receivers, |a, b| {
                let apart = (narrow[a] - narrow[b]).abs();
                let hops = hops(&mut self.hops, &self.graph, by.receivers[a], by.receivers[b]);
                [hops, hops + 4.0 * apart, apart][kind]
            });
            for layer in 2..=most {
                let clusters = hierarchy.layer(layer);
                if self.trees.within(&mut self.steiner, by, &clusters, budget)?.is_some()
                    && self.links(&clusters) as f64 <= most_links
                {
                    let estimate = self.estimate(&clusters, load, volume);
                    if estimate < best.0 {
                        best = (estimate, clusters.into_iter().map(<[u32]>::to_vec).collect());
                    }
                }
            }
        }
        Ok(best.1)
    }

    /// Links of the trees to these clusters, which have been found before.
    fn links(&self, clusters: &[&[u32]]) -> usize {
        clusters.iter().filter_map(|c| self.trees.known(c)).map(|t| t.0.links.len()).sum()
    }

    /// The sum over receivers of the time for which the busiest link of their tree is busy, with all of these trees.
    fn estimate(&mut self, clusters: &[&[u32]], load: &Load, volume: f64) -> f64 {
        let trees: Vec<&Tree> = clusters.iter().filter_map(|c| self.trees.known(c)).map(|t| &t.0).collect();
        for tree in &trees {
            for &l in &tree.links {
                self.over[l as usize] += 1;
                self.seen.push(l);
            }
        }
        let busy = |l: &LinkId| {
            let own = f64::from(self.over[*l as usize]) * volume;
            (load.volume()[*l as usize] + own) / self.graph.link(*l).capacity
        };
        let longest = |tree: &Tree| tree.links.iter().map(busy).fold(0.0, f64::max);
        let sum = clusters.iter().zip(&trees).map(|(c, t)| c.len() as f64 * longest(t)).sum();
        for l in self.seen.drain(..) {
            self.over[l as usize] = 0;
        }
        sum
    }
}
