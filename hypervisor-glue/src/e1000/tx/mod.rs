//! Transmit: from the guest's ring to a burst.
//!
//! [`TxQueue::take`] walks descriptors from the head to the tail and puts whole frames into the burst:
//! - its payload leaves **by reference**, in however many pieces it lies (up to
//!   [`valecast_switch::frame::MAX_PIECES`]); headers that change (segmentation, a VLAN tag, a checksum of IP) are copied
//!   first, for they must be read once; rows of frames that ask for nothing are taken in few steps (`plain`);
//! - short frames to be padded, sums that the switch cannot do, and frames in more pieces are gathered into the burst's
//!   own memory.
//!
//! Checksums and segmentation stay requests ([`valecast_switch::frame::VnetHdr`]): receivers take them or the switch does
//! the work. Nothing is reported to the guest before [`TxQueue::complete`]; what is not completed is taken again.

use std::sync::Arc;

use valecast_ring::notify;
use valecast_switch::counters::Cause;
use valecast_switch::frame::{Burst, Entry};
use valecast_switch::offload::finish;

use super::desc::{Context, Tx, cmd};
use super::device::{Device, RingRegs};
use super::dma::{Access, Dma, Ring};
use super::regs::{self, tctl};
use super::stats::Batch;

mod complete;
mod frame;
mod offload;
mod plain;
mod tell;

use frame::{Assembly, Gave};
use plain::Plain;

/// The two contexts that the chip remembers.
#[derive(Clone, Copy, Debug, Default)]
struct Contexts {
    plain: Context,
    segmented: Context,
}

/// A row of the burst's frames, of which either there is one, or all take one descriptor and are alike in whether they
/// ask for a report: what completing it comes to. Counts are up to and with its last frame.
#[derive(Clone, Copy, Debug)]
struct Row {
    frames: usize,
    /// The descriptor behind it.
    next: u32,
    contexts: Contexts,
    reports: usize,
    references: u64,
    /// Each of its frames asks for a report.
    reporting: bool,
}

impl Row {
    /// The row without its last `n` frames, which it has more than, in a ring of `len`.
    fn less(self, n: usize, len: u32) -> Self {
        let back = n as u32;
        Self {
            frames: self.frames - n,
            next: if self.next >= back { self.next - back } else { self.next + len - back },
            reports: self.reports - if self.reporting { n } else { 0 },
            references: self.references - n as u64,
            ..self
        }
    }
}

/// What was completed since the guest was last told.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    any: bool,
    reports: bool,
    /// Some report may not wait.
    urgent: bool,
}

/// The transmit side, owned by one worker.
pub struct TxQueue {
    device: Arc<Device>,
    life: u32,
    contexts: Contexts,
    rows: Vec<Row>,
    /// Descriptors of the ring that they lie in.
    ring_len: u32,
    /// Descriptors of this burst that ask for a report, and whether it may wait.
    reports: Vec<(u32, bool)>,
    assembly: Assembly,
    /// Frames behind the head that were looked at before: what is wrong with them was counted.
    looked: usize,
    /// The tail up to which descriptors were seen that end no frame.
    stalled: Option<u32>,
    idle: u32,
    /// The last burst was full: there are more frames to take.
    more: bool,
    done: Done,
    above_low: bool,
    batch: Batch,
    segmentations: u32,
}

