//! After the end: who was given up may be back.

use super::peers::Outcome;
use super::{Phase, Sender};

impl Sender {
    /// Whether receivers were given up that may still come back.
    pub fn misses_some(&self) -> bool {
        self.peers.iter().any(|p| matches!(p.outcome, Some(Outcome::Silent(_))))
    }

    /// Asks, once all is over, those that were given up: now and then, what is sent goes through `out`. Once one has
    /// answered, this is not done any more ([`Self::is_done`]), and it gets what it lacks.
    pub fn call(&mut self, now: u64, out: &mut dyn FnMut(&[u8])) {
        let now = self.clock.at(now);
        if self.phase != Phase::Done || now < self.next_poll || !self.misses_some() {
            return;
        }
        self.write_hello();
        out(&self.frame);
        self.rounds.begin();
        self.write_poll_for(0..self.shape.chunks(), true, false);
        out(&self.frame);
        self.counters.control += 2;
        self.next_poll = now.saturating_add(self.options.census_every);
    }
}
