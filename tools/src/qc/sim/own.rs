//! A user's own network and traffic.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;
use valecast_qc_dataplane::sim::batch::Source;
use valecast_qc_dataplane::sim::outcome::Summary;
use valecast_qc_dataplane::sim::stats::Estimate;
use valecast_qc_dataplane::traffic::{Distribution, Traffic, Volumes, trace};

use super::SimArgs;
use super::networks::network;
use super::page::{Table, plain, three, with_half};
use super::runs::{MEAN, Runner, Runs, schemes};

/// A figure: its name and where it is in a summary.
type Figure = (&'static str, fn(&Summary) -> f64);

const FIGURES: [Figure; 17] = [
    ("mean", |s| s.mean),
    ("median", |s| s.median),
    ("p95", |s| s.p95),
    ("p99", |s| s.p99),
    ("max", |s| s.max),
    ("bandwidth", |s| s.bandwidth),
    ("end", |s| s.end),
    ("throughput", |s| s.throughput),
    ("transfer_throughput", |s| s.transfer_throughput),
    ("partitions", |s| s.partitions),
    ("trees", |s| s.trees),
    ("groups_max", |s| s.groups_max),
    ("groups_mean", |s| s.groups_mean),
    ("buckets_max", |s| s.buckets_max),
    ("planning_us", |s| s.planning_us),
    ("planning_max_us", |s| s.planning_max_us),
    ("rates_us", |s| s.rates_us),
];
/// Those that the table shows.
const SHOWN: [&str; 8] =
    ["mean", "median", "p95", "p99", "bandwidth", "partitions", "groups_max", "planning_us"];

pub fn run(args: &SimArgs) -> Result<(), String> {
    let topology = args.topology.as_deref().ok_or("--topology is missing")?;
    let name = args.traffic.as_deref().ok_or("--traffic is missing")?;
    let graph = network(topology, args.capacity)?;
    let source = if name.to_ascii_lowercase().ends_with(".csv") {
        for (given, key) in [
            (args.lambda.is_some(), "--lambda"),
            (args.receivers.is_some(), "--receivers"),
            (args.transfers.is_some(), "--transfers"),
            (args.mean.is_some(), "--mean"),
            (args.seeds.is_some(), "--seeds"),
        ] {
            if given {
                return Err(format!("{key} is for generated traffic: {name} says what is sent"));
            }
        }
        let text = fs::read_to_string(name).map_err(|e| format!("{name}: {e}"))?;
        Source::Trace(trace::read(&graph, &text).map_err(|e| format!("{name}: {e}"))?)
    } else {
        let volumes: Distribution = name.parse().map_err(|e| format!("{e}"))?;
        let volumes = Volumes::new(volumes, args.mean.unwrap_or(MEAN)).map_err(|e| format!("--mean: {e}"))?;
        let lambda = args.lambda.ok_or("--lambda is missing: transfers per slot, such as 0.001 or 1")?;
        let (transfers, receivers) = (args.transfers.unwrap_or(200), args.receivers.unwrap_or(8));
        Source::Traffic(Traffic { transfers, lambda, receivers, volumes })
    };
    let seeds = match source {
        Source::Trace(_) => 1,
        Source::Traffic(_) => args.seeds.unwrap_or(5),
    };
    let schemes =
        schemes(args.algorithm.as_deref().unwrap_or("best,paper,quickcast2,single,min-edge,unicast,dccast"))?;
    let mut runner = Runner::new(seeds, args.delta);
    runner.settings.horizon = args.horizon;
    runner.say(topology);
    let runs = runner.compare(&graph, &source, &schemes);
    runner.finish();
    let runs = runs?;
    let names: Vec<&str> = schemes.iter().map(|s| s.name.as_str()).collect();
    if let Some(file) = &args.csv {
        fs::write(file, csv(&names, &runner.seeds, &runs)).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    if args.json {
        let algorithms: Vec<_> =
            (0..names.len()).map(|i| algorithm(&names, &schemes[i].rates, i, &runs)).collect();
        let what = json!({
            "topology": topology, "nodes": graph.nodes(), "links": graph.links().len(), "traffic": name,
            "lambda": args.lambda, "seeds": runner.seeds.len(), "algorithms": algorithms,
        });
        outln!("{what:#}");
    } else {
        out!("{}", text(&names, &runs));
    }
    Ok(())
}

/// JSON has no infinity: an interval of a single run is null.
fn estimate(e: Estimate) -> serde_json::Value {
    json!({ "mean": e.mean, "half": e.half.is_finite().then_some(e.half) })
}

fn algorithm(names: &[&str], rates: &str, i: usize, runs: &Runs) -> serde_json::Value {
    let mut out = serde_json::Map::new();
    out.insert("algorithm".into(), json!(names[i]));
    out.insert("rates".into(), json!(rates));
    for (key, figure) in FIGURES {
        out.insert(key.into(), estimate(runs.mean(i, figure)));
    }
    let speedup: Vec<_> = runs.rank_speedups(i, 0).into_iter().map(estimate).collect();
    out.insert("rank_speedup_over".into(), json!(names[0]));
    out.insert("rank_speedup".into(), json!(speedup));
    serde_json::Value::Object(out)
}

fn csv(names: &[&str], seeds: &[u64], runs: &Runs) -> String {
    let keys: Vec<_> = FIGURES.iter().map(|f| f.0).collect();
    let mut out = format!("seed,algorithm,{}\n", keys.join(","));
    for (seed, summaries) in seeds.iter().zip(&runs.summaries) {
        for (name, s) in names.iter().zip(summaries) {
            let values: Vec<_> = FIGURES.iter().map(|f| f.1(s).to_string()).collect();
            let name = if name.contains(',') { format!("\"{name}\"") } else { (*name).to_owned() };
            let _ = writeln!(out, "{seed},{name},{}", values.join(","));
        }
    }
    out
}

fn text(names: &[&str], runs: &Runs) -> String {
    let shown: Vec<&Figure> = SHOWN.iter().filter_map(|k| FIGURES.iter().find(|f| f.0 == *k)).collect();
    let columns: Vec<&str> = std::iter::once("algorithm").chain(shown.iter().map(|f| f.0)).collect();
    let mut t = Table::new("", &columns);
    for (i, name) in names.iter().enumerate() {
        let cells = shown.iter().map(|f| with_half(runs.mean(i, f.1)));
        t.rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    let mut out = plain(&t);
    let mut ranks = Table::new("", &["algorithm", "speed-up by rank of the receiver, fastest first"]);
    for (i, name) in names.iter().enumerate().skip(1) {
        let each: Vec<_> = runs.rank_speedups(i, 0).into_iter().map(|e| three(e.mean)).collect();
        ranks.rows.push(vec![(*name).to_owned(), each.join("  ")]);
    }
    if !ranks.rows.is_empty() {
        let _ = write!(out, "\nbeside {}:\n{}", names[0], plain(&ranks));
    }
    out
}
