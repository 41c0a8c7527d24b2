//! Receive: from bursts straight into the guest's buffers.
//!
//! Several workers deliver to one guest, so all of it goes under one lock, taken once per burst and step:
//! [`Device::claim`] room for frames, [`Device::put`] them there (the one copy), [`Device::notify`] the guest.
//! Between claim and put a guest may take room back; what does not fit then is lost and counted.

use valecast_switch::frame::{Burst, Entry};
use valecast_switch::port::Tally;

use super::device::{Device, RingRegs};
use super::dma::{Access, Dma, Ring};
use super::filter::Filter;
use super::regs::{self, cause, rctl};
use super::stats::Word;
use crate::csb;

mod checksum;
mod plain;
mod source;
mod write;

use plain::Plain;
use source::Source;
use write::{Sums, Writer};

/// Bytes of the FCS, which guests see unless they have it stripped. The switch knows none: they are 0.
const FCS: usize = 4;
/// Shortest frame without it.
const LEAST: usize = 60;
/// Longest frame without LPE: 1500 bytes in a header with one tag.
const MOST_SHORT: usize = 1518;
/// Longest with LPE.
const MOST_LONG: usize = 16_384 - FCS;
/// Descriptors that a ring never has free: the chip needs one, drivers spare one or two more.
const NEVER_FREE: u32 = 3;
/// Longest that is offered to a guest, with jumbo frames or without.
pub const MAX_FRAME: usize = MOST_LONG;

/// The receive side beyond its registers.
#[derive(Debug, Default)]
pub struct RxState {
    /// Descriptors claimed and not yet put.
    claimed: u32,
    /// Causes for the next [`Device::notify`].
    causes: u32,
    /// Frames since then.
    fresh: bool,
    /// The tail at which room was found wanting, so that each want is counted once.
    full_at: Option<u32>,
    /// More free descriptors than RCTL's threshold were seen since it was last crossed.
    above_low: bool,
}

impl RxState {
    /// The guest sets up its ring anew.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

/// What RCTL says of buffers.
#[derive(Clone, Copy)]
struct Shape {
    buffer: usize,
    fcs: usize,
    most: usize,
}

impl Shape {
    fn of(d: &Device) -> Self {
        let v = d.reg(regs::RCTL);
        let small = [2048, 1024, 512, 256][(v >> rctl::BSIZE_SHIFT & 3) as usize];
        // 16 times 2048 is reserved.
        let buffer = if v & rctl::BSEX != 0 && small < 2048 { 16 * small } else { small };
        let fcs = if v & rctl::SECRC != 0 { 0 } else { FCS };
        Self { buffer, fcs, most: if v & rctl::LPE != 0 { MOST_LONG } else { MOST_SHORT } }
    }

    /// Descriptors for a frame of `len` bytes.
    fn cost(&self, len: usize) -> u32 {
        (len.max(LEAST) + self.fcs).div_ceil(self.buffer) as u32
    }

    fn costs(&self, burst: &Burst, list: &[Entry]) -> u32 {
        if self.cost(burst.longest()) == 1 {
            return list.len() as u32;
        }
        list.iter().map(|e| self.cost_of(burst, *e)).sum()
    }

    /// A frame that is too long will not be written.
    fn cost_of(&self, burst: &Burst, e: Entry) -> u32 {
        let len = burst.frames[usize::from(e.frame)].len();
        if len > self.most { 0 } else { self.cost(len) }
    }
}

impl Device {
    fn receives(&self) -> bool {
        self.reg(regs::RCTL) & rctl::EN != 0 && (self.link() || self.loops_back())
    }

    /// The receive ring, with at least `want` free descriptors if the guest has published as many.
    fn rx_ring<M: Dma + ?Sized>(&self, mem: &M, want: u32) -> Option<RingRegs> {
        let Some(csb) = self.csb(mem) else { return self.ring(regs::RDBAL, None) };
        match self.ring(regs::RDBAL, None) {
            // The guest's line in the block is looked at only when the ring looks full.
            Some(r) if r.pending() >= want => Some(r),
            _ => {
                let tail = csb.guest_rdt();
                let r = self.ring(regs::RDBAL, Some(tail))?;
                self.set_reg(regs::RDT, tail);
                Some(r)
            }
        }
    }

    /// Claims room for as many of `list`, from its beginning, as there is; how many. A guest that does not receive
    /// has room for anything.
    pub fn claim<M: Dma + ?Sized>(&self, mem: &M, burst: &Burst, list: &[Entry]) -> usize {
        if !self.receives() {
            return list.len();
        }
        let shape = Shape::of(self);
        let want = shape.costs(burst, list);
        let mut state = self.rx_state();
        let all = want.saturating_add(state.claimed);
        let Some(r) = self.rx_ring(mem, all) else { return 0 };
        let free = r.pending().saturating_sub(state.claimed);
        if want <= free {
            state.claimed += want;
            return list.len();
        }
        if state.full_at.replace(r.tail) != Some(r.tail) {
            self.counters.rx_full.add(1);
            self.stats.add(Word::Rnbc, 1);
        }
        let (mut used, mut fit) = (0, 0);
        for e in list {
            let c = if shape.cost(burst.longest()) == 1 { 1 } else { shape.cost_of(burst, *e) };
            if used + c > free {
                break;
            }
            (used, fit) = (used + c, fit + 1);
        }
        let run = list.iter().take_while(|e| e.orig == list[0].orig).count();
        if fit < run {
            let cost = shape.costs(burst, &list[..run]);
            if cost > r.len.saturating_sub(NEVER_FREE) {
                // Would wait for ever: it is lost instead, and what it is a part of with it.
                (used, fit) = (cost, run);
            }
        }
        state.claimed += used;
        fit
    }

