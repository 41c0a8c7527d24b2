//! What waits is planned: who can take part, who is waited for, and what is said of the others.

use std::collections::{BTreeSet, HashMap};

use super::install::Part;
use super::network::Network;
use super::planning::{self, Request};
use super::transfer::Transfer;
use super::tree::Installed;
use super::{Core, Now};
use crate::control::{ReceiverState, TransferState};
use crate::plan::{Planner, Scheme};
use crate::tree::Tree;

/// How long receivers have to keep coming for others to wait for them, in milliseconds.
const GATHER: u64 = 1_000;
/// Transfers planned in one pass, and how many of them may fail.
const PASS: (usize, usize) = (256, 8);

impl Core {
    /// Plans what waits, and what lacks trees, as far as one pass goes.
    pub(super) fn pump(&mut self, now: Now) {
        self.plan_waiting(now);
        self.replenish(now);
    }

    fn plan_waiting(&mut self, now: Now) {
        let (mut planned, mut failed) = (0, 0);
        let after = self.wanting.range(self.cursor..).copied();
        let order: Vec<u64> = after.chain(self.wanting.range(..self.cursor).copied()).collect();
        for id in order {
            if planned == PASS.0 || failed == PASS.1 {
                self.cursor = id;
                return;
            }
            let Some(t) = self.transfers.get(&id) else { continue };
            if t.retry > now.ms || t.blocked == Some(self.epoch) {
                continue;
            }
            if self.live.len() >= self.settings.max_transfers && !self.live.contains(&id) {
                let most = self.settings.max_transfers;
                self.wait(
                    id,
                    format!("{most} transfers are under way, `max_transfers` allows no more"),
                    None,
                );
                failed += 1;
                continue;
            }
            match self.try_plan(id, now) {
                Ok(()) => planned += 1,
                Err((why, retry)) => {
                    failed += 1;
                    self.wait(id, why, retry);
                }
            }
        }
        self.cursor = 0;
    }

    fn wait(&mut self, id: u64, why: String, retry: Option<u64>) {
        let epoch = self.epoch;
        let Some(t) = self.transfers.get_mut(&id) else { return };
        match retry {
            Some(at) => t.retry = at,
            None => t.blocked = Some(epoch),
        }
        let idle = t.trees.is_empty();
        let state = if idle { TransferState::Waiting } else { t.state };
        if t.why.as_deref() != Some(why.as_str()) || t.state != state {
            (t.why, t.state) = (Some(why), state);
            self.touch(id);
        }
    }

    /// Receivers that no tree serves.
    pub(super) fn unserved(&self, t: &Transfer) -> Vec<String> {
        let served: BTreeSet<&String> =
            t.trees.iter().filter_map(|n| self.trees.get(n)).flat_map(|tree| &tree.receivers).collect();
        t.open().map(|r| &r.site).filter(|s| !served.contains(s)).cloned().collect()
    }

    /// Why a site cannot take part now.
    pub(super) fn absent(&self, name: &str, now: Now) -> Option<String> {
        match self.sites.get(name) {
            None => Some(format!("site {name} has not reported yet")),
            Some(s) if s.session.is_none() && !s.down => {
                Some(format!("site {name} has not come back yet since the controller was started"))
            }
            Some(s) if !s.is_up() => Some(format!("site {name} is down: it does not report")),
            Some(s) if s.avoid_until > now.ms => {
                Some(s.trouble.clone().unwrap_or_else(|| format!("site {name} is in trouble")))
            }
            Some(_) => None,
        }
    }

