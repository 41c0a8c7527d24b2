//! Part `geant`: transfers over GEANT, scaled, in one daemon; each receiver's completion beside the simulator's.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_bench::run::StopFlag;
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

/// The same transfers each time.
const SEED: u64 = 1;
/// Slots of the simulator, in seconds: as fine as makes no difference.
const SLOT: f64 = 0.05;

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

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Scheme.
    pub scheme: &'static str,
    /// Transfers and receivers, all verified.
    pub transfers: usize,
    /// All together.
    pub receivers: usize,
    /// Seconds until each receiver was done: predicted and measured.
    pub seconds: Vec<(f64, f64)>,
    /// Median over receivers of how far off the prediction is, as a part of it.
    pub median_error: f64,
    /// Median of measured by predicted.
    pub median_ratio: f64,
    /// Means.
    pub mean_predicted: f64,
    /// Measured.
    pub mean_measured: f64,
}

/// Runs it.
pub fn run(net: &Net, task: &Task, release: &Path, work: &Path, stop: &StopFlag) -> Result<Outcome, Trouble> {
    let transfers = traffic(net, task)?;
    let predicted = predict(net, task, &transfers)?;
    let end =
        transfers.iter().zip(&predicted).map(|(t, p)| t.arrival + p.iter().copied().fold(0.0, f64::max));
    let end = end.fold(0.0, f64::max);
    eprintln!("{}: the simulator says that all is done after {end:.0} s", task.scheme.0);
    let rig = Rig::start(net, Links::Patch, &Settings::default(), release, &work.join("rig"))?;
    let files = work.join("files");
    std::fs::create_dir_all(&files)?;
    let mut orders = Vec::new();
    for (i, t) in transfers.iter().enumerate() {
        let file = files.join(format!("transfer-{i}"));
        random_file(&file, (t.volume * 1e9 / 8.0).round().max(1.0) as u64)?;
        orders.push(Order { due: t.arrival, from: t.from, to: t.receivers.clone(), file });
    }
    let folders = work.join("at");
    let fleet = Fleet {
        net,
        rig: &rig,
        folders: &folders,
        scheme: task.scheme.0,
        at_once: usize::MAX,
        patience: Duration::from_secs_f64(60.0 + 3.0 * end),
        stop,
    };
    let _receivers = fleet.receivers(0..net.graph.nodes() as u32)?;
    fleet.run(&orders, || ())?;
    let statuses = rig.transfers()?;
    let by_name: BTreeMap<&str, _> = statuses.iter().map(|s| (s.name.as_str(), s)).collect();
    let mut seconds = Vec::new();
    for ((i, t), predicted) in transfers.iter().enumerate().zip(&predicted) {
        let name = format!("transfer-{i}");
        let status = by_name.get(name.as_str()).ok_or_else(|| format!("the controller knows no {name}"))?;
        for (node, predicted) in t.receivers.iter().zip(predicted) {
            let site = net.graph.name(*node);
            let found = status.receivers.iter().find(|r| r.site == site).and_then(|r| r.seconds);
            seconds.push((*predicted, found.ok_or_else(|| format!("{name}: {site} has no time"))?));
        }
    }
    Ok(outcome(task, seconds))
}

fn outcome(task: &Task, seconds: Vec<(f64, f64)>) -> Outcome {
    let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
        valecast_bench::stats::Summary::of(seconds.iter().map(of)).map_or(f64::NAN, |s| s.median)
    };
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| seconds.iter().map(of).sum::<f64>() / seconds.len() as f64;
    Outcome {
        scheme: task.scheme.0,
        transfers: task.transfers,
        receivers: seconds.len(),
        median_error: median(&|(p, m)| (m / p - 1.0).abs()),
        median_ratio: median(&|(p, m)| m / p),
        mean_predicted: mean(&|(p, _)| *p),
        mean_measured: mean(&|(_, m)| *m),
        seconds,
    }
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

/// In a few lines.
pub fn text(net: &Net, task: &Task, o: &Outcome) -> String {
    format!(
        "{}, {} transfers to {} sites each, mean {:.1} MB, {} a second, {}: {} receivers, all verified; \
         median error {:.1} %, median of measured by predicted {:.3}, mean {:.2} s predicted, {:.2} s measured\n",
        net.name,
        o.transfers,
        task.receivers,
        task.mean / 1e6,
        task.lambda,
        o.scheme,
        o.receivers,
        o.median_error * 100.0,
        o.median_ratio,
        o.mean_predicted,
        o.mean_measured
    )
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
    fn errors_are_medians_over_receivers() {
        let o = outcome(&task(), vec![(1.0, 1.02), (2.0, 2.0), (4.0, 8.0)]);
        assert!((o.median_error - 0.02).abs() < 1e-9 && (o.median_ratio - 1.02).abs() < 1e-9, "{o:?}");
    }
}
