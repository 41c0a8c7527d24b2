//! What receivers say that they lack, and what of that is this sender's to send.

use std::ops::Range;

use super::holes::Who;
use super::{Phase, Sender, inline};
use crate::transport::SECOND;
use crate::transport::wire::{Mac, Reject, Report, State};

/// How long a sender that has nothing to send leaves to others what is theirs and still lacks.
const PATIENCE: u64 = 2 * SECOND;

impl Sender {
    pub(super) fn report(&mut self, now: u64, from: Mac, report: &Report) -> Result<(), Reject> {
        let now = self.clock.at(now);
        let chunks = self.shape.chunks();
        let end = if report.state == State::Joining { self.shape.parts() } else { chunks };
        if report.have > chunks || report.lacks.to > end {
            return Err(Reject::Field("chunks beyond the end"));
        }
        let id = report.receiver;
        let Some(peer) = self.peers.get_mut(id as usize) else {
            return Err(Reject::Field("receiver that there is not"));
        };
        if report.session != self.options.session {
            // An answer to the sender's last life. This one's polls get answers of their own.
            self.counters.stale += 1;
            return Ok(());
        }
        self.counters.reports += 1;
        peer.heard(now, from, report);
        if peer.outcome.is_none() && matches!(self.phase, Phase::Ending(_) | Phase::Done) {
            // Started again, or given up too early: it is asked once more before this is over.
            self.phase = Phase::Sending;
            self.next_poll = now;
        }
        match report.state {
            State::Joining => {
                self.lost_hello = true;
                self.want_parts(report);
            }
            State::Receiving => self.want(now, report),
            State::Checking => self.lost_hello |= self.hash.is_some() && peer.checking_again(),
            State::Verified | State::Failed(_) => {}
        }
        Ok(())
    }

    fn want_parts(&mut self, report: &Report) {
        if inline(&self.shape) {
            return;
        }
        let Some(lacks) = self.rounds.still(report.round, true, &report.lacks.runs) else {
            self.counters.stale += 1;
            return;
        };
        for r in lacks {
            self.parts.add(r, Who::one(report.receiver));
        }
    }

    fn want(&mut self, now: u64, report: &Report) {
        let Some(lacks) = self.rounds.still(report.round, false, &report.lacks.runs) else {
            self.counters.stale += 1;
            return;
        };
        let lacks = self.own(now, lacks);
        self.count_by_block(&lacks);
        let any = !lacks.is_empty();
        for r in lacks {
            self.holes.add(r, Who::one(report.receiver));
        }
        if any && self.phase == Phase::Sending && self.advert.is_none() {
            self.advert = Some(now + self.options.spread(self.peers.len()) / 32);
        }
    }

    /// What of `lacks` this sender is to send. Others' it takes over when it has had nothing else to do for long: their
    /// trees are slow, or lead nowhere, which only the controller and their own patience would find out.
    fn own(&mut self, now: u64, lacks: Vec<Range<u64>>) -> Vec<Range<u64>> {
        let Some(share) = &self.share else { return lacks };
        let own = share.without_others(lacks.clone());
        if !(own.is_empty() && self.holes.is_empty() && self.phase == Phase::Sending) {
            self.idle = None;
            return own;
        }
        if lacks.is_empty() {
            return own;
        }
        let since = *self.idle.get_or_insert(now);
        if now.saturating_sub(since) < PATIENCE + 2 * self.options.spread(self.peers.len()) {
            return own;
        }
        share.take_over(&lacks);
        self.idle = None;
        lacks
    }
}
