//! A worker's memory of flows: which port the frames between two addresses went to, one cache line a look.
//!
//! With many addresses in turn a source's last route ([`crate::route`]) says nothing about its next frame, and asking the
//! forwarding table takes two looks, one for the source and one for the destination, into memory that all workers
//! share. Here one look answers both: an entry says that a frame with these two addresses that came in by this
//! port was learned from and looked up before, and nothing that this depends on has changed since ([`Known`], the second
//! included, so that addresses do not age unnoticed).
//!
//! An entry is four words that are compared whole: both addresses as they stand in the frame, and one that says the port in, an
//! epoch, and the port out. Four entries share a line, in which their first words lie side by side, as do the second, the third
//! and the fourth, so that a look compares all of them at once; a flow whose line is full has a place in one of its three neighbours.
//! When something has changed a new epoch begins, in which the old entries count for nothing.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::fdb::MAX_PORTS;
use crate::frame::HEAD;
use crate::route::Known;
use crate::tables::PortId;

const WAYS: usize = 4;
/// Lines that take one another's flows. Of 10,000 flows eight in a thousand find their line full. Of pairs of lines four would have more
/// than they hold, so that in every few bursts one flow was missed for good; of groups of four, one in thirty such memories.
const GROUP: usize = 4;
/// Lines of a worker: room for 32768 flows in half a MiB, which a second-level cache holds.
const LINES: usize = 8192;

// The fourth word of an entry: the port in, and from these bits on the epoch, and the port out.
const EPOCH: u32 = 14;
const OUT: u32 = 18;
const _: () = assert!(MAX_PORTS == 1 << EPOCH && MAX_PORTS == 1 << (32 - OUT));
/// What a flow is known by: all of it but the port out.
const BUT_OUT: u32 = (1 << OUT) - 1;
/// Epochs until their numbers begin anew. None has the number 0, which empty entries have.
const EPOCHS: u32 = (1 << (OUT - EPOCH)) - 1;

/// The words of four entries: first all first ones, and so on.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([[u32; WAYS]; 4]);

const EMPTY: Line = Line([[0; WAYS]; 4]);

/// Where a flow is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u32);

/// The memory.
#[derive(Default)]
pub struct Flows {
    /// Made when it is first needed.
    lines: Option<Box<[Line; LINES]>>,
    epoch: u32,
    known: Known,
    /// Whether the entries are of what is known now.
    fresh: bool,
    /// So that nobody can aim at one line by choosing addresses.
    seeds: [u64; 2],
    /// Port and epoch of the burst that is looked for, where an entry has them.
    burst: u32,
    /// Which of a full line's entries goes next.
    next: usize,
}

/// To look for the flows of one burst. By value, lest the compiler fears that a store changes where they are.
#[derive(Clone, Copy)]
pub struct Looks<'f> {
    lines: &'f [Line; LINES],
    seeds: [u64; 2],
    burst: u32,
}

impl Flows {
    /// Forgets everything unless `known` is what it was. Comes before the looks of a burst, from port `port`; `seed` is that of
    /// the forwarding table.
    ///
    /// While it changes with each burst nothing is remembered, as it would not be asked for.
    #[inline]
    pub fn begin(&mut self, known: Known, seed: u64, port: PortId) {
        if self.known != known {
            self.known = known;
            self.fresh = false;
            self.burst = 0;
            return;
        }
        if !self.fresh {
            self.renew(seed);
        }
        let fits = usize::from(port) < MAX_PORTS;
        self.burst = if fits { u32::from(port) | self.epoch << EPOCH } else { 0 };
    }

    /// Nothing that is remembered may be asked for in what is left of the burst.
    pub fn forget(&mut self) {
        self.burst = 0;
    }

    #[cold]
    fn renew(&mut self, seed: u64) {
        self.fresh = true;
        let hash = FixedState::with_seed(seed);
        self.seeds = [hash.hash_one(1u64), hash.hash_one(2u64)];
        self.epoch = self.epoch % EPOCHS + 1;
        match &mut self.lines {
            // The numbers begin anew: none of the old ones may look like one to come.
            Some(lines) if self.epoch == 1 => lines.fill(EMPTY),
            Some(_) => {}
            none => *none = vec![EMPTY; LINES].into_boxed_slice().try_into().ok(),
        }
    }

