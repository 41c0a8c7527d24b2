//! Trees into plans and out of them: all of a batch, or none.

use std::collections::BTreeSet;

use super::planning::{self, Request};
use super::record::{Record, Saved};
use super::site::Site;
use super::transfer::Transfer;
use super::tree::Installed;
use super::{Core, KEEP, Now, scheme};
use crate::address::MOST_TREES;
use crate::control::{IncomingTree, ReceiverState, TransferState};
use crate::plan::Planner;

/// How long a site that could not install something is left alone, in milliseconds.
const AVOID: u64 = 10_000;
/// Longest pause before a transfer that could not be installed is planned again, in milliseconds.
const LONGEST_PAUSE: u64 = 30_000;
/// How long sites may take to come back to a controller that was started, in milliseconds.
const COME_BACK: u64 = 10_000;
/// How long receivers have to keep coming for others to wait for them, in milliseconds.
const GATHER: u64 = 1_000;
/// The last number that trees have; addresses with higher ones are for probes of links.
const LAST_TREE: u32 = MOST_TREES - 256;
/// Transfers planned in one pass, and how many of them may fail.
const PASS: (usize, usize) = (256, 8);

impl Core {
    /// What was there before the process.
    pub(super) fn restore(&mut self, saved: Saved, now: Now) {
        for (name, s) in saved.sites {
            let mut site = Site::new(0);
            (site.links, site.max_groups, site.max_buckets) = (s.links, s.max_groups, s.max_buckets);
            (site.heard, site.due) = (now.ms, now.ms + COME_BACK);
            self.sites.insert(name, site);
        }
        let mut over = Vec::new();
        for (id, mut t) in saved.transfers {
            (t.version, t.failures) = (1, 0);
            (t.trees, t.session, t.blocked, t.ready) = (Vec::new(), None, None, Some((0, now.ms)));
            t.created = i128::from(now.ms) - (i128::from(now.unix_ms) - i128::from(t.created_ms)).max(0);
            (t.heard, t.patience, t.retry) = (now.ms, now.ms + COME_BACK, now.ms);
            if t.state.is_over() {
                over.push((t.ended_ms, id));
            } else if t.state != TransferState::Stalled {
                self.wanting.insert(id);
            }
            self.requests.extend(t.request.map(|r| (r, id)));
            self.transfers.insert(id, t);
        }
        over.sort_unstable();
        self.over = over.into_iter().map(|o| o.1).collect();
        for (number, mut tree) in saved.trees {
            let owner = self.transfers.get_mut(&tree.transfer);
            let Some(t) = owner.filter(|t| !t.state.is_over() && t.state != TransferState::Stalled) else {
                self.changes.records.push(Record::Gone(number));
                continue;
            };
            t.trees.push(number);
            self.live.insert(t.id);
            (tree.residual, tree.rate) = (t.bytes, 0);
            tree.pending.clear();
            tree.deadline = now.ms + COME_BACK + self.settings.install_timeout;
            self.trees.insert(number, tree.clone());
            self.enter_plans(&tree);
        }
        for name in self.sites.keys().cloned().collect::<Vec<_>>() {
            self.replan_site(&name);
        }
        for number in self.trees.keys().copied().collect::<Vec<_>>() {
            self.await_sites(number);
        }
        for id in self.live.clone() {
            self.settle(id, now);
        }
        self.rates_due = true;
        self.share_out(now);
    }

