//! What may arrive at a site, as the site says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender as Tell;

use super::desk::AGAIN;
use crate::control::{Incoming, IncomingTree};
use crate::endpoint::EndpointError;
use crate::endpoint::local::LocalSite;

/// How long the site may wait with its answer.
const WAIT_MS: u64 = 2000;

/// The trees of each transfer's newest partition: there are several where they share its content. An older one is what the
/// transfer was on before.
pub(super) fn by_transfer(mut trees: Vec<IncomingTree>) -> BTreeMap<u64, Vec<IncomingTree>> {
    trees.sort_by_key(|t| std::cmp::Reverse(t.tree));
    let mut transfers: BTreeMap<u64, Vec<IncomingTree>> = BTreeMap::new();
    for tree in trees {
        let mine = transfers.entry(tree.transfer).or_default();
        if mine.first().is_none_or(|newest| newest.partition == tree.partition) {
            mine.push(tree);
        }
    }
    transfers
}

/// Asks the site again and again what may arrive.
pub(super) fn watch(site: &LocalSite, stop: &AtomicBool, tell: &Tell<Result<Incoming, EndpointError>>) {
    let mut version = 0;
    while !stop.load(Ordering::Relaxed) {
        let news = site.incoming(version, WAIT_MS);
        let failed = news.is_err();
        // A site that was started anew counts from the beginning.
        version = news.as_ref().map_or(0, |n| n.version);
        if tell.send(news).is_err() {
            return;
        }
        if failed {
            std::thread::sleep(AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_transfer_the_newest_partition_counts_with_all_its_trees() {
        let tree = |tree, transfer, partition| IncomingTree {
            tree,
            transfer,
            partition,
            receiver: 1,
            from: "S".into(),
            name: "f".into(),
            bytes: 1,
        };
        let trees =
            vec![tree(1, 8, 0), tree(7, 8, 2), tree(3, 9, 0), tree(5, 8, 2), tree(6, 8, 1), tree(2, 9, 0)];
        let found = by_transfer(trees);
        let found: Vec<(u64, Vec<u32>)> =
            found.into_iter().map(|(id, trees)| (id, trees.iter().map(|t| t.tree).collect())).collect();
        assert_eq!(found, [(8, vec![7, 5]), (9, vec![3, 2])]);
    }
}
