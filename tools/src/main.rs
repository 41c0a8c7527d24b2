//! The `valecast` command.
//!
//! Each subcommand has a module of its name: [`run`] is the daemon, [`ctl`] and [`top`] talk to it over its
//! control socket, [`vm_args`] says how to start VMs, [`netmap`] runs programs written for netmap, [`pktgen`] sends and receives as a client of a port, [`demo`] does all of it in one process.
//! [`mod@print`] is how all of them print.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[macro_use]
mod print;

mod capture;
mod ctl;
mod demo;
mod netmap;
mod pktgen;
mod qc;
mod run;
mod top;
mod vm_args;

/// A userspace software switch with shared-memory ports.
#[derive(Debug, Parser)]
#[command(name = "valecast", version, about, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  valecast demo                                  see it forward, no root and no configuration needed
  valecast run vale.toml                         start the switches of a file
  valecast ctl ports                             look at the ports
  valecast ctl attach vale0:c kind=tap netns=green
  valecast ctl capture vale0:a -w a.pcapng       record what a port sends and gets
  valecast vm-args vale0:vm1                     how to start a VM that has a port
  valecast pkt-gen -i vale0:a -f tx              send as fast as the port takes it
  valecast netmap -- pkt-gen -i vale0:a -f rx    run an unmodified netmap program
  valecast top                                   watch the rates";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the switches of a configuration file in the foreground.
    #[command(after_help = run::HELP)]
    Run(run::RunArgs),
    /// Start a switch, a sender and a receiver in one go and show what they reach; needs no root.
    Demo(DemoArgs),
    /// Look at a running switch and change it.
    #[command(after_help = ctl::HELP)]
    Ctl(ctl::CtlArgs),
    /// Print what to start a VM monitor with, so that its guest has a port.
    #[command(name = "vm-args", after_help = vm_args::HELP)]
    VmArgs(vm_args::VmArgs),
    /// Watch a running switch.
    #[command(after_help = top::HELP)]
    Top(top::TopArgs),
    /// QuickCast: copy bulk data from one site to many.
    #[command(subcommand)]
    Qc(qc::QcCommand),
    /// Run a program written for netmap, unmodified, on this machine's switches.
    #[command(after_help = netmap::HELP)]
    Netmap(netmap::NetmapArgs),
    /// Send and receive frames at a port, with the letters of netmap's pkt-gen (`pkt-gen -h` lists them).
    #[command(name = "pkt-gen", disable_help_flag = true, disable_version_flag = true)]
    PktGen {
        /// As netmap's pkt-gen takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// What `valecast demo` takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct DemoArgs {
    /// How long each measurement runs.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

fn main() -> ExitCode {
    print::ended(match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::VmArgs(args) => vm_args::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Qc(command) => qc::run(&command),
        Command::Netmap(args) => netmap::run(args),
        Command::PktGen { args } => pktgen::run(args),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pkt_gen_keeps_its_letters() {
        let words = ["valecast", "pkt-gen", "-i", "vale0:a", "-f", "tx", "-h", "--json"];
        let Command::PktGen { args } = Cli::parse_from(words).command else { panic!("another command") };
        assert_eq!(args, words[2..]);
    }
}
