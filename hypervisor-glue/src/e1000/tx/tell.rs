//! Telling the guest what was sent, and asking it for kicks.

use super::TxQueue;
use crate::e1000::dma::Dma;
use crate::e1000::regs::{self, cause};
use crate::e1000::stats::Word;

impl TxQueue {
    /// Adds what was completed to the statistics. Comes a while after [`TxQueue::complete`].
    pub fn publish(&mut self) {
        if self.batch.frames() > 0 {
            self.device.stats.sent(&std::mem::take(&mut self.batch));
            self.device.stats.add(Word::Tsctc, std::mem::take(&mut self.segmentations));
        }
    }

    /// Raises the interrupts that completed frames call for; whether the line was asserted. Comes after
    /// [`TxQueue::publish`] and a [`valecast_ring::notify::settle`].
    pub fn wake<M: Dma + ?Sized>(&mut self, mem: &M, now: u64) -> bool {
        let done = std::mem::take(&mut self.done);
        if !done.any {
            return false;
        }
        let d = &self.device;
        let csb = d.csb(mem);
        if csb.is_some_and(|c| !c.wants_tx_interrupt()) {
            d.counters.csb_causes_spared.add(1);
            return false;
        }
        let ring = d.ring(regs::TDBAL, csb.map(|c| c.guest_tdt()));
        // Who filled the ring and waits is woken when half of it is free, so that one interrupt is for many frames. It comes
        // for certain: there are more to take, and each burst of them ends here.
        if csb.is_some() && self.more && ring.as_ref().is_some_and(|r| r.pending() > r.len / 2) {
            self.done = done;
            d.counters.csb_causes_spared.add(1);
            return false;
        }
        let mut causes = 0;
        if let Some(r) = ring {
            if r.pending() == 0 {
                causes |= cause::TXQE;
            }
            let low = (d.reg(regs::TXDCTL) >> 25 & 0x7f) * 8;
            if low != 0 && r.pending() <= low && std::mem::take(&mut self.above_low) {
                causes |= cause::TXD_LOW;
            }
        }
        let mut irq = d.irq();
        let mut rose = causes != 0 && irq.set(causes, now);
        // A guest that waits by its CSB flag is told, reports or not.
        if done.reports || csb.is_some() {
            let waits = !done.urgent && csb.is_none();
            rose |= irq.sent(waits, d.reg(regs::TIDV), d.reg(regs::TADV), now);
        }
        rose
    }

    /// Whether there is something to take.
    pub fn has_work<M: Dma + ?Sized>(&self, mem: &M) -> bool {
        let tail = self.device.csb(mem).map(|c| c.guest_tdt());
        self.enabled()
            && self.device.ring(regs::TDBAL, tail).is_some_and(|r| {
                let seen = self.stalled == Some(r.tail) && self.device.tx_head().life == self.life;
                r.pending() != 0 && !seen
            })
    }

    /// Asks for a kick (a write of TDT); `false` if there is work already, or the guest wants to be polled some more
    /// before it has to kick.
    pub fn arm<M: Dma + ?Sized>(&mut self, mem: &M) -> bool {
        let Some(csb) = self.device.csb(mem) else { return !self.has_work(mem) };
        self.idle = self.idle.saturating_add(1);
        if self.idle < csb.polls().max(self.device.tx_idle_polls()) {
            return false;
        }
        let sleeps = csb.arm_tx(|| self.has_work(mem));
        if sleeps {
            self.device.counters.csb_tx_sleeps.add(1);
        }
        sleeps
    }

    /// No kicks are needed for now.
    pub fn disarm<M: Dma + ?Sized>(&mut self, mem: &M) {
        self.idle = 0;
        if let Some(csb) = self.device.csb(mem) {
            csb.disarm_tx();
        }
    }
}
