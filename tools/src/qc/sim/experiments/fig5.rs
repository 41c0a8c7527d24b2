//! Fig. 5: the partitioning factor.

use valecast_qc_dataplane::sim::outcome::Summary;
use valecast_qc_dataplane::sim::stats::{Estimate, geometric_mean};
use valecast_qc_dataplane::traffic::Distribution;

use super::Context;
use crate::qc::sim::page::{Section, Table, three, verdict, with_half};
use crate::qc::sim::runs::{Cell, schemes};
use crate::qc::sim::svg::{Marks, Panel};

const FACTORS: [&str; 9] = ["1.0", "1.02", "1.05", "1.1", "1.2", "1.3", "1.5", "2.0", "3.0"];
/// Where 1.1 stands among them.
const USUAL: usize = 3;
type Figure = fn(&Summary) -> f64;

pub fn run(context: &Context) -> Result<Section, String> {
    let mut list = vec!["single".to_owned()];
    for f in FACTORS {
        list.push(format!("quickcast2,budget={f},name=two {f}"));
        list.push(format!("paper,budget={f},name=all {f}"));
    }
    let all = schemes(&list.join(","))?;
    let mut section = Section::new(
        "fig5",
        "Fig. 5: the partitioning factor",
        format!(
            "4 receivers, λ = 1, {} transfers, {} seeds. A single tree over QuickCast with at most two or all partitions, for \
             mean and 95th percentile; QuickCast over a single tree for bandwidth.",
            context.transfers,
            context.runner.seeds.len()
        ),
    );
    let mut table =
        Table::new("By factor:", &["run", "partitions", "factor", "mean gain", "p95 gain", "bandwidth"]);
    // At 1.1, by partitions: gain in the mean and bandwidth.
    let (mut gains, mut widths) = ([vec![], vec![]], [vec![], vec![]]);
    // Gains of the first step (1 to 1.1) and of one as wide behind it.
    let (mut knee, mut behind) = (Vec::new(), Vec::new());
    for name in ["geant", "uninett"] {
        let graph = context.network(name)?;
        for volumes in [Distribution::CacheFollower, Distribution::Hadoop] {
            context.runner.say(&format!("fig5: {name} {volumes}"));
            let cell = Cell { volumes, lambda: 1.0, receivers: 4, transfers: context.transfers };
            let runs = context.runner.traffic(&graph, &cell, &all)?;
            let place = format!("{name}, {volumes}");
            let of =
                |partitions: usize, f: usize, figure: Figure| runs.ratio(0, 1 + 2 * f + partitions, figure);
            let wide = |partitions: usize, f: usize| runs.ratio(1 + 2 * f + partitions, 0, |s| s.bandwidth);
            for (p, word) in ["two", "all"].into_iter().enumerate() {
                for (f, factor) in FACTORS.into_iter().enumerate() {
                    let figures = [of(p, f, |s| s.mean), of(p, f, |s| s.p95), wide(p, f)].map(with_half);
                    let row = [place.clone(), word.to_owned(), factor.to_owned()].into_iter().chain(figures);
                    table.rows.push(row.collect());
                }
                gains[p].push(of(p, USUAL, |s| s.mean).mean);
                widths[p].push(wide(p, USUAL).mean);
                knee.push(of(p, USUAL, |s| s.mean).mean - of(p, 0, |s| s.mean).mean);
                behind.push(of(p, USUAL + 1, |s| s.mean).mean - of(p, USUAL, |s| s.mean).mean);
            }
            let line =
                |p: usize, figure: Figure| (0..FACTORS.len()).map(|f| of(p, f, figure)).collect::<Vec<_>>();
            let series = vec![
                ("two, mean".to_owned(), line(0, |s| s.mean)),
                ("all, mean".to_owned(), line(1, |s| s.mean)),
                ("two, p95".to_owned(), line(0, |s| s.p95)),
                ("all, p95".to_owned(), line(1, |s| s.p95)),
                ("two, bandwidth".to_owned(), (0..FACTORS.len()).map(|f| wide(0, f)).collect()),
                ("all, bandwidth".to_owned(), (0..FACTORS.len()).map(|f| wide(1, f)).collect()),
            ];
            section.panels.push(panel(place, series));
        }
    }
    section.tables.push(table);
    let range = |all: &[f64]| {
        let (least, most) =
            (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max));
        format!("{} to {}", three(least), three(most))
    };
    let steep = knee.iter().zip(&behind).filter(|(a, b)| a > b).count();
    section.claim(
        "C7",
        "at 1.1 at most 10 % more bandwidth, mean completion improves by 40 to 50 %; most of the gain comes between 1 and \
         1.1",
        format!(
            "at 1.1, two partitions: mean {} times better, bandwidth {}; all: mean {} times, bandwidth {}; the step from 1 \
             to 1.1 is the steeper one in {steep} of {} curves",
            range(&gains[0]),
            range(&widths[0]),
            range(&gains[1]),
            range(&widths[1]),
            knee.len()
        ),
        verdict(&[
            geometric_mean(&widths[0]) <= 1.1,
            geometric_mean(&gains[0]) >= 1.25 && geometric_mean(&gains[1]) >= 1.4,
            steep * 10 >= knee.len() * 7,
        ]),
        "Reproduced means, over the four runs: at most 10 % more bandwidth with two partitions, means at least 1.25 (two) \
         and 1.4 times (all) better, and the knee in seven of ten curves.",
    );
    Ok(section)
}

fn panel(title: String, series: Vec<(String, Vec<Estimate>)>) -> Panel {
    let groups = FACTORS.map(String::from).to_vec();
    Panel {
        title,
        y: "times".into(),
        x: "partitioning factor".into(),
        log: false,
        marks: Marks::Lines,
        groups,
        series,
    }
}
