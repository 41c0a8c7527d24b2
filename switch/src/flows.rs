//! A worker's memory of flows: which port the frames between two addresses went to, one cache line a look.
//!
//! With many addresses in turn a source's last route ([`crate::route`]) says nothing about its next frame, and asking the
//! forwarding table takes two looks, one for the source and one for the destination, into memory that all workers
//! share. Here one look answers both: an entry says that a frame with these two addresses that came in by this
//! port was learned from and looked up before, and nothing that this depends on has changed since ([`Known`], the second
//! included, so that addresses do not age unnoticed).
//!
//! An entry is two words: both addresses, the port in and the port out. Four share a line, and a newcomer takes the
//! place of any of them. What has changed is told by a number for each line: one of another epoch is empty.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::frame::HEAD;
use crate::route::Known;
use crate::tables::PortId;

const WAYS: usize = 4;
/// Lines of a worker: room for 32768 flows in half a MiB, which a second-level cache holds.
const LINES: usize = 8192;
/// In the second word of an entry: the rest of the source address, and the port in.
const WANTED: u64 = 0xffff_ffff_ffff;

/// An entry that no frame is like: no port has the number that it came in by.
const EMPTY: [u64; 2] = [0, 0xffff << 32];

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([[u64; 2]; WAYS]);

/// What a frame is looked for by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    words: [u64; 2],
    line: u32,
}

/// The memory.
#[derive(Default)]
pub struct Flows {
    /// Made when it is first needed.
    lines: Vec<Line>,
    /// By line: the epoch that its entries are of.
    epochs: Vec<u32>,
    epoch: u32,
    known: Known,
    /// So that nobody can aim at one line by choosing addresses.
    seeds: [u64; 2],
    /// Which of a full line's entries goes next.
    next: usize,
}

impl Flows {
    /// Forgets everything unless `known` is what it was; `seed` is that of the forwarding table. Comes before the looks of
    /// a burst.
    #[inline]
    pub fn check(&mut self, known: Known, seed: u64) {
        if self.known != known || self.lines.is_empty() {
            self.renew(known, seed);
        }
    }

    #[cold]
    fn renew(&mut self, known: Known, seed: u64) {
        self.known = known;
        let hash = FixedState::with_seed(seed);
        self.seeds = [hash.hash_one(1u64), hash.hash_one(2u64)];
        self.epoch = self.epoch.wrapping_add(1);
        // The numbers begin anew: none of the old ones may look like one to come.
        if self.epoch == 0 || self.lines.is_empty() {
            self.lines = vec![Line([EMPTY; WAYS]); LINES];
            self.epochs = vec![0; LINES];
            self.epoch = 1;
        }
    }

    /// What to look for, from a frame's head and the port that it came in by. Asks for the line.
    #[inline(always)]
    pub fn flow(&self, head: &[u8; HEAD], port: PortId) -> Flow {
        let [a, b] = words(head);
        let b = b & 0xffff_ffff | u64::from(port) << 32;
        let product = u128::from(a ^ self.seeds[0]).wrapping_mul(u128::from(b ^ self.seeds[1]));
        let line = (product as u64 ^ (product >> 64) as u64) as usize % LINES;
        if let Some(l) = self.lines.get(line) {
            valecast_ring::prefetch(std::ptr::from_ref(l).cast());
        }
        Flow { words: [a, b], line: line as u32 }
    }

    /// Where its frames go, if that is remembered.
    #[inline(always)]
    pub fn find(&self, flow: &Flow) -> Option<PortId> {
        let at = flow.line as usize % LINES;
        let (line, epoch) = (self.lines.get(at)?, self.epochs.get(at)?);
        // All are compared, without a branch: which of them it is cannot be foretold.
        let hit = |i: usize| {
            let [a, b] = line.0[i];
            u32::from((a ^ flow.words[0]) | ((b ^ flow.words[1]) & WANTED) == 0) << i
        };
        let hits = hit(0) | hit(1) | hit(2) | hit(3);
        let entry = line.0[hits.trailing_zeros() as usize % WAYS];
        (hits != 0 && *epoch == self.epoch).then_some((entry[1] >> 48) as PortId)
    }

