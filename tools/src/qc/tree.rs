//! `valecast qc tree`: a tree algorithm over whole files of instances.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use valecast_qc_dataplane::read::instance::{Instance, instances};
use valecast_qc_dataplane::read::text;
use valecast_qc_dataplane::tree::{NoTree, Steiner, Tree, TreeAlgorithm};

pub const HELP: &str = "\
Algorithms:
  gflac     GreedyFLAC, what QuickCast uses
  tm        Takahashi-Matsuyama: the nearest terminal next
  exact     the cheapest tree (Dreyfus-Wagner), for few terminals
  improved  the better of gflac and tm, then improved further
  min-edge  the fewest links, whatever they cost
  min-hop   paths with the fewest links, merged

Files are SteinLib's (STP), or tables with one instance per line: name, nodes, root, terminals, arcs, cost, tree and
optimum, separated by tabs. Both may be compressed with gzip.

Examples:
  valecast qc tree b01.stp --algorithm exact
  valecast qc tree golden.tsv.gz --algorithm gflac --check --json
  valecast qc tree b01.stp b02.stp --algorithm tm --check --optima optima.txt

Exit status: 0 done, 1 an instance has no tree, 2 a file cannot be read.";

/// What `valecast qc tree` takes.
#[derive(Clone, Debug, Args)]
pub struct TreeArgs {
    /// Instances.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The algorithm.
    #[arg(long, value_name = "NAME", default_value = "gflac")]
    algorithm: TreeAlgorithm,
    /// Print how the trees compare with those, the costs and the optima that the files know.
    #[arg(long)]
    check: bool,
    /// Further optima: lines of an instance's name and its optimum.
    #[arg(long, value_name = "FILE")]
    optima: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How trees compare with what is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Check {
    /// Instances with a tree.
    instances: usize,
    /// Of those with a known tree: trees with the same links.
    equal_tree: usize,
    /// Of those with a known tree's cost: the same cost.
    equal_cost: usize,
    /// Of those with a known optimum: trees that cost it.
    optimal: usize,
    /// Mean of what trees cost more than the optimum, as a part of it.
    mean_gap: Option<f64>,
    /// Largest of these.
    max_gap: Option<f64>,
    /// Time for a tree.
    micros_per_instance: f64,
    /// Instances with a known tree, cost, optimum.
    known_trees: usize,
    known_costs: usize,
    known_optima: usize,
    /// Instances with too many terminals for the algorithm.
    skipped: usize,
}

/// Costs that differ by rounding only.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

impl Check {
    fn add(&mut self, instance: &Instance, tree: &Tree, optimum: Option<f64>) {
        let cost = tree.cost(&instance.cost);
        self.instances += 1;
        if let Some(known) = &instance.tree {
            let mut known = known.clone();
            known.sort_unstable();
            self.known_trees += 1;
            self.equal_tree += usize::from(instance.ends(&tree.links) == known);
        }
        if let Some(known) = instance.tree_cost {
            self.known_costs += 1;
            self.equal_cost += usize::from(same(cost, known));
        }
        if let Some(optimum) = optimum {
            let gap = if same(cost, optimum) { 0.0 } else { cost / optimum - 1.0 };
            self.known_optima += 1;
            self.optimal += usize::from(gap <= 0.0);
            // The sum, until all are there.
            self.mean_gap = Some(self.mean_gap.unwrap_or(0.0) + gap);
            self.max_gap = Some(self.max_gap.map_or(gap, |most| most.max(gap)));
        }
    }

