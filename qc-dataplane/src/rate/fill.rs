//! Progressive filling: all rates grow together until a link is full; the trees on it are then fixed, and the
//! others go on. Links wait in a heap by the level at which they would be full. That level only ever rises as
//! trees are fixed, so a link is looked at again when it comes up, not when one of its trees changes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::{BadDemand, Demand, Policy, check, strict};

/// A level, per unit of weight; ordered, as none is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level(f64);

impl Eq for Level {}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What is left of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    /// Capacity that no fixed tree uses.
    left: f64,
    /// Sum of the weights of the open trees on it.
    weight: f64,
    /// Number of open trees on it.
    open: u32,
    /// Where its trees end in [`Allocator::on`]; they start where those of the link before end.
    end: u32,
}

impl Room {
    fn level(&self) -> Level {
        Level(self.left.max(0.0) / self.weight)
    }
}

/// Gives trees their rates. Keeps its memory from one slot to the next.
#[derive(Debug, Default)]
pub struct Allocator {
    rooms: Vec<Room>,
    /// The trees on each link, one link after the other.
    on: Vec<u32>,
    heap: BinaryHeap<Reverse<(Level, u32)>>,
    /// Trees whose limit may be less than their share: the level at which it is reached, and the tree.
    limited: Vec<(Level, u32)>,
    fixed: Vec<bool>,
    pub(super) rates: Vec<f64>,
    pub(super) order: Vec<u32>,
    pub(super) left: Vec<f64>,
}