    /// Remembers that the frames of a flow that is not remembered go to `to`.
    pub fn note(&mut self, flow: &Flow, to: PortId) {
        let at = flow.line as usize % LINES;
        let (Some(line), Some(epoch)) = (self.lines.get_mut(at), self.epochs.get_mut(at)) else { return };
        if *epoch != self.epoch {
            *epoch = self.epoch;
            *line = Line([EMPTY; WAYS]);
        }
        let free = line.0.iter().position(|e| *e == EMPTY);
        let place = free.unwrap_or(self.next % WAYS);
        self.next = self.next.wrapping_add(1);
        line.0[place] = [flow.words[0], flow.words[1] | u64::from(to) << 48];
    }
}

/// Addresses, type and what follows it, as two words.
#[inline(always)]
fn words(head: &[u8; HEAD]) -> [u64; 2] {
    let both = u128::from_le_bytes(*head);
    [both as u64, (both >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn head(dst: u32, src: u32) -> [u8; HEAD] {
        let mut h = [0x55; HEAD];
        h[..2].copy_from_slice(&[2, 0]);
        h[2..6].copy_from_slice(&dst.to_be_bytes());
        h[6..8].copy_from_slice(&[2, 0]);
        h[8..12].copy_from_slice(&src.to_be_bytes());
        h
    }

    fn known(secs: u32) -> Known {
        Known { tables: 1, addresses: 1, secs }
    }

    #[test]
    fn remembers_by_both_addresses_and_the_port() {
        let mut f = Flows::default();
        assert_eq!(f.find(&f.flow(&head(1, 2), 3)), None, "before there is memory");
        f.check(known(0), 7);
        let flow = f.flow(&head(1, 2), 3);
        assert_eq!(f.find(&flow), None);
        f.note(&flow, 9);
        assert_eq!(f.find(&f.flow(&head(1, 2), 3)), Some(9));
        let mut other_type = head(1, 2);
        other_type[12..].copy_from_slice(&[8, 0, 1, 2]);
        assert_eq!(f.find(&f.flow(&other_type, 3)), Some(9), "the type is no part of it");
        let nothing = f.flow(&[0; HEAD], 0);
        let same_line = (0..).map(|i| f.flow(&head(77, i), 3)).find(|g| g.line == nothing.line).unwrap();
        f.note(&same_line, 9);
        assert_eq!(f.find(&nothing), None, "an empty place is no entry");
        for (dst, src, port) in [(2, 1, 3), (1, 3, 3), (4, 2, 3), (1, 2, 4), (1, 2, 0)] {
            assert_eq!(f.find(&f.flow(&head(dst, src), port)), None, "{dst} {src} {port}");
        }
    }

    #[test]
    fn a_change_empties_it() {
        let mut f = Flows::default();
        f.check(known(0), 7);
        f.note(&f.flow(&head(1, 2), 3), 9);
        f.check(known(0), 7);
        assert_eq!(f.find(&f.flow(&head(1, 2), 3)), Some(9));
        f.check(known(1), 7);
        assert_eq!(f.find(&f.flow(&head(1, 2), 3)), None);
        // What is left of the line's old entries stays hidden when a new one comes to it.
        let line = f.flow(&head(1, 2), 3).line;
        let same = (0..).map(|i| f.flow(&head(77, i), 3)).find(|g| g.line == line).unwrap();
        f.note(&same, 8);
        assert_eq!((f.find(&same), f.find(&f.flow(&head(1, 2), 3))), (Some(8), None));
        // The same when the epochs' numbers begin anew.
        f.note(&f.flow(&head(1, 2), 3), 9);
        f.epoch = u32::MAX;
        f.epochs[line as usize] = 1;
        f.check(known(2), 7);
        assert_eq!(f.find(&f.flow(&head(1, 2), 3)), None);
    }

    #[test]
    fn holds_ten_thousand_and_is_never_wrong() {
        let mut f = Flows::default();
        f.check(known(0), 7);
        let mut said = HashMap::new();
        for i in 0..200_000u32 {
            let (dst, src) = (i % 10_000, i % 10_000 + 7);
            let flow = f.flow(&head(dst, src), 1);
            match f.find(&flow) {
                Some(to) => assert_eq!(said[&(dst, src)], to),
                None => {
                    f.note(&flow, (dst % 100) as PortId);
                    said.insert((dst, src), (dst % 100) as PortId);
                }
            }
        }
        let found = (0..10_000).filter(|i| f.find(&f.flow(&head(*i, i + 7), 1)).is_some()).count();
        assert!(found > 9_500, "{found}");
    }
}
