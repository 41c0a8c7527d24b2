//! Transfers for which nobody speaks: a sender that never came, or that was stopped and never resumed. They are kept for
//! `forget_after`, over restarts of the controller too, and then given up, so that they do not wait for ever.

use std::time::Duration;

use valecast_config::units::format_duration;

use super::transfer::Transfer;
use super::{Core, Now};
use crate::control::TransferState;

/// From one look at all transfers to the next, in milliseconds.
const LOOK: u64 = 1_000;

impl Core {
    /// Notes which transfers nobody speaks for, and gives up those that it was so for too long.
    pub(super) fn quiet_transfers(&mut self, now: Now) {
        if now.ms < self.quiet_at {
            return;
        }
        self.quiet_at = now.ms + LOOK;
        let (timeout, patience) = (self.settings.sender_timeout, self.settings.forget_after);
        let (mut fell, mut forgotten) = (Vec::new(), Vec::new());
        for t in self.transfers.values().filter(|t| !t.state.is_over()) {
            match t.quiet {
                // A running one is for `silent_senders`, which stalls it.
                None if t.state == TransferState::Running => {}
                None if t.state == TransferState::Stalled || now.ms > t.heard + timeout => fell.push(t.id),
                Some(since) if i128::from(now.ms) - since > i128::from(patience) => forgotten.push(t.id),
                _ => {}
            }
        }
        for id in fell {
            if let Some(t) = self.transfers.get_mut(&id) {
                t.quiet = Some(i128::from(t.heard));
                t.quiet_ms = Some(now.unix_ms.saturating_sub(now.ms.saturating_sub(t.heard)));
            }
            self.save(id);
        }
        for id in forgotten {
            self.give_up(id, now);
        }
    }

    fn give_up(&mut self, id: u64, now: Now) {
        let Some(t) = self.transfers.get(&id) else { return };
        if t.all_verified() {
            self.end(id, TransferState::Done, None, now);
            return;
        }
        let patience = format_duration(Duration::from_millis(self.settings.forget_after));
        let why =
            format!("given up: nobody has sent it for {patience} (`forget_after`); {}", t.who_lacks_it());
        tracing::warn!(transfer = id, "{why}");
        self.end(id, TransferState::Partial, Some(why), now);
    }
}

impl Transfer {
    /// What it waits for, or what went wrong; with the missing sender, if it waits for something else as well.
    pub(super) fn shown_why(&self) -> Option<String> {
        let waits = matches!(self.state, TransferState::Planning | TransferState::Waiting);
        if self.quiet.is_none() || !waits {
            return self.why.clone();
        }
        let sender =
            format!("nobody sends it: `valecast qc send --resume {} FILE` at {} does", self.id, self.from);
        Some(self.why.as_ref().map_or_else(|| sender.clone(), |why| format!("{why}; {sender}")))
    }
}
