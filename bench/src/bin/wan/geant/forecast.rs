//! What the simulator says of the transfers that part `geant` sends, and how much hangs on when they come.

use valecast_bench::child::Trouble;
use valecast_qc_dataplane::load::Load;
use valecast_qc_dataplane::plan::{Planner, Scheme};
use valecast_qc_dataplane::rate::Policy;
use valecast_qc_dataplane::sim;
use valecast_qc_dataplane::traffic::{Distribution, Traffic, Transfer, Volumes};

use super::{Task, error};
use crate::frames::{HEADROOM, OVERHEAD};
use crate::net::Net;

/// The same transfers each time.
const SEED: u64 = 1;
/// Slots of the simulator, in seconds: as fine as makes no difference.
const SLOT: f64 = 0.005;
/// Requests are later by up to so many seconds in the prediction that the first one is compared with: about what a transfer
/// takes besides its bytes.
pub(super) const SHAKE: f64 = 0.1;

/// What the simulator says, before anything is sent.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The transfers,
    pub(super) transfers: Vec<Transfer>,
    /// and seconds until each of their receivers is done.
    pub(super) seconds: Vec<Vec<f64>>,
    /// Seconds after which all is done.
    pub end: f64,
    /// By how much the seconds differ, as parts of them, if requests come a little later, sorted: trees are chosen by the load
    /// that a request meets, so what comes first by little may change all that follows.
    pub(super) shaken: Vec<f64>,
}

/// Asks the simulator.
pub fn forecast(net: &Net, task: &Task) -> Result<Forecast, Trouble> {
    let transfers = traffic(net, task)?;
    let seconds = predict(net, task, &transfers)?;
    let last = |p: &Vec<f64>| p.iter().copied().fold(0.0, f64::max);
    let end = transfers.iter().zip(&seconds).map(|(t, p)| t.arrival + last(p)).fold(0.0, f64::max);
    let others = predict(net, task, &later(&transfers))?;
    let pairs = seconds.iter().flatten().zip(others.iter().flatten());
    let mut shaken: Vec<f64> = pairs.map(|(p, other)| error((*p, *other))).collect();
    shaken.sort_by(f64::total_cmp);
    Ok(Forecast { transfers, seconds, end, shaken })
}

/// The same transfers, each requested a little later, and no two by as much.
fn later(transfers: &[Transfer]) -> Vec<Transfer> {
    let mut before = 0.0f64;
    let shift = |(i, t): (usize, &Transfer)| {
        // Parts of the golden section fill the interval evenly, whatever their number.
        before = before.max(t.arrival + (i as f64 * 0.618_034).fract() * SHAKE);
        Transfer { arrival: before, ..t.clone() }
    };
    transfers.iter().enumerate().map(shift).collect()
}

/// The number below which such a part of them is.
pub(super) fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted.get((sorted.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

impl Forecast {
    /// In a line.
    pub fn text(&self) -> String {
        let mut all: Vec<f64> = self.seconds.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        let at = |part: f64| quantile(&all, part);
        let shaken = |part: f64| quantile(&self.shaken, part) * 100.0;
        let bytes: f64 = self.transfers.iter().map(|t| t.volume * 1e9 / 8.0).sum();
        format!(
            "the simulator: {} transfers, {:.0} MB, all done after {:.0} s; receivers after {:.2} s (median), a quarter after \
             {:.2} s, a tenth after {:.2} s, nine tenths after {:.1} s; with requests up to {SHAKE} s later it says other times itself: by \
             {:.1} % (median), a quarter by more than {:.1} %, a tenth by more than {:.0} %\n",
            self.transfers.len(),
            bytes / 1e6,
            self.end,
            at(0.5),
            at(0.25),
            at(0.1),
            at(0.9),
            shaken(0.5),
            shaken(0.75),
            shaken(0.9)
        )
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

#[cfg(test)]
mod tests {
    use super::super::tests::task;
    use super::*;

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
    fn later_requests_keep_their_order() {
        let net = Net::find("geant", 0.01).unwrap();
        let transfers = traffic(&net, &Task { lambda: 50.0, ..task() }).unwrap();
        let later = later(&transfers);
        assert!(later.windows(2).all(|w| w[0].arrival <= w[1].arrival));
        let shifts = || transfers.iter().zip(&later).map(|(a, b)| b.arrival - a.arrival);
        assert!(shifts().all(|s| (0.0..=SHAKE).contains(&s)) && shifts().any(|s| s > SHAKE / 2.0));
        // All else is as it was, and the times with it are a forecast's.
        assert!(transfers.iter().zip(&later).all(|(a, b)| (a.from, a.volume) == (b.from, b.volume)));
        let shaken = forecast(&net, &task()).unwrap().shaken;
        assert!(shaken.len() == 60 && shaken.is_sorted() && shaken[59] > 0.0, "{shaken:?}");
    }
}
