//! Fig. 4: speed-up by rank of the receiver.

use valecast_qc_dataplane::sim::stats::{Estimate, mean};
use valecast_qc_dataplane::traffic::Distribution;

use super::Context;
use crate::qc::sim::page::{Section, Table, three, verdict, with_half};
use crate::qc::sim::runs::{Cell, schemes};
use crate::qc::sim::svg::{Marks, Panel};

pub fn run(context: &Context) -> Result<Section, String> {
    let all = schemes("single,paper,quickcast2")?;
    let mut section = Section::new(
        "fig4",
        "Fig. 4: speed-up by rank of the receiver",
        format!(
            "λ = 1, {} transfers, {} seeds, exponential and Pareto volumes. Mean completion time of the fastest receiver of \
             each transfer, of the second fastest and so on, with a single tree over QuickCast's.",
            context.transfers,
            context.runner.seeds.len()
        ),
    );
    let mut table = Table::new(
        "Speed-up over a single tree, fastest receiver first:",
        &["run", "scheme", "by rank", "mean of the top half"],
    );
    let receivers: &[usize] = if context.quick { &[4, 8] } else { &[4, 8, 16] };
    // Mean over the top half; over ranks 1 to 3 and the others with two partitions.
    let (mut top, mut low, mut first, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for name in ["geant", "uninett"] {
        let graph = context.network(name)?;
        for volumes in [Distribution::Exponential, Distribution::Pareto] {
            for &k in receivers {
                context.runner.say(&format!("fig4: {name} {volumes} {k}"));
                let cell = Cell { volumes, lambda: 1.0, receivers: k, transfers: context.transfers };
                let runs = context.runner.traffic(&graph, &cell, &all)?;
                let place = format!("{name}, {volumes}, {k} receivers");
                let mut series = Vec::new();
                for s in [1, 2] {
                    let ranks = runs.rank_speedups(s, 0);
                    let means: Vec<f64> = ranks.iter().map(|e| e.mean).collect();
                    let half = mean(&means[..k / 2]);
                    if s == 1 {
                        top.extend(&means[..k / 2]);
                        low.push(means.iter().filter(|m| **m > 2.0).count() as f64 / k as f64);
                    } else {
                        first.push(mean(&means[..3.min(k)]));
                        others.push(mean(&means[3.min(k - 1)..]));
                    }
                    let texts: Vec<_> = ranks.iter().map(|e| with_half(*e)).collect();
                    let row = [place.clone(), all[s].name.clone(), texts.join(", "), three(half)];
                    table.rows.push(row.to_vec());
                    series.push((all[s].name.clone(), ranks));
                }
                section.panels.push(panel(place, k, series));
            }
        }
    }
    section.tables.push(table);
    let range = |all: &[f64]| {
        (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max))
    };
    let (least, most) = range(&top);
    section.claim(
        "C6",
        "the top half of the receivers 3 to 35 times faster; two partitions help ranks 1 to 3 most; above 2 times for \
         several ranks with all partitions",
        format!(
            "ranks of the top half {} to {} times faster; with two partitions ranks 1 to 3 {} times, others {}; above 2 times for {:.0} to \
             {:.0} % of ranks",
            three(least),
            three(most),
            three(mean(&first)),
            three(mean(&others)),
            range(&low).0 * 100.0,
            range(&low).1 * 100.0
        ),
        verdict(&[least >= 2.0 && (35.0 / 1.3..=35.0 * 1.3).contains(&most), mean(&first) > mean(&others), range(&low).0 >= 0.25]),
        "Networks, traffic and receiver counts of the figure are not in the text; with Facebook's volumes speed-ups are smaller, \
         up to 16. Taken as reproduced: ranks of the top half from at least 2 to within a third of 35 times.",
    );
    Ok(section)
}

fn panel(title: String, k: usize, series: Vec<(String, Vec<Estimate>)>) -> Panel {
    let groups = (1..=k).map(|r| r.to_string()).collect();
    Panel {
        title,
        y: "times faster".into(),
        x: "rank".into(),
        log: false,
        marks: Marks::Lines,
        groups,
        series,
    }
}
