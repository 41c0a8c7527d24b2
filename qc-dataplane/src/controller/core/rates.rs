//! Rates of all trees, every timeslot (extended paper, section IV-C).

use super::network::{Network, UNIT};
use super::tree::Installed;
use crate::control::TreeLimit;
use crate::load::Load;
use crate::rate::{Allocator, Demand, Policy};

/// What every tree may send whatever others do, as a share of its links' capacities over the trees there: enough for
/// the last frames of one whose turn it is not.
const FLOOR: f64 = 0.01;
/// What those may send that have nothing left but polls, to hear whether all has arrived: a share of their links'
/// capacities over such trees there, and most in Gbit/s. Less holds up the end of each transfer on slow links.
const ENDING: (f64, f64) = (0.05, 1e-4);
/// How long (s) what all trees on a link may send at once keeps it busy: the probes that say that it is up wait behind.
const AT_ONCE: f64 = 0.1;
/// Most bytes that a tree may send at once, if [`BURST`] is not more; a turn of a worker takes about as much.
const MOST_AT_ONCE: f64 = 65_536.0;
/// How much a tree may send at once in any case: this long (s) at its rate. A worker or a sender that had to wait for a
/// processor makes up for it.
const BURST: f64 = 0.01;
/// Rates are changed if they differ by more than this, and bursts.
const WORTH: f64 = 0.01;
const WORTH_OF_BURST: f64 = 0.2;

/// A tree to share rates out to.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// The tree.
    pub tree: &'a Installed,
    /// Gbit of whole frames that its partition still lacks.
    pub left: f64,
    /// Gbit of whole frames that there were in the beginning.
    pub volume: f64,
    /// Receivers that still wait for it.
    pub receivers: usize,
    /// Trees that carry the partition together: they count as one.
    pub beside: f64,
    /// Transfers are served in this order where the policy is strict.
    pub arrival: u64,
}

/// The limit of each flow. Trees whose links are not all in the network get what those that are allow.
pub fn allocate(
    allocator: &mut Allocator,
    network: &Network,
    load: &Load,
    policy: Policy,
    flows: &[Flow<'_>],
) -> Vec<TreeLimit> {
    let links: Vec<Vec<u32>> = flows.iter().map(|f| network.links_of(f.tree)).collect();
    let all = network.graph.capacities();
    // What a flow gets of its slowest link if those with `is_one` share it.
    let share = |is_one: &dyn Fn(&Flow<'_>) -> bool| {
        let mut trees = vec![0u32; all.len()];
        let ones = flows.iter().zip(&links).filter(|(f, _)| is_one(f));
        ones.flat_map(|(_, links)| links).for_each(|l| trees[*l as usize] += 1);
        let of = |l: &u32| all[*l as usize] / f64::from(trees[*l as usize].max(1));
        let least = |links: &Vec<u32>| links.iter().map(of).reduce(f64::min).unwrap_or(0.0);
        links.iter().map(least).collect::<Vec<f64>>()
    };
    let (even, ending) = (share(&|_| true), share(&|f| f.left == 0.0));
    let mut capacity = all.clone();
    for (links, even) in links.iter().zip(&even) {
        for l in links {
            capacity[*l as usize] = (capacity[*l as usize] - even * FLOOR).max(0.0);
        }
    }
    let policy = policy.at(load.crowding());
    let demands: Vec<Demand<'_>> = flows
        .iter()
        .zip(links.iter().zip(&ending))
        .map(|(f, (links, ending))| Demand {
            links,
            // A tree with anything to send takes what there is: what it does not need in this slot is given to
            // others as soon as it says that it is done.
            limit: match f.left > 0.0 {
                _ if links.is_empty() => 0.0,
                true => f64::INFINITY,
                false => (ending * ENDING.0).min(ENDING.1),
            },
            weight: policy.weight(f.receivers.max(1), f.left.max(f.volume * 1e-6), f.volume) / f.beside,
            rank: policy.rank(usize::try_from(f.arrival).unwrap_or(usize::MAX), f.left),
        })
        .collect();
    let limits = |rates: &[f64]| {
        let both = rates.iter().zip(&even);
        both.map(|(rate, even)| limit((rate + even * FLOOR) * UNIT, even * UNIT)).collect()
    };
    // Without an allocation there is the floor.
    allocator.allocate(policy, &capacity, &demands).map_or_else(|_| limits(&vec![0.0; flows.len()]), limits)
}

/// The limit for a rate, where all trees on the slowest link could have `even`, both in bit/s.
fn limit(rate: f64, even: f64) -> TreeLimit {
    let burst = (even * AT_ONCE / 8.0).min(MOST_AT_ONCE).max(rate * BURST / 8.0);
    TreeLimit { rate: rate as u64, burst: burst as u64 }.at_least()
}

/// Whether a limit differs enough to tell the sender's site.
#[must_use]
pub fn differs(was: &TreeLimit, is: &TreeLimit) -> bool {
    let by = |was: u64, is: u64| (is as f64 - was as f64).abs() / was.max(1) as f64;
    by(was.rate, is.rate) > WORTH || by(was.burst, is.burst) > WORTH_OF_BURST
}
