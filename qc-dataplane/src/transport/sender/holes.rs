//! What is still to be sent, merged from all reports: runs of chunks, and for whom if that is few.

use std::collections::BTreeMap;
use std::ops::Range;

/// Receivers that are remembered by a run; more are "many".
const FEW: usize = 4;

/// Who lacks a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    ids: [u32; FEW],
    /// How many of `ids` count; beyond [`FEW`]: many.
    n: u8,
}

impl Who {
    /// One receiver.
    pub fn one(id: u32) -> Self {
        Self { ids: [id, 0, 0, 0], n: 1 }
    }

    /// The receivers, if they are few.
    pub fn few(&self) -> Option<&[u32]> {
        self.ids.get(..self.n.into())
    }

    fn and(mut self, other: Self) -> Self {
        let Some(others) = other.few() else { return other };
        for id in others {
            let Some(mine) = self.few() else { break };
            if !mine.contains(id) {
                if let Some(free) = self.ids.get_mut(usize::from(self.n)) {
                    *free = *id;
                }
                self.n += 1;
            }
        }
        self
    }
}

/// Runs of chunks, apart from one another. Memory is bounded by joining runs that are near each other if there are too
/// many, at the cost of sending what lies between.
#[derive(Clone, Debug)]
pub struct Holes {
    runs: BTreeMap<u64, (u64, Who)>,
    most: usize,
}

impl Holes {
    /// No holes, and at most so many runs.
    pub fn new(most: usize) -> Self {
        Self { runs: BTreeMap::new(), most }
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many runs.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Runs in order.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, Who)> + '_ {
        self.runs.iter().map(|(start, (end, who))| (*start..*end, *who))
    }

    /// The first run.
    pub fn first(&self) -> Option<(Range<u64>, Who)> {
        self.iter().next()
    }

    /// Whether there are no more than `n` chunks.
    pub fn at_most(&self, n: u64) -> bool {
        let mut sum = 0u64;
        self.iter().all(|(r, _)| {
            sum = sum.saturating_add(r.end - r.start);
            sum <= n
        })
    }

    /// Chunks of a stretch that are holes.
    pub fn count(&self, within: &Range<u64>) -> u64 {
        let before = self.runs.range(..within.start).next_back().map(|(s, _)| *s);
        let from = before.unwrap_or(within.start);
        self.runs
            .range(from..within.end.max(from))
            .map(|(s, (e, _))| (*e).min(within.end).saturating_sub((*s).max(within.start)))
            .sum()
    }

    /// Runs that touch a stretch.
    pub fn within(&self, r: &Range<u64>) -> impl Iterator<Item = (Range<u64>, Who)> + '_ {
        let before = self.runs.range(..r.start).next_back().filter(|(_, run)| run.0 > r.start);
        let from = before.map_or(r.start, |(s, _)| *s);
        self.runs.range(from..r.end.max(from)).map(|(s, (e, who))| (*s..*e, *who))
    }

    /// Notes that somebody lacks a run.
    pub fn add(&mut self, r: Range<u64>, who: Who) {
        if r.is_empty() {
            return;
        }
        self.cut(r.start);
        self.cut(r.end);
        let mut at = r.start;
        let mut gaps = Vec::new();
        for (start, (end, whose)) in self.runs.range_mut(r.clone()) {
            if at < *start {
                gaps.push(at..*start);
            }
            *whose = whose.and(who);
            at = *end;
        }
        if at < r.end {
            gaps.push(at..r.end);
        }
        for gap in gaps {
            self.runs.insert(gap.start, (gap.end, who));
        }
        self.join(r);
        if self.runs.len() > self.most {
            self.squeeze();
        }
    }

    /// Forgets a run.
    pub fn remove(&mut self, r: Range<u64>) {
        if r.is_empty() {
            return;
        }
        self.cut(r.start);
        self.cut(r.end);
        let inside: Vec<u64> = self.runs.range(r).map(|(s, _)| *s).collect();
        for start in inside {
            self.runs.remove(&start);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    fn cut(&mut self, at: u64) {
        if let Some((_, run)) = self.runs.range_mut(..at).next_back().filter(|(_, run)| run.0 > at) {
            let rest = (run.0, run.1);
            run.0 = at;
            self.runs.insert(at, rest);
        }
    }

    /// Joins neighbours around a stretch that are lacked by the same.
    fn join(&mut self, around: Range<u64>) {
        let mut at = self.runs.range(..around.start).next_back().map_or(around.start, |(s, _)| *s);
        while let Some((&start, &(end, who))) =
            self.runs.range(at..).next().filter(|(s, _)| **s <= around.end)
        {
            match self.runs.get(&end) {
                Some(&(after, same)) if same == who => {
                    self.runs.remove(&end);
                    self.runs.insert(start, (after, who));
                    at = start;
                }
                _ => at = start + 1,
            }
        }
    }

    fn squeeze(&mut self) {
        let mut gap = 1u64;
        while self.runs.len() > self.most / 2 {
            let mut wider: Vec<(u64, u64, Who)> = Vec::new();
            for (&start, &(end, who)) in &self.runs {
                match wider.last_mut() {
                    Some(last) if start - last.1 <= gap => (last.1, last.2) = (end, last.2.and(who)),
                    _ => wider.push((start, end, who)),
                }
            }
            self.runs = wider.into_iter().map(|(s, e, w)| (s, (e, w))).collect();
            gap = gap.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holes_are_what_was_added_and_not_removed(
            steps in prop::collection::vec((any::<bool>(), 0u64..200, 0u64..40, 0u32..7), 0..60)
        ) {
            let mut holes = Holes::new(1000);
            let mut plain = vec![Vec::<u32>::new(); 256];
            for (add, start, len, id) in steps {
                let r = start..start + len;
                for who in &mut plain[start as usize..(start + len) as usize] {
                    if !add {
                        who.clear();
                    } else if !who.contains(&id) {
                        who.push(id);
                    }
                }
                if add { holes.add(r, Who::one(id)) } else { holes.remove(r) }
            }
            let mut seen = vec![None; 256];
            let mut end = 0;
            for (r, who) in holes.iter() {
                prop_assert!(end <= r.start && r.start < r.end);
                end = r.end;
                seen[r.start as usize..r.end as usize].fill(Some(who));
            }
            for (who, want) in seen.iter().zip(&plain) {
                prop_assert_eq!(who.is_none(), want.is_empty());
                if let Some(few) = who.as_ref().and_then(Who::few) {
                    let (mut few, mut want) = (few.to_vec(), want.clone());
                    few.sort_unstable();
                    want.sort_unstable();
                    prop_assert_eq!(few, want);
                } else if who.is_some() {
                    prop_assert!(want.len() > FEW);
                }
            }
            let all = plain.iter().filter(|w| !w.is_empty()).count() as u64;
            prop_assert_eq!(holes.count(&(0..256)), all);
            let part = plain[10..90].iter().filter(|w| !w.is_empty()).count() as u64;
            prop_assert_eq!(holes.count(&(10..90)), part);
            prop_assert!(holes.at_most(all) && (all == 0 || !holes.at_most(all - 1)));
        }

        #[test]
        fn memory_is_bounded_and_no_hole_is_lost(starts in prop::collection::vec(0u64..1_000_000, 1..300)) {
            let mut holes = Holes::new(16);
            for s in &starts {
                holes.add(*s..*s + 1, Who::one(1));
                prop_assert!(holes.runs() <= 16);
            }
            for s in &starts {
                prop_assert_eq!(holes.count(&(*s..*s + 1)), 1);
            }
        }
    }
}