    /// Plans what waits, as far as one pass goes.
    pub(super) fn pump(&mut self, now: Now) {
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
    fn absent(&self, name: &str, now: Now) -> Option<String> {
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
        let (from, wish, patience) = (t.from.clone(), t.scheme.clone(), t.patience);
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
        let scheme = wish.as_deref().and_then(scheme).unwrap_or_else(|| self.settings.scheme.clone());
        let mut planner = self
            .planners
            .remove(&scheme.name)
            .unwrap_or_else(|| Planner::new(&network.graph, planning::without_parallel(&scheme)));
        let request = Request { from: &from, to: &to, volume };
        let planned = planning::plan(
            &network,
            &mut planner,
            &self.sites,
            |network| network.load(self.flows_left()),
            request,
            |avoid| self.network_without(now, avoid),
        );
        self.planners.insert(scheme.name.clone(), planner);
        let (network, planned) = planned.map_err(|why| (why, None))?;
        let trees =
            planned.into_iter().map(|(receivers, tree)| (receivers, network.hops_of(&tree))).collect();
        self.install(id, trees, left, now).map_err(|why| (why, None))?;
        if missing.is_empty() {
            self.wanting.remove(&id);
        } else if let Some(t) = self.transfers.get_mut(&id) {
            (t.blocked, t.why) = (Some(self.epoch), Some(missed));
        }
        Ok(())
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
        self.trees.values().filter_map(|tree| {
            let t = self.transfers.get(&tree.transfer)?;
            Some((tree, if tree.residual == 0 { 0.0 } else { t.volume(tree.residual) }))
        })
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

    /// A number that no tree has.
    fn number(&mut self) -> Option<u32> {
        for _ in 0..=self.trees.len() {
            let number = self.numbers.tree.clamp(1, LAST_TREE);
            self.numbers.tree = if number < LAST_TREE { number + 1 } else { 1 };
            if !self.trees.contains_key(&number) {
                return Some(number);
            }
        }
        None
    }

    fn install(
        &mut self,
        id: u64,
        trees: Vec<(Vec<String>, Vec<super::tree::Hop>)>,
        residual: u64,
        now: Now,
    ) -> Result<(), String> {
        let batch = self.numbers.batch;
        self.numbers.batch += 1;
        let mut numbers = Vec::new();
        for (receivers, hops) in trees {
            let number = self.number().ok_or("all numbers of trees are taken")?;
            let Some(t) = self.transfers.get_mut(&id) else { return Ok(()) };
            let partition = t.next_partition;
            t.next_partition = t.next_partition.wrapping_add(1);
            t.trees.push(number);
            let tree = Installed {
                tree: number,
                transfer: id,
                partition,
                batch,
                root: t.from.clone(),
                receivers,
                hops,
                in_force: false,
                pending: std::collections::BTreeMap::new(),
                deadline: now.ms + self.settings.install_timeout,
                rate: 0,
                residual,
            };
            self.trees.insert(number, tree);
            numbers.push(number);
        }
        self.live.insert(id);
        self.rates_due = true;
        // What the others lose they lose when the new ones start; nobody waits for the next timeslot.
        self.share_out(now);
        let mut touched = BTreeSet::new();
        for number in &numbers {
            if let Some(tree) = self.trees.get(number).cloned() {
                touched.extend(tree.sites().map(str::to_owned));
                self.enter_plans(&tree);
                self.changes.records.push(Record::Tree(Box::new(tree)));
            }
        }
        for site in touched {
            self.replan_site(&site);
        }
        for number in numbers {
            self.await_sites(number);
        }
        if let Some(t) = self.transfers.get_mut(&id) {
            t.why = None;
            t.blocked = None;
        }
        self.settle(id, now);
        self.save(id);
        Ok(())
    }

    fn enter_plans(&mut self, tree: &Installed) {
        let Some(t) = self.transfers.get(&tree.transfer) else { return };
        for (name, here) in tree.parts() {
            let incoming = here.receiver.map(|receiver| IncomingTree {
                tree: tree.tree,
                transfer: tree.transfer,
                partition: tree.partition,
                receiver,
                from: t.from.clone(),
                name: t.name.clone(),
                bytes: t.bytes,
            });
            if let Some(site) = self.sites.get_mut(name) {
                site.add(here, incoming);
            }
        }
    }

    /// All sites that a tree crosses have to say that it is in force.
    fn await_sites(&mut self, number: u32) {
        let Some(tree) = self.trees.get_mut(&number) else { return };
        let names: Vec<String> = tree.sites().map(str::to_owned).collect();
        for name in names {
            if let Some(site) = self.sites.get_mut(&name) {
                tree.pending.insert(name, site.generation);
                site.unconfirmed.insert(number);
            }
        }
    }

    /// Takes a tree out of all plans.
    pub(super) fn withdraw(&mut self, number: u32) {
        let Some(tree) = self.trees.remove(&number) else { return };
        for name in tree.sites() {
            if self.sites.get_mut(name).is_some_and(|s| s.remove(number)) {
                self.replan_site(name);
            }
        }
        self.changes.records.push(Record::Gone(number));
        self.epoch += 1;
        self.rates_due = true;
        if let Some(t) = self.transfers.get_mut(&tree.transfer) {
            t.trees.retain(|n| *n != number);
            (t.blocked, t.ready) = (None, None);
            if t.trees.is_empty() {
                self.live.remove(&tree.transfer);
            }
            if !t.state.is_over() && t.state != TransferState::Stalled {
                self.wanting.insert(tree.transfer);
            }
        }
        self.touch(tree.transfer);
    }

    pub(super) fn withdraw_all(&mut self, id: u64) {
        for number in self.transfers.get(&id).map(|t| t.trees.clone()).unwrap_or_default() {
            self.withdraw(number);
        }
        self.wanting.remove(&id);
    }

    /// A site cannot have a tree: it goes everywhere, and with it what came at the same time and is not in force.
    pub(super) fn fail(&mut self, number: u32, site: &str, why: String, now: Now) {
        let Some(tree) = self.trees.get(&number) else { return };
        let (id, batch, in_force) = (tree.transfer, tree.batch, tree.in_force);
        tracing::warn!(tree = number, transfer = id, site, why, "a tree is withdrawn");
        if let Some(s) = self.sites.get_mut(site) {
            s.avoid_until = now.ms + AVOID;
            s.trouble = Some(why);
        }
        self.network_changed();
        let all = self.transfers.get(&id).map(|t| t.trees.clone()).unwrap_or_default();
        for n in all {
            let same = self.trees.get(&n).is_some_and(|t| t.batch == batch && !t.in_force);
            if n == number || (same && !in_force) {
                self.withdraw(n);
            }
        }
        if let Some(t) = self.transfers.get_mut(&id) {
            t.failures += 1;
            // The first time around the site at once; then slower and slower.
            let pause = if t.failures == 1 { 0 } else { 500 << t.failures.min(7) };
            t.retry = now.ms + pause.min(LONGEST_PAUSE);
        }
        self.settle(id, now);
    }

    /// Sets what a transfer's trees make of it.
    pub(super) fn settle(&mut self, id: u64, now: Now) {
        let Some(t) = self.transfers.get_mut(&id) else { return };
        if t.state.is_over() || t.state == TransferState::Stalled {
            return;
        }
        let trees = || t.trees.iter().filter_map(|n| self.trees.get(n));
        let state = if trees().any(|tree| tree.in_force) {
            TransferState::Running
        } else if trees().next().is_some() {
            TransferState::Planning
        } else if t.why.is_some() {
            TransferState::Waiting
        } else {
            TransferState::Planning
        };
        if state != t.state {
            if state == TransferState::Running {
                t.heard = t.heard.max(now.ms);
            }
            t.state = state;
            self.save(id);
        }
    }

    /// A batch of which all sites have said that it is in force, is.
    pub(super) fn arrived(&mut self, number: u32, now: Now) {
        let Some(tree) = self.trees.get(&number) else { return };
        let (id, batch) = (tree.transfer, tree.batch);
        let Some(t) = self.transfers.get_mut(&id) else { return };
        let same: Vec<u32> =
            t.trees.iter().copied().filter(|n| self.trees.get(n).is_some_and(|o| o.batch == batch)).collect();
        if same.iter().any(|n| self.trees.get(n).is_some_and(|o| !o.pending.is_empty())) {
            return;
        }
        t.failures = 0;
        let mut news = false;
        for n in same {
            if let Some(tree) = self.trees.get_mut(&n)
                && !std::mem::replace(&mut tree.in_force, true)
            {
                news = true;
                self.changes.records.push(Record::Tree(Box::new(tree.clone())));
            }
        }
        if news {
            self.settle(id, now);
            self.touch(id);
        }
    }

    /// A transfer is over.
    pub(super) fn end(&mut self, id: u64, state: TransferState, why: Option<String>, now: Now) {
        if let Some(t) = self.transfers.get_mut(&id) {
            (t.state, t.why, t.ended_ms) = (state, why, Some(now.unix_ms));
            for r in &mut t.receivers {
                r.rate = 0;
            }
        }
        self.withdraw_all(id);
        self.save(id);
        self.over.push_back(id);
        while self.over.len() > KEEP {
            if let Some(old) = self.over.pop_front() {
                let request = self.transfers.remove(&old).and_then(|t| t.request);
                request.map(|r| self.requests.remove(&r));
                self.changes.records.push(Record::Forget(old));
            }
        }
    }

    /// A transfer's sender is gone: nothing stays installed until it comes back.
    pub(super) fn stall(&mut self, id: u64, why: String) {
        if let Some(t) = self.transfers.get_mut(&id) {
            (t.state, t.why, t.session) = (TransferState::Stalled, Some(why), None);
            for r in &mut t.receivers {
                r.rate = 0;
            }
        }
        self.withdraw_all(id);
        self.save(id);
    }
}
