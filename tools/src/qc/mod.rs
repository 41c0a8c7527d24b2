//! `valecast qc`: QuickCast, copying bulk data from one site to many.
//!
//! [`solve`] plans one transfer, and [`plot`] draws it; [`tree`] runs a tree algorithm over files of instances;
//! [`sim`] simulates many transfers. [`send`] and [`recv`] move files between sites; [`site`] finds the site here, and
//! [`bars`] show how far it is.
//! [`sim`] simulates many transfers. [`serve`] is the controller of running sites.

use std::process::ExitCode;

use clap::Subcommand;

mod bars;
mod plot;
mod recv;
mod send;
mod serve;
mod sim;
mod site;
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
    /// Send a file or a directory to other sites.
    #[command(after_help = send::HELP)]
    Send(send::SendArgs),
    /// Receive what is sent to a site.
    #[command(after_help = recv::HELP)]
    Recv(recv::RecvArgs),
    /// Run the controller: plan the transfers of running sites and tell the sites what to install.
    #[command(after_help = serve::HELP)]
    Serve(serve::ServeArgs),
}

/// Does it.
pub fn run(command: &QcCommand) -> ExitCode {
    match command {
        QcCommand::Solve(args) => solve::run(args),
        QcCommand::Tree(args) => tree::run(args),
        QcCommand::Sim(args) => sim::run(args),
        QcCommand::Send(args) => send::run(args),
        QcCommand::Recv(args) => recv::run(args),
        QcCommand::Serve(args) => serve::run(args),
    }
}
