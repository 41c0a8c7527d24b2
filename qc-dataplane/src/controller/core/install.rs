//! Trees into plans and out of them: all of a batch, or none.

use std::collections::BTreeSet;

use super::record::Record;
use super::tree::{Hop, Installed};
use super::{Core, KEEP, Now};
use crate::address::MOST_TREES;
use crate::control::{IncomingTree, TransferState, TreeLimit};

/// How long a site that could not install something is left alone, in milliseconds.
const AVOID: u64 = 10_000;
/// Longest pause before a transfer that could not be installed is planned again, in milliseconds.
const LONGEST_PAUSE: u64 = 30_000;
/// The last number that trees have; addresses with higher ones are for probes of links.
const LAST_TREE: u32 = MOST_TREES - 256;

/// Trees of one partition that are to be installed.
#[derive(Debug)]
pub(super) struct Part {
    /// The partition, if others carry it already.
    pub number: Option<u16>,
    /// Its receivers.
    pub receivers: Vec<String>,
    /// The links of each tree.
    pub trees: Vec<Vec<Hop>>,
}

impl Core {
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

    /// Puts trees into plans.
    pub(super) fn install(
        &mut self,
        id: u64,
        parts: Vec<Part>,
        residual: u64,
        now: Now,
    ) -> Result<(), String> {
        let batch = self.numbers.batch;
        self.numbers.batch += 1;
        let mut numbers = Vec::new();
        for Part { number, receivers, trees } in parts {
            let Some(t) = self.transfers.get_mut(&id) else { return Ok(()) };
            let partition = number.unwrap_or(t.next_partition);
            if number.is_none() {
                t.next_partition = t.next_partition.wrapping_add(1);
            }
            for hops in trees {
                let number = self.number().ok_or("all numbers of trees are taken")?;
                let Some(t) = self.transfers.get_mut(&id) else { return Ok(()) };
                t.trees.push(number);
                let tree = Installed {
                    tree: number,
                    transfer: id,
                    partition,
                    batch,
                    root: t.from.clone(),
                    receivers: receivers.clone(),
                    hops,
                    in_force: false,
                    pending: std::collections::BTreeMap::new(),
                    deadline: now.ms + self.settings.install_timeout,
                    limit: TreeLimit::default(),
                    residual,
                };
                self.trees.insert(number, tree);
                numbers.push(number);
            }
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
        self.settle(id, now);
        self.save(id);
        Ok(())
    }

    pub(super) fn enter_plans(&mut self, tree: &Installed) {
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
    pub(super) fn await_sites(&mut self, number: u32) {
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
                self.thin.remove(&tree.transfer);
            }
            let is_beside = |n: &u32| self.trees.get(n).is_some_and(|o| o.partition == tree.partition);
            let is_thin = t.trees.iter().any(is_beside);
            if !t.state.is_over() && t.state != TransferState::Stalled {
                self.wanting.insert(tree.transfer);
            }
            if is_thin {
                self.is_thin(tree.transfer);
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
        // What the rest of a batch waited for may have been taken away.
        let is_there = |n: &u32| self.trees.get(n).is_some_and(|o| !o.in_force && o.pending.is_empty());
        for there in t.trees.iter().copied().filter(is_there).collect::<Vec<_>>() {
            self.arrived(there, now);
        }
        let Some(t) = self.transfers.get_mut(&id) else { return };
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