    fn text(&self) -> String {
        let of =
            |n: usize, known: usize| if known == 0 { "none known".into() } else { format!("{n} of {known}") };
        let percent = |gap: Option<f64>| gap.map_or_else(|| "-".into(), |g| format!("{:.2} %", g * 100.0));
        let mut out = String::new();
        let _ = writeln!(out, "instances        {}", self.instances);
        let _ = writeln!(out, "the known tree   {}", of(self.equal_tree, self.known_trees));
        let _ = writeln!(out, "its cost         {}", of(self.equal_cost, self.known_costs));
        let _ = writeln!(out, "the optimum      {}", of(self.optimal, self.known_optima));
        let _ = writeln!(
            out,
            "above optimum    {} mean, {} at most",
            percent(self.mean_gap),
            percent(self.max_gap)
        );
        let _ = writeln!(out, "time             {:.1} us each", self.micros_per_instance);
        if self.skipped > 0 {
            let _ = writeln!(out, "skipped          {} (too many terminals)", self.skipped);
        }
        out
    }
}

/// Reads what `--optima` names: a name and a number in each line, anything behind them.
fn optima(file: &Path) -> Result<HashMap<String, f64>, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
    let mut found = HashMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, l)| !l.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (name, optimum) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let optimum = optimum.parse::<f64>().ok().filter(|o| o.is_finite() && *o >= 0.0);
        let optimum = optimum.ok_or_else(|| format!("{shown}:{number}: a line is a name and its optimum"))?;
        found.insert(name.to_lowercase(), optimum);
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<Instance>, String> {
    let shown = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| format!("{shown}: {e}"))?;
    let text = text(&shown, bytes).map_err(|e| e.to_string())?;
    instances(&shown, &text).map_err(|e| e.to_string())
}

fn one(instance: &Instance, tree: &Tree, micros: f64) -> Value {
    let name = |n| instance.graph.name(n);
    let link = |l: &u32| instance.graph.link(*l);
    let links: Vec<[&str; 2]> = tree.links.iter().map(link).map(|l| [name(l.from), name(l.to)]).collect();
    json!({
        "name": instance.name, "root": name(instance.root), "terminals": instance.terminals.len(),
        "cost": tree.cost(&instance.cost), "links": links, "micros": micros,
    })
}

fn line(instance: &Instance, tree: &Tree) -> String {
    let name = |n| instance.graph.name(n);
    let link = |l: &u32| instance.graph.link(*l);
    let links: Vec<_> =
        tree.links.iter().map(link).map(|l| format!("{}>{}", name(l.from), name(l.to))).collect();
    format!("{}\t{}\t{}\n", instance.name, tree.cost(&instance.cost), links.join(","))
}

/// Runs it.
pub fn run(args: &TreeArgs) -> ExitCode {
    match trees(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            errln!("valecast qc tree: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every instance has its tree.
fn trees(args: &TreeArgs) -> Result<bool, String> {
    let optima = args.optima.as_deref().map(optima).transpose()?.unwrap_or_default();
    let (mut check, mut all, mut well, mut micros) = (Check::default(), Vec::new(), true, 0.0);
    for file in &args.files {
        let stem = file.file_stem().map(|s| s.to_string_lossy().to_lowercase()).unwrap_or_default();
        for instance in read(file)? {
            let mut steiner = Steiner::new(&instance.graph);
            let start = Instant::now();
            let found = steiner.tree(args.algorithm, &instance.cost, instance.root, &instance.terminals);
            let took = start.elapsed().as_secs_f64() * 1e6;
            let tree = match found {
                Ok(tree) => tree,
                Err(NoTree::TooMany { .. }) if args.check => {
                    check.skipped += 1;
                    continue;
                }
                Err(why) => {
                    errln!("valecast qc tree: {}: {}: {why}", file.display(), instance.name);
                    well = false;
                    continue;
                }
            };
            // Every tree is checked, whatever the algorithm claims.
            tree.check(&instance.graph, &instance.terminals)
                .map_err(|e| format!("{}: {}: not a tree: {e}", file.display(), instance.name))?;
            micros += took;
            let known = optima.get(&instance.name.to_lowercase()).or_else(|| optima.get(&stem));
            check.add(&instance, &tree, instance.optimum.or(known.copied()));
            match (args.check, args.json) {
                (true, _) => {}
                (false, true) => all.push(one(&instance, &tree, took)),
                (false, false) => out!("{}", line(&instance, &tree)),
            }
        }
    }
    check.micros_per_instance = micros / check.instances.max(1) as f64;
    check.mean_gap = check.mean_gap.map(|sum| sum / check.known_optima.max(1) as f64);
    match (args.check, args.json) {
        (true, true) => outln!("{:#}", json!(check)),
        (true, false) => out!("{}", check.text()),
        (false, true) => outln!("{:#}", Value::Array(all)),
        (false, false) => {}
    }
    Ok(well)
}
