//! Part `geant`: transfers over GEANT, scaled, in one daemon; each receiver's completion beside the simulator's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_bench::run::StopFlag;
use valecast_qc_dataplane::control::TransferStatus;
use valecast_qc_dataplane::load::Load;
use valecast_qc_dataplane::plan::{Planner, Scheme};
use valecast_qc_dataplane::rate::Policy;
use valecast_qc_dataplane::sim;
use valecast_qc_dataplane::traffic::{Distribution, Traffic, Transfer, Volumes};

use crate::fleet::{Fleet, Order};
use crate::frames::{HEADROOM, OVERHEAD};
use crate::net::Net;
use crate::rig::{Links, Rig, Settings};
use crate::rounds::random_file;
use crate::usage::cpu_seconds;

/// The same transfers each time.
const SEED: u64 = 1;
/// Slots of the simulator, in seconds: as fine as makes no difference.
const SLOT: f64 = 0.005;

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

/// What the simulator says, before anything is sent.
#[derive(Clone, Debug)]
pub struct Forecast {
    transfers: Vec<Transfer>,
    seconds: Vec<Vec<f64>>,
    /// Seconds after which all is done.
    pub end: f64,
}

/// Asks the simulator.
pub fn forecast(net: &Net, task: &Task) -> Result<Forecast, Trouble> {
    let transfers = traffic(net, task)?;
    let seconds = predict(net, task, &transfers)?;
    let last = |p: &Vec<f64>| p.iter().copied().fold(0.0, f64::max);
    let end = transfers.iter().zip(&seconds).map(|(t, p)| t.arrival + last(p)).fold(0.0, f64::max);
    Ok(Forecast { transfers, seconds, end })
}

impl Forecast {
    /// In a line.
    pub fn text(&self) -> String {
        let mut all: Vec<f64> = self.seconds.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all.get((all.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
        let bytes: f64 = self.transfers.iter().map(|t| t.volume * 1e9 / 8.0).sum();
        format!(
            "the simulator: {} transfers, {:.0} MB, all done after {:.0} s; receivers after {:.2} s (median), a quarter after \
             {:.2} s, a tenth after {:.2} s, nine tenths after {:.1} s\n",
            self.transfers.len(),
            bytes / 1e6,
            self.end,
            at(0.5),
            at(0.25),
            at(0.1),
            at(0.9)
        )
    }
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
    Ok(outcome(task, forecast.end, rows, failed, (after.0 - before.0, after.1 - before.1)))
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
    end: f64,
    rows: Vec<Row>,
    failed: BTreeMap<usize, String>,
    cpu: (f64, f64),
) -> Outcome {
    let timed: Vec<(f64, f64)> = rows.iter().filter_map(|r| Some((r.predicted, r.measured?))).collect();
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| timed.iter().map(of).sum::<f64>() / timed.len() as f64;
    Outcome {
        scheme: task.scheme.0,
        end,
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

/// The transfers: arrivals in seconds, volumes of content in Gbit.
fn traffic(net: &Net, task: &Task) -> Result<Vec<Transfer>, Trouble> {
    let volumes = Volumes::new(Distribution::Exponential, task.mean * 8.0 / 1e9)?;
    let traffic =
        Traffic { transfers: task.transfers, lambda: task.lambda, receivers: task.receivers, volumes };
    Ok(traffic.generate(net.graph.nodes(), SEED)?)
}

/// Seconds until each receiver of each transfer is done, by the simulator.
fn predict(net: &Net, task: &Task, transfers: &[Transfer]) -> Result<Vec<Vec<f64>>, Trouble> {
    let net = net.with_headroom(HEADROOM)?;
    let framed = |t: &Transfer| Transfer { volume: t.volume * OVERHEAD, ..t.clone() };
    let transfers: Vec<Transfer> = transfers.iter().map(framed).collect();
    let scheme: Scheme = task.scheme.1.parse()?;
    let policy: Policy = scheme.rates.parse()?;
    let mut planner = Planner::new(&net.graph, scheme);
    let settings = sim::Settings { delta: SLOT, policy, ..sim::Settings::default() };
    let plan = |load: &Load, t: &Transfer| planner.plan(load, t.from, &t.receivers, t.volume);
    let done = sim::run(&net.graph, &transfers, &settings, plan)?;
    let of = |(i, t): (usize, &Transfer)| {
        let start = done.starts[i] as usize;
        done.completion[start..start + t.receivers.len()].to_vec()
    };
    Ok(transfers.iter().enumerate().map(of).collect())
}

/// Upper bounds in seconds of the bands of predictions that are shown one by one.
const BANDS: [f64; 5] = [1.0, 3.0, 10.0, 60.0, f64::INFINITY];

/// In a few lines, and a table.
pub fn text(net: &Net, task: &Task, o: &Outcome) -> String {
    let verified = o.rows.iter().filter(|r| r.measured.is_some()).count();
    let mut text = format!(
        "{}, {} transfers to {} sites each, mean {:.1} MB, {} a second, {}: {verified} of {} receivers verified; \
         median error {:.1} %, median of measured by predicted {:.3}, mean {:.2} s predicted, {:.2} s measured; \
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

    fn task() -> Task {
        Task { scheme: ("quickcast", "paper"), transfers: 20, receivers: 3, mean: 1e6, lambda: 5.0 }
    }

    #[test]
    fn predictions_are_in_seconds() {
        let net = Net::find("geant", 0.01).unwrap();
        let transfers = traffic(&net, &task()).unwrap();
        let predicted = predict(&net, &task(), &transfers).unwrap();
        assert_eq!(predicted.len(), 20);
        let fastest = net.graph.capacities().into_iter().fold(0.0, f64::max);
        for (t, p) in transfers.iter().zip(&predicted) {
            assert_eq!(p.len(), 3);
            // Nobody is faster than the fastest link.
            assert!(p.iter().all(|s| *s >= t.volume / fastest), "{t:?}: {p:?}");
        }
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
        let o = outcome(&task(), 9.0, rows, BTreeMap::from([(3, "broken".to_owned())]), (0.0, 0.0));
        assert!((o.median_error - 0.02).abs() < 1e-9 && (o.median_ratio - 1.02).abs() < 1e-9, "{o:?}");
        let text = text(&Net::find("geant", 0.01).unwrap(), &task(), &o);
        assert!(text.contains("3 of 4 receivers verified") && text.contains("transfer 3: broken"), "{text}");
        assert!(text.contains("| 10 s | 1 | 2.000 | 100.0 % |"), "{text}");
    }
}
