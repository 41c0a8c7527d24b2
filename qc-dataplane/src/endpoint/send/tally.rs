//! How far each receiver of a transfer is, over all trees that it was on.

use std::collections::BTreeMap;

use super::tree::TreeView;
use crate::control::{ReceiverProgress, ReceiverState, TransferStatus, TreeProgress, TreeStatus};
use crate::transport::sender::peers::{Outcome, PeerStatus};
use crate::transport::wire::{Shape, State};

/// Receivers by site.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    sites: BTreeMap<String, ReceiverProgress>,
}

/// A receiver as the controller is to hear of it.
pub fn progress_of(peer: &PeerStatus, shape: &Shape) -> ReceiverProgress {
    let (state, why) = match (peer.outcome, peer.state) {
        (Some(Outcome::Verified), _) => (ReceiverState::Verified, None),
        (Some(Outcome::Failed(cause)), _) => (ReceiverState::Failed, Some(cause.to_string())),
        (Some(Outcome::Silent(ns)), _) => {
            let why = format!("did not answer for {} s", ns / crate::transport::SECOND);
            (ReceiverState::Silent, Some(why))
        }
        (None, None) => (ReceiverState::Waiting, None),
        (None, Some(State::Checking)) => (ReceiverState::Checking, None),
        (None, Some(_)) => (ReceiverState::Receiving, None),
    };
    let have = peer.have.saturating_mul(shape.chunk() as u64).min(shape.total());
    let rate = if state == ReceiverState::Receiving { peer.rate } else { 0 };
    ReceiverProgress { have, rate, state, why }
}

const NOTHING: ReceiverProgress =
    ReceiverProgress { have: 0, rate: 0, state: ReceiverState::Waiting, why: None };

/// What counts of a receiver that says one thing on one tree and another on the next, or nothing.
fn rank(state: ReceiverState) -> u8 {
    match state {
        ReceiverState::Waiting => 0,
        ReceiverState::Silent => 1,
        ReceiverState::Receiving => 2,
        ReceiverState::Checking => 3,
        ReceiverState::Failed => 4,
        ReceiverState::Verified => 5,
    }
}

impl Tally {
    /// Takes over how trees stand, and says it. A receiver that is on several of them stands as it does on the best.
    pub fn trees(&mut self, trees: &[(&TreeStatus, TreeView)], shape: &Shape) -> Vec<TreeProgress> {
        let mut now: BTreeMap<&str, ReceiverProgress> = BTreeMap::new();
        for (status, view) in trees {
            for (i, site) in status.receivers.iter().enumerate() {
                let here = view.peers.get(i).map_or(NOTHING, |p| progress_of(p, shape));
                let best = now.entry(site).or_insert_with(|| here.clone());
                if (rank(here.state), here.have) > (rank(best.state), best.have) {
                    *best = here;
                }
            }
        }
        for (site, now) in &now {
            // One that has not spoken on these trees yet keeps what it said on the last one.
            let known = self.sites.entry((*site).to_owned()).or_insert_with(|| now.clone());
            if now.state != ReceiverState::Waiting {
                *known = now.clone();
            }
        }
        let progress = |(status, view): &(&TreeStatus, TreeView)| TreeProgress {
            tree: status.tree,
            residual: view.residual.min(shape.total()),
            receivers: status
                .receivers
                .iter()
                .map(|s| now.get(s.as_str()).cloned().unwrap_or(NOTHING))
                .collect(),
        };
        trees.iter().map(progress).collect()
    }

    /// Receivers that have it all.
    pub fn verified(&self) -> Vec<String> {
        let all = self.sites.iter().filter(|(_, r)| r.state == ReceiverState::Verified);
        all.map(|(site, _)| site.clone()).collect()
    }

    /// How a receiver stands.
    pub fn of(&self, site: &str) -> Option<&ReceiverProgress> {
        self.sites.get(site)
    }

    /// Whether some receiver has come to its end, by what was heard here or by the controller.
    pub fn has_ended(&self, status: &TransferStatus) -> bool {
        use ReceiverState::{Failed, Silent, Verified};
        self.sites.values().any(|r| matches!(r.state, Verified | Failed | Silent))
            || status.receivers.iter().any(|r| matches!(r.state, Verified | Failed))
    }

    /// Whether nothing more is to be expected of any receiver of the transfer. Those that no tree has served yet are
    /// still to come: their sites are not back, or nobody receives there.
    pub fn is_complete(&self, status: &TransferStatus) -> bool {
        let over = |s| matches!(s, ReceiverState::Verified | ReceiverState::Failed | ReceiverState::Silent);
        status.receivers.iter().all(|r| match self.sites.get(&r.site) {
            _ if r.state == ReceiverState::Verified => true,
            Some(mine) => over(mine.state),
            None => r.state == ReceiverState::Failed,
        })
    }
}
