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

impl TransferStatus {
    /// Whether of everybody who lacks it the controller says why nothing can be sent there.
    pub(super) fn all_missing(&self) -> bool {
        use ReceiverState::{Failed, Verified};
        let mut open = self.receivers.iter().filter(|r| !matches!(r.state, Verified | Failed)).peekable();
        open.peek().is_some() && open.all(|r| r.why.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::wire::Cause;

    fn status(tree: u32, receivers: &[&str]) -> TreeStatus {
        TreeStatus {
            tree,
            partition: 3,
            port: String::new(),
            receivers: receivers.iter().map(|r| (*r).to_owned()).collect(),
            hops: Vec::new(),
            links: Vec::new(),
            unicast_repairs: false,
            rate: 1,
        }
    }

    fn peer(have: u64, state: Option<State>, outcome: Option<Outcome>) -> PeerStatus {
        let (of, rate, frames) = (100, 7, 0);
        PeerStatus { state, outcome, have, of, rate, frames, duplicates: 0, rejected: 0, silent_for: 0 }
    }

    fn view(residual: u64, peers: Vec<PeerStatus>) -> TreeView {
        TreeView { residual, peers, ..TreeView::default() }
    }

    /// On two trees at once, each of which knows of other news.
    #[test]
    fn a_receiver_on_several_trees_stands_as_on_the_best() {
        use ReceiverState as R;
        let shape = Shape::new(64_000, 10, 640, 0, 0).unwrap();
        let mut tally = Tally::default();
        let (one, two) = (status(1, &["t", "u", "v", "w"]), status(2, &["w", "v", "u", "t"]));
        let receiving = Some(State::Receiving);
        let on_one = view(
            5_000,
            vec![
                peer(40, receiving, None),
                peer(0, None, Some(Outcome::Silent(9))),
                peer(100, Some(State::Checking), None),
                peer(0, None, None),
            ],
        );
        let on_two = view(
            8_000,
            vec![
                peer(3, Some(State::Failed(Cause::DiskFull)), Some(Outcome::Failed(Cause::DiskFull))),
                peer(100, Some(State::Verified), Some(Outcome::Verified)),
                peer(60, receiving, None),
                peer(45, receiving, None),
            ],
        );
        let said = tally.trees(&[(&one, on_one), (&two, on_two)], &shape);
        let of = |tree: usize| said[tree].receivers.iter().map(|r| (r.have, r.state)).collect::<Vec<_>>();
        let best =
            [(28_800, R::Receiving), (38_400, R::Receiving), (64_000, R::Verified), (1_920, R::Failed)];
        assert_eq!(of(0), best);
        assert!(of(1).iter().eq(best.iter().rev()), "the same on both: {:?}", of(1));
        assert_eq!((said[0].residual, said[1].residual), (5_000, 8_000));
        assert_eq!(tally.verified(), ["v"]);
        // One tree is left, and knows less of some: nobody falls back to having said nothing.
        let said =
            tally.trees(&[(&one, view(1, vec![peer(46, receiving, None), peer(0, None, None)]))], &shape);
        assert_eq!(said[0].receivers[1].state, R::Waiting);
        assert_eq!(tally.of("u").unwrap().have, 38_400);
        assert_eq!(tally.verified(), ["v"]);
    }
}