    /// To look with, if anything may be remembered.
    #[inline(always)]
    pub fn looks(&self) -> Option<Looks<'_>> {
        let lines = self.lines.as_deref().filter(|_| self.burst != 0)?;
        Some(Looks { lines, seeds: self.seeds, burst: self.burst })
    }

    /// Remembers that frames with a head like this one go to `to`.
    pub fn note(&mut self, place: Place, head: &[u8; HEAD], to: PortId) {
        let Some(lines) = self.lines.as_deref_mut().filter(|_| self.burst != 0) else { return };
        if usize::from(to) >= MAX_PORTS {
            return;
        }
        let (own, epoch) = (place.0 as usize % LINES, self.epoch);
        let entry = words(head, self.burst | u32::from(to) << OUT);
        // It may have been noted a moment ago, for a frame of the same block.
        let same = |line: &Line| first(hits(line, entry, BUT_OUT));
        let free = |line: &Line| line.0[3].iter().position(|word| word >> EPOCH & EPOCHS != epoch);
        let within = |which: &dyn Fn(&Line) -> Option<usize>| {
            (0..GROUP).map(|i| own ^ i).find_map(|line| which(&lines[line]).map(|way| (line, way)))
        };
        let (line, way) = within(&same).or_else(|| within(&free)).unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            (own, self.next % WAYS)
        });
        lines[line].0.iter_mut().zip(entry).for_each(|(words, word)| words[way] = word);
    }
}

impl Looks<'_> {
    /// Where to look for what a frame's head says. Asks for the line.
    #[inline(always)]
    pub fn place(&self, head: &[u8; HEAD]) -> Place {
        let both = u128::from_le_bytes(*head);
        // Destination and two bytes of the source; the rest of the source.
        let (a, b) = (both as u64, (both >> 64) as u32);
        let second = u64::from(b) | u64::from(self.burst) << 32;
        let product = u128::from(a ^ self.seeds[0]).wrapping_mul(u128::from(second ^ self.seeds[1]));
        let line = (product as u64 ^ (product >> 64) as u64) as u32 % LINES as u32;
        valecast_ring::prefetch(std::ptr::from_ref(&self.lines[line as usize]).cast());
        Place(line)
    }

    /// Where frames with this head go, if that is remembered.
    #[inline(always)]
    pub fn find(&self, place: Place, head: &[u8; HEAD]) -> Option<PortId> {
        let (own, entry) = (place.0 as usize % LINES, words(head, self.burst));
        let out =
            |line: &Line| first(hits(line, entry, BUT_OUT)).map(|way| (line.0[3][way] >> OUT) as PortId);
        out(&self.lines[own]).or_else(|| self.beside(own, entry, BUT_OUT).and_then(out))
    }

    /// Whether it is remembered that they go to `to`.
    #[inline(always)]
    pub fn goes(&self, place: Place, head: &[u8; HEAD], to: PortId) -> bool {
        let (own, entry) = (place.0 as usize % LINES, words(head, self.burst | u32::from(to) << OUT));
        hits(&self.lines[own], entry, u32::MAX) != 0 || self.beside(own, entry, u32::MAX).is_some()
    }

    /// The line of `own`'s neighbours that has the entry. Apart, as few are there.
    #[cold]
    #[inline(never)]
    fn beside(&self, own: usize, entry: [u32; 4], mask: u32) -> Option<&Line> {
        (1..GROUP).map(|i| &self.lines[own ^ i]).find(|line| hits(line, entry, mask) != 0)
    }
}

/// An entry's words.
#[inline(always)]
fn words(head: &[u8; HEAD], last: u32) -> [u32; 4] {
    let both = u128::from_le_bytes(*head);
    [both as u32, (both >> 32) as u32, (both >> 64) as u32, last]
}

/// A bit for each of a line's entries that is `entry`, of whose last word only the bits of `mask` count.
///
/// All are compared, without a branch: which of them it is cannot be foretold. In this form compilers take one vector for each word.
#[inline(always)]
fn hits(Line(line): &Line, entry: [u32; 4], mask: u32) -> u32 {
    let differs = |i: usize| {
        line[0][i] ^ entry[0] | line[1][i] ^ entry[1] | line[2][i] ^ entry[2] | (line[3][i] ^ entry[3]) & mask
    };
    let differs = [differs(0), differs(1), differs(2), differs(3)];
    (0..WAYS).fold(0, |hits, i| hits | u32::from(differs[i] == 0) << i)
}

/// The lowest bit that is set.
#[inline(always)]
fn first(hits: u32) -> Option<usize> {
    (hits != 0).then_some(hits.trailing_zeros() as usize % WAYS)
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
