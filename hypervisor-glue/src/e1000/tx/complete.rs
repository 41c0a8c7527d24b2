//! Frames that are done with: what the guest sees of it, and what is counted.

use valecast_switch::frame::{Burst, VnetHdr};

use super::{Row, TxQueue};
use crate::e1000::desc::{DD, TX_STATUS};
use crate::e1000::dma::{Access, Dma, Ring};
use crate::e1000::regs;

impl TxQueue {
    /// The first `n` frames of `burst`, as given by [`TxQueue::take`] just before, are done with. Descriptors that
    /// ask for it are marked, and the head moves, unless the guest took its ring back in the meantime.
    pub fn complete<M: Dma + ?Sized>(&mut self, mem: &M, burst: &Burst, n: usize) {
        let in_row = self.rows.partition_point(|row| row.frames < n);
        let Some(row) = self.rows.get(in_row).filter(|_| n > 0) else { return };
        let end = row.less(row.frames - n, self.ring_len);
        self.rows.clear();
        self.looked = self.looked.saturating_sub(n);
        if !self.commit(mem, &end) {
            return;
        }
        self.device.counters.tx_by_reference.add(end.references);
        if n == burst.taken() && !burst.is_odd() && burst.alike(burst.head_key(0), 0) == n {
            let (bytes, longest) = (burst.bytes(n), burst.longest());
            // No frame is longer than the longest: all are as long.
            if bytes == (n * longest) as u64 {
                let h = burst.head(0);
                self.batch.add(&[h[0], h[1], h[2], h[3], h[4], h[5]], longest, n as u32);
                self.device.counters.tx_frames.add(n as u64);
                self.device.counters.tx_bytes.add(bytes);
                return;
            }
        }
        let (mut frames, mut bytes) = (0, 0);
        for (i, f) in
            burst.frames[..n.min(burst.taken())].iter().enumerate().filter(|(_, f)| f.reject.is_none())
        {
            let h = burst.head(i);
            let to = [h[0], h[1], h[2], h[3], h[4], h[5]];
            (frames, bytes) = (frames + 1, bytes + f.len() as u64);
            match burst.vnet(f).filter(|v| v.gso_size != 0) {
                Some(v) => self.count_segments(&to, f.len(), v),
                None => self.batch.add(&to, f.len(), 1),
            }
        }
        self.device.counters.tx_frames.add(frames);
        self.device.counters.tx_bytes.add(bytes);
    }

    fn count_segments(&mut self, to: &[u8; 6], len: usize, v: VnetHdr) {
        let (headers, size) = (usize::from(v.hdr_len), usize::from(v.gso_size));
        let payload = len.saturating_sub(headers);
        let (full, rest) = (payload / size, payload % size);
        self.batch.add(to, headers + size, full as u32);
        if rest > 0 {
            self.batch.add(to, headers + rest, 1);
        }
        self.segmentations += 1;
    }

    /// Marks descriptors and moves the head; `false` if the ring is not what it was.
    pub(super) fn commit<M: Dma + ?Sized>(&mut self, mem: &M, end: &Row) -> bool {
        let d = &self.device;
        let head = d.tx_head();
        // Under the lock the guest cannot take its ring back.
        let tail = Some(end.next);
        let Some(r) = (head.life == self.life).then(|| d.ring(regs::TDBAL, tail)).flatten() else {
            self.reports.clear();
            return false;
        };
        let ring = Ring::new(mem, r.base, r.len, Access::Write);
        for (i, may_wait) in self.reports.drain(..end.reports.min(self.reports.len())) {
            if i < r.len && ring.store_byte(i, TX_STATUS, DD).is_none() {
                d.counters.dma_errors.add(1);
            }
            self.done.reports = true;
            self.done.urgent |= !may_wait;
        }
        self.done.any = true;
        self.contexts = end.contexts;
        d.set_reg(regs::TDH, end.next);
        if let Some(c) = d.csb(mem) {
            c.set_tdh(end.next);
        }
        true
    }
}
