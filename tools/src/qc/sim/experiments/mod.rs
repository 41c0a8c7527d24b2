//! The experiments of the two papers, and one that goes beyond them. Each gives a [`Section`].

use clap::ValueEnum;
use valecast_qc_dataplane::graph::Graph;
use valecast_qc_dataplane::plan::Scheme;

use super::SimArgs;
use super::networks::network;
use super::page::Section;
use super::runs::{Runner, schemes};

mod beyond;
mod fig2;
mod fig3;
mod fig4;
mod fig5;
mod fig6;
mod infocom;
mod report;
mod runtime;
mod small;

/// An experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// The motivating example.
    Fig1,
    /// The ten weights for tree selection.
    Fig2,
    /// Six schemes by number of receivers.
    Fig3,
    /// Speed-up by rank of the receiver.
    Fig4,
    /// The partitioning factor.
    Fig5,
    /// Throughput by rate policy.
    Fig6,
    /// Running time of planning.
    Runtime,
    /// Group-table entries.
    Groups,
    /// The conference paper's example of rate policies.
    InfocomFig4,
    /// Its rate policies by number of receivers.
    InfocomFig5,
    /// Its bandwidth by way of partitioning.
    InfocomFig6,
    /// QuickCast beside DCCast.
    InfocomFig8,
    /// The same by number of receivers.
    InfocomFig9,
    /// Its group-table entries and running times.
    InfocomGroups,
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
        network(name, None)
    }
}

type Run = fn(&Context) -> Result<Section, String>;

/// In the order of the page.
const ALL: [(Experiment, Run); 15] = [
    (Experiment::Fig1, small::figure_one),
    (Experiment::Fig2, fig2::run),
    (Experiment::Fig3, fig3::run),
    (Experiment::Fig4, fig4::run),
    (Experiment::Fig5, fig5::run),
    (Experiment::Fig6, fig6::run),
    (Experiment::Runtime, runtime::times),
    (Experiment::Groups, runtime::groups),
    (Experiment::InfocomFig4, small::infocom_four),
    (Experiment::InfocomFig5, infocom::five),
    (Experiment::InfocomFig6, infocom::six),
    (Experiment::InfocomFig8, infocom::eight),
    (Experiment::InfocomFig9, infocom::nine),
    (Experiment::InfocomGroups, runtime::infocom),
    (Experiment::Beyond, beyond::run),
];

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
            report::files(out, section)?;
        }
        match experiment {
            Experiment::All => report::page(out, &sections, &context)?,
            _ => sections.iter().try_for_each(|s| report::alone(out, s))?,
        }
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&sections).map_err(|e| e.to_string())?);
    } else {
        sections.iter().for_each(|s| outln!("{}", s.terminal()));
    }
    Ok(())
}
