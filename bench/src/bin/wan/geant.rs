//! Part `geant`: transfers over GEANT, scaled, in one daemon; each receiver's completion beside the simulator's.

mod forecast;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_bench::run::StopFlag;
use valecast_qc_dataplane::control::TransferStatus;
use valecast_qc_dataplane::traffic::Transfer;

use crate::fleet::{Fleet, Order};
use crate::net::Net;
use crate::rig::{Links, Rig, Settings};
use crate::rounds::random_file;
use crate::usage::cpu_seconds;

pub use forecast::{Forecast, forecast};
use forecast::{SHAKE, quantile};

/// What is sent.
#[derive(Clone, Debug)]
pub struct Task {
    /// Scheme, for the controller and for the planner.
    pub scheme: (&'static str, &'static str),
    /// Transfers.
    pub transfers: usize,
    /// Receivers of each.
    pub receivers: usize,
    /// Mean size in bytes.
    pub mean: f64,
    /// Transfers per second.
    pub lambda: f64,
}

/// A receiver of a transfer.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The transfer, counted from 0, and the seconds after which it was to be sent.
    pub transfer: usize,
    /// Then.
    pub arrival: f64,
    /// Its size.
    pub bytes: u64,
    /// The receiver's site.
    pub site: String,
    /// Seconds from the request to the last byte, by the simulator.
    pub predicted: f64,
    /// Seconds from the request until the receiver had verified all; none if it never did.
    pub measured: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Scheme.
    pub scheme: &'static str,
    /// Seconds after which all is done, by the simulator.
    pub end: f64,
    /// What the simulator's own times differ by, median, if requests come up to a tenth of a second later.
    pub sensitivity: f64,
    /// All receivers of all transfers.
    pub rows: Vec<Row>,
    /// What went wrong, by transfer.
    pub failed: BTreeMap<usize, String>,
    /// Of the figures below, all are of receivers that have a time. Median over them of how far off the prediction is, as a
    /// part of it.
    pub median_error: f64,
    /// Median of measured by predicted.
    pub median_ratio: f64,
    /// Means.
    pub mean_predicted: f64,
    /// Measured.
    pub mean_measured: f64,
    /// Processor time of the daemon and of the controller, in seconds.
    pub cpu: (f64, f64),
}

fn bytes(t: &Transfer) -> u64 {
    (t.volume * 1e9 / 8.0).round().max(1.0) as u64
}

/// Runs it. What fails is in the outcome: the rest is not lost.
pub fn run(net: &Net, task: &Task, release: &Path, work: &Path, stop: &StopFlag) -> Result<Outcome, Trouble> {
    let forecast = forecast(net, task)?;
    eprint!("{}: {}", task.scheme.0, forecast.text());
    let settings = Settings { scheme: task.scheme.0, ..Settings::default() };
    let rig = Rig::start(net, Links::Patch, &settings, release, &work.join("rig"))?;
    let files = work.join("files");
    std::fs::create_dir_all(&files)?;
    let mut orders = Vec::new();
    for (i, t) in forecast.transfers.iter().enumerate() {
        let file = files.join(format!("transfer-{i}"));
        random_file(&file, bytes(t))?;
        orders.push(Order { due: t.arrival, from: t.from, to: t.receivers.clone(), file });
    }
    let folders = work.join("at");
    let fleet = Fleet {
        net,
        rig: &rig,
        folders: &folders,
        scheme: task.scheme.0,
        at_once: usize::MAX,
        patience: Duration::from_secs_f64(60.0 + 3.0 * forecast.end),
        stop,
    };
    let _receivers = fleet.receivers(0..net.graph.nodes() as u32)?;
    let used = |pid| cpu_seconds(pid).unwrap_or(f64::NAN);
    let cpu = || (used(rig.daemons[0].pid()), used(rig.controller.pid()));
    let before = cpu();
    let ends = fleet.run(&orders, || ())?;
    let after = cpu();
    let failed = ends.into_iter().enumerate().filter_map(|(i, e)| Some((i, e.err()?))).collect();
    let statuses = rig.transfers()?;
    let rows = rows(net, &forecast, &statuses);
    Ok(outcome(task, &forecast, rows, failed, (after.0 - before.0, after.1 - before.1)))
}

/// Each receiver of each transfer, with its time by the controller.
fn rows(net: &Net, forecast: &Forecast, statuses: &[TransferStatus]) -> Vec<Row> {
    let by_name: BTreeMap<&str, _> = statuses.iter().map(|s| (s.name.as_str(), s)).collect();
    let mut rows = Vec::new();
    for (i, (t, predicted)) in forecast.transfers.iter().zip(&forecast.seconds).enumerate() {
        let status = by_name.get(format!("transfer-{i}").as_str());
        for (node, predicted) in t.receivers.iter().zip(predicted) {
            let site = net.graph.name(*node).to_owned();
            let found = status.and_then(|s| s.receivers.iter().find(|r| r.site == site));
            let measured = found.and_then(|r| r.seconds);
            let (arrival, predicted, bytes) = (t.arrival, *predicted, bytes(t));
            rows.push(Row { transfer: i, arrival, bytes, site, predicted, measured });
        }
    }
    rows
}

