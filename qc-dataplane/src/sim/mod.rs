//! Transfers over a network in slotted time (extended paper, section V): what QuickCast does, without sending.
//!
//! Time is cut into slots of [`Settings::delta`]. A transfer that arrives during a slot is planned with the load at
//! the end of that slot, its trees stay for good, and it gets rates from the next slot on. A receiver is done at the
//! end of the slot in which the last of its data arrives. Where nothing changes for many slots they are passed in
//! one go; what comes out is what slot after slot would give.
//!
//! - [`run`] simulates one list of transfers; `state` holds what is under way
//! - [`Outcome`] is what was measured, and [`outcome`] its figures
//! - [`groups`] counts the group-table entries that the trees need in switches
//! - [`batch`] runs many seeds and schemes at once; [`stats`] has means and their confidence

use std::fmt;

use crate::graph::Graph;
use crate::load::Load;
use crate::plan::Plan;
use crate::rate::{BadDemand, Policy};
use crate::traffic::Transfer;

pub mod batch;
pub mod groups;
pub mod outcome;
mod state;
pub mod stats;
#[cfg(test)]
mod tests;

pub use outcome::Outcome;
use state::State;

/// How to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Length of a slot, in the unit of time.
    pub delta: f64,
    /// Who gets how much of a link.
    pub policy: Policy,
    /// Stop before this slot; what is not done then never is. None: until all is done.
    pub horizon: Option<u64>,
    /// A clock in nanoseconds, to measure how long planning and rates take. None: not measured.
    pub clock: Option<fn() -> u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { delta: 1.0, policy: Policy::Fair, horizon: None, clock: None }
    }
}

/// Why a simulation ended early.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimError<E: fmt::Display> {
    /// The slot's length makes no sense.
    #[error("a slot of {0}: must be above 0 and below 1e9")]
    Delta(f64),
    /// A transfer makes no sense.
    #[error("transfer {transfer}: {what}")]
    Transfer {
        /// Counted from 0.
        transfer: usize,
        /// What is wrong.
        what: String,
    },
    /// A transfer cannot be planned.
    #[error("transfer {transfer}: {error}")]
    Plan {
        /// Counted from 0.
        transfer: usize,
        /// Why.
        error: E,
    },
    /// The plan is none.
    #[error("transfer {transfer}: the plan {what}")]
    BadPlan {
        /// Counted from 0.
        transfer: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Rates cannot be allocated.
    #[error(transparent)]
    Rates(#[from] BadDemand),
    /// Nothing moves although something is left.
    #[error("slot {0}: no tree gets a rate")]
    Stalled(u64),
}

/// Simulates `transfers` (by arrival) in `graph`, each planned by `plan` with the load that it meets.
///
/// # Errors
/// When a transfer, a plan or a setting makes no sense.
pub fn run<E: fmt::Display>(
    graph: &Graph,
    transfers: &[Transfer],
    settings: &Settings,
    mut plan: impl FnMut(&Load, &Transfer) -> Result<Plan, E>,
) -> Result<Outcome, SimError<E>> {
    if !(settings.delta > 0.0 && settings.delta < 1e9) {
        return Err(SimError::Delta(settings.delta));
    }
    check(graph, transfers)?;
    let slot_of = |t: &Transfer| (t.arrival / settings.delta).floor() as u64;
    let last = transfers.last().map_or(0, slot_of);
    let horizon = settings.horizon.unwrap_or(u64::MAX);
    let mut state = State::new(graph, transfers, settings);
    let (mut slot, mut next) = (0u64, 0);
    while slot < horizon {
        let due = transfers.get(next).map(slot_of);
        if state.is_idle() {
            let Some(due) = due else { break };
            // Nothing to send up to and in the slot of the next arrival.
            state.rest(slot.min(last)..(due + 1).min(last + 1));
            slot = due + 1;
        } else {
            let most = due.map_or(u64::MAX, |due| due.saturating_sub(slot) + 1).min(horizon - slot);
            slot += state.advance(slot, most, last)?;
        }
        while let Some(t) = transfers.get(next).filter(|t| slot_of(t) < slot) {
            let slot_of_arrival = slot_of(t);
            let started = settings.clock.map(|clock| clock());
            let plan = plan(state.load(), t).map_err(|error| SimError::Plan { transfer: next, error })?;
            if let (Some(clock), Some(started)) = (settings.clock, started) {
                state.outcome.planning.add(clock().saturating_sub(started));
            }
            state
                .install(next, slot_of_arrival, plan)
                .map_err(|what| SimError::BadPlan { transfer: next, what })?;
            next += 1;
        }
    }
    Ok(state.finish(slot))
}

/// Whether every transfer can be simulated, whoever made it.
fn check<E: fmt::Display>(graph: &Graph, transfers: &[Transfer]) -> Result<(), SimError<E>> {
    let mut before = 0.0;
    for (transfer, t) in transfers.iter().enumerate() {
        let bad = |what: String| Err(SimError::Transfer { transfer, what });
        if !(t.arrival >= before && t.arrival < 1e15) {
            return bad(format!(
                "arrives at {}, must be below 1e15 and not before the one before it",
                t.arrival
            ));
        }
        if !(t.volume > 0.0 && t.volume < 1e15) {
            return bad(format!("volume is {}, must be above 0 and below 1e15", t.volume));
        }
        if t.receivers.is_empty() {
            return bad("has no receiver".into());
        }
        if let Some(n) = t.receivers.iter().chain([&t.from]).find(|n| **n as usize >= graph.nodes()) {
            return bad(format!("node {n} does not exist, there are {}", graph.nodes()));
        }
        before = t.arrival;
    }
    Ok(())
}
