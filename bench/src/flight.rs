//! Pings under way: which were sent, and which were answered.

use crate::seq::SeqCounts;
use crate::stamp::PingStamp;

/// Pings followed at the same time; one that is still under way when so many more have left counts as lost.
const WINDOW: usize = 1 << 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    stamp: PingStamp,
    sent: u64,
    intended: u64,
    answered: bool,
}

/// The table of pings.
#[derive(Debug)]
pub(crate) struct Flight {
    entries: Vec<Option<Entry>>,
    sent: u64,
    answered: u64,
    reordered: u64,
    duplicates: u64,
    /// The last number answered that none before it exceeded.
    latest: Option<u32>,
}

impl Default for Flight {
    fn default() -> Self {
        Self { entries: vec![None; WINDOW], sent: 0, answered: 0, reordered: 0, duplicates: 0, latest: None }
    }
}

impl Flight {
    /// A ping left: when it did and when it was meant to, in ns.
    pub(crate) fn sent(&mut self, stamp: PingStamp, sent: u64, intended: u64) {
        self.sent += 1;
        self.entries[stamp.seq.get() as usize % WINDOW] =
            Some(Entry { stamp, sent, intended, answered: false });
    }

    /// An answer came. When its ping was sent and was meant to be, in ns; `None` for a repeated answer, or one
    /// to no ping of ours: the whole stamp must agree.
    pub(crate) fn answered(&mut self, stamp: PingStamp) -> Option<(u64, u64)> {
        let seq = stamp.seq.get();
        let entry = self.entries[seq as usize % WINDOW].as_mut().filter(|e| e.stamp == stamp)?;
        if std::mem::replace(&mut entry.answered, true) {
            self.duplicates += 1;
            return None;
        }
        self.answered += 1;
        match self.latest {
            Some(latest) if seq.wrapping_sub(latest) >= 1 << 31 => self.reordered += 1,
            _ => self.latest = Some(seq),
        }
        Some((entry.sent, entry.intended))
    }

    /// Pings without an answer.
    pub(crate) fn waiting(&self) -> u64 {
        self.sent - self.answered
    }

    /// What came of them.
    pub(crate) fn counts(&self) -> SeqCounts {
        SeqCounts {
            received: self.answered,
            lost: self.waiting(),
            reordered: self.reordered,
            duplicates: self.duplicates,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_pings() {
        let mut f = Flight::default();
        let stamps: Vec<PingStamp> = (0..5).map(|i| PingStamp::new(i, 1000 + u64::from(i))).collect();
        stamps.iter().for_each(|s| f.sent(*s, 10, 5));
        assert_eq!(f.answered(stamps[1]), Some((10, 5)));
        assert_eq!(f.answered(stamps[0]), Some((10, 5)));
        assert_eq!(f.answered(stamps[1]), None);
        assert_eq!(f.answered(PingStamp::new(2, 9)), None, "same number, other time");
        let c = f.counts();
        assert_eq!((c.received, c.lost, c.reordered, c.duplicates), (2, 3, 1, 1));
    }

    #[test]
    fn an_old_ping_makes_way_and_is_lost() {
        let mut f = Flight::default();
        let (old, new) = (PingStamp::new(3, 1), PingStamp::new(3 + WINDOW as u32, 2));
        f.sent(old, 0, 0);
        f.sent(new, 0, 0);
        assert_eq!(f.answered(old), None);
        assert!(f.answered(new).is_some());
        assert_eq!(f.counts().lost, 1);
    }
}
