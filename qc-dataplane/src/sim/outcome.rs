//! What a simulation measured, and the figures that the paper reports of it.

use serde::Serialize;

use super::stats;
use crate::traffic::Transfer;

/// How often and how long something ran, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// How often.
    pub count: u64,
    /// All together.
    pub total: u64,
    /// The longest.
    pub most: u64,
}

impl Timing {
    pub(super) fn add(&mut self, ns: u64) {
        self.count += 1;
        self.total += ns;
        self.most = self.most.max(ns);
    }

    /// The mean in nanoseconds, 0 if it never ran.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.total as f64 / self.count.max(1) as f64
    }
}

/// Group-table entries up to the slot of the last arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupUse {
    /// The most that any switch had at any time of the whole run.
    pub most: u32,
    /// Largest number of buckets in any entry.
    pub buckets: u32,
    /// Sum over slots of the fullest switch's entries.
    pub(super) sum: f64,
    /// Slots counted.
    pub(super) slots: u64,
}

impl GroupUse {
    /// The fullest switch's entries, on average over the slots up to the last arrival.
    #[must_use]
    pub fn mean_of_most(&self) -> f64 {
        self.sum / self.slots.max(1) as f64
    }
}

/// What a simulation measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Time from arrival to completion, in whole slots, of each receiver of each transfer in order. Infinite where
    /// the run ended before.
    pub completion: Vec<f64>,
    /// Where each transfer's receivers start in `completion`.
    pub starts: Vec<u32>,
    /// Volume of each transfer.
    pub volumes: Vec<f64>,
    /// Sum over links and slots of what they carried.
    pub bandwidth: f64,
    /// When the last receiver was done.
    pub end: f64,
    /// Partitions of all transfers.
    pub partitions: usize,
    /// Trees of all transfers.
    pub trees: usize,
    /// Group-table entries.
    pub groups: GroupUse,
    /// How often rates were computed; slots between had the same.
    pub allocations: u64,
    /// What planning took, if it was measured.
    pub planning: Timing,
    /// What rates took, if it was measured.
    pub rates: Timing,
}

impl Outcome {
    pub(super) fn new(transfers: &[Transfer]) -> Self {
        let mut starts = Vec::with_capacity(transfers.len());
        let mut receivers = 0u32;
        for t in transfers {
            starts.push(receivers);
            receivers += t.receivers.len() as u32;
        }
        Self {
            completion: vec![f64::INFINITY; receivers as usize],
            starts,
            volumes: transfers.iter().map(|t| t.volume).collect(),
            bandwidth: 0.0,
            end: 0.0,
            partitions: 0,
            trees: 0,
            groups: GroupUse::default(),
            allocations: 0,
            planning: Timing::default(),
            rates: Timing::default(),
        }
    }

    /// The completion times of one transfer's receivers.
    #[must_use]
    pub fn of(&self, transfer: usize) -> &[f64] {
        let end = self.starts.get(transfer + 1).map_or(self.completion.len(), |e| *e as usize);
        &self.completion[self.starts[transfer] as usize..end]
    }

    /// The figures.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sorted = self.completion.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let delivered: f64 = (0..self.starts.len()).map(|t| self.volumes[t] * self.of(t).len() as f64).sum();
        let rates: Vec<f64> = (0..self.starts.len())
            .map(|t| self.volumes[t] / self.of(t).iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE))
            .collect();
        Summary {
            mean: stats::mean(&sorted),
            median: stats::quantile(&sorted, 0.5),
            p95: stats::quantile(&sorted, 0.95),
            p99: stats::quantile(&sorted, 0.99),
            max: sorted.last().copied().unwrap_or(0.0),
            bandwidth: self.bandwidth,
            end: self.end,
            throughput: delivered / self.end.max(f64::MIN_POSITIVE),
            transfer_throughput: stats::mean(&rates),
            partitions: self.partitions as f64 / self.starts.len().max(1) as f64,
            trees: self.trees as f64 / self.starts.len().max(1) as f64,
            groups_max: f64::from(self.groups.most),
            groups_mean: self.groups.mean_of_most(),
            buckets_max: f64::from(self.groups.buckets),
            planning_us: self.planning.mean() / 1e3,
            planning_max_us: self.planning.most as f64 / 1e3,
            rates_us: self.rates.mean() / 1e3,
        }
    }

    /// Mean completion time of the fastest receiver of each transfer, of the second fastest and so on. Transfers
    /// with fewer receivers count for the ranks they have.
    #[must_use]
    pub fn by_rank(&self) -> Vec<f64> {
        let (mut sums, mut counts) = (Vec::new(), Vec::new());
        for t in 0..self.starts.len() {
            let mut times = self.of(t).to_vec();
            times.sort_unstable_by(f64::total_cmp);
            for (rank, time) in times.into_iter().enumerate() {
                if rank == sums.len() {
                    sums.push(0.0);
                    counts.push(0u32);
                }
                sums[rank] += time;
                counts[rank] += 1;
            }
        }
        sums.iter().zip(&counts).map(|(sum, count)| sum / f64::from(*count)).collect()
    }
}

/// The figures of one run. Times in the unit of time, per receiver.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Mean completion time.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// Sum over links and slots of what they carried.
    pub bandwidth: f64,
    /// When the last receiver was done.
    pub end: f64,
    /// Volume delivered, each receiver's counted, per unit of time until the end.
    pub throughput: f64,
    /// Volume over completion time of its slowest receiver, mean over transfers.
    pub transfer_throughput: f64,
    /// Partitions per transfer.
    pub partitions: f64,
    /// Trees per transfer.
    pub trees: f64,
    /// Most group-table entries in a switch at any time.
    pub groups_max: f64,
    /// Entries of the fullest switch, on average until the last arrival.
    pub groups_mean: f64,
    /// Most buckets in an entry.
    pub buckets_max: f64,
    /// Mean time to plan a transfer, in microseconds; 0 if not measured.
    pub planning_us: f64,
    /// Longest, in microseconds.
    pub planning_max_us: f64,
    /// Mean time to compute the rates of a slot, in microseconds.
    pub rates_us: f64,
}