    /// Gives back what was claimed for `list`.
    pub fn unclaim(&self, burst: &Burst, list: &[Entry]) {
        let n = Shape::of(self).costs(burst, list);
        let mut state = self.rx_state();
        state.claimed = state.claimed.saturating_sub(n);
    }

    /// Frames that found no room and are lost.
    pub fn missed(&self, n: usize, now: u64) -> bool {
        self.stats.add(Word::Mpc, n as u32);
        self.counters.rx_no_room.add(n as u64);
        n > 0 && self.raise(cause::RXO, now)
    }

    /// Copies claimed frames to the guest. Frames that it does not want, or that are lost, are counted by the device
    /// and part of the tally (they left the switch).
    pub fn put<M: Dma + ?Sized>(&self, mem: &M, burst: &Burst, list: &[Entry]) -> Tally {
        let len = |e: &Entry| burst.frames[usize::from(e.frame)].len() as u64;
        let tally = |bytes| Tally { frames: list.len() as u64, bytes, tx_error: 0 };
        if !self.receives() {
            self.counters.rx_disabled.add(list.len() as u64);
            return tally(list.iter().map(len).sum());
        }
        let shape = Shape::of(self);
        let filter = Filter::new(self);
        let mut state = self.rx_state();
        state.claimed = state.claimed.saturating_sub(shape.costs(burst, list));
        let Some(mut r) = self.rx_ring(mem, u32::MAX) else {
            self.counters.rx_no_room.add(list.len() as u64);
            return tally(list.iter().map(len).sum());
        };
        let started = r.head;
        let low = r.len >> (1 + (self.reg(regs::RCTL) >> rctl::RDMTS_SHIFT & 3).min(2));
        state.above_low |= r.pending() > low;
        let mut w = Writer { device: self, mem, ring: Ring::new(mem, r.base, r.len, Access::Write), shape };
        let mut sums = Sums::default();
        let mut plain = Plain::new(self, &filter, &Ring::new(mem, r.base, r.len, Access::Write), mem, shape);
        // Bytes of frames that the guest did not get count, too: they left the switch.
        let (mut rest, mut lost) = (list, 0);
        while !rest.is_empty() {
            let done = plain.as_mut().map_or(0, |p| p.frames(&mut r, burst, rest, &mut sums));
            rest = &rest[done..];
            if let Some((e, more)) = rest.split_first() {
                let f = &burst.frames[usize::from(e.frame)];
                let before = sums.bytes;
                w.frame(&filter, &mut r, &Source::of(burst, f), &mut sums);
                lost += f.len() as u64 - (sums.bytes - before);
                rest = more;
            }
        }
        sums.add_to(self);
        if sums.lost > 0 {
            state.causes |= cause::RXO;
        }
        if r.head != started {
            self.set_reg(regs::RDH, r.head);
            state.fresh = true;
            if sums.small {
                state.causes |= cause::SRPD;
            }
        }
        if r.pending() <= low && std::mem::take(&mut state.above_low) {
            state.causes |= cause::RXDMT0;
        }
        if let Some(c) = self.csb(mem) {
            c.set_rdh(r.head);
        }
        tally(sums.bytes + lost)
    }

    /// Tells the guest of frames that were put; whether the interrupt line was asserted. Comes a while after
    /// [`Device::put`], once for many bursts, after a [`valecast_ring::notify::settle`].
    pub fn notify<M: Dma + ?Sized>(&self, mem: &M, now: u64) -> bool {
        let (fresh, causes) = {
            let mut state = self.rx_state();
            (std::mem::take(&mut state.fresh), std::mem::take(&mut state.causes))
        };
        if !fresh && causes == 0 {
            return false;
        }
        // Frames or a ring that runs dry: a guest that is awake sees either by itself.
        if self.csb(mem).is_some_and(|c| !c.wants_rx_interrupt()) {
            self.counters.csb_causes_spared.add(1);
            return false;
        }
        let mut irq = self.irq();
        let mut rose = causes != 0 && irq.set(causes, now);
        if fresh {
            rose |= irq.received(self.reg(regs::RDTR), self.reg(regs::RADV), now);
            if causes & cause::SRPD != 0 {
                rose |= irq.flush_receive(now);
            }
        }
        rose
    }

    /// Asks to be told of room (an [`super::device::Effects::room`]) for a frame of the longest kind; `false` if
    /// there is some.
    pub fn arm_room<M: Dma + ?Sized>(&self, mem: &M) -> bool {
        if !self.receives() {
            return false;
        }
        let shape = Shape::of(self);
        let state = self.rx_state();
        let want = state.claimed + shape.cost(shape.most.min(MOST_SHORT));
        let is_room = || self.rx_ring(mem, want).is_some_and(|r| r.pending() >= want);
        let (Some(csb), Some(r)) = (self.csb(mem), self.rx_ring(mem, want)) else { return !is_room() };
        let missing = (r.len - 1).saturating_sub(r.pending());
        let waits = csb.arm_rx(csb::rx_kick_at(r.tail, missing, r.len), is_room);
        if waits {
            self.counters.csb_rx_sleeps.add(1);
        }
        waits
    }

    /// Nobody waits for room any more.
    pub fn disarm_room<M: Dma + ?Sized>(&self, mem: &M) {
        if let Some(c) = self.csb(mem) {
            c.disarm_rx();
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
