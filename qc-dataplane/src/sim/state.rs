//! What is under way: partitions with their trees and residual volumes, one rate allocation after the other.

use crate::graph::{Graph, Node};
use crate::load::Load;
use crate::plan::Plan;
use crate::rate::{Allocator, BadDemand, Demand, Policy};
use crate::traffic::Transfer;
use crate::tree::Tree;

use super::groups::Groups;
use super::outcome::Outcome;
use super::{Settings, SimError};

/// Rounding: what is within this part of a bound is at it.
const CRUMB: f64 = 1e-9;

/// Receivers that get their data together, and have not got all of it.
struct Part {
    transfer: u32,
    volume: f64,
    residual: f64,
    /// What the load was last told of the residual.
    told: f64,
    /// Its weight, and the residual down to which that holds: neither changes in most slots.
    weight: f64,
    weight_until: f64,
    /// Slot in which the transfer arrived.
    arrived: u64,
    /// Where the receivers stand among those of all transfers.
    receivers: Box<[u32]>,
    trees: Box<[Tree]>,
    /// Switches with a group entry for one of the trees, once for each.
    entries: Box<[Node]>,
}

pub(super) struct State<'a> {
    graph: &'a Graph,
    transfers: &'a [Transfer],
    settings: &'a Settings,
    capacity: Vec<f64>,
    /// By arrival.
    parts: Vec<Part>,
    /// The policy that their weights are of: an adaptive one changes with the load.
    weighed_by: Policy,
    allocator: Allocator,
    /// What each of `parts` gets now, over all its trees.
    rates: Vec<f64>,
    /// What each link carries now.
    carried: Vec<f64>,
    load: Load,
    /// The load does not know yet what was sent.
    load_is_stale: bool,
    groups: Groups,
    order: Vec<u32>,
    pub(super) outcome: Outcome,
}

impl<'a> State<'a> {
    pub(super) fn new(graph: &'a Graph, transfers: &'a [Transfer], settings: &'a Settings) -> Self {
        Self {
            graph,
            transfers,
            settings,
            capacity: graph.capacities(),
            parts: Vec::new(),
            weighed_by: settings.policy,
            allocator: Allocator::new(),
            rates: Vec::new(),
            carried: vec![0.0; graph.links().len()],
            load: Load::new(graph),
            load_is_stale: false,
            groups: Groups::new(graph),
            order: Vec::new(),
            outcome: Outcome::new(transfers),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.parts.is_empty()
    }

    /// These slots pass with nothing to send.
    pub(super) fn rest(&mut self, slots: std::ops::Range<u64>) {
        self.outcome.groups.slots += slots.end.saturating_sub(slots.start);
        self.carried.fill(0.0);
        self.load_is_stale = true;
    }

    /// The load as it is now, for a plan.
    pub(super) fn load(&mut self) -> &Load {
        if std::mem::take(&mut self.load_is_stale) {
            for p in &mut self.parts {
                let sent = p.told - p.residual;
                if sent > 0.0 {
                    for tree in &p.trees {
                        self.load.sent(tree, sent / p.trees.len() as f64);
                    }
                    p.told = p.residual;
                }
            }
            self.load.set_rate().copy_from_slice(&self.carried);
        }
        &self.load
    }

    /// Takes a transfer's plan in.
    pub(super) fn install(&mut self, transfer: usize, slot: u64, plan: Plan) -> Result<(), &'static str> {
        let t = &self.transfers[transfer];
        let first = self.outcome.starts[transfer];
        let mut missing = t.receivers.len();
        for partition in plan.partitions {
            let mut receivers = Vec::with_capacity(partition.receivers.len());
            for r in &partition.receivers {
                let at =
                    t.receivers.iter().position(|n| n == r).ok_or("serves a node that is no receiver")?;
                receivers.push(first + at as u32);
            }
            if partition.trees.is_empty() || receivers.is_empty() {
                return Err("has a partition without trees or receivers");
            }
            missing = missing.checked_sub(receivers.len()).ok_or("serves a receiver twice")?;
            let mut entries = Vec::new();
            for tree in &partition.trees {
                if tree.links.is_empty() || tree.links.iter().any(|l| *l as usize >= self.capacity.len()) {
                    return Err("has a tree without links or with one that does not exist");
                }
                self.load.add(tree, t.volume / partition.trees.len() as f64);
                entries.extend(self.groups.install(self.graph, tree, &partition.receivers));
                self.outcome.trees += 1;
            }
            self.outcome.partitions += 1;
            self.parts.push(Part {
                transfer: transfer as u32,
                volume: t.volume,
                residual: t.volume,
                told: t.volume,
                weight: 1.0,
                weight_until: f64::INFINITY,
                arrived: slot,
                receivers: receivers.into(),
                trees: partition.trees.into(),
                entries: entries.into(),
            });
        }
        if missing == 0 { Ok(()) } else { Err("leaves a receiver out") }
    }

