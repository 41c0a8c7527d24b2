//! What was there before the process.

use super::record::{Record, Saved};
use super::site::Site;
use super::{Core, Now};
use crate::control::{TransferState, TreeLimit};

/// How long sites may take to come back to a controller that was started, in milliseconds.
const COME_BACK: u64 = 10_000;

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
            let then = |ms: u64| i128::from(now.ms) - (i128::from(now.unix_ms) - i128::from(ms)).max(0);
            (t.created, t.quiet) = (then(t.created_ms), t.quiet_ms.map(then));
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
            (tree.residual, tree.limit) = (t.bytes, TreeLimit::default());
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
            // Which of them had more trees is not written down.
            if self.transfers.get(&id).is_some_and(|t| self.scheme_of(t).parallel > 1) {
                self.is_thin(id);
            }
        }
        self.rates_due = true;
        self.share_out(now);
    }
}
