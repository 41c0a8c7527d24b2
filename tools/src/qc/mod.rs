//! `valecast qc`: QuickCast, copying bulk data from one site to many.

use std::process::ExitCode;

use clap::Subcommand;

mod sim;

/// What `valecast qc` does.
#[derive(Clone, Debug, Subcommand)]
pub enum QcCommand {
    /// Simulate transfers over a network, or rerun the papers' experiments.
    #[command(after_help = sim::HELP)]
    Sim(sim::SimArgs),
}

/// Does it.
pub fn run(command: &QcCommand) -> ExitCode {
    match command {
        QcCommand::Sim(args) => sim::run(args),
    }
}
