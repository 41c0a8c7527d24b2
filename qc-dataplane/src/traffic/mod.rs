//! Transfers to simulate: who sends how much to whom, and when (extended paper, section V and Table III).
//!
//! [`Traffic`] generates them from a seed: [`rng`] gives the same numbers on every machine and in every version,
//! [`volumes`] turns them into sizes, and [`trace`] reads and writes transfers as a file instead.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::graph::Node;

pub mod rng;
pub mod trace;
pub mod volumes;

pub use volumes::{Distribution, Volumes};

/// A bulk multicast transfer.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// When it arrives, in the simulator's unit of time.
    pub arrival: f64,
    /// Where the data is.
    pub from: Node,
    /// Who gets it: at least one, none twice, the sender not among them.
    pub receivers: Vec<Node>,
    /// How much, in capacity times time.
    pub volume: f64,
}

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// How many transfers.
    pub transfers: usize,
    /// Transfers per unit of time over the whole network, as a Poisson process; infinite for all at once.
    pub lambda: f64,
    /// Receivers of each.
    pub receivers: usize,
    /// Their sizes.
    pub volumes: Volumes,
}

/// Traffic that cannot be generated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadTraffic {
    /// The rate of arrivals makes no sense.
    #[error("lambda is {0}, must be above 0")]
    Lambda(f64),
    /// More receivers than there are.
    #[error("{receivers} receivers per transfer, but only {others} nodes besides the sender")]
    Receivers {
        /// How many were asked for.
        receivers: usize,
        /// How many there are.
        others: usize,
    },
    /// None.
    #[error("a transfer needs at least one receiver")]
    NoReceiver,
}

impl Traffic {
    /// The transfers in a network of so many nodes, by arrival. Every node sends as many as every other, but for
    /// one where the number is not a multiple; receivers are drawn evenly from all nodes but the sender.
    ///
    /// # Errors
    /// When a number makes no sense.
    pub fn generate(&self, nodes: usize, seed: u64) -> Result<Vec<Transfer>, BadTraffic> {
        if self.lambda.is_nan() || self.lambda <= 0.0 {
            return Err(BadTraffic::Lambda(self.lambda));
        }
        if self.receivers == 0 {
            return Err(BadTraffic::NoReceiver);
        }
        let others = nodes.saturating_sub(1);
        if self.receivers > others {
            return Err(BadTraffic::Receivers { receivers: self.receivers, others });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Who sends: whole rounds of all nodes, and for the rest nodes that no two of which are the same.
        let mut all: Vec<Node> = (0..nodes as Node).collect();
        rng::shuffle(&mut rng, &mut all, nodes);
        let mut senders: Vec<Node> = all.iter().copied().cycle().take(self.transfers).collect();
        let count = senders.len();
        rng::shuffle(&mut rng, &mut senders, count);
        let mut now = 0.0;
        let mut transfers = Vec::with_capacity(count);
        for from in senders {
            if self.lambda.is_finite() {
                now += rng::exponential(&mut rng) / self.lambda;
            }
            let volume = self.volumes.draw(&mut rng);
            // The sender goes to the end, where no draw reaches it.
            if let Some(at) = all.iter().position(|n| *n == from) {
                all.swap(at, others);
            }
            rng::shuffle(&mut rng, &mut all[..others], self.receivers);
            let mut receivers = all[..self.receivers].to_vec();
            receivers.sort_unstable();
            transfers.push(Transfer { arrival: now, from, receivers, volume });
        }
        Ok(transfers)
    }
}

#[cfg(test)]
mod tests;
