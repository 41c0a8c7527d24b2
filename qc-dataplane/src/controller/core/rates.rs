//! Rates of all trees, every timeslot (extended paper, section IV-C).

use super::network::{Network, UNIT};
use super::tree::Installed;
use crate::load::Load;
use crate::rate::{Allocator, Demand, Policy};

/// What every tree may send whatever others do, as a share of its links' capacities over the trees there: enough for
/// polls, repairs and the last frames of one whose turn it is not.
const FLOOR: f64 = 0.01;
/// A rate is changed if it differs by more than this.
const WORTH: f64 = 0.01;

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

/// The rate of each flow in bit/s. Trees whose links are not all in the network get what those that are allow.
pub fn allocate(
    allocator: &mut Allocator,
    network: &Network,
    load: &Load,
    policy: Policy,
    flows: &[Flow<'_>],
) -> Vec<u64> {
    let links: Vec<Vec<u32>> = flows.iter().map(|f| network.links_of(f.tree)).collect();
    let mut capacity = network.graph.capacities();
    let mut trees = vec![0u32; capacity.len()];
    links.iter().flatten().for_each(|l| trees[*l as usize] += 1);
    let share = |l: &u32| capacity[*l as usize] * FLOOR / f64::from(trees[*l as usize].max(1));
    let floor = |links: &Vec<u32>| links.iter().map(share).fold(f64::INFINITY, f64::min);
    let floors: Vec<f64> = links.iter().map(|l| if l.is_empty() { 0.0 } else { floor(l) }).collect();
    for (links, floor) in links.iter().zip(&floors) {
        for l in links {
            capacity[*l as usize] = (capacity[*l as usize] - floor).max(0.0);
        }
    }
    let policy = policy.at(load.crowding());
    let demands: Vec<Demand<'_>> = flows
        .iter()
        .zip(&links)
        .map(|(f, links)| Demand {
            links,
            // A tree with anything to send takes what there is: what it does not need in this slot is given to
            // others as soon as it says that it is done.
            limit: if f.left > 0.0 && !links.is_empty() { f64::INFINITY } else { 0.0 },
            weight: policy.weight(f.receivers.max(1), f.left.max(f.volume * 1e-6), f.volume) / f.beside,
            rank: policy.rank(usize::try_from(f.arrival).unwrap_or(usize::MAX), f.left),
        })
        .collect();
    match allocator.allocate(policy, &capacity, &demands) {
        Ok(rates) => rates.iter().zip(&floors).map(|(r, floor)| ((r + floor) * UNIT) as u64).collect(),
        Err(_) => floors.iter().map(|floor| (floor * UNIT) as u64).collect(),
    }
}

/// Whether a rate differs enough to tell the sender.
#[must_use]
pub fn differs(was: u64, is: u64) -> bool {
    (is as f64 - was as f64).abs() > WORTH * was.max(1) as f64
}
