//! Files over an emulated WAN: `cargo xtask bench wan`.
//!
//! In the order in which a run meets them:
//!
//! - `cli`: what was asked for; `net`: the topology, scaled; `plan`: what the planner says of the transfer;
//! - `wan`: the network in the kernel, a namespace for each site and shaped veth pairs;
//! - `contenders/`: the programs, one file each, Valecast with each of its schemes among them; `rig` is
//!   what those run on;
//! - `rounds`: each has its turn in each round;
//! - `figures`, `report/`: medians, and the table, the chart and the file made of them.
//!
//! Other parts, each with what it measures in its own file: `copies`, `disk`, `geant`, `many`, `vxlan`; `fleet` sends many files, `usage` is what
//! processes use, `frames` what frames add to a file.
//!
//! Everything that is written goes to a folder in memory, but for part `disk`. What a program writes is compared with what was sent, byte by
//! byte, after its time was taken.

mod cli;
mod contenders;
mod copies;
mod disk;
mod figures;
mod fleet;
mod frames;
mod geant;
mod many;
mod net;
mod plan;
mod report;
mod rig;
mod rounds;
mod usage;
mod vxlan;
mod wan;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use valecast_bench::child::Trouble;
use valecast_bench::machine::Machine;
use valecast_bench::run::StopFlag;
use valecast_config::units::{format_rate, format_size, parse_size};

use cli::{Args, Part};
use contenders::Contender;
use net::Net;
use report::Report;

