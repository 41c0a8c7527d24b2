//! `valecast qc`: QuickCast, copying bulk data from one site to many.
//!
//! [`solve`] plans one transfer, and [`plot`] draws it; [`tree`] runs a tree algorithm over files of instances;
//! [`sim`] simulates many transfers.

use std::process::ExitCode;

use clap::Subcommand;

mod plot;
mod sim;
mod solve;
mod tree;

/// What `valecast qc` does.
#[derive(Clone, Debug, Subcommand)]
pub enum QcCommand {
    /// Plan one transfer: its partitions, trees, rates, and when each receiver will be done.
    #[command(after_help = solve::HELP)]
    Solve(solve::SolveArgs),
    /// Run a tree algorithm over files of Steiner tree instances.
    #[command(after_help = tree::HELP)]
    Tree(tree::TreeArgs),
    /// Simulate transfers over a network, or rerun the papers' experiments.
    #[command(after_help = sim::HELP)]
    Sim(sim::SimArgs),
}

/// Does it.
pub fn run(command: &QcCommand) -> ExitCode {
    match command {
        QcCommand::Solve(args) => solve::run(args),
        QcCommand::Tree(args) => tree::run(args),
        QcCommand::Sim(args) => sim::run(args),
    }
}
