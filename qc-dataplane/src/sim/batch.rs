//! Many runs at once: every scheme on the same transfers, for many seeds, on all cores. What comes out does not
//! depend on how many there are: each run has its own seed, and results are collected in order.

use rayon::prelude::*;

use super::outcome::Outcome;
use super::{Settings, SimError, run};
use crate::graph::Graph;
use crate::plan::{BadRequest, Planner, Scheme};
use crate::rate::NoPolicy;
use crate::traffic::{BadTraffic, Traffic, Transfer};

/// Where transfers come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Generated anew for each seed.
    Traffic(Traffic),
    /// Always these.
    Trace(Vec<Transfer>),
}

/// Why runs failed.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Transfers cannot be generated.
    #[error(transparent)]
    Traffic(#[from] BadTraffic),
    /// A scheme names no rate policy.
    #[error("algorithm {scheme}: {error}")]
    Policy {
        /// The scheme.
        scheme: String,
        /// What is wrong.
        error: NoPolicy,
    },
    /// A run failed.
    #[error("algorithm {scheme}, seed {seed}: {error}")]
    Run {
        /// The scheme.
        scheme: String,
        /// The seed.
        seed: u64,
        /// Why.
        error: SimError<BadRequest>,
    },
}

/// Runs every scheme with the transfers of every seed. The result has an entry for each seed, with an outcome for
/// each scheme. `done` is called after each run, from any thread.
///
/// # Errors
/// The first failure by seed and scheme.
pub fn compare(
    graph: &Graph,
    source: &Source,
    schemes: &[Scheme],
    seeds: &[u64],
    settings: &Settings,
    done: impl Fn() + Sync,
) -> Result<Vec<Vec<Outcome>>, BatchError> {
    let policies: Vec<_> = schemes
        .iter()
        .map(|s| s.rates.parse().map_err(|error| BatchError::Policy { scheme: s.name.clone(), error }))
        .collect::<Result<_, _>>()?;
    let transfers: Vec<Vec<Transfer>> = seeds
        .iter()
        .map(|seed| match source {
            Source::Traffic(traffic) => traffic.generate(graph.nodes(), *seed),
            Source::Trace(transfers) => Ok(transfers.clone()),
        })
        .collect::<Result<_, _>>()?;
    // One job per run, so that a slow scheme does not hold a core with all its seeds at the end.
    let jobs: Vec<(usize, usize)> =
        (0..seeds.len()).flat_map(|s| (0..schemes.len()).map(move |a| (s, a))).collect();
    let outcomes: Vec<_> = jobs
        .par_iter()
        .with_max_len(1)
        .map(|&(seed, scheme)| {
            let settings = Settings { policy: policies[scheme], ..*settings };
            let outcome = one(graph, &transfers[seed], schemes[scheme].clone(), &settings);
            done();
            outcome.map_err(|error| BatchError::Run {
                scheme: schemes[scheme].name.clone(),
                seed: seeds[seed],
                error,
            })
        })
        .collect::<Result<_, _>>()?;
    let mut outcomes = outcomes.into_iter();
    Ok(seeds.iter().map(|_| outcomes.by_ref().take(schemes.len()).collect()).collect())
}

/// One run: `transfers` planned by `scheme`.
///
/// # Errors
/// When a transfer cannot be planned or simulated.
pub fn one(
    graph: &Graph,
    transfers: &[Transfer],
    scheme: Scheme,
    settings: &Settings,
) -> Result<Outcome, SimError<BadRequest>> {
    let mut planner = Planner::new(graph, scheme);
    run(graph, transfers, settings, |load, t| planner.plan(load, t.from, &t.receivers, t.volume))
}
