//! Partitions that have lost one of their parallel trees. They get another as soon as the network allows; the trees that
//! are left go on as they are.

use std::collections::BTreeMap;

use super::install::Part;
use super::planning::{self, Request};
use super::transfer::Transfer;
use super::tree::{Hop, Installed};
use super::{Core, Now, scheme};
use crate::control::TransferState;
use crate::plan::Scheme;

/// From one pass to the next, in milliseconds.
const LOOK: u64 = 100;
/// Transfers that are looked at in one pass.
const PASS: usize = 8;
/// What is sent within so many milliseconds is not worth another tree.
const WORTH: u64 = 1_000;

/// When a transfer was looked at last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    /// The state of the network then.
    epoch: u64,
    at: u64,
}

/// Trees that carry a partition, which lacks some.
#[derive(Debug)]
struct Thin {
    number: u16,
    receivers: Vec<String>,
    trees: Vec<Installed>,
    /// Bytes that are still to be sent.
    left: u64,
}

impl Core {
    /// A tree was taken away from a partition that others carry.
    pub(super) fn is_thin(&mut self, id: u64) {
        self.thin.insert(id, Looked::default());
    }

    pub(super) fn scheme_of(&self, t: &Transfer) -> Scheme {
        t.scheme.as_deref().and_then(scheme).unwrap_or_else(|| self.settings.scheme.clone())
    }

    /// Gives other trees to those that lost some, where the network is another than when this was tried last.
    pub(super) fn replenish(&mut self, now: Now) {
        if self.thin.is_empty() || now.ms < self.thin_at {
            return;
        }
        let due = self.thin.iter().filter(|(_, looked)| looked.epoch != self.epoch);
        let mut due: Vec<(u64, u64)> = due.map(|(id, looked)| (looked.at, *id)).collect();
        due.sort_unstable();
        for (_, id) in due.into_iter().take(PASS) {
            self.thin_at = now.ms + LOOK;
            if self.widen(id, now) {
                self.thin.remove(&id);
            } else {
                self.thin.insert(id, Looked { epoch: self.epoch, at: now.ms });
            }
        }
    }

    /// Tries to give a transfer the trees that it lacks. Whether it lacks none any more.
    fn widen(&mut self, id: u64, now: Now) -> bool {
        let Some(t) = self.transfers.get(&id) else { return true };
        // What has no tree at all is planned anew.
        if t.trees.is_empty() {
            return true;
        }
        if t.state != TransferState::Running || t.retry > now.ms || self.absent(&t.from, now).is_some() {
            return false;
        }
        let most = self.scheme_of(t).parallel;
        let (mut whole, mut found) = (true, Vec::new());
        for thin in self.thin_partitions(t, most) {
            match self.more_trees(id, &thin, now) {
                Some(trees) if !trees.is_empty() => {
                    whole &= thin.trees.len() + trees.len() >= most;
                    found.push((
                        Part { number: Some(thin.number), receivers: thin.receivers, trees },
                        thin.left,
                    ));
                }
                _ => whole = false,
            }
        }
        for (part, left) in found {
            let (partition, trees) = (part.number, part.trees.len());
            match self.install(id, vec![part], left, now) {
                Ok(()) => tracing::info!(transfer = id, partition, trees, "it has more trees again"),
                Err(_) => whole = false,
            }
        }
        whole
    }

    /// Partitions with fewer trees than `most`, of which more is left than is sent in a moment.
    fn thin_partitions(&self, t: &Transfer, most: usize) -> Vec<Thin> {
        let mut all: BTreeMap<u16, Thin> = BTreeMap::new();
        for tree in t.trees.iter().filter_map(|n| self.trees.get(n)) {
            let new = || Thin {
                number: tree.partition,
                receivers: tree.receivers.clone(),
                trees: Vec::new(),
                left: u64::MAX,
            };
            let partition = all.entry(tree.partition).or_insert_with(new);
            partition.left = partition.left.min(tree.residual);
            partition.trees.push(tree.clone());
        }
        let lacks = |p: &Thin| {
            let rate: u64 = p.trees.iter().map(|tree| tree.limit.rate).sum();
            let soon = u128::from(p.left) * 8 * 1_000 <= u128::from(rate) * u128::from(WORTH);
            let open = t.open().any(|r| p.receivers.contains(&r.site));
            p.trees.len() < most && open && !soon
        };
        all.into_values().filter(lacks).collect()
    }

    /// The links of further trees for a partition; `None` if the network of its trees is not as it should be.
    fn more_trees(&mut self, id: u64, thin: &Thin, now: Now) -> Option<Vec<Vec<Hop>>> {
        let network = self.usable(now)?;
        let t = self.transfers.get(&id)?;
        let (from, scheme, volume) = (t.from.clone(), self.scheme_of(t), t.volume(thin.left));
        let is_fit = |tree: &Installed| tree.in_force && network.links_of(tree).len() == tree.hops.len();
        if !thin.trees.iter().all(is_fit) {
            return None;
        }
        let others =
            self.flows_left().filter(|(tree, _)| (tree.transfer, tree.partition) != (id, thin.number));
        let load = network.load(others);
        let mut planner = self.planner(&network, scheme);
        let request = Request { from: &from, to: &thin.receivers, volume };
        let found = planning::more(&network, &mut planner, &self.sites, &load, request, &thin.trees);
        self.planners.insert(planner.scheme().name.clone(), planner);
        Some(found.ok()?.iter().map(|tree| network.hops_of(tree)).collect())
    }
}
