//! Fig. 3: six schemes on GEANT by number of receivers.

use valecast_qc_dataplane::sim::outcome::Summary;
use valecast_qc_dataplane::sim::stats::Estimate;
use valecast_qc_dataplane::traffic::Distribution;

use super::Context;
use crate::qc::sim::page::{Section, Table, Verdict, three, verdict, with_half};
use crate::qc::sim::runs::{Cell, Runs, schemes};
use crate::qc::sim::svg::{Marks, Panel};

const SCHEMES: &str = "paper,quickcast2,single,dccast,min-edge,unicast";
const PAPER: usize = 0;
const TWO: usize = 1;
const SINGLE: usize = 2;
const EDGE: usize = 4;
const UNICAST: usize = 5;
type Figure = fn(&Summary) -> f64;

/// One group of points of the figure.
struct Point {
    place: String,
    light: bool,
    runs: Runs,
}

impl Point {
    fn ratio(&self, over: usize, under: usize, figure: Figure) -> Estimate {
        self.runs.ratio(over, under, figure)
    }
}

pub fn run(context: &Context) -> Result<Section, String> {
    let graph = context.network("geant")?;
    let all = schemes(SCHEMES)?;
    let receivers: &[usize] = if context.quick { &[4, 8] } else { &[2, 4, 6, 8] };
    let mut section = Section::new(
        "fig3",
        "Fig. 3: schemes by number of receivers",
        format!(
            "GEANT, Facebook's Cache-Follower and Hadoop, λ = 0.001 and 1, {} transfers, {} seeds. Paper is QuickCast with \
             as many partitions as there are receivers, quickcast2 with at most two; all rates are fair but for DCCast, \
             which is FCFS. Plots are normalised by the least of each group, tables by QuickCast, with 95 % confidence.",
            context.transfers,
            context.runner.seeds.len()
        ),
    );
    let mut points = Vec::new();
    for lambda in [0.001, 1.0] {
        for volumes in [Distribution::CacheFollower, Distribution::Hadoop] {
            let first = points.len();
            for &k in receivers {
                let place = format!("{volumes}, λ = {lambda}, {k} receivers");
                context.runner.say(&format!("fig3: {place}"));
                let cell = Cell { volumes, lambda, receivers: k, transfers: context.transfers };
                let runs = context.runner.traffic(&graph, &cell, &all)?;
                points.push(Point { place, light: lambda < 0.1, runs });
            }
            let names: Vec<_> = all.iter().map(|s| s.name.clone()).collect();
            let groups: Vec<_> = receivers.iter().map(usize::to_string).collect();
            for (metric, figure) in METRICS {
                let title = format!("{metric}, {volumes}, λ = {lambda}");
                section.panels.push(panel(title, &names, &groups, &points[first..], figure));
            }
        }
    }
    for (metric, figure) in METRICS {
        let heads: Vec<&str> =
            std::iter::once("run").chain(all[1..].iter().map(|s| s.name.as_str())).collect();
        let mut t = Table::new(format!("{metric}, as a multiple of QuickCast's:"), &heads);
        for p in &points {
            let cells = (1..all.len()).map(|s| with_half(p.ratio(s, PAPER, figure)));
            t.rows.push(std::iter::once(p.place.clone()).chain(cells).collect());
        }
        section.tables.push(t);
    }
    claims(&mut section, &points);
    Ok(section)
}

const METRICS: [(&str, Figure); 3] =
    [("mean", |s| s.mean), ("median", |s| s.median), ("bandwidth", |s| s.bandwidth)];

fn panel(title: String, names: &[String], groups: &[String], points: &[Point], figure: Figure) -> Panel {
    let of = |s: usize, p: &Point| p.runs.mean(s, figure);
    let least = |p: &Point| (0..names.len()).map(|s| of(s, p).mean).fold(f64::INFINITY, f64::min);
    let line = |s: usize| {
        points
            .iter()
            .map(|p| {
                let (e, least) = (of(s, p), least(p));
                Estimate { mean: e.mean / least, half: f64::INFINITY }
            })
            .collect()
    };
    Panel {
        title,
        y: "multiple of the least".into(),
        x: "receivers".into(),
        log: true,
        marks: Marks::Lines,
        groups: groups.to_vec(),
        series: names.iter().enumerate().map(|(s, n)| (n.clone(), line(s))).collect(),
    }
}

