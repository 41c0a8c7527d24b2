//! Strict priority: trees one after the other, each gets all that its links have left.

use super::{Allocator, Demand};

/// Rates by [`Demand::rank`]. Links that whoever is ahead cannot use stay for those behind.
pub(super) fn serve(allocator: &mut Allocator, capacity: &[f64], trees: &[Demand<'_>]) {
    let Allocator { rates, order, left, .. } = allocator;
    left.clear();
    left.extend_from_slice(capacity);
    order.clear();
    order.extend(0..trees.len() as u32);
    order.sort_by(|a, b| trees[*a as usize].rank.total_cmp(&trees[*b as usize].rank));
    for &tree in order.iter() {
        let d = &trees[tree as usize];
        let room = d.links.iter().map(|l| left[*l as usize]).fold(f64::INFINITY, f64::min);
        let rate = d.limit.min(room);
        // What rounding leaves of a full link is not worth a rate.
        let least = d.links.iter().map(|l| capacity[*l as usize]).fold(f64::INFINITY, f64::min) * 1e-12;
        if rate <= least && rate < d.limit {
            continue;
        }
        rates[tree as usize] = rate;
        for &l in d.links {
            left[l as usize] -= rate;
        }
    }
}
