//! `valecast qc solve`: one transfer, planned.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use valecast_config::nearest;
use valecast_config::units::parse_rate;
use valecast_qc_dataplane::graph::{Graph, Node};
use valecast_qc_dataplane::load::Load;
use valecast_qc_dataplane::plan::{Plan, Planner, Prediction, Scheme, predict};
use valecast_qc_dataplane::rate::Policy;
use valecast_qc_dataplane::read;
use valecast_qc_dataplane::topology::Topology;

use super::plot;
use crate::ctl::show::table;

pub const HELP: &str = "\
Algorithms:
  best        partitions searched over several hierarchies, parallel trees, adaptive rates; no more bandwidth than paper
  fastest     as best, with the bandwidth that the budget allows
  paper       QuickCast as published
  quickcast2  QuickCast with at most two partitions
  single      one load-aware tree
  dccast      one load-aware tree, first come first served
  min-edge    one tree with the fewest links
  unicast     one flow per receiver over the fewest links
Parts may be exchanged: paper,budget=1.2,most=3,weight=5,tree=tm,partition=search,parallel=2,rates=srpt

Networks: ans, geant, uninett, gscale, cogent, random50, b4, kdl, or a file: .gml (Topology Zoo), .csv
(from,to,capacity), .toml, .txt (TEAVAR), each also with .gz.

Examples:
  valecast qc solve --topology geant --from NL --to DE,IT,PT,HR --volume 10GB
  valecast qc solve --topology net.toml --from a --to b,c --volume 1TB --load load.csv --plot tree.svg

--load is a file with a line from,to,volume for each link that has something left to send.
Exit status: 0 done, 1 the transfer cannot be planned, 2 the command or a file is wrong.";

/// What `valecast qc solve` takes.
#[derive(Clone, Debug, Args)]
pub struct SolveArgs {
    /// Network: a built-in name or a file.
    #[arg(long, value_name = "FILE|NAME")]
    topology: String,
    /// The site that sends.
    #[arg(long, value_name = "SITE")]
    from: String,
    /// The sites that receive.
    #[arg(long, value_name = "SITE,SITE,..", value_delimiter = ',', required = true)]
    to: Vec<String>,
    /// How much.
    #[arg(long, value_name = "SIZE")]
    volume: String,
    /// What the links have left to send already.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// How to plan.
    #[arg(long, value_name = "NAME", default_value = "best")]
    algorithm: Scheme,
    /// Capacity of links whose file says none.
    #[arg(long, value_name = "RATE")]
    capacity: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write a picture of the trees on the map.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Why there is nothing to print.
pub enum Failure {
    /// The command or a file is wrong.
    Wrong(String),
    /// The transfer cannot be planned.
    Refused(String),
}

/// A plan, and what becomes of it.
pub struct Solved {
    /// What it was planned by.
    pub name: String,
    policy: Policy,
    /// The partitions and trees.
    pub plan: Plan,
    /// Rates and times.
    pub prediction: Prediction,
}

impl Solved {
    /// When a receiver is done, in seconds.
    fn completion(&self, receiver: Node) -> f64 {
        let at = self.plan.partitions.iter().position(|p| p.receivers.contains(&receiver));
        at.and_then(|at| self.prediction.completion.get(at)).copied().unwrap_or(f64::INFINITY)
    }
}

/// Runs it.
pub fn run(args: &SolveArgs) -> ExitCode {
    match solve(args) {
        Ok(text) => {
            out!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Wrong(why)) => {
            errln!("valecast qc solve: {why}");
            ExitCode::from(2)
        }
        Err(Failure::Refused(why)) => {
            errln!("valecast qc solve: {why}");
            ExitCode::FAILURE
        }
    }
}

fn site(graph: &Graph, option: &str, name: &str) -> Result<Node, Failure> {
    graph.find(name).ok_or_else(|| {
        let names = || graph.names().iter().map(String::as_str);
        let help = nearest(name, names()).map_or_else(
            || {
                let some: Vec<&str> = names().take(8).collect();
                let more = if graph.nodes() > some.len() { ", .." } else { "" };
                format!("its sites are {}{more}", some.join(", "))
            },
            |meant| format!("did you mean \"{meant}\"?"),
        );
        Failure::Wrong(format!("{option}: the network has no site \"{name}\": {help}"))
    })
}

fn solve(args: &SolveArgs) -> Result<String, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::Wrong(e.to_string());
    let capacity = args.capacity.as_deref().map(|text| match parse_rate(text) {
        Ok(0) => Err(Failure::Wrong("--capacity: must be above 0".into())),
        Ok(bits) => Ok(bits as f64 / 1e9),
        Err(e) => Err(Failure::Wrong(format!("--capacity: {e}"))),
    });
    let topology = Topology::find(&args.topology, capacity.transpose()?).map_err(|e| wrong(&e))?;
    let graph = &topology.graph;
    let from = site(graph, "--from", &args.from)?;
    let to = args.to.iter().map(|name| site(graph, "--to", name.trim())).collect::<Result<Vec<_>, _>>()?;
    let volume = read::load::volume(&args.volume).map_err(|e| Failure::Wrong(format!("--volume: {e}")))?;
    let load = match &args.load {
        None => Load::new(graph),
        Some(path) => {
            let file = path.display().to_string();
            let bytes = std::fs::read(path).map_err(|e| Failure::Wrong(format!("--load: {file}: {e}")))?;
            let text = read::text(&file, bytes).map_err(|e| wrong(&e))?;
            read::load::load(&file, &text, graph).map_err(|e| wrong(&e))?
        }
    };
    let others = ["single", "unicast"].iter().filter_map(|name| Scheme::named(name));
    let mut solved = Vec::new();
    for scheme in std::iter::once(args.algorithm.clone()).chain(others) {
        if solved.iter().any(|s: &Solved| s.name == scheme.name) {
            continue;
        }
        let policy: Policy = scheme.rates.parse().map_err(|e| wrong(&e))?;
        let name = scheme.name.clone();
        let plan = Planner::new(graph, scheme).plan(&load, from, &to, volume);
        let plan = plan.map_err(|e| Failure::Refused(e.to_string()))?;
        let prediction =
            predict(graph, &load, &plan, volume, policy).map_err(|e| Failure::Refused(e.to_string()))?;
        solved.push(Solved { name, policy, plan, prediction });
    }
    let [this, ..] = &solved[..] else { return Err(Failure::Wrong("no algorithm".into())) };
    if let Some(file) = &args.plot {
        let title = format!("{}: {} from {} by {}", topology.name, args.volume, args.from, this.name);
        std::fs::write(file, plot::svg(&title, &topology, from, this))
            .map_err(|e| Failure::Wrong(format!("--plot: {}: {e}", file.display())))?;
    }
    Ok(if args.json {
        format!("{:#}\n", as_json(&topology, from, &to, volume, &solved))
    } else {
        as_text(args, &topology, &to, &solved)
    })
}

