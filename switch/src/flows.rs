//! A worker's memory of flows: which port the frames between two addresses went to, one cache line a look.
//!
//! With many addresses in turn a source's last route ([`crate::route`]) says nothing about its next frame, and asking the
//! forwarding table takes two looks, one for the source and one for the destination, into memory that all workers
//! share. Here one look answers both: an entry says that a frame with these two addresses that came in by this
//! port was learned from and looked up before, and nothing that this depends on has changed since ([`Known`], the second
//! included, so that addresses do not age unnoticed).
//!
//! An entry is two words that are compared whole: both addresses, the port in, and an epoch; the port out is in what is
//! left. Four share a line, their first words side by side, so that all are compared before the second word of one
//! is; a flow whose line is full has a place in the neighbour of it. When something has changed a new epoch begins, in which
//! the old entries count for nothing.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::fdb::MAX_PORTS;
use crate::frame::HEAD;
use crate::route::Known;
use crate::tables::PortId;

const WAYS: usize = 4;
/// Lines of a worker: room for 32768 flows in half a MiB, which a second-level cache holds.
const LINES: usize = 8192;

// The second word of an entry: the rest of the source address, and from these bits on the port in, the epoch, and the
// port out.
const IN: u32 = 32;
const EPOCH: u32 = 46;
const OUT: u32 = 50;
const _: () = assert!(MAX_PORTS == 1 << (EPOCH - IN) && MAX_PORTS == 1 << (64 - OUT));
/// Epochs until their numbers begin anew. None has the number 0, which empty entries have.
const EPOCHS: u64 = (1 << (OUT - EPOCH)) - 1;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    firsts: [u64; WAYS],
    seconds: [u64; WAYS],
}

const EMPTY: Line = Line { firsts: [0; WAYS], seconds: [0; WAYS] };

/// What a frame is looked for by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    first: u64,
    second: u64,
    line: u32,
}

/// The memory.
#[derive(Default)]
pub struct Flows {
    /// Made when it is first needed.
    lines: Option<Box<[Line; LINES]>>,
    epoch: u64,
    known: Known,
    /// Whether the entries are of what is known now.
    fresh: bool,
    /// So that nobody can aim at one line by choosing addresses.
    seeds: [u64; 2],
    /// Port and epoch of the burst that is looked for, where an entry has them.
    burst: u64,
    /// Which of a full line's entries goes next.
    next: usize,
}

/// To look for the flows of one burst. By value, lest the compiler fears that a store changes where they are.
#[derive(Clone, Copy)]
pub struct Looks<'f> {
    lines: &'f [Line; LINES],
    seeds: [u64; 2],
    burst: u64,
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
        self.burst = if fits { u64::from(port) << IN | self.epoch << EPOCH } else { 0 };
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

    /// Remembers that the frames of a flow that is not remembered go to `to`.
    pub fn note(&mut self, flow: &Flow, to: PortId) {
        let Some(lines) = self.lines.as_deref_mut().filter(|_| flow.second != 0) else { return };
        if usize::from(to) >= MAX_PORTS {
            return;
        }
        let (own, epoch) = (flow.line as usize % LINES, self.epoch);
        let free = |line: &Line| line.seconds.iter().position(|s| s >> EPOCH & EPOCHS != epoch);
        // Never two with the same first word in a line: only one of them would be found.
        let same = lines[own].firsts.iter().position(|f| *f == flow.first);
        let (line, way) = if let Some(way) = same.or_else(|| free(&lines[own])) {
            (own, way)
        } else if let Some(way) = free(&lines[own ^ 1]) {
            (own ^ 1, way)
        } else {
            self.next = self.next.wrapping_add(1);
            (own, self.next % WAYS)
        };
        lines[line].firsts[way] = flow.first;
        lines[line].seconds[way] = flow.second | u64::from(to) << OUT;
    }
}

impl Looks<'_> {
    /// What to look for, from a frame's head. Asks for the line.
    #[inline(always)]
    pub fn flow(&self, head: &[u8; HEAD]) -> Flow {
        let both = u128::from_le_bytes(*head);
        // Destination and two bytes of the source; the rest of the source.
        let (a, b) = (both as u64, (both >> 64) as u32);
        let second = u64::from(b) | self.burst;
        let product = u128::from(a ^ self.seeds[0]).wrapping_mul(u128::from(second ^ self.seeds[1]));
        let line = (product as u64 ^ (product >> 64) as u64) as u32 % LINES as u32;
        valecast_ring::prefetch(std::ptr::from_ref(&self.lines[line as usize]).cast());
        // So that it tells flows with one destination apart, too. Both words together are still all there is.
        Flow { first: a ^ second.rotate_left(32), second, line }
    }

    /// Where its frames go, if that is remembered.
    #[inline(always)]
    pub fn find(&self, flow: &Flow) -> Option<PortId> {
        let own = flow.line as usize % LINES;
        find(&self.lines[own], flow).or_else(|| find(&self.lines[own ^ 1], flow))
    }
}

#[inline(always)]
fn find(line: &Line, flow: &Flow) -> Option<PortId> {
    // All are compared, without a branch: which of them it is cannot be foretold.
    let hit = |i: usize| u32::from(line.firsts[i] == flow.first) << i;
    let hits = hit(0) | hit(1) | hit(2) | hit(3);
    let rest = line.seconds[(hits | 1 << WAYS).trailing_zeros() as usize % WAYS] ^ flow.second;
    (hits != 0 && rest << (64 - OUT) == 0).then_some((rest >> OUT) as PortId)
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
