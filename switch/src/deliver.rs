//! From lists to receivers: claim room everywhere, find out how much of the burst can go, copy once, count.

use crate::counters::{Block, Cause, MAX_RINGS};
use crate::frame::Burst;
use crate::plan::{Context, Plan};
use crate::port::Tally;
use crate::tables::{PortEntry, PortId};

use valecast_config::Overflow;

/// What became of a burst.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Frames that are done with, from the beginning of the burst.
    pub consumed: usize,
    /// Full receivers that hold back the rest.
    pub blocked_on: Vec<PortId>,
    /// Room found in each destination, in the order of the plan.
    claims: Vec<usize>,
}

/// Delivers `plan`. The same claims that promise room in receivers that must not lose anything decide where
/// the burst is cut; receivers that may, drop.
pub fn deliver(cx: Context<'_>, burst: &Burst, plan: &mut Plan, out: &mut Outcome) {
    let Context { tables: t, port: from, lane, worker, now, .. } = cx;
    let claims = &mut out.claims;
    out.blocked_on.clear();
    claims.clear();
    let mut cut = plan.cut;
    for &p in &plan.touched {
        let list = &plan.lists[usize::from(p)];
        let (got, lossless) = match t.port(p).map(|d| (&d.egress, d.overflow)) {
            Some((Some(e), overflow)) => (e.claim(burst, list, lane), overflow == Overflow::Backpressure),
            _ => (0, false),
        };
        claims.push(got);
        if lossless && got < list.len() {
            cut = cut.min(list[got].orig);
            out.blocked_on.push(p);
        }
    }
    let mut copies = 0u64;
    for (&p, &got) in plan.touched.iter().zip(&*claims) {
        let Some(dest) = t.port(p) else { continue };
        let Some(egress) = &dest.egress else { continue };
        let list = &plan.lists[usize::from(p)];
        let keep = if usize::from(cut) == burst.taken() {
            list.len()
        } else {
            list.partition_point(|e| e.orig < cut)
        };
        let fit = got.min(keep);
        if got > fit {
            egress.unclaim(burst, &list[fit..got], lane);
        }
        if fit > 0 {
            count_out(dest, worker, lane, egress.put(burst, &list[..fit], lane, now));
        }
        if keep > fit {
            count_full(dest, worker, keep - fit);
        }
        copies += keep as u64;
    }
    for &(orig, p, cause) in &plan.out_drops {
        if orig < cut
            && let Some(dest) = t.port(p)
        {
            dest.stats.block(worker).out_drops[cause as usize].add(1);
            copies += 1;
        }
    }
    for (frames, group) in &plan.group_hits {
        let n = frames.end.min(cut).saturating_sub(frames.start);
        t.groups[*group].hits[worker].add(n.into());
    }
    plan.settle_meters(cut);
    let b = from.stats.block(worker);
    let mut dropped = 0;
    for &(orig, cause) in &plan.in_drops {
        if orig < cut {
            b.in_drops[cause as usize].add(1);
            dropped += 1;
        }
    }
    if cut > 0 && plan.learn_refused > 0 {
        b.learn_refused.add(plan.learn_refused);
    }
    out.consumed = usize::from(cut);
    count_in(b, lane, (out.consumed, burst.bytes(out.consumed)), dropped, copies);
}

/// Books what a receiver got.
pub fn count_out(dest: &PortEntry, worker: usize, lane: usize, tally: Tally) {
    let block = dest.stats.block(worker);
    block.out_frames.add(tally.frames);
    block.out_bytes.add(tally.bytes);
    let ring = match dest.caps.queues {
        // A division costs more than the rest.
        0 | 1 => 0,
        n => lane % n.min(MAX_RINGS),
    };
    let ring = &block.rings[ring];
    ring.out_frames.add(tally.frames);
    ring.out_bytes.add(tally.bytes);
    if tally.tx_error > 0 {
        block.out_drops[Cause::TxError as usize].add(tally.tx_error);
    }
}

/// Books what a receiver had no room for.
#[cold]
pub fn count_full(dest: &PortEntry, worker: usize, frames: usize) {
    dest.stats.block(worker).out_drops[Cause::RingFull as usize].add(frames as u64);
}

/// Books so many frames and bytes of a burst, of which `dropped` went nowhere.
pub fn count_in(b: &Block, lane: usize, (frames, bytes): (usize, u64), dropped: u64, copies: u64) {
    if frames == 0 {
        return;
    }
    b.in_bursts.add(1);
    b.in_frames.add(frames as u64);
    b.in_bytes.add(bytes);
    let ring = &b.rings[lane % MAX_RINGS];
    ring.in_frames.add(frames as u64);
    ring.in_bytes.add(bytes);
    b.forwarded.add(frames as u64 - dropped);
    b.copies.add(copies);
}
