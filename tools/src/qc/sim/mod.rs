//! `valecast qc sim`: transfers over a network, without sending anything.
//!
//! - `own`: a user's own network, traffic and algorithms
//! - `experiments`: those of the two papers and what goes beyond them, each a [`page::Section`]
//! - `page` and `svg`: how results read; `networks`: what they run on

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

mod experiments;
mod networks;
mod own;
mod page;
mod runs;
mod svg;

pub const HELP: &str = "\
Examples:
  valecast qc sim --topology geant --traffic hadoop --lambda 1
  valecast qc sim --topology ans --traffic exponential --lambda 0.01 --algorithm paper,best,single --seeds 20 --json
  valecast qc sim --topology net.toml --traffic transfers.csv --csv runs.csv
  valecast qc sim --experiment fig3 --quick --out results
  valecast qc sim --experiment all --out docs

Time is in slots, volume in what the largest link carries in a slot. A scheme may have parts exchanged:
--algorithm paper,budget=1.2,rates=w0.5,single is the algorithms `paper,budget=1.2,rates=w0.5` and `single`.";

/// What `valecast qc sim` takes.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {
    /// Network: a built-in name or a file. Capacities are divided by the largest.
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "experiment")]
    topology: Option<String>,
    /// Capacity of links for which the file gives none, in Gbit/s.
    #[arg(long, value_name = "GBIT/S")]
    capacity: Option<f64>,
    /// Sizes of transfers (exponential, pareto, cache-follower, hadoop, constant), or a file of transfers
    /// (arrival,from,to,volume).
    #[arg(long, value_name = "NAME|FILE.csv", required_unless_present = "experiment")]
    traffic: Option<String>,
    /// Transfers per slot over the whole network; `inf` for all at once.
    #[arg(long, value_name = "X")]
    lambda: Option<f64>,
    /// Receivers of each transfer.
    #[arg(long, value_name = "K")]
    receivers: Option<usize>,
    /// Transfers of a run.
    #[arg(long, value_name = "N")]
    transfers: Option<usize>,
    /// Mean volume of a transfer.
    #[arg(long, value_name = "V")]
    mean: Option<f64>,
    /// Length of a slot.
    #[arg(long, value_name = "D", default_value_t = 1.0)]
    delta: f64,
    /// Stop each run before this slot; receivers that are not done by then are at infinity.
    #[arg(long, value_name = "SLOT", conflicts_with = "experiment")]
    horizon: Option<u64>,
    /// Runs, each with a seed of its own, from 1 on.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: Option<u64>,
    /// Algorithms to compare, the first being what others are compared with.
    #[arg(long, value_name = "A,B,..")]
    algorithm: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a line for each run and algorithm.
    #[arg(long, value_name = "FILE", conflicts_with = "experiment")]
    csv: Option<PathBuf>,
    /// Rerun an experiment of the papers instead.
    #[arg(long, value_name = "NAME", value_enum, conflicts_with_all = ["topology", "traffic", "lambda", "receivers"])]
    experiment: Option<experiments::Experiment>,
    /// Fewer runs: what comes out is indicative only.
    #[arg(long, requires = "experiment")]
    quick: bool,
    /// Where an experiment writes its page, plots and tables.
    #[arg(long, value_name = "DIR", requires = "experiment")]
    out: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &SimArgs) -> ExitCode {
    let result = match args.experiment {
        Some(experiment) => experiments::run(experiment, args),
        None => own::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            errln!("valecast qc sim: {error}");
            ExitCode::FAILURE
        }
    }
}
