//! Which content goes next: parts of the manifest, then holes, lowest first, as chunks on the tree, as chunks to one
//! receiver, or as parity.

use std::ops::Range;

use super::holes::Who;
use super::{MOST_BLOCKS, Phase, Sender};
use crate::transport::fec;
use crate::transport::files::FileError;
use crate::transport::wire::{Kind, write_piece};

/// Frames on the tree that pay for one to a single receiver: repairs alone are not paced by the tree's meter.
const PAY: u64 = 16;
/// Most that is saved up, in frames of the tree.
const SAVED: u64 = 64 * PAY;

impl Sender {
    /// Sends one frame of content, if one is to be sent.
    pub(super) fn content(&mut self, out: &mut dyn FnMut(&[u8])) -> Result<bool, FileError> {
        let sending = self.phase == Phase::Sending;
        if let Some((r, _)) = self.parts.first().filter(|_| sending || matches!(self.phase, Phase::Hold(_))) {
            self.part(r.start, out);
            return Ok(true);
        }
        if !sending {
            return Ok(false);
        }
        if let Some((chunk, to)) = self.unicast.pop_front() {
            return self.alone(chunk, to, out);
        }
        if let Some((block, shard)) = self.parity.pop_front() {
            return self.shard(block, shard, out);
        }
        let Some((run, who)) = self.own_hole() else { return Ok(false) };
        if self.by_parity(run.start) {
            return self.content(out);
        }
        if self.cheaper_alone(&run, &who) {
            let chunk = run.start;
            self.take(chunk..chunk + 1);
            self.unicast.extend(who.few().unwrap_or_default().iter().map(|id| (chunk, *id)));
            return self.content(out);
        }
        self.chunk(run.start, out)?;
        Ok(true)
    }

    /// The lowest hole that is this sender's to fill. Those of other trees are left to them.
    fn own_hole(&mut self) -> Option<(Range<u64>, Who)> {
        loop {
            let (run, who) = self.holes.first()?;
            let Some(share) = self.share.as_ref().filter(|s| !s.take(run.start)) else {
                return Some((run, who));
            };
            let end = share.end(run.start).min(self.shape.chunks());
            self.holes.remove(run.start..end);
            self.cursor = self.cursor.max(end);
        }
    }

    fn part(&mut self, n: u64, out: &mut dyn FnMut(&[u8])) {
        let envelope = self.envelope(self.options.tree);
        let at = n as usize * self.shape.chunk();
        let bytes = self.source.manifest().get(at..at + self.shape.len_of_part(n)).unwrap_or_default();
        write_piece(&mut self.frame, &envelope, Kind::Manifest, n, 0, bytes);
        self.parts.remove(n..n + 1);
        self.rounds.sent(true, n..n + 1);
        self.counters.parts += 1;
        out(&self.frame);
    }

    fn take(&mut self, r: Range<u64>) {
        self.holes.remove(r.clone());
        self.rounds.sent(false, r);
    }