impl Allocator {
    /// One without memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The rate of each of `trees`, in the unit of `capacity` (by link). Whatever the policy, no link is
    /// overfull and no tree could have more unless another had less.
    ///
    /// # Errors
    /// When a demand refers to nothing or a number makes no sense.
    pub fn allocate(
        &mut self,
        policy: Policy,
        capacity: &[f64],
        trees: &[Demand<'_>],
    ) -> Result<&[f64], BadDemand> {
        check(capacity, trees)?;
        self.rates.clear();
        self.rates.resize(trees.len(), 0.0);
        match policy {
            Policy::Fcfs | Policy::Srpt => strict::serve(self, capacity, trees),
            Policy::Dispatch => {
                self.enter(capacity, trees, |_| 1.0);
                self.dispatch(trees);
            }
            Policy::Fair => {
                self.enter(capacity, trees, |_| 1.0);
                self.fill(capacity, trees, |_| 1.0);
            }
            Policy::Weighted(_) | Policy::Adaptive => {
                self.enter(capacity, trees, |d| d.weight);
                self.fill(capacity, trees, |d| d.weight);
            }
        }
        Ok(&self.rates)
    }

    /// Counting sort of the trees by link, and the heap of links.
    fn enter(&mut self, capacity: &[f64], trees: &[Demand<'_>], weight: impl Fn(&Demand<'_>) -> f64) {
        self.rooms.clear();
        self.rooms.extend(capacity.iter().map(|c| Room { left: *c, ..Room::default() }));
        self.fixed.clear();
        self.fixed.resize(trees.len(), false);
        for d in trees {
            let w = weight(d);
            for &l in d.links {
                let room = &mut self.rooms[l as usize];
                room.weight += w;
                room.open += 1;
            }
        }
        let mut entries = 0;
        for room in &mut self.rooms {
            room.end = entries;
            entries += room.open;
        }
        self.on.clear();
        self.on.resize(entries as usize, 0);
        for (tree, d) in (0..).zip(trees) {
            for &l in d.links {
                let room = &mut self.rooms[l as usize];
                self.on[room.end as usize] = tree;
                room.end += 1;
            }
        }
        let mut waiting = std::mem::take(&mut self.heap).into_vec();
        waiting.clear();
        waiting
            .extend((0..).zip(&self.rooms).filter(|(_, r)| r.open > 0).map(|(l, r)| Reverse((r.level(), l))));
        self.heap = waiting.into();
    }

    /// The trees on a link, as a range of `on`.
    fn range(&self, link: u32) -> std::ops::Range<usize> {
        let start = if link == 0 { 0 } else { self.rooms[link as usize - 1].end };
        start as usize..self.rooms[link as usize].end as usize
    }

    /// The link that is full first, taken off the heap, and at which level.
    fn next_link(&mut self) -> Option<(Level, u32)> {
        while let Some(Reverse((level, link))) = self.heap.pop() {
            let room = self.rooms[link as usize];
            if room.open == 0 {
                continue;
            }
            let now = room.level();
            if now > level && self.heap.peek().is_some_and(|Reverse((l, _))| now > *l) {
                self.heap.push(Reverse((now, link)));
            } else {
                return Some((now, link));
            }
        }
        None
    }

    fn fix(&mut self, tree: u32, d: &Demand<'_>, weight: f64, rate: f64) {
        self.fixed[tree as usize] = true;
        self.rates[tree as usize] = rate;
        for &l in d.links {
            let room = &mut self.rooms[l as usize];
            room.left -= rate;
            room.weight -= weight;
            room.open -= 1;
        }
    }

    fn fill(&mut self, capacity: &[f64], trees: &[Demand<'_>], weight: impl Fn(&Demand<'_>) -> f64) {
        self.limited.clear();
        for (tree, d) in (0..).zip(trees) {
            // Most trees have far more to send than any link carries in a slot: their limit never matters.
            let narrowest = d.links.iter().map(|l| capacity[*l as usize]).fold(f64::INFINITY, f64::min);
            if d.limit < narrowest || d.links.is_empty() {
                self.limited.push((Level(d.limit / weight(d)), tree));
            }
        }
        self.limited.sort_unstable();
        let mut waiting = 0;
        let mut reached = 0.0f64;
        loop {
            let link = self.next_link();
            // Trees whose limit comes before that link is full.
            let mut before = false;
            while let Some(&(level, tree)) = self.limited.get(waiting) {
                if link.is_some_and(|(l, _)| level >= l) {
                    break;
                }
                waiting += 1;
                if !self.fixed[tree as usize] {
                    let d = &trees[tree as usize];
                    self.fix(tree, d, weight(d), d.limit);
                    // What it leaves may let the link go on.
                    before = true;
                    if link.is_some() {
                        break;
                    }
                }
            }
            let Some((_, link)) = link else { return };
            if before {
                let room = self.rooms[link as usize];
                if room.open > 0 {
                    self.heap.push(Reverse((room.level(), link)));
                }
                continue;
            }
            // Sums that were taken apart again have crumbs; the trees that are left say what is true.
            let range = self.range(link);
            let open: f64 = self.on[range.clone()]
                .iter()
                .filter(|t| !self.fixed[**t as usize])
                .map(|t| weight(&trees[*t as usize]))
                .sum();
            let level = (self.rooms[link as usize].left.max(0.0) / open).max(reached);
            reached = level;
            for at in range {
                let tree = self.on[at];
                if !self.fixed[tree as usize] {
                    let d = &trees[tree as usize];
                    let w = weight(d);
                    self.fix(tree, d, w, (level * w).min(d.limit));
                }
            }
        }
    }

    /// DispatchRates: of all trees the one with the smallest share (capacity over trees, on its worst link) gets
    /// that, or what it needs if this is less; again without it.
    fn dispatch(&mut self, trees: &[Demand<'_>]) {
        for (tree, d) in (0..).zip(trees) {
            if d.links.is_empty() {
                self.fix(tree, d, 1.0, d.limit);
            }
        }
        while let Some((Level(share), link)) = self.next_link() {
            for at in self.range(link) {
                let tree = self.on[at];
                if !self.fixed[tree as usize] {
                    let d = &trees[tree as usize];
                    self.fix(tree, d, 1.0, share.min(d.limit));
                    if d.limit < share {
                        break;
                    }
                }
            }
            let room = self.rooms[link as usize];
            if room.open > 0 {
                self.heap.push(Reverse((room.level(), link)));
            }
        }
    }
}