/// Files, if nothing else is said.
const SENT: &str = "100MB";
const COPIED: &str = "256MB";
const STORED: &str = "1GB";

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Trouble> {
    let exe = std::env::current_exe()?;
    let release = exe.parent().ok_or("this program lies nowhere")?;
    let contenders = asked(contenders::all(release), &args.only)?;
    if args.list {
        return say(&list(&contenders));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("namespaces, links and shapers need root: run it with sudo".into());
    }
    if args.rounds == 0 {
        return Err("--rounds must be at least 1".into());
    }
    let stop = valecast_bench::signal::stop_on_signals()?;
    let mut folder = tempfile::Builder::new()
        .prefix("valecast-wan-")
        .tempdir_in(&args.folder)
        .map_err(|e| format!("--folder {}: {e}", args.folder.display()))?;
    folder.disable_cleanup(args.keep);
    let mut all = Vec::new();
    for part in &args.part {
        let work = folder.path().join(format!("{part:?}").to_lowercase());
        std::fs::create_dir_all(&work)?;
        let told = match part {
            Part::Wan => wan(args, &contenders, &work, &stop)?,
            Part::Copies => copied(args, release, &work, &stop)?,
            Part::Disk => from_disk(args, release, &work, &stop)?,
            Part::Geant => over_geant(args, release, &work, &stop)?,
            Part::Many => very_many(args, release, &work, &stop)?,
            Part::Vxlan => tunnels(args, release, &work, &stop)?,
        };
        say(&told.text)?;
        all.push(told);
        if !args.keep {
            std::fs::remove_dir_all(&work)?;
        }
    }
    let machine = Machine::look();
    let svg = || all.iter().find_map(|t| t.svg.clone()).ok_or("only part wan has a chart");
    let md = || all.iter().map(|t| t.markdown.as_str()).collect::<Vec<_>>().join("\n");
    let json = || {
        let parts = all.iter().map(|t| (t.part.to_owned(), t.json.clone()));
        let parts: serde_json::Map<String, serde_json::Value> = parts.collect();
        format!("{:#}\n", serde_json::json!({ "machine": machine, "parts": parts }))
    };
    if let Some(path) = &args.json {
        std::fs::write(path, json()).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if let Some(path) = &args.md {
        std::fs::write(path, md()).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, svg()?).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if stop.is_set() {
        return Err("interrupted: the tables have what was measured until then".into());
    }
    match all.iter().map(|t| t.failed).sum() {
        0usize => Ok(()),
        n => Err(format!("{n} transfers failed: see above").into()),
    }
}

/// A part's results, in all forms.
#[derive(Default)]
struct Told {
    part: &'static str,
    text: String,
    markdown: String,
    svg: Option<String>,
    json: serde_json::Value,
    /// Transfers that did not come to their end.
    failed: usize,
}

fn size(args: &Args, default: &str) -> Result<u64, Trouble> {
    let text = args.size.as_deref().unwrap_or(default);
    Ok(parse_size(text).map_err(|e| format!("--size: {e}"))?)
}

fn copied(args: &Args, release: &Path, work: &Path, stop: &StopFlag) -> Result<Told, Trouble> {
    let bytes = size(args, COPIED)?;
    let rows = copies::all(bytes, args.rounds, release, work, stop)?;
    let limit = copies::copy_limit(bytes, work)?;
    let text = copies::text(&rows, limit);
    let json = serde_json::json!({ "bytes": bytes, "copy_gbits": limit, "rows": rows });
    Ok(Told { part: "copies", markdown: text.clone(), text, json, ..Told::default() })
}

fn from_disk(args: &Args, release: &Path, work: &Path, stop: &StopFlag) -> Result<Told, Trouble> {
    let outcome = disk::run(size(args, STORED)?, args.rounds, &args.disk, release, work, stop)?;
    let (text, json) = (disk::text(&outcome), serde_json::to_value(&outcome)?);
    Ok(Told { part: "disk", markdown: text.clone(), text, json, ..Told::default() })
}

fn over_geant(args: &Args, release: &Path, work: &Path, stop: &StopFlag) -> Result<Told, Trouble> {
    let net = Net::find("geant", args.geant_scale)?.as_controllers_see_it()?;
    let mean = parse_size(&args.mean).map_err(|e| format!("--mean: {e}"))? as f64;
    let (transfers, receivers, lambda) = (args.transfers, args.receivers, args.lambda);
    let scheme = ("quickcast", "paper");
    let task = geant::Task { scheme, transfers, receivers, mean, lambda };
    if args.predict {
        let text = geant::forecast(&net, &task)?.text();
        return Ok(Told { part: "geant", markdown: text.clone(), text, ..Told::default() });
    }
    let outcome = geant::run(&net, &task, release, work, stop)?;
    let text = geant::text(&net, &task, &outcome);
    let (json, failed) = (serde_json::to_value(&outcome)?, outcome.failed.len());
    Ok(Told { part: "geant", markdown: text.clone(), text, json, failed, ..Told::default() })
}

fn very_many(args: &Args, release: &Path, work: &Path, stop: &StopFlag) -> Result<Told, Trouble> {
    let small = many::Task { name: "small", transfers: args.small, bytes: 1_000_000, at_once: 32 };
    let large = many::Task { name: "large", transfers: args.large, bytes: 20_000_000, at_once: args.large };
    let mut outcomes = Vec::new();
    let tasks = [(small, args.many_scale), (large, args.large_scale)];
    for (task, scale) in tasks.into_iter().filter(|(t, _)| t.transfers > 0) {
        let (net, work) = (Net::find(&args.topology, scale)?, work.join(task.name));
        let outcome = many::run(&net, task, release, &work, stop)?;
        eprint!("{}", many::text(&outcome));
        outcomes.push(outcome);
        std::fs::remove_dir_all(&work)?;
    }
    let text: String = outcomes.iter().map(many::text).collect();
    let json = serde_json::to_value(&outcomes)?;
    Ok(Told { part: "many", markdown: text.clone(), text, json, ..Told::default() })
}

fn tunnels(args: &Args, release: &Path, work: &Path, stop: &StopFlag) -> Result<Told, Trouble> {
    let rows = vxlan::all(args.rounds, release, work, stop)?;
    let text = vxlan::text(&rows);
    let json = serde_json::to_value(&rows)?;
    Ok(Told { part: "vxlan", markdown: text.clone(), text, json, ..Told::default() })
}

fn wan(
    args: &Args,
    contenders: &[Box<dyn Contender>],
    work: &Path,
    stop: &StopFlag,
) -> Result<Told, Trouble> {
    let net = Net::find(&args.topology, args.scale)?;
    let bytes = size(args, SENT)?;
    let from = net.site(&args.from)?;
    let to = args.to.iter().map(|n| net.site(n)).collect::<Result<Vec<_>, _>>()?;
    let &Args { rounds, keep, .. } = args;
    let task = rounds::Task { net: &net, from, to: &to, bytes, rounds, work, keep };
    let rows = rounds::all(&task, contenders, stop)?;
    let links = net.graph.links().len() / 2;
    let most = (0..2 * links).map(|l| net.bits(l)).max().unwrap_or(0);
    let report = Report {
        network: format!(
            "{}: {} sites, {links} links of {} to {}",
            net.name,
            net.graph.nodes(),
            format_rate(net.bottleneck()),
            format_rate(most)
        ),
        task: format!("{} from {} to {}", format_size(bytes), args.from, args.to.join(", ")),
        receivers: args.to.clone(),
        machine: Machine::look(),
        rows,
    };
    let (text, markdown, svg) = (report.text(), report.markdown(), Some(report.svg()));
    Ok(Told { part: "wan", text, markdown, svg, json: report.json(), failed: 0 })
}

/// The contenders that were asked for, in their own order.
fn asked(all: Vec<Box<dyn Contender>>, names: &[String]) -> Result<Vec<Box<dyn Contender>>, Trouble> {
    let known: Vec<&str> = all.iter().map(|c| c.name()).collect();
    if let Some(unknown) = names.iter().find(|n| !known.contains(&n.as_str())) {
        return Err(format!("no contender `{unknown}`; there are {}", known.join(", ")).into());
    }
    Ok(all.into_iter().filter(|c| names.is_empty() || names.iter().any(|n| n == c.name())).collect())
}

fn list(contenders: &[Box<dyn Contender>]) -> String {
    let mut text = String::new();
    for c in contenders {
        let _ = writeln!(text, "contender {}: {}", c.name(), c.about());
    }
    text
}

/// Prints; a reader that wants no more, such as `head`, is no mistake.
fn say(text: &str) -> Result<(), Trouble> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
