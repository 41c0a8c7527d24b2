//! What time brings: sites that fall silent, installs that take too long, senders that are gone, the next timeslot.

use std::collections::BTreeSet;

use super::network::pairs;
use super::rates::{Flow, allocate, differs};
use super::{Core, Now};
use crate::control::{TransferState, TreeLimit};
use crate::rate::Policy;

/// Shortest time between two computations of rates, in milliseconds.
const SHORTEST: u64 = 20;

impl Core {
    /// Time has passed. Called every 100 ms or so.
    pub fn tick(&mut self, now: Now) {
        self.silent_sites(now);
        self.late_installs(now);
        self.silent_senders(now);
        self.quiet_transfers(now);
        self.pump(now);
        if self.rates_due || now.ms >= self.rates_at + self.settings.timeslot {
            self.rates_due = true;
            self.share_out(now);
        }
        self.last_tick = now.ms;
    }

    fn silent_sites(&mut self, now: Now) {
        let lease = self.settings.lease;
        let (mut other, mut gone) = (false, Vec::new());
        for (name, site) in &mut self.sites {
            if !site.down && now.ms > site.due {
                site.down = true;
                other = true;
                tracing::warn!(site = name, "a site is silent");
            }
            if site.down && !site.trees.is_empty() && now.ms > site.due + lease {
                gone.extend(site.trees.keys().copied());
            }
            other |= site.avoid_until > self.last_tick && site.avoid_until <= now.ms;
        }
        if other {
            self.network_changed();
        }
        self.withdraw_and_settle(gone, now);
    }

    fn withdraw_and_settle(&mut self, trees: Vec<u32>, now: Now) {
        let mut transfers = BTreeSet::new();
        for n in trees {
            if let Some(tree) = self.trees.get(&n) {
                transfers.insert(tree.transfer);
                self.withdraw(n);
            }
        }
        for id in transfers {
            if let Some(t) = self.transfers.get_mut(&id) {
                t.patience = now.ms;
            }
            self.settle(id, now);
        }
    }

    /// Trees over links that are down are withdrawn.
    pub(super) fn check_links(&mut self, now: Now) {
        let up: BTreeSet<(String, String, String, String)> = pairs(&self.sites)
            .into_iter()
            .filter(|p| p.up)
            .map(|p| (p.hop.from, p.hop.out, p.hop.to, p.hop.back))
            .collect();
        let holds = |h: &super::tree::Hop| {
            up.contains(&(h.from.clone(), h.out.clone(), h.to.clone(), h.back.clone()))
        };
        let broken: Vec<u32> =
            self.trees.values().filter(|t| !t.hops.iter().all(holds)).map(|t| t.tree).collect();
        if !broken.is_empty() {
            tracing::warn!(trees = broken.len(), "links are down: trees over them are withdrawn");
        }
        self.withdraw_and_settle(broken, now);
    }

    fn late_installs(&mut self, now: Now) {
        let late: Vec<(u32, String)> = self
            .trees
            .values()
            .filter(|t| now.ms > t.deadline)
            .filter_map(|t| Some((t.tree, t.pending.keys().next()?.clone())))
            .collect();
        for (tree, site) in late {
            // Who is silent altogether keeps what is in force there: data goes on, and its lease or its links tell.
            let silent = self.sites.get(&site).is_some_and(|s| !s.is_up());
            if silent && self.trees.get(&tree).is_some_and(|t| t.in_force) {
                continue;
            }
            let seconds = self.settings.install_timeout as f64 / 1e3;
            self.fail(tree, &site, format!("site {site} did not install a tree within {seconds} s"), now);
        }
    }

    fn silent_senders(&mut self, now: Now) {
        let timeout = self.settings.sender_timeout;
        let silent = |id: &u64| {
            let t = self.transfers.get(id)?;
            (t.state == TransferState::Running && now.ms > t.heard + timeout).then_some(*id)
        };
        for id in self.live.iter().filter_map(silent).collect::<Vec<_>>() {
            if self.transfers.get(&id).is_some_and(super::transfer::Transfer::all_verified) {
                self.complete(id, now);
            } else {
                let seconds = timeout as f64 / 1e3;
                let why = match self.transfers.get(&id) {
                    Some(t) if t.session.is_none() => format!(
                        "no sender came within {seconds} s: `valecast qc send --resume {id} FILE` at {} sends it",
                        t.from
                    ),
                    _ => format!("its sender has been silent for {seconds} s; it can be resumed"),
                };
                self.stall(id, why);
            }
        }
    }

    /// Computes rates if they are due, and changes those that differ.
    pub(super) fn share_out(&mut self, now: Now) {
        if !self.rates_due || (now.ms < self.rates_at + SHORTEST && self.rates_at != 0 && !self.fresh()) {
            return;
        }
        let Some(network) = self.all() else { return };
        let beside = self.trees_beside();
        let flows: Vec<Flow<'_>> = self
            .trees
            .values()
            .filter_map(|tree| {
                let t = self.transfers.get(&tree.transfer)?;
                let left = if tree.residual == 0 { 0.0 } else { t.volume(tree.residual) };
                let open = |s: &&String| t.open().any(|r| r.site == **s);
                let receivers = tree.receivers.iter().filter(open).count();
                let beside = beside[&(tree.transfer, tree.partition)];
                Some(Flow { tree, left, volume: t.volume(t.bytes), receivers, beside, arrival: t.id })
            })
            .collect();
        let load = network.load(flows.iter().map(|f| (f.tree, f.left / f.beside)));
        let fallback = self.settings.scheme.rates.parse().unwrap_or(Policy::Fair);
        let policy = self.settings.rates.unwrap_or(fallback);
        let limits = allocate(&mut self.allocator, &network, &load, policy, &flows);
        let changed: Vec<(u32, TreeLimit)> = flows
            .iter()
            .zip(limits)
            .filter(|(f, limit)| differs(&f.tree.limit, limit))
            .map(|(f, limit)| (f.tree.tree, limit))
            .collect();
        self.rates_due = false;
        self.rates_at = now.ms;
        let mut roots = BTreeSet::new();
        for (n, limit) in changed {
            let Some(tree) = self.trees.get_mut(&n) else { continue };
            tree.limit = limit;
            let root = tree.root.clone();
            if let Some(here) = self.sites.get_mut(&root).and_then(|s| s.trees.get_mut(&n)) {
                here.limit = Some(limit);
                roots.insert(root);
            }
        }
        for root in roots {
            self.replan_site(&root);
        }
    }

    /// Whether a tree has no rate yet: it waits for no timeslot.
    fn fresh(&self) -> bool {
        self.trees.values().any(|t| t.limit.rate == 0)
    }
}
