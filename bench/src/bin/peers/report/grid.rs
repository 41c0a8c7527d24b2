//! Results as tables: one for each family of jobs, contenders as rows.

use std::collections::BTreeMap;

use super::{OURS, OURS_JOINING};
use crate::job::{Job, Kind, Unit};
use crate::placement::Class;
use crate::raw::probes::PROBES;
use crate::results::Results;
use crate::stats::{best, ratio, three_digits};

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The jobs.
    pub title: String,
    /// The figures' unit.
    pub unit: Unit,
    /// Heads of the columns behind the contender's name.
    pub columns: Vec<String>,
    /// Contenders.
    pub rows: Vec<Row>,
}

/// A contender's row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// One for each column.
    pub cells: Vec<String>,
    /// The best of its medians, if it was undisturbed.
    pub best: Option<f64>,
}

/// One for each family, in the order of the jobs.
pub fn all(jobs: &[Job], contenders: &[&'static str], results: &Results, class: Option<Class>) -> Vec<Grid> {
    let mut families: Vec<(String, Vec<Job>)> = Vec::new();
    let mut ordered = jobs.to_vec();
    // By what is done, not by the setup it takes.
    ordered.sort_by_key(|j| (j.kind, j.pattern, j.setup.ports, j.setup.idle_ports, j.size, j.setup.burst));
    for job in ordered {
        match families.iter_mut().find(|(f, _)| *f == job.family()) {
            Some((_, list)) => list.push(job),
            None => families.push((job.family(), vec![job])),
        }
    }
    families.into_iter().filter_map(|(title, jobs)| one(title, &jobs, contenders, results, class)).collect()
}

/// What a column shows: a job's figure.
struct Column {
    head: String,
    job: Job,
    key: &'static str,
}

fn columns(jobs: &[Job]) -> Vec<Column> {
    let unit = jobs[0].unit();
    if unit == Unit::Nanoseconds {
        return ["p50", "p99", "p99.9"].map(|k| Column { head: k.to_owned(), job: jobs[0], key: k }).into();
    }
    let head = |j: &Job| {
        if unit == Unit::Mpps && !matches!(j.kind, Kind::Namespaces(_)) {
            format!("burst {}", j.burst())
        } else {
            unit.name().to_owned()
        }
    };
    jobs.iter().map(|j| Column { head: head(j), job: *j, key: "value" }).collect()
}

fn one(
    title: String,
    jobs: &[Job],
    contenders: &[&'static str],
    results: &Results,
    class: Option<Class>,
) -> Option<Grid> {
    let unit = jobs.first()?.unit();
    let shown = columns(jobs);
    let names = contenders.iter().copied().chain(PROBES.iter().map(|p| p.name));
    let mut rows = Vec::new();
    for name in names {
        let mut cells = Vec::new();
        let mut medians = BTreeMap::new();
        for (i, c) in shown.iter().enumerate() {
            match results.summary(name, &c.job, c.key, class) {
                Some((s, good)) => {
                    let [min, median, max] = [s.min, s.median, s.max].map(three_digits);
                    cells.push(format!("{median} ({min}-{max}){}", if good { "" } else { " *" }));
                    // Percentiles are not alternatives, so the first stands for all.
                    if good && (unit != Unit::Nanoseconds || i == 0) {
                        medians.insert(i, s.median);
                    }
                }
                None => cells.push("-".to_owned()),
            }
        }
        if cells.iter().all(|c| c == "-") {
            continue;
        }
        let best = best(&medians, unit.more_is_better());
        if shown.len() > 1 && unit != Unit::Nanoseconds {
            cells.push(
                best.map_or("-".to_owned(), |(i, m)| format!("{} ({})", three_digits(m), shown[i].head)),
            );
        }
        rows.push(Row { name, cells, best: best.map(|(_, m)| m) });
    }
    let mut heads: Vec<String> = shown.iter().map(|c| c.head.clone()).collect();
    if shown.len() > 1 && unit != Unit::Nanoseconds {
        heads.push("best".to_owned());
    }
    let ours = rows.iter().find(|r| r.name == OURS || r.name == OURS_JOINING);
    if let Some((name, ours)) = ours.and_then(|r| Some((r.name, r.best?))) {
        heads.push(format!("{name} / it"));
        for row in &mut rows {
            let r = row.best.and_then(|theirs| ratio(ours, theirs));
            row.cells.push(r.map_or("-".to_owned(), |r| format!("{r:.2}")));
        }
    }
    (!rows.is_empty()).then_some(Grid { title, unit, columns: heads, rows })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::drive::Figures;
    use crate::noise::Noise;
    use crate::plan;
    use crate::results::Sample;

    /// Results made up for the jobs of `--quick`.
    pub fn made_up() -> (Vec<Job>, Results) {
        let jobs = plan::quick();
        let mut results = Results::default();
        for job in &jobs {
            for (contender, base) in [("valecast", 40.0), ("testpmd-24.11", 20.0)] {
                for round in 0..3 {
                    let value = base + f64::from(job.burst()) / 100.0 + round as f64;
                    let keys = ["value", "p50", "p99", "p99.9"];
                    results.samples.push(Sample {
                        job: *job,
                        contender,
                        round,
                        figures: Figures::from(keys.map(|k| (k, value))),
                        noise: Noise::default(),
                        class: Some(Class::SameL3),
                        line_ns: [55.0; 2],
                        noisy: false,
                        attempts: 1,
                    });
                }
            }
        }
        (jobs, results)
    }

    #[test]
    fn each_is_shown_at_its_best_burst() {
        let (jobs, results) = made_up();
        let grids = all(&jobs, &["valecast", "testpmd-24.11", "vde"], &results, Some(Class::SameL3));
        let g = grids.iter().find(|g| g.title == "unicast 64 B").unwrap();
        assert_eq!(g.columns, ["burst 1", "burst 32", "burst 256", "best", "valecast / it"]);
        assert_eq!(g.rows.len(), 2, "who measured nothing has no row");
        assert_eq!(g.rows[0].cells[3], "43.6 (burst 256)");
        assert_eq!(g.rows[1].cells[4], "1.85");
        assert_eq!(g.rows[0].cells[0], "41.0 (40.0-42.0)");
    }

    #[test]
    fn disturbed_cells_are_marked_and_make_no_ratio() {
        let (jobs, mut results) = made_up();
        results.samples.iter_mut().filter(|s| s.contender != "valecast").for_each(|s| s.noisy = true);
        let grids = all(&jobs, &["valecast", "testpmd-24.11"], &results, Some(Class::SameL3));
        let row = &grids[0].rows[1];
        assert!(row.cells[0].ends_with('*'));
        assert_eq!(row.cells.last().unwrap(), "-");
    }

    #[test]
    fn latencies_show_percentiles() {
        let (jobs, results) = made_up();
        let grids = all(&jobs, &["valecast"], &results, None);
        let g = grids.iter().find(|g| g.title == "RTT idle").unwrap();
        assert_eq!(g.columns[..3], ["p50", "p99", "p99.9"]);
    }
}
