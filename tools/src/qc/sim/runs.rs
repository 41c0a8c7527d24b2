//! Running schemes on the same transfers, with a progress bar, and figures over seeds.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use valecast_qc_dataplane::graph::Graph;
use valecast_qc_dataplane::plan::Scheme;
use valecast_qc_dataplane::sim::batch::{Source, compare};
use valecast_qc_dataplane::sim::outcome::Summary;
use valecast_qc_dataplane::sim::stats::Estimate;
use valecast_qc_dataplane::sim::{Outcome, Settings};
use valecast_qc_dataplane::traffic::{Distribution, Traffic, Volumes};

/// Mean volume unless something else is asked for: 20 full slots (extended paper, section V).
pub const MEAN: f64 = 20.0;

/// Runs and counts them.
pub struct Runner {
    /// Seeds of the runs to compare.
    pub seeds: Vec<u64>,
    /// How to simulate.
    pub settings: Settings,
    bar: ProgressBar,
}

/// Nanoseconds since the first call.
fn clock() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

impl Runner {
    pub fn new(seeds: u64, delta: f64) -> Self {
        let bar = ProgressBar::new(0);
        let style = "{spinner} {msg} {bar:30} {pos}/{len} runs, {elapsed}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let settings = Settings { delta, clock: Some(clock), ..Settings::default() };
        Self { seeds: (1..=seeds).collect(), settings, bar }
    }

    /// Says what is being run.
    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Runs `schemes` on the same transfers.
    pub fn compare(&self, graph: &Graph, source: &Source, schemes: &[Scheme]) -> Result<Runs, String> {
        self.bar.inc_length((self.seeds.len() * schemes.len()) as u64);
        let outcomes = compare(graph, source, schemes, &self.seeds, &self.settings, || self.bar.inc(1));
        let outcomes = outcomes.map_err(|e| e.to_string())?;
        let summaries = outcomes.iter().map(|o| o.iter().map(Outcome::summary).collect()).collect();
        Ok(Runs { outcomes, summaries })
    }

    /// As [`Runner::compare`], generated traffic.
    pub fn traffic(&self, graph: &Graph, cell: &Cell, schemes: &[Scheme]) -> Result<Runs, String> {
        self.compare(graph, &Source::Traffic(cell.traffic()?), schemes)
    }
}

/// One kind of traffic of the paper's mean volume.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub volumes: Distribution,
    pub lambda: f64,
    pub receivers: usize,
    pub transfers: usize,
}

impl Cell {
    /// What to generate.
    pub fn traffic(&self) -> Result<Traffic, String> {
        let volumes = Volumes::new(self.volumes, MEAN).map_err(|e| e.to_string())?;
        Ok(Traffic { transfers: self.transfers, lambda: self.lambda, receivers: self.receivers, volumes })
    }
}

/// What came out, by seed and scheme.
pub struct Runs {
    pub outcomes: Vec<Vec<Outcome>>,
    pub summaries: Vec<Vec<Summary>>,
}

impl Runs {
    /// A figure of one scheme in each run.
    pub fn each(&self, scheme: usize, figure: impl Fn(&Summary) -> f64) -> Vec<f64> {
        self.summaries.iter().map(|s| figure(&s[scheme])).collect()
    }

    /// Its mean over the runs.
    pub fn mean(&self, scheme: usize, figure: impl Fn(&Summary) -> f64) -> Estimate {
        Estimate::of(&self.each(scheme, figure))
    }

    /// By how much a figure of `over` is that of `under`.
    pub fn ratio(&self, over: usize, under: usize, figure: impl Fn(&Summary) -> f64) -> Estimate {
        Estimate::ratio(&self.each(over, &figure), &self.each(under, &figure))
    }

    /// By how much the mean completion time of receivers of each rank is that with `base` over that with `scheme`.
    pub fn rank_speedups(&self, scheme: usize, base: usize) -> Vec<Estimate> {
        let by_rank = |s: usize| self.outcomes.iter().map(|o| o[s].by_rank()).collect::<Vec<_>>();
        let (ours, theirs) = (by_rank(scheme), by_rank(base));
        let ranks = ours.iter().map(Vec::len).min().unwrap_or(0);
        let column = |all: &[Vec<f64>], rank: usize| all.iter().map(|r| r[rank]).collect::<Vec<_>>();
        (0..ranks).map(|r| Estimate::ratio(&column(&theirs, r), &column(&ours, r))).collect()
    }
}

/// The schemes of a list of names; a name may be followed by parts of it that differ (`key=value`).
pub fn schemes(list: &str) -> Result<Vec<Scheme>, String> {
    let mut names: Vec<String> = Vec::new();
    for word in list.split(',').map(str::trim) {
        match names.last_mut() {
            Some(last) if word.contains('=') => *last += &format!(",{word}"),
            _ => names.push(word.to_owned()),
        }
    }
    names
        .iter()
        .map(|n| n.parse().map_err(|e: valecast_qc_dataplane::plan::NoScheme| e.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_schemes() {
        let names = |list| schemes(list).map(|s| s.into_iter().map(|s| s.name).collect::<Vec<_>>());
        assert_eq!(names("paper, single").unwrap(), ["paper", "single"]);
        assert_eq!(names("paper,budget=1.2,most=3,best").unwrap(), ["paper,budget=1.2,most=3", "best"]);
        assert!(names("paper,nope").unwrap_err().contains("no algorithm \"nope\""));
        assert!(names("budget=2").is_err());
    }
}
