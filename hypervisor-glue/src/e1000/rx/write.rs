//! One frame into a ring: filter, copy, checksums, status.

use super::source::{self, Source};
use super::{FCS, LEAST, Shape, checksum};
use crate::e1000::desc::{DD, Written, rx as bits};
use crate::e1000::device::{Device, RingRegs};
use crate::e1000::dma::{Dma, Ring};
use crate::e1000::filter::{Filter, Verdict};
use crate::e1000::regs::{self, rxcsum};
use crate::e1000::stats::{Batch, Word};

/// What a burst came to.
#[derive(Default)]
pub(super) struct Sums {
    batch: Batch,
    /// Frames alike that are not in the batch yet: receiver, length, and how many.
    alike: ([u8; 6], usize, u32),
    pub bytes: u64,
    filtered: u64,
    too_long: u64,
    pub lost: u64,
    dma: u64,
    pub small: bool,
}

impl Sums {
    /// Counts `n` frames that the guest got, alike in whom they are for and how long they are.
    #[inline]
    pub fn count(&mut self, [a, b, c, d, e, f, ..]: &[u8; 16], len: usize, n: u32) {
        let to = [*a, *b, *c, *d, *e, *f];
        if (self.alike.0, self.alike.1) != (to, len) {
            self.count_alike();
            self.alike = (to, len, 0);
        }
        self.alike.2 += n;
        self.bytes += len as u64 * u64::from(n);
    }

    #[cold]
    fn count_alike(&mut self) {
        let (to, len, n) = std::mem::take(&mut self.alike);
        if n > 0 {
            self.batch.add(&to, len, n);
        }
    }

    pub fn add_to(&mut self, d: &Device) {
        self.count_alike();
        let c = &d.counters;
        c.rx_frames.add(u64::from(self.batch.frames()));
        c.rx_bytes.add(self.bytes);
        c.rx_filtered.add(self.filtered);
        c.rx_too_long.add(self.too_long);
        c.rx_no_room.add(self.lost);
        c.rx_dma_dropped.add(self.dma);
        c.dma_errors.add(self.dma);
        d.stats.received(&self.batch);
        d.stats.add(Word::Roc, self.too_long as u32);
        d.stats.add(Word::Mpc, self.lost as u32);
    }
}

/// Writes frames into a ring.
pub(super) struct Writer<'a, M: Dma + ?Sized> {
    pub device: &'a Device,
    pub mem: &'a M,
    pub ring: Ring<'a, M>,
    pub shape: Shape,
}

impl<M: Dma + ?Sized> Writer<'_, M> {
    pub fn frame(&mut self, filter: &Filter<'_>, r: &mut RingRegs, f: &Source<'_>, sums: &mut Sums) {
        let (head, len) = (f.first(), f.len());
        let verdict = filter.verdict(&head);
        if verdict == Verdict::Refused {
            sums.filtered += 1;
            return;
        }
        if len > self.shape.most {
            sums.too_long += 1;
            return;
        }
        let d = self.device;
        let strip = d.reg(regs::CTRL) & regs::ctrl::VME != 0;
        let tag = filter.tag(&head).filter(|_| strip && len >= 18);
        let parts = f.without(if tag.is_some() { 12..16 } else { 0..0 });
        let total = (len - if tag.is_some() { 4 } else { 0 }).max(LEAST) + self.shape.fcs;
        let n = total.div_ceil(self.shape.buffer) as u32;
        if r.pending() < n {
            sums.lost += 1;
            return;
        }
        let mut last = Written { special: tag.unwrap_or(0), ..Written::default() };
        last.status = DD
            | bits::EOP
            | if tag.is_some() { bits::VP } else { 0 }
            | if verdict == Verdict::Inexact { bits::PIF } else { 0 };
        let first = r.head;
        let Some(copied) = self.copy(r, n, total, &parts) else {
            // Not even the descriptors are there.
            sums.dma += 1;
            r.head = first;
            return;
        };
        if copied {
            self.look_at(&parts, &mut last);
            sums.count(&head, len, 1);
            sums.small |= len + FCS <= d.reg(regs::RSRPD) as usize;
        } else {
            sums.dma += 1;
            last.status |= bits::IXSM;
            last.errors = bits::RXE;
        }
        let mut i = first;
        for k in 0..n {
            let done = k as usize * self.shape.buffer;
            let len = self.shape.buffer.min(total - done) as u16;
            let w = if k + 1 == n {
                Written { len, ..last }
            } else {
                Written { len, status: DD | bits::IXSM, ..Written::default() }
            };
            if self.ring.store_high(i, w.word()).is_none() {
                d.counters.dma_errors.add(1);
            }
            i = if i + 1 == r.len { 0 } else { i + 1 };
        }
    }

    /// Data into the next `n` buffers, and the head behind them. Whether all of it was copied; `None` without
    /// descriptors.
    fn copy(&self, r: &mut RingRegs, n: u32, total: usize, parts: &source::Parts<'_>) -> Option<bool> {
        let mut whole = true;
        for k in 0..n {
            let (addr, _) = self.ring.load(r.head)?;
            r.head = if r.head + 1 == r.len { 0 } else { r.head + 1 };
            let at = k as usize * self.shape.buffer;
            let part = at..(at + self.shape.buffer).min(total);
            whole &= addr != 0 && parts.copy(self.mem, addr, part).is_ok();
        }
        Some(whole)
    }

    /// Checksums, if the guest wants them looked at.
    fn look_at(&self, parts: &source::Parts<'_>, w: &mut Written) {
        let want = self.device.reg(regs::RXCSUM);
        let (ip, l4) = (want & rxcsum::IPOFL != 0, want & rxcsum::TUOFL != 0);
        if !ip && !l4 {
            w.status |= bits::IXSM;
        } else {
            let seen = checksum::look(parts, ip, l4);
            w.status |= seen.status;
            w.errors |= seen.errors;
        }
        let start = (want & rxcsum::PCSS) as usize;
        if start != 0 && start < parts.len() {
            w.sum = parts.sum(start..parts.len());
        }
    }
}