/// A rate in bit/s for readers.
pub fn show_rate(gbit: f64) -> String {
    let bits = gbit * 1e9;
    let unit = [("Tbit/s", 1e12), ("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)];
    let (name, factor) = unit.into_iter().find(|u| bits >= u.1 * 0.9995).unwrap_or(("bit/s", 1.0));
    format!("{} {name}", three(bits / factor))
}

/// A time for readers.
pub fn show_time(seconds: f64) -> String {
    if seconds.is_infinite() {
        return "never".into();
    }
    let unit = [("d", 86400.0 * 3.0), ("h", 3600.0 * 3.0), ("min", 60.0 * 3.0), ("s", 0.9995), ("ms", 0.0)];
    let factor = [86400.0, 3600.0, 60.0, 1.0, 1e-3];
    let at = unit.iter().position(|u| seconds >= u.1).unwrap_or(4);
    format!("{} {}", three(seconds / factor[at]), unit[at].0)
}

/// Three digits that matter.
fn three(x: f64) -> String {
    let digits = if x >= 99.95 {
        0
    } else if x >= 9.995 {
        1
    } else {
        2
    };
    format!("{x:.digits$}")
}

/// A volume in Gbit as bytes.
fn show_volume(gbit: f64) -> String {
    let bytes = gbit * 1e9 / 8.0;
    let unit = [("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let (name, factor) = unit.into_iter().find(|u| bytes >= u.1 * 0.9995).unwrap_or(("B", 1.0));
    format!("{} {name}", three(bytes / factor))
}

fn names(graph: &Graph, nodes: &[Node]) -> String {
    nodes.iter().map(|n| graph.name(*n)).collect::<Vec<_>>().join(", ")
}

fn as_text(args: &SolveArgs, topology: &Topology, to: &[Node], solved: &[Solved]) -> String {
    let graph = &topology.graph;
    let this = &solved[0];
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {} sites, {} links. {} from {} to {} sites, by {} ({} rates)\n",
        topology.name,
        graph.nodes(),
        graph.links().len(),
        args.volume,
        args.from,
        to.len(),
        this.name,
        this.policy
    );
    let mut rows = Vec::new();
    for (i, (p, rates)) in this.plan.partitions.iter().zip(&this.prediction.rates).enumerate() {
        for (t, (tree, rate)) in p.trees.iter().zip(rates).enumerate() {
            rows.push(vec![
                if t == 0 { (i + 1).to_string() } else { String::new() },
                if t == 0 { names(graph, &p.receivers) } else { String::new() },
                tree.links.len().to_string(),
                show_rate(tree.bottleneck(graph)),
                show_rate(*rate),
                if t == 0 { show_time(this.prediction.completion[i]) } else { String::new() },
            ]);
        }
    }
    out += &table(&[">partition", "receivers", ">links", ">bottleneck", ">rate now", ">done after"], rows);
    out.push('\n');
    for (i, p) in this.plan.partitions.iter().enumerate() {
        for tree in &p.trees {
            let link = |l: &u32| {
                let l = graph.link(*l);
                format!("{} > {}", graph.name(l.from), graph.name(l.to))
            };
            let links: Vec<String> = tree.links.iter().map(link).collect();
            let _ = writeln!(out, "tree {}: {}", i + 1, links.join(", "));
        }
    }
    out.push('\n');
    let columns: Vec<String> = solved.iter().map(|s| format!(">{}", s.name)).collect();
    let heading: Vec<&str> = std::iter::once("receiver").chain(columns.iter().map(String::as_str)).collect();
    let row = |name: String, value: &dyn Fn(&Solved) -> String| -> Vec<String> {
        std::iter::once(name).chain(solved.iter().map(value)).collect()
    };
    let mut rows: Vec<Vec<String>> =
        to.iter().map(|n| row(graph.name(*n).to_owned(), &|s| show_time(s.completion(*n)))).collect();
    rows.push(row("mean".into(), &|s| show_time(s.prediction.mean(&s.plan))));
    rows.push(row("last".into(), &|s| show_time(s.prediction.last())));
    rows.push(row("bandwidth".into(), &|s| show_volume(s.prediction.bandwidth)));
    out += &table(&heading, rows);
    out
}

/// JSON has no infinity.
fn finite(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { Value::Null }
}

fn as_json(topology: &Topology, from: Node, to: &[Node], volume: f64, solved: &[Solved]) -> Value {
    let graph = &topology.graph;
    let name = |n: Node| graph.name(n);
    let this = &solved[0];
    let partitions: Vec<Value> = (this.plan.partitions.iter().zip(&this.prediction.rates))
        .zip(&this.prediction.completion)
        .map(|((p, rates), done)| {
            let trees: Vec<Value> = (p.trees.iter().zip(rates))
                .map(|(tree, rate)| {
                    let link = |l: &u32| {
                        let l = graph.link(*l);
                        json!({ "from": name(l.from), "to": name(l.to), "capacity_gbit_s": l.capacity })
                    };
                    let links: Vec<Value> = tree.links.iter().map(link).collect();
                    json!({
                        "links": links, "share": 1.0 / p.trees.len() as f64, "rate_gbit_s": rate,
                        "bottleneck_gbit_s": tree.bottleneck(graph),
                    })
                })
                .collect();
            let receivers: Vec<&str> = p.receivers.iter().map(|n| name(*n)).collect();
            json!({ "receivers": receivers, "completion_s": finite(*done), "trees": trees })
        })
        .collect();
    let compared: Vec<Value> = solved
        .iter()
        .map(|s| {
            let receivers: serde_json::Map<String, Value> =
                to.iter().map(|n| (name(*n).to_owned(), finite(s.completion(*n)))).collect();
            json!({
                "algorithm": s.name, "rates": s.policy.to_string(), "partitions": s.plan.partitions.len(),
                "completion_s": receivers, "mean_s": finite(s.prediction.mean(&s.plan)),
                "last_s": finite(s.prediction.last()), "bandwidth_gbit": s.prediction.bandwidth,
            })
        })
        .collect();
    json!({
        "topology": topology.name, "sites": graph.nodes(), "links": graph.links().len(), "from": name(from),
        "to": to.iter().map(|n| name(*n)).collect::<Vec<_>>(), "volume_gbit": volume, "algorithm": this.name,
        "rates": this.policy.to_string(), "partitions": partitions, "compared": compared,
    })
}