    /// Plans for the receivers that no tree serves and puts the trees into the sites' plans.
    fn try_plan(&mut self, id: u64, now: Now) -> Result<(), (String, Option<u64>)> {
        let Some(t) = self.transfers.get(&id) else { return Ok(()) };
        let unserved = self.unserved(t);
        if unserved.is_empty() {
            self.wanting.remove(&id);
            return Ok(());
        }
        if let Some(why) = self.absent(&t.from, now) {
            return Err((format!("the sender: {why}"), None));
        }
        let (from, scheme, patience) = (t.from.clone(), self.scheme_of(t), t.patience);
        let network = self.usable(now).ok_or_else(|| ("there is no network".to_owned(), None))?;
        let reach = network.graph.find(&from).map(|n| network.reach(n)).unwrap_or_default();
        let mut missing = Vec::new();
        let mut to = Vec::new();
        for site in &unserved {
            let why = self.absent(site, now).or_else(|| {
                let found = network.graph.find(site).is_some_and(|n| reach.contains(&n));
                let receives = self.sites.get(site).is_some_and(|s| s.receives);
                match (found, receives) {
                    (false, _) => Some(format!("no links that are up lead from {from} to {site}")),
                    (true, false) => {
                        Some(format!("nobody receives at {site}: start `valecast qc recv` there"))
                    }
                    (true, true) => None,
                }
            });
            match why {
                Some(why) => missing.push((site.clone(), why)),
                None => to.push(site.clone()),
            }
        }
        let listed: Vec<&str> = missing.iter().map(|m| m.1.as_str()).take(4).collect();
        let more = if missing.len() > 4 { format!("; {} more", missing.len() - 4) } else { String::new() };
        let missed = listed.join("; ") + &more;
        self.say_missing(id, &missing);
        if to.is_empty() {
            return Err((missed, None));
        }
        if !missing.is_empty() {
            // Who starts together comes together: those that come within a moment share a tree.
            let until = patience.max(self.gathered(id, to.len(), now));
            if now.ms < until {
                return Err((missed, Some(until.min(now.ms + 200))));
            }
        }
        let Some(t) = self.transfers.get(&id) else { return Ok(()) };
        let left = t.open().filter(|r| to.contains(&r.site)).map(|r| t.bytes.saturating_sub(r.have)).max();
        let left = left.unwrap_or(t.bytes);
        let volume = t.volume(left);
        let mut planner = self.planner(&network, scheme);
        let request = Request { from: &from, to: &to, volume };
        let planned = planning::plan(
            &network,
            &mut planner,
            &self.sites,
            |network| network.load(self.flows_left()),
            request,
            |avoid| self.network_without(now, avoid),
        );
        self.planners.insert(planner.scheme().name.clone(), planner);
        let (network, planned) = planned.map_err(|why| (why, None))?;
        let hops = |trees: Vec<Tree>| trees.iter().map(|t| network.hops_of(t)).collect();
        let part = |(receivers, trees)| Part { number: None, receivers, trees: hops(trees) };
        let parts = planned.into_iter().map(part).collect();
        if let Some(t) = self.transfers.get_mut(&id) {
            (t.why, t.blocked) = (None, None);
        }
        self.install(id, parts, left, now).map_err(|why| (why, None))?;
        if missing.is_empty() {
            self.wanting.remove(&id);
        } else if let Some(t) = self.transfers.get_mut(&id) {
            (t.blocked, t.why) = (Some(self.epoch), Some(missed));
        }
        Ok(())
    }

    /// The planner of a scheme, to be given back to `planners`.
    pub(super) fn planner(&mut self, network: &Network, scheme: Scheme) -> Planner {
        self.planners.remove(&scheme.name).unwrap_or_else(|| Planner::new(&network.graph, scheme))
    }

    /// Until when more receivers may come before those that are there start. After a failure nobody is waited for.
    fn gathered(&mut self, id: u64, ready: usize, now: Now) -> u64 {
        let Some(t) = self.transfers.get_mut(&id) else { return now.ms };
        match t.ready {
            Some((n, since)) if n == ready => since + GATHER,
            Some(_) => {
                t.ready = Some((ready, now.ms));
                now.ms + GATHER
            }
            None => {
                t.ready = Some((ready, now.ms.saturating_sub(GATHER)));
                now.ms
            }
        }
    }

    /// Trees, and the volume that is left of each in Gbit of whole frames.
    pub(super) fn flows_left(&self) -> impl Iterator<Item = (&Installed, f64)> {
        let beside = self.trees_beside();
        self.trees.values().filter_map(move |tree| {
            let t = self.transfers.get(&tree.transfer)?;
            let left = if tree.residual == 0 { 0.0 } else { t.volume(tree.residual) };
            Some((tree, left / beside[&(tree.transfer, tree.partition)]))
        })
    }

    /// How many trees each partition of each transfer has.
    pub(super) fn trees_beside(&self) -> HashMap<(u64, u16), f64> {
        let mut trees = HashMap::new();
        for tree in self.trees.values() {
            *trees.entry((tree.transfer, tree.partition)).or_default() += 1.0;
        }
        trees
    }

    fn say_missing(&mut self, id: u64, missing: &[(String, String)]) {
        let Some(t) = self.transfers.get_mut(&id) else { return };
        let mut other = false;
        for r in t.receivers.iter_mut().filter(|r| r.state == ReceiverState::Waiting) {
            let why = missing.iter().find(|m| m.0 == r.site).map(|m| m.1.clone());
            other |= r.why != why;
            r.why = why;
        }
        if other {
            self.touch(id);
        }
    }
}
