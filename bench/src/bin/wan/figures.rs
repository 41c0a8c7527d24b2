//! A contender's rounds in figures.

use std::collections::BTreeMap;

use serde::Serialize;
use valecast_bench::stats::Summary;

use crate::contenders::Run;
use crate::rounds::Row;

/// What the tables show of a contender.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Its name.
    pub name: &'static str,
    /// Until each receiver had the file, in seconds: lowest, median and highest of the rounds.
    pub seconds: BTreeMap<String, Summary>,
    /// Mean over receivers.
    pub mean: Summary,
    /// The last receiver.
    pub last: Summary,
    /// Bytes on all links.
    pub carried: Summary,
    /// The same by its plan, of those who have one.
    pub planned_bytes: Option<f64>,
    /// Until each receiver is done by its plan, in seconds.
    pub planned_seconds: Option<BTreeMap<String, f64>>,
    /// The lowest, over receivers, of its median rate as a part of what the plan allocates to it.
    pub of_allocated: Option<f64>,
    /// The largest, over links, of how far the median is from the plan, as a part of the plan.
    pub off_plan: Option<f64>,
    /// Frames that shapers dropped.
    pub dropped: Summary,
}

fn of(row: &Row, figure: impl Fn(&Run) -> f64) -> Option<Summary> {
    Summary::of(row.runs.iter().map(figure))
}

/// None without a round that went well.
pub fn figures(row: &Row) -> Option<Figures> {
    let first = row.runs.first()?;
    let mut seconds = BTreeMap::new();
    for site in first.seconds.keys() {
        seconds.insert(site.clone(), of(row, |r| r.seconds.get(site).copied().unwrap_or(f64::NAN))?);
    }
    let planned = first.planned.clone();
    let of_allocated = planned.as_ref().map(|p| {
        let ratio = |site: &String| p.seconds[site] / seconds.get(site).map_or(f64::NAN, |s| s.median);
        p.seconds.keys().map(ratio).fold(f64::INFINITY, f64::min)
    });
    let off_plan = planned.as_ref().map(|p| {
        let off = |link: &String| {
            let median =
                of(row, |r| r.links.get(link).copied().unwrap_or(0) as f64).map_or(f64::NAN, |s| s.median);
            (median / p.links[link] - 1.0).abs()
        };
        p.links.keys().map(off).fold(0.0, f64::max)
    });
    Some(Figures {
        name: row.name,
        mean: of(row, |r| r.seconds.values().sum::<f64>() / r.seconds.len() as f64)?,
        last: of(row, |r| r.seconds.values().copied().fold(0.0, f64::max))?,
        carried: of(row, |r| r.links.values().sum::<u64>() as f64)?,
        planned_bytes: planned.as_ref().map(|p| p.links.values().sum()),
        planned_seconds: planned.map(|p| p.seconds),
        of_allocated,
        off_plan,
        dropped: of(row, |r| r.dropped as f64)?,
        seconds,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::plan::Planned;

    /// A contender with a plan, by which t1 is done after 10 s and a link carries 100 bytes.
    pub fn made_up() -> Row {
        let run = |s: f64, bytes: u64| Run {
            seconds: BTreeMap::from([("t1".to_owned(), s), ("t2".to_owned(), s / 2.0)]),
            links: BTreeMap::from([("S>a".to_owned(), bytes)]),
            dropped: 0,
            planned: Some(Planned {
                seconds: BTreeMap::from([("t1".to_owned(), 10.0)]),
                links: BTreeMap::from([("S>a".to_owned(), 100.0)]),
            }),
        };
        let runs = vec![run(12.5, 103), run(12.0, 99), run(20.0, 120)];
        Row { name: "quickcast", about: "made up", version: Ok("1".to_owned()), runs, failures: Vec::new() }
    }

    #[test]
    fn figures_are_of_medians() {
        let f = figures(&made_up()).unwrap();
        assert_eq!(f.seconds["t1"].median, 12.5);
        assert_eq!(f.mean.median, 9.375);
        assert_eq!(f.last.max, 20.0);
        assert!((f.of_allocated.unwrap() - 0.8).abs() < 1e-12);
        assert!((f.off_plan.unwrap() - 0.03).abs() < 1e-12);
        assert!(figures(&Row { runs: Vec::new(), ..made_up() }).is_none());
    }
}