/// The largest ratio and where it is.
fn largest(points: &[Point], over: usize, under: usize, figure: Figure) -> (Estimate, String) {
    let all = points.iter().map(|p| (p.ratio(over, under, figure), p.place.clone()));
    all.max_by(|a, b| a.0.mean.total_cmp(&b.0.mean)).unwrap_or_default()
}

/// Whether the confidence interval reaches within a fifth of the published figure.
fn near(e: Estimate, published: f64) -> bool {
    let (low, high) = e.ends();
    low <= published * 1.2 && high >= published / 1.2
}

fn claims(section: &mut Section, points: &[Point]) {
    let (two, unicast, single) = (
        largest(points, TWO, PAPER, |s| s.mean),
        largest(points, UNICAST, PAPER, |s| s.mean),
        largest(points, SINGLE, PAPER, |s| s.mean),
    );
    let best = |figure: Figure| {
        let first = |p: &&Point| (1..6).all(|s| p.ratio(s, PAPER, figure).mean >= 0.999);
        points.iter().filter(first).count()
    };
    let (best_mean, best_median) = (best(|s| s.mean), best(|s| s.median));
    let parts = [near(two.0, 2.84), near(unicast.0, 3.64), near(single.0, 3.33)];
    let most = best_mean * 10 >= points.len() * 9;
    section.claim(
        "C3",
        "QuickCast's mean up to 2.84 times less than with two partitions, 3.64 less than unicast, 3.33 less than a \
         single tree",
        format!(
            "up to {} times ({}), {} ({}), {} ({}); best mean in {best_mean} of {} groups",
            with_half(two.0),
            two.1,
            with_half(unicast.0),
            unicast.1,
            with_half(single.0),
            single.1,
            points.len()
        ),
        verdict(&[parts[0], parts[1], parts[2], most]),
        "Reproduced means that the confidence interval reaches within a fifth of each figure, and the best mean in nine of ten groups. Heavy load's λ and the \
         receiver counts are not published; λ = 1 and up to 8 receivers are taken.",
    );
    section.claim(
        "C3, median",
        "QuickCast has the best median as well",
        format!("best median in {best_median} of {} groups", points.len()),
        match best_median {
            n if n == points.len() => Verdict::Reproduced,
            0 => Verdict::NotReproduced,
            _ => Verdict::Partly,
        },
        "Under heavy load unicast has the better median: half of its receivers are behind no slow link, and what it costs \
         shows in the other half.",
    );
    let (edge, over_unicast) =
        (largest(points, PAPER, EDGE, |s| s.bandwidth), largest(points, UNICAST, PAPER, |s| s.bandwidth));
    section.claim(
        "C4",
        "bandwidth at most 1.49 times min-edge trees', 1.4 times less than unicast's (0.71 of it)",
        format!(
            "at most {} times min-edge ({}); unicast up to {} times QuickCast ({})",
            with_half(edge.0),
            edge.1,
            with_half(over_unicast.0),
            over_unicast.1
        ),
        verdict(&[edge.0.mean <= 1.49 * 1.03, over_unicast.0.mean >= 1.4 / 1.03]),
        "",
    );
    let than_unicast = |s: usize, light: Option<bool>| {
        let of = points.iter().filter(|p| light.is_none_or(|l| p.light == l));
        of.map(|p| p.ratio(UNICAST, s, |x| x.mean).mean).collect::<Vec<_>>()
    };
    let wins = |all: &[f64]| all.iter().filter(|r| **r > 1.0).count();
    let (full, half) = (than_unicast(PAPER, None), than_unicast(TWO, None));
    let geometric =
        |light| valecast_qc_dataplane::sim::stats::geometric_mean(&than_unicast(PAPER, Some(light)));
    let (light, heavy) = (geometric(true), geometric(false));
    section.claim(
        "C5",
        "QuickCast's mean, with two or all partitions, almost always beats unicast's; gains are larger under light load",
        format!(
            "better in {} (all partitions) and {} (two) of {} groups; {} times under light load, {} under heavy (geometric \
             means)",
            wins(&full),
            wins(&half),
            points.len(),
            three(light),
            three(heavy)
        ),
        verdict(&[wins(&full) * 10 >= points.len() * 9, wins(&half) * 10 >= points.len() * 7, light > heavy]),
        "",
    );
}
