//! A priority queue of sites whose keys may change: a binary heap that knows where each site is.

use crate::graph::Node;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: f64,
    /// Order among equal keys: a rank in the upper half, the site in the lower.
    tie: u64,
}

impl Entry {
    fn node(self) -> Node {
        (self.tie & u64::from(u32::MAX)) as Node
    }

    fn before(self, other: Self) -> bool {
        self.key < other.key || (self.key == other.key && self.tie < other.tie)
    }
}

/// Sites by key, rank and number; a site is in it at most once.
#[derive(Clone, Debug, Default)]
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// Where each site is in `entries`.
    place: Vec<u32>,
}

impl Heap {
    pub(super) fn new(nodes: usize) -> Self {
        Self { entries: Vec::new(), place: vec![NONE; nodes] }
    }

    pub(super) fn clear(&mut self) {
        for e in self.entries.drain(..) {
            self.place[e.node() as usize] = NONE;
        }
    }

    /// Inserts a site, or gives it another key.
    pub(super) fn set(&mut self, node: Node, key: f64, rank: u32) {
        let entry = Entry { key, tie: u64::from(rank) << 32 | u64::from(node) };
        match self.place[node as usize] {
            NONE => {
                self.entries.push(entry);
                self.up(self.entries.len() - 1, entry);
            }
            at if entry.before(self.entries[at as usize]) => self.up(at as usize, entry),
            at => self.down(at as usize, entry),
        }
    }

    /// Maps the key of a site that is in it to one that is not larger.
    pub(super) fn lower(&mut self, node: Node, key: impl FnOnce(f64) -> f64) {
        let at = self.place[node as usize] as usize;
        if let Some(entry) = self.entries.get(at) {
            let lower = Entry { key: key(entry.key), ..*entry };
            self.up(at, lower);
        }
    }

    /// Takes the first site out, with its key.
    pub(super) fn pop(&mut self) -> Option<(f64, Node)> {
        let first = *self.entries.first()?;
        self.place[first.node() as usize] = NONE;
        let last = self.entries.pop()?;
        if !self.entries.is_empty() {
            self.down(0, last);
        }
        Some((first.key, first.node()))
    }

    fn put(&mut self, at: usize, entry: Entry) {
        self.entries[at] = entry;
        self.place[entry.node() as usize] = at as u32;
    }

    fn up(&mut self, mut at: usize, entry: Entry) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !entry.before(self.entries[parent]) {
                break;
            }
            self.put(at, self.entries[parent]);
            at = parent;
        }
        self.put(at, entry);
    }

    fn down(&mut self, mut at: usize, entry: Entry) {
        loop {
            let mut child = 2 * at + 1;
            if child >= self.entries.len() {
                break;
            }
            if child + 1 < self.entries.len() && self.entries[child + 1].before(self.entries[child]) {
                child += 1;
            }
            if !self.entries[child].before(entry) {
                break;
            }
            self.put(at, self.entries[child]);
            at = child;
        }
        self.put(at, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Pops in the order of a sorted list, whatever was set and lowered before.
        #[test]
        fn pops_in_order(sets in proptest::collection::vec((0u32..20, 0u8..8, 0u32..2), 0..60)) {
            let mut heap = Heap::new(20);
            let mut plain = std::collections::BTreeMap::new();
            for (node, key, rank) in sets {
                heap.set(node, f64::from(key), rank);
                plain.insert(node, (key, rank));
                let half = (node + 7) % 20;
                heap.lower(half, |k| (k / 2.0).floor());
                if let Some(v) = plain.get_mut(&half) {
                    v.0 /= 2;
                }
            }
            let mut order: Vec<_> = plain.iter().map(|(n, (k, r))| (*k, *r, *n)).collect();
            order.sort_unstable();
            for (key, _, node) in order {
                prop_assert_eq!(heap.pop(), Some((f64::from(key), node)));
            }
            prop_assert_eq!(heap.pop(), None);
        }
    }
}