fn outcome(
    task: &Task,
    forecast: &Forecast,
    rows: Vec<Row>,
    failed: BTreeMap<usize, String>,
    cpu: (f64, f64),
) -> Outcome {
    let timed: Vec<(f64, f64)> = rows.iter().filter_map(|r| Some((r.predicted, r.measured?))).collect();
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| timed.iter().map(of).sum::<f64>() / timed.len() as f64;
    Outcome {
        scheme: task.scheme.0,
        end: forecast.end,
        sensitivity: quantile(&forecast.shaken, 0.5),
        median_error: median(&timed, error),
        median_ratio: median(&timed, |(p, m)| m / p),
        mean_predicted: mean(&|(p, _)| *p),
        mean_measured: mean(&|(_, m)| *m),
        rows,
        failed,
        cpu,
    }
}

fn median(of: &[(f64, f64)], figure: impl Fn((f64, f64)) -> f64) -> f64 {
    valecast_bench::stats::Summary::of(of.iter().map(|x| figure(*x))).map_or(f64::NAN, |s| s.median)
}

/// How far a prediction is off, as a part of it.
fn error((predicted, measured): (f64, f64)) -> f64 {
    (measured / predicted - 1.0).abs()
}

/// Upper bounds in seconds of the bands of predictions that are shown one by one.
const BANDS: [f64; 5] = [1.0, 3.0, 10.0, 60.0, f64::INFINITY];

/// In a few lines, and a table.
pub fn text(net: &Net, task: &Task, o: &Outcome) -> String {
    let verified = o.rows.iter().filter(|r| r.measured.is_some()).count();
    let mut text = format!(
        "{}, {} transfers to {} sites each, mean {:.1} MB, {} a second, {}: {verified} of {} receivers verified; \
         median error {:.1} % (the simulator's own times differ by {:.1} % if requests come up to {SHAKE} s later), \
         median of measured by predicted {:.3}, mean {:.2} s predicted, {:.2} s measured; \
         {:.0} s of processor time in the daemon, {:.0} s in the controller\n\n\
         | by the simulator, up to | receivers | measured by predicted, median | error, median |\n|--:|--:|--:|--:|\n",
        net.name,
        task.transfers,
        task.receivers,
        task.mean / 1e6,
        task.lambda,
        o.scheme,
        o.rows.len(),
        o.median_error * 100.0,
        o.sensitivity * 100.0,
        o.median_ratio,
        o.mean_predicted,
        o.mean_measured,
        o.cpu.0,
        o.cpu.1
    );
    let mut from = 0.0;
    for to in BANDS {
        let here = o.rows.iter().filter(|r| (from..to).contains(&r.predicted));
        let timed: Vec<(f64, f64)> = here.filter_map(|r| Some((r.predicted, r.measured?))).collect();
        let name = if to.is_finite() { format!("{to} s") } else { "longest".to_owned() };
        let (ratio, error) = (median(&timed, |(p, m)| m / p), median(&timed, error) * 100.0);
        let _ = writeln!(text, "| {name} | {} | {ratio:.3} | {error:.1} % |", timed.len());
        from = to;
    }
    for (transfer, why) in &o.failed {
        let _ = writeln!(text, "\ntransfer {transfer}: {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn task() -> Task {
        Task { scheme: ("quickcast", "paper"), transfers: 20, receivers: 3, mean: 1e6, lambda: 5.0 }
    }

    #[test]
    fn errors_are_medians_over_receivers_with_a_time() {
        let row = |predicted, measured| Row {
            transfer: 0,
            arrival: 0.0,
            bytes: 1,
            site: "a".into(),
            predicted,
            measured,
        };
        let rows = vec![row(1.0, Some(1.02)), row(2.0, Some(2.0)), row(4.0, Some(8.0)), row(0.1, None)];
        let forecast =
            Forecast { transfers: Vec::new(), seconds: Vec::new(), end: 9.0, shaken: vec![0.0, 0.5, 0.7] };
        let o = outcome(&task(), &forecast, rows, BTreeMap::from([(3, "broken".to_owned())]), (0.0, 0.0));
        assert!((o.median_error - 0.02).abs() < 1e-9 && (o.median_ratio - 1.02).abs() < 1e-9, "{o:?}");
        let text = text(&Net::find("geant", 0.01).unwrap(), &task(), &o);
        assert!(text.contains("3 of 4 receivers verified") && text.contains("transfer 3: broken"), "{text}");
        assert!(text.contains("| 10 s | 1 | 2.000 | 100.0 % |"), "{text}");
        assert!(text.contains("differ by 50.0 %"), "{text}");
    }
}