    /// Gives rates for `slot` and lets as many slots pass as they hold, at least one, at most `most`. Group
    /// entries count up to the slot `last`.
    pub(super) fn advance<E: std::fmt::Display>(
        &mut self,
        slot: u64,
        most: u64,
        last: u64,
    ) -> Result<u64, SimError<E>> {
        let started = self.settings.clock.map(|clock| clock());
        self.allocate()?;
        if let (Some(clock), Some(started)) = (self.settings.clock, started) {
            self.outcome.rates.add(clock().saturating_sub(started));
        }
        let slots = self.holds().min(most);
        if slots == u64::MAX {
            return Err(SimError::Stalled(slot));
        }
        self.outcome.allocations += 1;
        if slot <= last {
            let counted = slots.min(last + 1 - slot);
            self.outcome.groups.slots += counted;
            self.outcome.groups.sum += f64::from(self.groups.most_now()) * counted as f64;
        }
        self.send(slot, slots);
        Ok(slots)
    }

    fn allocate(&mut self) -> Result<(), BadDemand> {
        let (policy, delta) = (self.settings.policy.at(self.load.crowding()), self.settings.delta);
        let other = std::mem::replace(&mut self.weighed_by, policy) != policy;
        for p in &mut self.parts {
            if other || p.residual <= p.weight_until * (1.0 + CRUMB) {
                p.weight = policy.weight(p.receivers.len(), p.residual, p.volume) / p.trees.len() as f64;
                p.weight_until = policy.weight_holds_to(p.residual, p.volume);
            }
        }
        let demands: Vec<Demand<'_>> = self
            .parts
            .iter()
            .flat_map(|p| {
                let (weight, rank) = (p.weight, policy.rank(p.transfer as usize, p.residual));
                p.trees.iter().map(move |t| Demand {
                    links: &t.links,
                    limit: p.residual / delta,
                    weight,
                    rank,
                })
            })
            .collect();
        let rates = self.allocator.allocate(policy, &self.capacity, &demands)?;
        self.carried.fill(0.0);
        self.rates.clear();
        let mut at = 0;
        for p in &self.parts {
            let own = &rates[at..at + p.trees.len()];
            let sum: f64 = own.iter().sum();
            // Each tree is held to the residual volume alone; together they must not send it twice.
            let part = (p.residual / delta / sum.max(f64::MIN_POSITIVE)).min(1.0);
            for (tree, rate) in p.trees.iter().zip(own) {
                let rate = rate * part;
                for &l in &tree.links {
                    self.carried[l as usize] += rate;
                }
            }
            self.rates.push(sum * part);
            at += p.trees.len();
        }
        Ok(())
    }

    /// How many slots the rates hold if nothing arrives.
    fn holds(&mut self) -> u64 {
        let (policy, delta) = (self.weighed_by, self.settings.delta);
        let mut slots = f64::INFINITY;
        for (p, rate) in self.parts.iter().zip(&self.rates) {
            let sent = rate * delta;
            if sent <= 0.0 {
                continue;
            }
            if sent >= p.residual * (1.0 - CRUMB) {
                return 1;
            }
            // In its last slot it may send less than its share, and others more.
            let whole = (p.residual / sent - CRUMB).ceil() - 1.0;
            let to_weight = (p.residual - p.weight_until) / sent;
            slots = slots.min(whole).min((to_weight - CRUMB).ceil());
        }
        if policy == Policy::Srpt {
            slots = slots.min(self.order_holds());
        }
        if slots.is_finite() { slots.max(1.0) as u64 } else { u64::MAX }
    }

    /// How many slots pass before a partition has less left than another that was ahead of it: neighbours in the
    /// order meet first.
    fn order_holds(&mut self) -> f64 {
        let (parts, rates) = (&self.parts, &self.rates);
        self.order.clear();
        self.order.extend(0..parts.len() as u32);
        self.order.sort_by(|a, b| parts[*a as usize].residual.total_cmp(&parts[*b as usize].residual));
        let mut slots = f64::INFINITY;
        for pair in self.order.windows(2) {
            let (ahead, behind) = (pair[0] as usize, pair[1] as usize);
            let closing = (rates[behind] - rates[ahead]) * self.settings.delta;
            if closing > 0.0 {
                let gap = parts[behind].residual - parts[ahead].residual;
                slots = slots.min((gap / closing - CRUMB).floor());
            }
        }
        slots.max(1.0)
    }

    /// So many slots pass at these rates.
    fn send(&mut self, slot: u64, slots: u64) {
        let time = self.settings.delta * slots as f64;
        self.outcome.bandwidth += self.carried.iter().sum::<f64>() * time;
        self.load_is_stale = true;
        let mut done = false;
        for (p, rate) in self.parts.iter_mut().zip(&self.rates) {
            p.residual -= rate * time;
            done |= p.residual <= p.volume * CRUMB;
        }
        if !done {
            return;
        }
        let end = slot + slots;
        let Self { parts, load, groups, outcome, settings, .. } = self;
        parts.retain(|p| {
            if p.residual > p.volume * CRUMB {
                return true;
            }
            for tree in &p.trees {
                load.remove(tree, p.told / p.trees.len() as f64);
            }
            groups.remove(&p.entries);
            for &r in &p.receivers {
                outcome.completion[r as usize] = (end - 1 - p.arrived) as f64 * settings.delta;
            }
            false
        });
        outcome.end = end as f64 * settings.delta;
    }

    /// What was measured, `slot` being the first that did not pass.
    pub(super) fn finish(mut self, slot: u64) -> Outcome {
        if !self.parts.is_empty() {
            self.outcome.end = slot as f64 * self.settings.delta;
        }
        self.outcome.groups.most = self.groups.most;
        self.outcome.groups.buckets = self.groups.buckets;
        self.outcome
    }
}
