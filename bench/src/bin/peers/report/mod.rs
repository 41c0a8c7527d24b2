//! Tables of the results: `grid` makes them, `text`, `markdown`, `json` and `svg` write them.

mod grid;
mod json;
mod svg;
mod text;

use crate::job::Job;
use crate::machine::Machine;
use crate::placement::Class;
use crate::results::Results;
use crate::run::Plan;

pub use grid::Grid;

/// The contender that all ratios are of.
pub const OURS: &str = "valecast";
/// The same where namespaces are joined.
pub const OURS_JOINING: &str = "valecast-tap";

/// A contender as the report knows it.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Its name.
    pub name: &'static str,
    /// What it is configured as.
    pub about: &'static str,
    /// Its version, or why it was not measured.
    pub version: Result<String, String>,
}

/// Everything that is told.
pub struct Report {
    jobs: Vec<Job>,
    contenders: Vec<Contender>,
    class: Option<Class>,
    rounds: usize,
    ms: u128,
    machine: Machine,
    results: Results,
}

impl Report {
    /// Of what was measured.
    pub fn new(jobs: &[Job], contenders: Vec<Contender>, plan: &Plan, results: Results) -> Self {
        Self {
            jobs: jobs.to_vec(),
            contenders,
            class: plan.class,
            rounds: plan.rounds,
            ms: plan.time.as_millis(),
            machine: Machine::look(),
            results,
        }
    }

    /// Whether Ctrl-C ended it.
    pub fn interrupted(&self) -> bool {
        self.results.interrupted
    }

    /// What was measured on and how, in a few lines.
    fn head(&self) -> Vec<String> {
        let Results { attempts, thrown_away, .. } = &self.results;
        let class = self.class.map_or_else(
            || "wherever the cores were".to_owned(),
            |c| format!("while the cores were: {}", c.name()),
        );
        vec![
            format!("Machine: {}.", self.machine.line()),
            format!(
                "{} rounds of {} ms, {class}; {thrown_away} of {attempts} runs did not count, because others ran or \
                 the host moved the cores.",
                self.rounds, self.ms
            ),
            "Cells: median (lowest-highest) over the rounds. `*`: no round was undisturbed and in that place, so \
             the cell has what there is, and ratios leave it out."
                .to_owned(),
        ]
    }

    /// Everything that is missing, and why.
    fn missing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for c in &self.contenders {
            if let Err(why) = &c.version {
                lines.push(format!("{}: not measured: {why}", c.name));
            }
        }
        for ((name, job), why) in &self.results.failures {
            lines.push(format!("{name}: {job}: FAILED: {}", why.lines().next().unwrap_or("")));
        }
        let mut by_reason: std::collections::BTreeMap<(&str, &str), Vec<&str>> = Default::default();
        for ((name, family), why) in &self.results.not_possible {
            by_reason.entry((name, why)).or_default().push(family);
        }
        for ((name, why), families) in by_reason {
            lines.push(format!("{name}: {why} ({})", families.join("; ")));
        }
        lines
    }

    /// All tables.
    fn grids(&self) -> Vec<Grid> {
        let names: Vec<&'static str> = self.contenders.iter().map(|c| c.name).collect();
        grid::all(&self.jobs, &names, &self.results, self.class)
    }
}
