//! Fig. 6: throughput by rate policy.

use valecast_qc_dataplane::sim::outcome::Summary;
use valecast_qc_dataplane::sim::stats::Estimate;
use valecast_qc_dataplane::traffic::Distribution;

use super::Context;
use crate::qc::sim::page::{Section, Table, three, verdict, with_half};
use crate::qc::sim::runs::{Cell, schemes};
use crate::qc::sim::svg::{Marks, Panel};

type Figure = fn(&Summary) -> f64;
const METRICS: [(&str, Figure); 2] = [
    ("volume delivered over the time until all is", |s| s.throughput),
    ("mean over transfers of volume over completion time", |s| s.transfer_throughput),
];

pub fn run(context: &Context) -> Result<Section, String> {
    let graph = context.network("ans")?;
    let all = schemes("single,rates=fair,name=fair,single,rates=fcfs,name=FCFS,single,rates=srpt,name=SRPT")?;
    let transfers = 100;
    let mut section = Section::new(
        "fig6",
        "Fig. 6: throughput by rate policy",
        format!(
            "ANS, {transfers} transfers at time 0, one tree each, {} seeds. The definition of throughput is not published; \
             two are tried.",
            context.runner.seeds.len()
        ),
    );
    let (mut best, mut cells, mut largest) = (vec![0; 2], 0, [0.0f64; 2]);
    let mut tables: Vec<_> = METRICS
        .iter()
        .map(|(name, _)| {
            Table::new(format!("{name}, over the least of the row:"), &["run", "fair", "FCFS", "SRPT"])
        })
        .collect();
    for (word, volumes) in [("light", Distribution::Exponential), ("heavy", Distribution::Pareto)] {
        let mut runs = Vec::new();
        for k in [4, 8, 16] {
            context.runner.say(&format!("fig6: {word} {k}"));
            let cell = Cell { volumes, lambda: f64::INFINITY, receivers: k, transfers };
            runs.push((k, context.runner.traffic(&graph, &cell, &all)?));
        }
        cells += runs.len();
        for (m, (name, figure)) in METRICS.iter().enumerate() {
            let ratios: Vec<Vec<Estimate>> = runs
                .iter()
                .map(|(_, r)| {
                    let of = |s| r.mean(s, figure).mean;
                    let least = if of(1) < of(2) { 1 } else { 2 };
                    let least = if of(0) < of(least) { 0 } else { least };
                    (0..3).map(|s| r.ratio(s, least, figure)).collect()
                })
                .collect();
            for ((k, _), row) in runs.iter().zip(&ratios) {
                best[m] += usize::from(row[0].mean >= row[1].mean && row[0].mean >= row[2].mean);
                largest[m] = largest[m].max(row[0].mean);
                let cells = row.iter().map(|e| with_half(*e));
                tables[m].rows.push(std::iter::once(format!("{word}, {k} receivers")).chain(cells).collect());
            }
            section.panels.push(Panel {
                title: format!("{word}: {name}"),
                y: "over the least".into(),
                x: "receivers".into(),
                log: false,
                marks: Marks::Bars,
                groups: runs.iter().map(|r| r.0.to_string()).collect(),
                series: (0..3)
                    .map(|s| (all[s].name.clone(), ratios.iter().map(|r| r[s]).collect()))
                    .collect(),
            });
        }
    }
    section.tables = tables;
    section.claim(
        "C8",
        "fair sharing has more throughput than FCFS and SRPT, up to 1.5 times with 16 receivers",
        format!(
            "by time until all is done: fair is best in {} of {cells} rows, at most {} times the least; by transfer: best in \
             {}, at most {} times",
            best[0],
            three(largest[0]),
            best[1],
            three(largest[1])
        ),
        verdict(&[best[0] == cells || best[1] == cells, largest[0] >= 1.4 || largest[1] >= 1.4]),
        "With 16 of 17 possible receivers nearly all trees share links whatever the policy, which leaves little to gain. \
         The published 1.5 needs a definition of throughput that the paper does not give.",
    );
    Ok(section)
}
