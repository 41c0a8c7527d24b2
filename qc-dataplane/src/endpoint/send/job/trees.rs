//! The trees of a job: those that the controller says, each with a thread.

use std::sync::Arc;
use std::sync::mpsc::Sender as Tell;
use std::time::{Duration, Instant};

use super::Job;
use crate::control::{TransferState, TransferStatus, TreeStatus};
use crate::endpoint::EndpointError;
use crate::endpoint::send::tree::{Common, TreeEnd, TreeSender};
use crate::transport::sender::SenderCounters;
use crate::transport::sender::shares::Shares;

/// After a port could not be opened, or went away.
const AGAIN: Duration = Duration::from_millis(500);

impl Job {
    /// Makes the trees be those of the status.
    pub(super) fn follow(&mut self, status: &TransferStatus, tell: &Tell<()>) -> Result<(), EndpointError> {
        let wanted = if status.state == TransferState::Running { &status.trees[..] } else { &[] };
        let is_wanted = |tree: u32| wanted.iter().any(|t| t.tree == tree);
        self.rest.retain(|tree, _| is_wanted(*tree));
        let gone: Vec<u32> = self.trees.keys().copied().filter(|t| !is_wanted(*t)).collect();
        for tree in gone {
            self.end(tree);
        }
        self.shares.retain(|partition, _| wanted.iter().any(|t| t.partition == *partition));
        for tree in wanted {
            // Also of one that is alone: others may come later, and it shares with them what is left then.
            let new = || Arc::new(Shares::new(&self.parcel.shape));
            self.shares.entry(tree.partition).or_insert_with(new);
            self.keep(tree, tell)?;
        }
        Ok(())
    }

    pub(super) fn end(&mut self, tree: u32) {
        if let Some(mut tree) = self.trees.remove(&tree) {
            let view = tree.stop();
            self.before = sum(self.before, view.counters);
            self.tally.trees(&[(&tree.status, view)], &self.parcel.shape);
        }
    }

    /// Starts a tree that is not there, tells its rate to one that is, and tries one again whose port was away.
    fn keep(&mut self, status: &TreeStatus, tell: &Tell<()>) -> Result<(), EndpointError> {
        if let Some(tree) = self.trees.get_mut(&status.tree) {
            let Some(TreeEnd::Port(why)) = tree.view().end else {
                tree.update(status.clone());
                return Ok(());
            };
            self.trouble = Some(why);
            self.end(status.tree);
            self.rest.insert(status.tree, Instant::now() + AGAIN);
        }
        if self.rest.get(&status.tree).is_some_and(|at| Instant::now() < *at) {
            return Ok(());
        }
        let socket = match &self.socket {
            // Asked again after a failure: the site may have been started anew.
            Some(socket) if !self.rest.contains_key(&status.tree) => socket.clone(),
            _ => match self.site.info() {
                Ok(info) => self.socket.insert(info.socket).clone(),
                Err(e) if e.may_pass() => {
                    self.trouble = Some(e.to_string());
                    return Ok(());
                }
                Err(e) => return Err(e),
            },
        };
        let common = Common {
            path: self.parcel.path.clone(),
            cut: self.parcel.cut,
            transfer: self.id,
            session: self.session,
            socket,
            hash: self.hash.clone(),
            shares: self.shares.get(&status.partition).cloned(),
            manifest: self.parcel.manifest,
            silence: self.silence,
        };
        self.trees.insert(status.tree, TreeSender::start(common, status.clone(), tell.clone())?);
        Ok(())
    }
}

pub(super) fn sum(a: SenderCounters, b: SenderCounters) -> SenderCounters {
    SenderCounters {
        chunks: a.chunks + b.chunks,
        repairs: a.repairs + b.repairs,
        unicast: a.unicast + b.unicast,
        parity: a.parity + b.parity,
        parts: a.parts + b.parts,
        control: a.control + b.control,
        reports: a.reports + b.reports,
        stale: a.stale + b.stale,
        rejected: a.rejected + b.rejected,
    }
}