impl TxQueue {
    /// The transmit side of a device. There must be one at a time.
    pub fn new(device: Arc<Device>) -> Self {
        Self {
            device,
            life: 0,
            contexts: Contexts::default(),
            rows: Vec::new(),
            ring_len: 0,
            reports: Vec::new(),
            assembly: Assembly::default(),
            looked: 0,
            stalled: None,
            idle: 0,
            more: false,
            done: Done::default(),
            above_low: false,
            batch: Batch::default(),
            segmentations: 0,
        }
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn enabled(&self) -> bool {
        self.device.reg(regs::TCTL) & tctl::EN != 0 && (self.device.link() || self.device.loops_back())
    }

    /// The ring as it is now; with the CSB in use the tail is the guest's, and the register follows it.
    fn ring<M: Dma + ?Sized>(&self, mem: &M) -> Option<RingRegs> {
        if !self.enabled() {
            return None;
        }
        let csb = self.device.csb(mem);
        let tail = csb.map(|c| c.guest_tdt());
        let ring = self.device.ring(regs::TDBAL, tail)?;
        if let Some(c) = csb {
            self.device.set_reg(regs::TDT, ring.tail);
            c.disarm_tx();
        }
        Some(ring)
    }

    /// Puts up to `max` frames into `burst`, which is empty. Returns whether the interrupt line was asserted, which
    /// timers or (in loopback) frames that came back may do.
    pub fn take<M: Dma + ?Sized>(&mut self, mem: &M, burst: &mut Burst, max: usize, now: u64) -> bool {
        let mut interrupt = self.device.tick(now);
        self.rows.clear();
        self.reports.clear();
        let life = self.device.tx_head().life;
        if life != self.life {
            self.life = life;
            (self.contexts, self.stalled, self.done) = (Contexts::default(), None, Done::default());
            (self.above_low, self.looked) = (false, 0);
        }
        let Some(ring) = self.ring(mem) else { return interrupt };
        if ring.pending() == 0 || self.stalled == Some(ring.tail) {
            return interrupt;
        }
        self.idle = 0;
        self.stalled = None;
        let low = self.device.reg(regs::TXDCTL) >> 25 & 0x7f;
        self.above_low |= ring.pending() > low * 8;
        self.walk(mem, ring, burst, max);
        self.more = burst.taken() >= max;
        self.looked = self.looked.max(burst.taken());
        if self.device.loops_back() && burst.taken() > 0 {
            interrupt |= self.loop_back(mem, burst, now);
        }
        interrupt
    }

    fn walk<M: Dma + ?Sized>(&mut self, mem: &M, r: RingRegs, burst: &mut Burst, max: usize) {
        let ring = Ring::new(mem, r.base, r.len, Access::Write);
        let mut contexts = self.contexts;
        let (mut i, mut first) = (r.head, r.head);
        let mut references = 0;
        self.assembly.clear();
        self.ring_len = r.len;
        let mut plain = Plain::new(&self.device, &ring, mem);
        while i != r.tail && burst.taken() < max {
            if first == i
                && let Some(p) = &mut plain
            {
                let rest = RingRegs { head: i, ..r };
                let row = p.take(&rest, burst, max);
                if row.frames > 0 {
                    self.reports.extend(row.reports.then(|| row.descriptors(&rest)).into_iter().flatten());
                    i = row.next(&rest);
                    first = i;
                    references += u64::from(row.frames);
                    self.rows.push(Row {
                        frames: burst.taken(),
                        next: i,
                        contexts,
                        reports: self.reports.len(),
                        references,
                        reporting: row.reports,
                    });
                    continue;
                }
            }
            let Some(halves) = ring.load(i) else {
                // Not memory: no later one is any better.
                self.device.counters.dma_errors.add(self.once(burst));
                return self.give_up(burst, r, first, contexts, references);
            };
            let d = Tx::parse(halves);
            if d.command() & (cmd::RS | cmd::RPS) != 0 {
                self.reports.push((i, d.command() & cmd::IDE != 0));
            }
            i = if i + 1 == r.len { 0 } else { i + 1 };
            let end = match d {
                Tx::Context(c, true, _) => {
                    contexts.segmented = c;
                    false
                }
                Tx::Context(c, false, _) => {
                    contexts.plain = c;
                    false
                }
                Tx::Piece(p) => {
                    self.assembly.add(&p, contexts);
                    p.command & cmd::EOP != 0
                }
                Tx::Unknown(_) => false,
            };
            if !end {
                continue;
            }
            let slots = RingRegs { head: first, tail: i, ..r }.pending() as u16;
            let once = self.once(burst);
            let gave = self.assembly.give(&self.device, mem, burst, (slots, once));
            self.assembly.clear();
            if gave == Gave::Later {
                return;
            }
            references += u64::from(gave == Gave::ByReference);
            self.row(burst.taken(), i, contexts, references);
            first = i;
        }
        if i != r.tail || first == i {
            return;
        }
        // The rest ends no frame.
        if self.assembly.is_empty() && first == r.head {
            // Contexts and nulls only: done with at once.
            self.row(burst.taken(), i, contexts, references);
            if let Some(end) = self.rows.pop() {
                self.commit(mem, &end);
            }
        } else if (RingRegs { head: first, ..r }).pending() + 1 >= r.len {
            // No room for its end, ever.
            self.device.counters.tx_endless.add(self.once(burst));
            self.give_up(burst, r, first, contexts, references);
        } else if first == r.head {
            self.stalled = Some(r.tail);
        }
    }

    /// 1 for a frame that was not looked at before, else 0, for the next one of `burst`.
    fn once(&self, burst: &Burst) -> u64 {
        u64::from(burst.taken() >= self.looked)
    }

    /// The rest of the ring is one bad frame.
    fn give_up(&mut self, burst: &mut Burst, r: RingRegs, first: u32, contexts: Contexts, references: u64) {
        let slots = RingRegs { head: first, ..r }.pending() as u16;
        self.device.counters.tx_dma_dropped.add(self.once(burst));
        burst.push_rejected(slots, Cause::BadSlot);
        self.row(burst.taken(), r.tail, contexts, references);
    }

    /// A row of one frame.
    fn row(&mut self, frames: usize, next: u32, contexts: Contexts, references: u64) {
        let reports = self.reports.len();
        self.rows.push(Row { frames, next, contexts, reports, references, reporting: false });
    }

    /// Frames that come back: received at once, and done with.
    fn loop_back<M: Dma + ?Sized>(&mut self, mem: &M, burst: &mut Burst, now: u64) -> bool {
        let taken = burst.taken();
        let mut list = Vec::with_capacity(taken);
        for orig in 0..taken as u16 {
            let f = burst.frames[usize::from(orig)];
            if f.reject.is_some() {
                continue;
            }
            let made = match burst.vnet(&f) {
                None => orig..orig + 1,
                Some(_) => finish(burst, orig).unwrap_or(0..0),
            };
            list.extend(made.map(|frame| Entry { orig, frame }));
        }
        let room = self.device.claim(mem, burst, &list);
        self.device.put(mem, burst, &list[..room]);
        self.device.missed(list.len() - room, now);
        self.complete(mem, burst, taken);
        burst.clear();
        self.publish();
        notify::settle();
        let rose = self.device.notify(mem, now);
        self.wake(mem, now) || rose
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
