//! `valecast qc`: QuickCast, copying bulk data from one site to many.
//!
//! [`solve`] plans one transfer, and [`plot`] draws it; [`tree`] runs a tree algorithm over files of instances;
//! [`sim`] simulates many transfers. [`send`] and [`recv`] move files between sites; [`site`] finds the site here, and
//! [`bars`] show how far it is. [`serve`] is the controller of running sites, made known to them by [`keygen`];
//! [`controller`] is how [`status`] and [`submit`] reach it. [`demo`] is all of it in one process.

use std::process::ExitCode;

use clap::Subcommand;

mod bars;
mod controller;
mod demo;
mod keygen;
mod plot;
mod recv;
mod send;
mod serve;
mod sim;
mod site;
mod solve;
mod status;
mod submit;
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
    /// Show sites, links, transfers, and what is wrong.
    #[command(after_help = status::HELP)]
    Status(status::StatusArgs),
    /// Ask for a transfer whose sender waits for work.
    #[command(after_help = submit::HELP)]
    Submit(submit::SubmitArgs),
    /// Cancel a transfer.
    Cancel(submit::CancelArgs),
    /// Make keys and certificates for a controller and its sites.
    #[command(after_help = keygen::HELP)]
    Keygen(keygen::KeygenArgs),
    /// A WAN in one process: see QuickCast send a file to many sites; needs no root.
    #[command(after_help = demo::HELP)]
    Demo(demo::DemoArgs),
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
        QcCommand::Status(args) => status::run(args),
        QcCommand::Submit(args) => submit::run(args),
        QcCommand::Cancel(args) => submit::cancel(args),
        QcCommand::Keygen(args) => keygen::run(args),
        QcCommand::Demo(args) => demo::run(args),
    }
}
