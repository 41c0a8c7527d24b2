//! `valecast qc demo`: a whole WAN in one process, without root: a switch and a site for each node of a network, joined by
//! patches of limited capacity, a controller, a sender and receivers with real files; and what becomes of a transfer.
//!
//! - [`mod@plan`]: what is to be sent over which network; [`network`]: that as the configuration of one daemon;
//! - [`live`]: what stands on the switches, and the transfer; `picture`: what is drawn meanwhile;
//! - [`files`]: the file, and whether all have it; [`outcome`]: what is said at the end.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use valecast_config::Config;
use valecast_switch::daemon::Daemon;

mod files;
mod live;
mod network;
mod outcome;
mod picture;
mod plan;

use super::site::{INTERRUPTED, told_to_stop};
use files::write_file;
use live::over_sites;
use outcome::show;
use plan::plan;

pub const HELP: &str = "\
NETWORK is fig1 (the QuickCast paper's Fig. 1), a built-in network (geant, ans, uninett, gscale, b4, ...) or a topology
file. Its rates are scaled down so that its fastest link has --rate; links slower than a hundredth of that get so much.

On a terminal it draws the trees with the rates of their links, and how far each receiver is. At the end it says when each
receiver had the file, compared byte by byte with what was sent.

Examples:
  valecast qc demo fig1 --scheme single
  valecast qc demo fig1 --scheme quickcast
  valecast qc demo geant --from NL --to DE,IT,PT,HR --volume 20MB --json

Exit status: 0 all receivers have it, 1 not, 2 the command is wrong, 130 stopped.";

/// The file's name.
const FILE: &str = "demo.bin";

/// What `valecast qc demo` takes.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// The network.
    #[arg(default_value = "fig1")]
    network: String,
    /// How to plan: unicast, single, quickcast2, quickcast or best; all of `valecast qc solve` are known.
    #[arg(long, default_value = "best")]
    scheme: String,
    /// The file's size.
    #[arg(long, value_name = "SIZE", default_value = "25MB")]
    volume: String,
    /// The fastest link's rate here.
    #[arg(long, value_name = "RATE", default_value = "400Mbit/s")]
    rate: String,
    /// The sender's site; by default the network's first.
    #[arg(long, value_name = "SITE")]
    from: Option<String>,
    /// The receivers' sites; by default t1 to t4 of Fig. 1, else eight spread over the network.
    #[arg(long, value_name = "SITE,SITE,..", value_delimiter = ',')]
    to: Vec<String>,
    /// Serve the controller's page at this address meanwhile.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page: Option<std::net::SocketAddr>,
    /// Print a configuration for `examples/wan.sh`, which has the network in namespaces, and do nothing else.
    #[arg(long)]
    wan_config: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why there is no result.
pub enum Failure {
    /// The arguments make no sense.
    Usage(String),
    /// It was told to stop.
    Stopped,
    /// Something went wrong.
    Other(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Other(e.to_string())
    }
}

/// Runs the demo.
pub fn run(args: &DemoArgs) -> ExitCode {
    let dir = std::env::temp_dir().join(format!("valecast-qc-demo-{}", std::process::id()));
    let done = demo(args, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Usage(why)) => {
            errln!("valecast qc demo: {why}");
            ExitCode::from(2)
        }
        Err(Failure::Stopped) => ExitCode::from(INTERRUPTED),
        Err(Failure::Other(why)) => {
            errln!("valecast qc demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn demo(args: &DemoArgs, dir: &Path) -> Result<bool, Failure> {
    let plan = plan(args)?;
    if args.wan_config {
        out!("{}", plan.network.wan());
        return Ok(true);
    }
    let quiet = args.json || !std::io::stderr().is_terminal();
    if std::env::var_os("RUST_LOG").is_some() {
        crate::print::start_log();
    }
    // Before there are threads.
    let stop = told_to_stop().map_err(|e| Failure::Other(e.said))?;
    let run_dir = dir.join("run");
    std::fs::create_dir_all(&run_dir)?;
    let file = dir.join(FILE);
    write_file(&file, plan.bytes)?;
    let config = Config::parse("demo", &plan.network.config(&run_dir))?;
    let daemon = Daemon::start(config, None)?;
    let result = over_sites(args, &plan, dir, &daemon, quiet, &stop);
    daemon.stop();
    let (status, bytes) = result?;
    Ok(show(args, &plan, dir, &status, &bytes))
}
