//! What the sender knows of its receivers.

use crate::transport::wire::{Cause, Mac, Report, State};

/// How it ended for a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Has it all, and the hash is right.
    Verified,
    /// Said that it cannot go on.
    Failed(Cause),
    /// Did not answer for so many nanoseconds.
    Silent(u64),
}

/// A receiver, as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// What it said last; `None`: it never spoke.
    pub state: Option<State>,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Chunks that it has.
    pub have: u64,
    /// Chunks of all.
    pub of: u64,
    /// New bytes in a second, by its own account.
    pub rate: u64,
    /// Frames that it got.
    pub frames: u64,
    /// Frames that it did not need.
    pub duplicates: u32,
    /// Frames that were not right when they arrived.
    pub rejected: u32,
    /// Nanoseconds since it spoke, or since the sender began.
    pub silent_for: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub hops: u32,
    pub address: Option<Mac>,
    pub state: Option<State>,
    pub outcome: Option<Outcome>,
    /// It has spoken of all chunks below.
    pub horizon: u64,
    have: u64,
    rate: u64,
    frames: u64,
    duplicates: u32,
    rejected: u32,
    heard: u64,
    unanswered: u32,
    checking: u32,
}

impl Peer {
    pub fn new(hops: u32, now: u64) -> Self {
        Self {
            hops,
            address: None,
            state: None,
            outcome: None,
            horizon: 0,
            have: 0,
            rate: 0,
            frames: 0,
            duplicates: 0,
            rejected: 0,
            heard: now,
            unanswered: 0,
            checking: 0,
        }
    }

    pub fn heard(&mut self, now: u64, from: Mac, report: &Report) {
        self.heard = now;
        self.unanswered = 0;
        if from.is_unicast() {
            self.address = Some(from);
        }
        let again = report.have < self.have;
        (self.have, self.rate, self.frames) = (report.have, report.rate, report.frames);
        (self.duplicates, self.rejected) = (report.duplicates, report.rejected);
        if matches!(report.state, State::Checking | State::Verified) {
            self.horizon = u64::MAX;
        } else if again || report.state == State::Joining {
            // It lost what it had, or is another process: what it said before does not count.
            self.horizon = 0;
        } else if report.lacks.from <= self.horizon {
            self.horizon = self.horizon.max(report.lacks.to);
        }
        self.state = Some(report.state);
        self.outcome = match report.state {
            State::Verified => Some(Outcome::Verified),
            State::Failed(cause) => Some(Outcome::Failed(cause)),
            _ => None,
        };
        if report.state != State::Checking {
            self.checking = 0;
        }
    }

    /// Whether it has been checking in two reports, so that it may wait for the hash.
    pub fn checking_again(&mut self) -> bool {
        self.checking += 1;
        self.checking > 1
    }

    /// A poll goes out that it is to answer.
    pub fn asked(&mut self) {
        if self.outcome.is_none() {
            self.unanswered = self.unanswered.saturating_add(1);
        }
    }

    /// Polls in a row that it was to answer and did not, as long as it has no outcome.
    pub fn unanswered(&self) -> u32 {
        if self.outcome.is_none() { self.unanswered } else { 0 }
    }

    pub fn give_up(&mut self, now: u64, after: u64, polls: u32) {
        let silent = now.saturating_sub(self.heard);
        if self.outcome.is_none() && silent >= after && self.unanswered >= polls {
            self.outcome = Some(Outcome::Silent(silent));
        }
    }

    pub fn status(&self, chunks: u64, now: u64) -> PeerStatus {
        PeerStatus {
            state: self.state,
            outcome: self.outcome,
            have: self.have,
            of: chunks,
            rate: self.rate,
            frames: self.frames,
            duplicates: self.duplicates,
            rejected: self.rejected,
            silent_for: now.saturating_sub(self.heard),
        }
    }
}
