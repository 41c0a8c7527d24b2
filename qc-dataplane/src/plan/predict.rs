//! When the receivers of a plan will have everything, if nothing else arrives.

use super::Plan;
use crate::graph::{Graph, LinkId};
use crate::load::Load;
use crate::rate::{Allocator, BadDemand, Demand, Policy};

/// What becomes of a plan. Rates are in the unit of capacities, times in that of volume over capacity.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// First rate of each tree, by partition.
    pub rates: Vec<Vec<f64>>,
    /// When each partition's receivers are done.
    pub completion: Vec<f64>,
    /// Sum over links of what they carry for the plan.
    pub bandwidth: f64,
}

impl Prediction {
    /// The mean over receivers of when they are done.
    #[must_use]
    pub fn mean(&self, plan: &Plan) -> f64 {
        let (mut sum, mut receivers) = (0.0, 0);
        for (p, t) in plan.partitions.iter().zip(&self.completion) {
            sum += t * p.receivers.len() as f64;
            receivers += p.receivers.len();
        }
        sum / f64::from(receivers.max(1) as u32)
    }

    /// When the last receiver is done.
    #[must_use]
    pub fn last(&self) -> f64 {
        self.completion.iter().copied().fold(0.0, f64::max)
    }
}

/// A tree on its way.
struct Flow<'a> {
    links: &'a [LinkId],
    receivers: usize,
    volume: f64,
    left: f64,
    /// Its partition; none for load that was there before.
    of: Option<usize>,
}

impl<'a> Flow<'a> {
    fn demand(&self, policy: Policy) -> Demand<'a> {
        Demand {
            links: self.links,
            limit: f64::INFINITY,
            weight: policy.weight(self.receivers, self.left, self.volume),
            rank: policy.rank(usize::from(self.of.is_some()), self.left),
        }
    }
}

/// Follows the trees of `plan`, which carry `volume` to each partition, to their ends. The load that is there before
/// counts, on each link by itself, as a tree with one receiver that arrived earlier. Rates change as soon as a tree
/// is done; the last trees that are not of the plan are not waited for.
///
/// # Errors
/// When the plan is not one of this graph.
pub fn predict(
    graph: &Graph,
    load: &Load,
    plan: &Plan,
    volume: f64,
    policy: Policy,
) -> Result<Prediction, BadDemand> {
    let capacity = graph.capacities();
    let ids: Vec<LinkId> = (0..capacity.len() as u32).collect();
    let busy = ids.iter().zip(load.volume()).filter(|(_, v)| **v > 0.0);
    let mut flows: Vec<Flow<'_>> = busy
        .map(|(id, v)| Flow { links: std::slice::from_ref(id), receivers: 1, volume: *v, left: *v, of: None })
        .collect();
    for (of, p) in plan.partitions.iter().enumerate() {
        let share = volume / p.trees.len().max(1) as f64;
        for tree in &p.trees {
            let (links, receivers) = (&tree.links[..], p.receivers.len());
            flows.push(Flow { links, receivers, volume: share, left: share, of: Some(of) });
        }
    }
    let links = plan.partitions.iter().flat_map(|p| p.trees.iter().map(move |t| (t, p.trees.len())));
    let bandwidth = links.map(|(t, trees)| t.links.len() as f64 * volume / trees as f64).sum();
    let mut out = Prediction {
        rates: vec![Vec::new(); plan.partitions.len()],
        completion: vec![0.0; plan.partitions.len()],
        bandwidth,
    };
    let mut allocator = Allocator::new();
    // Crowded as it is with the plan; the load keeps no account of when which of its trees is gone.
    let mut crowded = load.clone();
    plan.partitions.iter().flat_map(|p| &p.trees).for_each(|t| crowded.add(t, 0.0));
    let policy = policy.at(crowded.crowding());
    let mut now = 0.0;
    while flows.iter().any(|f| f.of.is_some()) {
        let demands: Vec<Demand<'_>> = flows.iter().map(|f| f.demand(policy)).collect();
        let rates = allocator.allocate(policy, &capacity, &demands)?;
        if now == 0.0 {
            for (f, r) in flows.iter().zip(rates) {
                if let Some(of) = f.of {
                    out.rates[of].push(*r);
                }
            }
        }
        // Until a tree is done, or its weight is another.
        let next = |f: &Flow<'_>, r: f64| (f.left - policy.weight_holds_to(f.left, f.volume)) / r;
        let step = flows.iter().zip(rates).filter(|(_, r)| **r > 0.0).map(|(f, r)| next(f, *r));
        let step = step.fold(f64::INFINITY, f64::min);
        if !step.is_finite() {
            // Nothing moves any more: what is left never comes.
            for f in &flows {
                if let Some(of) = f.of {
                    out.completion[of] = f64::INFINITY;
                }
            }
            break;
        }
        now += step;
        for (f, r) in flows.iter_mut().zip(rates) {
            f.left -= r * step;
            if f.left <= 1e-9 * f.volume {
                f.left = 0.0;
                if let Some(of) = f.of {
                    out.completion[of] = now;
                }
            }
        }
        flows.retain(|f| f.left > 0.0);
    }
    Ok(out)
}
