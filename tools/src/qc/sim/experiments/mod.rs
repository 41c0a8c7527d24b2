//! The experiments of the two papers, and one that goes beyond them. Each gives a [`Section`].

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use valecast_qc_dataplane::graph::Graph;
use valecast_qc_dataplane::plan::Scheme;

use super::SimArgs;
use super::networks::network;
use super::page::Section;
use super::runs::{Runner, schemes};

mod beyond;

/// An experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// Algorithms against the paper's own, on six networks at light and heavy load.
    Beyond,
    /// All of them, as one page.
    All,
}

/// What experiments run with.
pub struct Context {
    pub runner: Runner,
    /// Fewer cells.
    pub quick: bool,
    /// Transfers of a run.
    pub transfers: usize,
    /// Algorithms that were asked for.
    pub algorithms: Option<Vec<Scheme>>,
}

impl Context {
    /// A network by its name.
    pub fn network(&self, name: &str) -> Result<Graph, String> {
        network(name)
    }
}

type Run = fn(&Context) -> Result<Section, String>;

/// In the order of the page.
const ALL: [(Experiment, Run); 1] = [(Experiment::Beyond, beyond::run)];

pub fn run(experiment: Experiment, args: &SimArgs) -> Result<(), String> {
    let seeds = args.seeds.unwrap_or(if args.quick { 3 } else { 20 });
    let context = Context {
        runner: Runner::new(seeds, args.delta),
        quick: args.quick,
        transfers: args.transfers.unwrap_or(200),
        algorithms: args.algorithm.as_deref().map(schemes).transpose()?,
    };
    let chosen = ALL.iter().filter(|e| experiment == Experiment::All || e.0 == experiment);
    let sections = chosen.map(|(_, run)| run(&context)).collect::<Result<Vec<_>, _>>();
    context.runner.finish();
    let sections = sections?;
    if let Some(out) = &args.out {
        for section in &sections {
            write(out, section)?;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&sections).map_err(|e| e.to_string())?);
    } else {
        sections.iter().for_each(|s| println!("{}", s.terminal()));
    }
    Ok(())
}

/// Plot and tables go to `img/quickcast`, the page beside it.
fn write(out: &Path, section: &Section) -> Result<(), String> {
    let images = out.join("img/quickcast");
    let put =
        |path: &Path, text: String| fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()));
    fs::create_dir_all(&images).map_err(|e| format!("{}: {e}", images.display()))?;
    put(&images.join(format!("{}.csv", section.id)), section.csv())?;
    if let Some(svg) = section.svg() {
        put(&images.join(format!("{}.svg", section.id)), svg)?;
    }
    put(&out.join(format!("quickcast-{}.md", section.id)), section.markdown(1, "img/quickcast"))
}
