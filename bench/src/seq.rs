//! Loss, reordering and duplicates, found from sequence numbers.

use serde::Serialize;

/// How far back a late number can be told from a duplicate.
const WINDOW: u32 = 8192;

/// What sequence numbers said, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SeqCounts {
    /// Frames with a sequence number.
    pub received: u64,
    /// Numbers that never came. Frames lost after the last one that arrived cannot be known of.
    pub lost: u64,
    /// Numbers that came after a later one.
    pub reordered: u64,
    /// Numbers that came again.
    pub duplicates: u64,
}

impl SeqCounts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
    }
}

/// What one number said about its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The next number.
    InOrder,
    /// So many numbers are missing before it.
    Gap(u32),
    /// It is late.
    Late,
    /// It came before.
    Duplicate,
    /// Far behind: the sender began anew.
    Restart,
}

/// Follows one stream of 32-bit sequence numbers, which may begin anywhere and wrap.
#[derive(Clone, Debug)]
pub struct SeqTracker {
    started: bool,
    next: u32,
    /// One bit per number of the window before `next`: it came.
    seen: Box<[u64]>,
    counts: SeqCounts,
}

impl Default for SeqTracker {
    fn default() -> Self {
        let seen = vec![0; WINDOW as usize / 64].into_boxed_slice();
        Self { started: false, next: 0, seen, counts: SeqCounts::default() }
    }
}

impl SeqTracker {
    /// Notes that number `seq` came.
    #[inline]
    pub fn note(&mut self, seq: u32) -> Seen {
        self.counts.received += 1;
        if seq == self.next && self.started {
            self.mark(seq, true);
            self.next = seq.wrapping_add(1);
            return Seen::InOrder;
        }
        self.out_of_line(seq)
    }

    fn out_of_line(&mut self, seq: u32) -> Seen {
        if !self.started {
            self.begin(seq);
            return Seen::InOrder;
        }
        let ahead = seq.wrapping_sub(self.next);
        if ahead < 1 << 31 {
            for missing in 0..ahead.min(WINDOW) {
                self.mark(seq.wrapping_sub(1 + missing), false);
            }
            self.mark(seq, true);
            self.next = seq.wrapping_add(1);
            self.counts.lost += u64::from(ahead);
            return Seen::Gap(ahead);
        }
        let behind = self.next.wrapping_sub(seq);
        if behind > WINDOW {
            self.begin(seq);
            return Seen::Restart;
        }
        let (word, bit) = place(seq);
        if self.seen[word] & bit != 0 {
            self.counts.duplicates += 1;
            return Seen::Duplicate;
        }
        self.mark(seq, true);
        self.counts.reordered += 1;
        // Numbers before the first one were never counted as lost.
        self.counts.lost = self.counts.lost.saturating_sub(1);
        Seen::Late
    }

    fn begin(&mut self, seq: u32) {
        self.started = true;
        // What came before is taken as seen, so that it can but be a duplicate.
        self.seen.fill(u64::MAX);
        self.next = seq.wrapping_add(1);
    }

    #[inline]
    fn mark(&mut self, seq: u32, came: bool) {
        let (word, bit) = place(seq);
        if came {
            self.seen[word] |= bit;
        } else {
            self.seen[word] &= !bit;
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> SeqCounts {
        self.counts
    }
}

#[inline]
fn place(seq: u32) -> (usize, u64) {
    ((seq % WINDOW / 64) as usize, 1 << (seq % 64))
}

/// The streams that a receiver sees, each known by a number that its sender chose.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    streams: Vec<(u32, SeqTracker)>,
    last: usize,
}

impl Streams {
    /// Streams told apart; any more share the last one's tracker.
    const MOST: usize = 1024;

    /// Notes number `seq` of `stream`.
    #[inline]
    pub fn note(&mut self, stream: u32, seq: u32) -> Seen {
        match self.streams.get_mut(self.last) {
            Some((id, tracker)) if *id == stream => tracker.note(seq),
            _ => self.other(stream, seq),
        }
    }

    fn other(&mut self, stream: u32, seq: u32) -> Seen {
        self.last = match self.streams.iter().position(|(id, _)| *id == stream) {
            Some(at) => at,
            None => {
                if self.streams.len() < Self::MOST {
                    self.streams.push((stream, SeqTracker::default()));
                }
                self.streams.len() - 1
            }
        };
        self.streams[self.last].1.note(seq)
    }

    /// How many there were.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The counts of all together.
    pub fn counts(&self) -> SeqCounts {
        let mut sum = SeqCounts::default();
        self.streams.iter().for_each(|(_, t)| sum.add(&t.counts()));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(seqs: &[u32]) -> (Vec<Seen>, SeqCounts) {
        let mut t = SeqTracker::default();
        let seen = seqs.iter().map(|s| t.note(*s)).collect();
        (seen, t.counts())
    }

    #[test]
    fn tells_what_happened() {
        use Seen::{Duplicate, Gap, InOrder, Late};
        let (seen, c) = run(&[5, 6, 9, 7, 7, 10, 4, 10]);
        assert_eq!(seen, [InOrder, InOrder, Gap(2), Late, Duplicate, InOrder, Duplicate, Duplicate]);
        assert_eq!(c, SeqCounts { received: 8, lost: 1, reordered: 1, duplicates: 3 });
    }

    #[test]
    fn wraps_and_restarts() {
        let (seen, c) = run(&[u32::MAX - 1, u32::MAX, 0, 2, 1, 1 << 20, 0]);
        assert_eq!(seen[..5], [Seen::InOrder, Seen::InOrder, Seen::InOrder, Seen::Gap(1), Seen::Late]);
        assert_eq!(seen[6], Seen::Restart);
        assert_eq!((c.lost, c.reordered), ((1 << 20) - 3, 1));
    }

    #[test]
    fn streams_do_not_disturb_each_other() {
        let mut s = Streams::default();
        for i in 0..100 {
            s.note(7, i);
            s.note(9, 1000 + 2 * i);
        }
        assert_eq!(s.len(), 2);
        assert_eq!(s.counts(), SeqCounts { received: 200, lost: 99, reordered: 0, duplicates: 0 });
    }

    proptest! {
        #[test]
        fn counts_match_a_model(start in any::<u32>(), ops in prop::collection::vec((0u32..40, 0u8..4), 1..400)) {
            // Numbers from a small range, in any order with repeats, after a first one that is the least.
            let mut t = SeqTracker::default();
            let mut seen = std::collections::BTreeSet::from([0u32]);
            t.note(start);
            let (mut dup, mut late, mut top) = (0, 0, 0);
            for (seq, _) in ops {
                t.note(start.wrapping_add(seq));
                if !seen.insert(seq) {
                    dup += 1;
                } else if seq < top {
                    late += 1;
                }
                top = top.max(seq);
            }
            let c = t.counts();
            prop_assert_eq!((c.duplicates, c.reordered), (dup, late));
            prop_assert_eq!(c.lost, u64::from(top) + 1 - seen.len() as u64);
        }
    }
}