    fn chunk(&mut self, n: u64, out: &mut dyn FnMut(&[u8])) -> Result<(), FileError> {
        let envelope = self.envelope(self.options.tree);
        write_piece(&mut self.frame, &envelope, Kind::Data, n, 0, self.source.chunk(n)?);
        self.take(n..n + 1);
        self.counters.chunks += 1;
        if n < self.cursor {
            self.counters.repairs += 1;
        } else {
            self.cursor = n + 1;
        }
        self.credit = (self.credit + 1).min(SAVED);
        out(&self.frame);
        if let Some((k, m)) = self.shape.fec() {
            let block = n / k as u64;
            self.visit = if self.visit.0 == block { (block, self.visit.1 + 1) } else { (block, 1) };
            let all = self.shape.block(block);
            if n + 1 == all.end {
                self.needs.remove(&block);
                // For a block that goes out as a whole, not for the last hole of one.
                if self.visit.1 * 2 > all.end - all.start && !self.shards.contains_key(&block) {
                    let lead = self.options.lead.min(m as u16);
                    self.remember(block, lead);
                    self.parity.extend((0..lead).map(|s| (block, s)));
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, block: u64, next: u16) {
        if self.shards.len() >= MOST_BLOCKS {
            // Shards may then be sent a second time, which costs no more than a report.
            self.shards.clear();
        }
        self.shards.insert(block, next);
    }

    /// Whether one receiver at a time costs fewer links than the tree, and may be done.
    fn cheaper_alone(&mut self, run: &Range<u64>, who: &Who) -> bool {
        let (links, Some(few)) = (u64::from(self.options.tree_links), who.few()) else { return false };
        if links == 0 || run.start >= self.cursor {
            return false;
        }
        let mut cost = 0;
        for id in few {
            match self.peers.get(*id as usize) {
                Some(p) if p.hops > 0 && p.address.is_some() => cost += u64::from(p.hops),
                _ => return false,
            }
        }
        let price = few.len() as u64 * PAY;
        let may = cost < links && self.credit >= price;
        if may {
            self.credit -= price;
        }
        may
    }

    fn alone(&mut self, chunk: u64, to: u32, out: &mut dyn FnMut(&[u8])) -> Result<bool, FileError> {
        let Some(address) = self.peers.get(to as usize).and_then(|p| p.address) else {
            return self.content(out);
        };
        let envelope = self.envelope(address);
        write_piece(&mut self.frame, &envelope, Kind::Data, chunk, 0, self.source.chunk(chunk)?);
        self.counters.unicast += 1;
        out(&self.frame);
        Ok(true)
    }

    /// Notes how much one receiver lacks of each block of which it has some.
    pub(super) fn count_by_block(&mut self, lacks: &[Range<u64>]) {
        let Some((k, _)) = self.shape.fec() else { return };
        let k = k as u64;
        for r in lacks {
            let (first, last) = (r.start / k, (r.end - 1) / k);
            // It lacks all of those between.
            for (block, need) in self.needs.range_mut(first..=last) {
                if *block != first && *block != last {
                    *need = k;
                }
            }
            for block in [first, last] {
                let all = self.shape.block(block);
                let from = lacks.partition_point(|r| r.end <= all.start);
                let mine: u64 = lacks[from..]
                    .iter()
                    .take_while(|r| r.start < all.end)
                    .map(|r| r.end.min(all.end) - r.start.max(all.start))
                    .sum();
                let most = self.needs.entry(block).or_default();
                *most = (*most).max(mine);
            }
        }
        while self.needs.len() > MOST_BLOCKS {
            self.needs.pop_last();
        }
    }

    /// Puts parity in the place of a block's holes, if that is less: one shard repairs another chunk at each receiver.
    fn by_parity(&mut self, chunk: u64) -> bool {
        let Some((k, m)) = self.shape.fec() else { return false };
        let block = chunk / k as u64;
        let Some(&need) = self.needs.get(&block) else { return false };
        let all = self.shape.block(block);
        let holes = self.holes.count(&all);
        let next = self.shards.get(&block).copied().unwrap_or(0);
        if need == 0 || need >= holes || u64::from(next) + need > m as u64 || all.end > self.cursor {
            return false;
        }
        self.needs.remove(&block);
        self.take(all);
        let last = next + need as u16;
        self.remember(block, last);
        self.parity.extend((next..last).map(|s| (block, s)));
        true
    }

    fn shard(&mut self, block: u64, shard: u16, out: &mut dyn FnMut(&[u8])) -> Result<bool, FileError> {
        if self.coded.as_ref().is_none_or(|(b, _)| *b != block) {
            let len = self.shape.chunk();
            let mut chunks = Vec::new();
            for n in self.shape.block(block) {
                let mut bytes = self.source.chunk(n)?.to_vec();
                bytes.resize(len, 0);
                chunks.push(bytes);
            }
            let m = self.shape.fec().map_or(0, |(_, m)| m);
            self.coded = Some((block, fec::parity(&chunks, m)));
        }
        let envelope = self.envelope(self.options.tree);
        let Some(bytes) = self.coded.as_ref().and_then(|(_, s)| s.get(usize::from(shard))) else {
            return self.content(out);
        };
        write_piece(&mut self.frame, &envelope, Kind::Parity, block, shard, bytes);
        self.counters.parity += 1;
        self.credit = (self.credit + 1).min(SAVED);
        out(&self.frame);
        Ok(true)
    }
}
