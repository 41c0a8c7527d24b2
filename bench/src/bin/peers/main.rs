//! Valecast beside other switches: `cargo xtask bench peers`.
//!
//! In the order in which a run meets them:
//!
//! - `cli`, `plan`, `job`: what was asked for, as a list of jobs, each with the setup of the switch that it needs.
//! - `contenders/`: the switches, one file each, behind `peer`'s traits; [`child`] and `hugepages` are what they
//!   run as and in, and leave nothing behind.
//! - `wires/`: the ways into a switch, one file each; `memif/` is the memif client; `frames` what is sent.
//! - `raw/`: what the memory allows, as a contender and as probes.
//! - `run`: the rounds; each run is watched by `noise` (other processes, the hypervisor) and `placement` (how far
//!   apart the host has the two cores).
//! - `drive`, `latency`, `split`, `costs`: the jobs, on whatever wires; `namespaces`: those without wires.
//! - `results`, [`stats`], `report/`: samples, and the tables, files and the chart made of them; [`machine`] says where.
//!
//! One process, tied to core 0, generates and sinks; the switch forwards on core 1.

mod cli;
mod contenders;
mod costs;
mod drive;
mod frames;
mod hugepages;
mod job;
mod latency;
mod memif;
mod namespaces;
mod noise;
mod peer;
mod placement;
mod plan;
mod raw;
mod report;
mod results;
mod run;
mod split;
mod wires;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use valecast_bench::{child, cpu, machine, stats};

use cli::Args;
use contenders::Places;
use job::Job;
use peer::{Peer, Trouble};
use report::{Contender, Report};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let done = match words.next() {
        Some(word) if word == split::WORD => split::be(&words.next().unwrap_or_default()),
        _ => measure(&Args::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Trouble> {
    let exe = std::env::current_exe()?;
    let release = exe.parent().ok_or("this program lies nowhere")?.to_owned();
    let work = tempfile::Builder::new().prefix("valecast-peers-").tempdir()?;
    let trixie = args.trixie.clone().unwrap_or_else(|| release.join("../peers/trixie"));
    let places = Places { work: work.path().to_owned(), release, trixie };
    let peers = asked(contenders::all(&places), &args.peers)?;
    let jobs = jobs(args)?;
    if args.list {
        let peers = peers.iter().map(|p| format!("contender {}: {}\n", p.name(), p.about()));
        let list: String = peers.chain(jobs.iter().map(|j| format!("job {j}\n"))).collect();
        return say(&list);
    }
    if cpu::cores() < 2 || cpu::usable() < 2 {
        return Err("generator and switch need a core each, and this machine has one".into());
    }
    let stop = valecast_bench::signal::stop_on_signals()?;
    cpu::raise_file_limit();
    let _hugepages = hugepages::Hugepages::reserve();
    cpu::pin(cpu::CLIENT);
    let mut known = Vec::new();
    let mut here = Vec::new();
    for peer in peers {
        let version = peer.version();
        match &version {
            Ok(v) => eprintln!("{}: {v}", peer.name()),
            Err(why) => eprintln!("**** NOT MEASURED: {}: {why}", peer.name()),
        }
        known.push(Contender { name: peer.name(), about: peer.about(), version: version.clone() });
        if version.is_ok() {
            here.push(peer);
        }
    }
    let plan = run::Plan {
        rounds: args.rounds.unwrap_or(if args.quick { 3 } else { 5 }),
        time: Duration::from_millis(args.ms.unwrap_or(if args.quick { 100 } else { 200 })),
        keep: args.quick,
        class: (!args.any_class).then_some(args.class),
        patience: Duration::from_secs(if args.quick { 1 } else { 5 }),
        waiting: Duration::from_secs(if args.quick { 40 } else { 600 }),
        work: work.path().to_owned(),
    };
    let results = run::all(&jobs, &here, &plan, &stop);
    let report = Report::new(&jobs, known, &plan, results);
    say(&report.text())?;
    for (path, text) in
        [(&args.json, report.json() as String), (&args.md, report.markdown()), (&args.svg, report.svg())]
    {
        if let Some(path) = path {
            std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    if report.interrupted() {
        Err("interrupted: the tables have what was measured until then".into())
    } else {
        Ok(())
    }
}

/// Prints; a reader that wants no more, such as `head`, is no mistake.
fn say(text: &str) -> Result<(), Trouble> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// The contenders that were asked for, in their own order.
fn asked(all: Vec<Box<dyn Peer>>, names: &[String]) -> Result<Vec<Box<dyn Peer>>, Trouble> {
    let known: Vec<&str> = all.iter().map(|p| p.name()).collect();
    if let Some(unknown) = names.iter().find(|n| !known.contains(&n.as_str())) {
        return Err(format!("no contender `{unknown}`; there are {}", known.join(", ")).into());
    }
    Ok(all.into_iter().filter(|p| names.is_empty() || names.iter().any(|n| n == p.name())).collect())
}

fn jobs(args: &Args) -> Result<Vec<Job>, Trouble> {
    if args.rounds == Some(0) || args.ms == Some(0) {
        return Err("--rounds and --ms must be at least 1".into());
    }
    let mut jobs = if args.quick { plan::quick() } else { plan::full() };
    jobs.retain(|j| args.only.is_empty() || args.only.iter().any(|o| j.to_string().contains(o.as_str())));
    if jobs.is_empty() {
        return Err(format!("no job contains {}; see --list", args.only.join(" or ")).into());
    }
    Ok(jobs)
}
