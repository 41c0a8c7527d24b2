//! Which of several trees that lead to the same receivers sends what.
//!
//! The content is divided into ranges. A sender that has nothing left to send takes the lowest range that is nobody's, so
//! trees share the content by how fast they are, whatever their rates become. What gets lost of a range is repaired by
//! whoever has it. When a sender ends, its ranges are nobody's again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::transport::wire::Shape;

/// Most ranges, of four bytes each.
const MOST: u64 = 65_536;
/// Fewest chunks of a range: at the end, one tree waits for another no longer than that one takes for so many.
const LEAST: u64 = 64;
/// Nobody.
const FREE: u32 = 0;

/// The ranges of a content, and whose they are.
///
/// All orderings are relaxed: who has a range decides only who sends it. Whoever sees an old state sends a chunk that
/// another sends too, or leaves one to another for a moment.
#[derive(Debug)]
pub struct Shares {
    width: u64,
    owners: Vec<AtomicU32>,
    /// Who reads all of it for its hash.
    reader: AtomicU32,
}

impl Shares {
    /// Ranges that are nobody's: of whole blocks where there is parity.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let block = shape.fec().map_or(1, |(k, _)| k as u64).max(1);
        let width = shape.chunks().div_ceil(MOST).max(LEAST).next_multiple_of(block);
        let owners = (0..shape.chunks().div_ceil(width)).map(|_| AtomicU32::new(FREE)).collect();
        Self { width, owners, reader: AtomicU32::new(FREE) }
    }

    /// The share of one sender. `tree` is not 0, and another for each.
    #[must_use]
    pub fn of(self: &Arc<Self>, tree: u32) -> Share {
        Share { all: self.clone(), tree }
    }
}

/// One sender's share. Dropping it gives it back.
#[derive(Debug)]
pub struct Share {
    all: Arc<Shares>,
    tree: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

impl Share {
    fn owner(&self, chunk: u64) -> Option<&AtomicU32> {
        self.all.owners.get(usize::try_from(chunk / self.all.width).ok()?)
    }

    /// Where the range of a chunk ends.
    pub(super) fn end(&self, chunk: u64) -> u64 {
        (chunk / self.all.width + 1).saturating_mul(self.all.width)
    }

    /// Whether a chunk is this sender's to send: if its range was nobody's, it is from now on.
    pub(super) fn take(&self, chunk: u64) -> bool {
        let Some(owner) = self.owner(chunk) else { return true };
        self.is_mine_or_free(owner)
    }

    fn is_mine_or_free(&self, owner: &AtomicU32) -> bool {
        match owner.compare_exchange(FREE, self.tree, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(whose) => whose == self.tree,
        }
    }

    /// Whether this sender is the one that reads all of the content for its hash; one is enough.
    pub(super) fn reads(&self) -> bool {
        self.is_mine_or_free(&self.all.reader)
    }

    /// Whether a chunk is another's to send.
    pub(super) fn is_others(&self, chunk: u64) -> bool {
        self.owner(chunk).is_some_and(|o| ![FREE, self.tree].contains(&o.load(Ordering::Relaxed)))
    }

    /// `runs` without what is others' to send.
    pub(super) fn without_others(&self, runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
        let mut mine: Vec<Range<u64>> = Vec::with_capacity(runs.len());
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let end = self.end(at).min(run.end);
                match mine.last_mut() {
                    _ if self.is_others(at) => {}
                    Some(last) if last.end == at => last.end = end,
                    _ => mine.push(at..end),
                }
                at = end;
            }
        }
        mine
    }

    /// Takes the ranges of these runs, whosever they are.
    pub(super) fn take_over(&self, runs: &[Range<u64>]) {
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                if let Some(owner) = self.owner(at) {
                    owner.store(self.tree, Ordering::Relaxed);
                }
                at = self.end(at);
            }
        }
    }

    /// Gives all back.
    pub(super) fn release(&self) {
        for owner in self.all.owners.iter().chain([&self.all.reader]) {
            let _ = owner.compare_exchange(self.tree, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tests::sim::{source, write_file};
    use crate::transport::tests::temporary;

    /// Where blocks have parity, each is in one range; all chunks are in some.
    #[test]
    fn ranges_are_of_whole_blocks() {
        let dir = temporary();
        let file = dir.path().join("file");
        write_file(&file, 1_000_003, 1);
        for fec in [None, Some((7, 2)), Some((100, 8)), Some((64, 1))] {
            let shape = *source(&file, fec).shape();
            let shares = Arc::new(Shares::new(&shape));
            let (one, two) = (shares.of(1), shares.of(2));
            let block = shape.fec().map_or(1, |(k, _)| k as u64);
            for chunk in (0..shape.chunks()).step_by(50) {
                let mine = !one.is_others(chunk);
                assert_eq!((one.take(chunk), two.take(chunk)), (mine, !mine), "chunk {chunk} of {fec:?}");
                let first = chunk / block * block;
                let last = (first + block).min(shape.chunks()) - 1;
                assert!([first, last].iter().all(|n| two.is_others(*n) == mine), "{fec:?}");
                if mine {
                    // The next range is the other's.
                    two.take(one.end(chunk));
                }
            }
            drop(two);
            assert!((0..shape.chunks()).all(|n| one.take(n)), "what was given back");
            let all: Vec<_> = std::iter::once(0..shape.chunks()).collect();
            assert!(one.reads() && !shares.of(2).reads());
            assert_eq!(shares.of(3).without_others(all.clone()), []);
            assert_eq!(one.without_others(all.clone()), all);
        }
    }
}
