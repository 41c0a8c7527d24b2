//! One burst of one port: which frame goes where. Classify, learn, look up, sort into per-destination lists.
//!
//! Nothing is delivered here and nothing is counted for good: a frame may still be held back by a
//! receiver that is full ([`crate::deliver`]), and then it is as if it had not been looked at.

use std::ops::Range;
use std::sync::Arc;

use valecast_config::MeterMode;

use crate::clock;
use crate::counters::Cause;
use crate::fdb::{Fdb, Learned, key};
use crate::flows::Flows;
use crate::frame::{Burst, Entry, Frame};
use crate::mac;
use crate::meter::{Meter, Turn};
use crate::offload;
use crate::route::{Known, LastRoute};
use crate::tables::{PortEntry, PortId, Tables, TagOp, VlanPolicy};

mod hops;

/// Where and when a burst is worked on.
#[derive(Clone, Copy)]
pub struct Context<'t> {
    /// The tables of this turn.
    pub tables: &'t Tables,
    /// The forwarding table.
    pub fdb: &'t Fdb,
    /// The port that the burst came in by.
    pub port: &'t PortEntry,
    /// Which of the port's rings it came from.
    pub lane: usize,
    /// Which worker does it.
    pub worker: usize,
    /// The time, in ns.
    pub now: u64,
}

/// What was decided for a burst.
#[derive(Default)]
pub struct Plan {
    /// By port number.
    pub lists: Vec<Vec<Entry>>,
    /// Ports whose list is not empty.
    pub touched: Vec<PortId>,
    /// Frames that go nowhere.
    pub in_drops: Vec<(u16, Cause)>,
    /// Copies that their port cannot take.
    pub out_drops: Vec<(u16, PortId, Cause)>,
    /// Frames from this one on wait.
    pub cut: u16,
    /// When (ns) the first that waits for a meter conforms.
    pub hold_until: Option<u64>,
    /// Addresses over the port's limit.
    pub learn_refused: u64,
    /// Frames that matched a group, with the group's place in the tables.
    pub group_hits: Vec<(Range<u16>, usize)>,
    meters: Vec<(Arc<Meter>, Turn)>,
    debits: Vec<(u16, u16, u32)>,
    made: Vec<Made>,
    flows: Flows,
}

/// A derived frame, remembered so that a flood makes it once.
struct Made {
    orig: u16,
    op: TagOp,
    set_dst: Option<[u8; 6]>,
    frame: u16,
    segments: Option<Result<Range<u16>, offload::CannotOffload>>,
}

/// A frame being placed.
#[derive(Clone, Copy)]
struct Seen {
    orig: u16,
    vlan: u16,
    tag: Option<u16>,
}

impl Plan {
    fn reset(&mut self, ports: usize, frames: usize) {
        for p in self.touched.drain(..) {
            self.lists[usize::from(p)].clear();
        }
        if self.lists.len() < ports {
            self.lists.resize_with(ports, Vec::new);
        }
        self.in_drops.clear();
        self.out_drops.clear();
        self.group_hits.clear();
        self.meters.clear();
        self.debits.clear();
        self.made.clear();
        self.cut = frames as u16;
        self.hold_until = None;
        self.learn_refused = 0;
    }

    /// Decides for all of `burst`. `last` is the source's own, from burst to burst.
    pub fn make(&mut self, cx: Context<'_>, burst: &mut Burst, last: &mut LastRoute) {
        let Context { tables: t, fdb, port, now, .. } = cx;
        let n = burst.taken();
        self.reset(t.ports.len(), n);
        let secs = clock::secs(now);
        let mut last_src = 0u64;
        let unasked = port.limit.is_none() && port.mirror_in.is_empty() && !burst.is_odd();
        let known = Known { tables: t.version, addresses: fdb.generation(), secs };
        last.check(known);
        let open = unasked && port.allowed.is_none() && matches!(port.vlan, VlanPolicy::Open);
        if open {
            self.flows.begin(known, fdb.seed(), port.id);
        }
        let mut i = 0;
        while i < n {
            if unasked && let Some(key) = last.head() {
                let like = burst.alike(key, i);
                self.place_again(burst, i as u16..(i + like) as u16, last);
                i += like;
                if i == n {
                    break;
                }
            }
            if open {
                let (end, to) = self.hops(cx, burst, i, &mut last_src, last);
                if let Some(to) = to
                    && end == n
                {
                    last.begin(burst.head_key(n - 1), known);
                    last.to.push(to);
                }
                if end > i {
                    i = end;
                    continue;
                }
            }
            let orig = i as u16;
            i += 1;
            let f = burst.frames[usize::from(orig)];
            if let Some(cause) = f.reject {
                self.in_drops.push((orig, cause));
                continue;
            }
            let head = *burst.head(usize::from(orig));
            let tag = (head[12] == 0x81 && head[13] == 0 && f.head_len == 16)
                .then(|| u16::from_be_bytes([head[14], head[15]]) & 0xfff);
            let Some(vlan) = port.vlan.classify(tag) else {
                self.in_drops.push((orig, Cause::Vlan));
                continue;
            };
            let (src, dst) = (mac::src(&head), mac::dst(&head));
            if let Some(allowed) = &port.allowed
                && allowed.binary_search(&src).is_err()
            {
                self.in_drops.push((orig, Cause::MacDenied));
                continue;
            }
            if let Some(limit) = &port.limit {
                match self.pay(limit, orig, f.len(), now) {
                    Paid::Yes => {}
                    Paid::Dropped => continue,
                    Paid::Held => return,
                }
            }
            last.begin(burst.head_key(usize::from(orig)), known);
            if !unasked {
                last.spoil();
            }
            let src_key = key(src, vlan);
            if src_key != last_src && port.learn && !f.no_learn && !mac::is_group(src) {
                last_src = src_key;
                match fdb.learn(src_key, port.id, secs, port.mac_limit) {
                    Learned::Refused => {
                        self.learn_refused += 1;
                        last.spoil();
                    }
                    Learned::Moved => self.flows.forget(),
                    Learned::Yes => {}
                }
            }
            let seen = Seen { orig, vlan, tag };
            if f.steer != 0 {
                self.steer(cx, burst, seen, f.steer, last);
                continue;
            }
            if let Routed::Held = self.route(cx, burst, seen, dst, last) {
                return;
            }
            for m in &port.mirror_in {
                self.copy_to(t, burst, *m, seen, TagOp::Keep, None);
            }
        }
    }

    /// Places frames where the last one like them went.
    fn place_again(&mut self, burst: &Burst, frames: Range<u16>, last: &LastRoute) {
        if frames.is_empty() {
            return;
        }
        for &(p, max) in &last.to {
            self.place_run(burst, p, frames.clone(), max);
        }
        if let Some(g) = last.group {
            self.group_hits.push((frames, g));
        }
    }

    /// Places frames on one port, as they are.
    #[inline]
    fn place_run(&mut self, burst: &Burst, to: PortId, frames: Range<u16>, max: usize) {
        if burst.bound() > max {
            frames.for_each(|i| self.place(burst, to, i, i, max));
            return;
        }
        let list = &mut self.lists[usize::from(to)];
        if list.is_empty() {
            self.touched.push(to);
        }
        list.extend(frames.map(|i| Entry { orig: i, frame: i }));
    }

    /// Places one frame, and notes in `last` where, or that others like it must not follow.
    fn route(
        &mut self,
        cx: Context<'_>,
        burst: &mut Burst,
        seen: Seen,
        dst: u64,
        last: &mut LastRoute,
    ) -> Routed {
        let Context { tables: t, fdb, port, now, .. } = cx;
        let orig = seen.orig;
        if !t.groups.is_empty()
            && let Some(place) = t.group(dst, port.id)
        {
            let g = &t.groups[place];
            if let Some(m) = &g.meter {
                last.spoil();
                match self.pay(m, orig, burst.frames[usize::from(orig)].len(), now) {
                    Paid::Yes => {}
                    Paid::Dropped => return Routed::Done,
                    Paid::Held => return Routed::Held,
                }
            }
            self.group_hits.push((orig..orig + 1, place));
            last.group = Some(place);
            let mut any = false;
            for b in g.buckets.iter().filter(|b| b.port != port.id) {
                any |= self.emit(t, burst, b.port, seen, b.set_dst, last);
            }
            if !any {
                self.refuse(last, orig, Cause::NoDestination);
            }
            return Routed::Done;
        }
        if t.group_statics || !mac::is_group(dst) {
            match fdb.lookup(key(dst, seen.vlan), clock::secs(now)) {
                Some(p) if p == port.id => {
                    self.refuse(last, orig, Cause::OwnPort);
                    return Routed::Done;
                }
                Some(p) => {
                    if !self.emit(t, burst, p, seen, None, last) {
                        self.refuse(last, orig, Cause::Vlan);
                    }
                    return Routed::Done;
                }
                None => {}
            }
        }
        if !port.may_flood {
            self.refuse(last, orig, Cause::NoFlood);
            return Routed::Done;
        }
        let mut any = false;
        for &p in &t.flood {
            if p != port.id {
                any |= self.emit(t, burst, p, seen, None, last);
            }
        }
        if !any {
            self.refuse(last, orig, Cause::NoDestination);
        }
        Routed::Done
    }

    /// Places a frame on the port that its sender names.
    fn steer(&mut self, cx: Context<'_>, burst: &mut Burst, seen: Seen, to: u8, last: &mut LastRoute) {
        let Context { tables: t, port, .. } = cx;
        last.spoil();
        let to = PortId::from(to);
        if to == port.id {
            self.refuse(last, seen.orig, Cause::OwnPort);
        } else if !self.emit(t, burst, to, seen, None, last) {
            self.refuse(last, seen.orig, Cause::NoDestination);
        }
        last.spoil();
        for m in &port.mirror_in {
            self.copy_to(t, burst, *m, seen, TagOp::Keep, None);
        }
    }

    fn refuse(&mut self, last: &mut LastRoute, orig: u16, cause: Cause) {
        last.spoil();
        self.in_drops.push((orig, cause));
    }

    /// Places a copy on `to` as its VLAN policy wants it. `false`: `to` does not carry the VLAN.
    fn emit(
        &mut self,
        t: &Tables,
        burst: &mut Burst,
        to: PortId,
        seen: Seen,
        set: Option<[u8; 6]>,
        last: &mut LastRoute,
    ) -> bool {
        let Some(dest) = t.port(to) else { return false };
        let Some(op) = dest.vlan.emit(seen.vlan, seen.tag) else { return false };
        let plain = op == TagOp::Keep && set.is_none() && dest.egress.is_some() && dest.mirror_out.is_empty();
        let fits = burst.frames[usize::from(seen.orig)].len() <= dest.caps.max_frame;
        // A group may name a port twice: its list would not stay in the order of the frames.
        let first = self.lists[usize::from(to)].last().is_none_or(|e| e.orig != seen.orig);
        if plain && fits && first {
            last.to.push((to, dest.caps.max_frame));
        } else {
            last.spoil();
        }
        self.copy_to(t, burst, to, seen, op, set);
        for m in &dest.mirror_out {
            self.copy_to(t, burst, *m, seen, op, set);
        }
        true
    }

    fn copy_to(
        &mut self,
        t: &Tables,
        burst: &mut Burst,
        to: PortId,
        seen: Seen,
        op: TagOp,
        set: Option<[u8; 6]>,
    ) {
        let Some(dest) = t.port(to) else { return };
        let Some(egress) = &dest.egress else {
            self.out_drops.push((seen.orig, to, Cause::PortDown));
            return;
        };
        let (orig, caps) = (seen.orig, dest.caps);
        let plain = op == TagOp::Keep && set.is_none();
        // Whether the switch has to do what the header leaves to others.
        let offload = burst.vnet(&burst.frames[usize::from(orig)]);
        let vnet = offload.is_some_and(|v| !caps.vnet || !egress.takes(v));
        if plain && !vnet {
            self.place(burst, to, orig, orig, caps.max_frame);
            return;
        }
        let Some(m) = self.derive(burst, orig, op, set) else {
            self.out_drops.push((orig, to, Cause::Offload));
            return;
        };
        if !vnet {
            let frame = self.made[m].frame;
            self.place(burst, to, orig, frame, caps.max_frame);
            return;
        }
        let frame = self.made[m].frame;
        let done = self.made[m].segments.get_or_insert_with(|| offload::finish(burst, frame)).clone();
        match done {
            Ok(range) if range.len() > caps.max_run => self.out_drops.push((orig, to, Cause::TooBig)),
            Ok(range) => range.for_each(|s| self.place(burst, to, orig, s, caps.max_frame)),
            Err(_) => self.out_drops.push((orig, to, Cause::Offload)),
        }
    }

    fn place(&mut self, burst: &Burst, to: PortId, orig: u16, frame: u16, max: usize) {
        let f = &burst.frames[usize::from(frame)];
        if f.len() > max && f.vnet == 0 {
            self.out_drops.push((orig, to, Cause::TooBig));
            return;
        }
        let list = &mut self.lists[usize::from(to)];
        if list.is_empty() {
            self.touched.push(to);
        }
        list.push(Entry { orig, frame });
    }

    /// The frame with its tag or destination changed; index into `made`.
    fn derive(&mut self, burst: &mut Burst, orig: u16, op: TagOp, set: Option<[u8; 6]>) -> Option<usize> {
        let known = self.made.iter().rposition(|m| m.orig == orig && m.op == op && m.set_dst == set);
        if known.is_some() {
            return known;
        }
        let f = burst.frames[usize::from(orig)];
        let frame = if op == TagOp::Keep && set.is_none() {
            orig
        } else {
            let mut h = [0u8; 20];
            let old = *burst.head(usize::from(orig));
            let had = usize::from(f.head_len);
            h[..12].copy_from_slice(&old[..12]);
            let len = match op {
                TagOp::Keep => {
                    h[12..had].copy_from_slice(&old[12..had]);
                    had
                }
                TagOp::Push(id) if old[12..14] == [0x81, 0] && had == 16 => {
                    // A priority tag already: only its id changes.
                    h[12..14].copy_from_slice(&old[12..14]);
                    h[14..16].copy_from_slice(&((u16::from(old[14] & 0xf0) << 8) | id).to_be_bytes());
                    16
                }
                TagOp::Push(id) => {
                    h[12..14].copy_from_slice(&[0x81, 0]);
                    h[14..16].copy_from_slice(&id.to_be_bytes());
                    h[16..16 + had - 12].copy_from_slice(&old[12..had]);
                    had + 4
                }
                TagOp::Pop => 12,
            };
            if let Some(mac) = set {
                h[..6].copy_from_slice(&mac);
            }
            let room = burst.alloc(len)?;
            room.copy_from_slice(&h[..len]);
            let head = room.as_ptr();
            let moved = len as i32 - i32::from(f.head_len);
            let vnet = match burst.vnet(&f) {
                Some(v) if moved != 0 && v.flags & crate::frame::VnetHdr::NEEDS_CSUM != 0 => {
                    let mut v = v;
                    v.csum_start = v.csum_start.wrapping_add_signed(moved as i16);
                    v.hdr_len = v.hdr_len.wrapping_add_signed(moved as i16);
                    burst.add_vnet(v)
                }
                _ => f.vnet,
            };
            burst.derive(Frame { head, head_len: len as u16, vnet, ..f })?
        };
        self.made.push(Made { orig, op, set_dst: set, frame, segments: None });
        Some(self.made.len() - 1)
    }

    fn pay(&mut self, meter: &Arc<Meter>, orig: u16, len: usize, now: u64) -> Paid {
        let m = match self.meters.iter().position(|(m, _)| Arc::ptr_eq(m, meter)) {
            Some(m) => m,
            None => {
                self.meters.push((meter.clone(), meter.begin(now)));
                self.meters.len() - 1
            }
        };
        match meter.pay(&mut self.meters[m].1, len) {
            Ok(()) => {
                self.debits.push((orig, m as u16, len as u32));
                Paid::Yes
            }
            Err(_) if meter.mode == MeterMode::Police => {
                self.in_drops.push((orig, Cause::Policed));
                Paid::Dropped
            }
            Err(at) => {
                self.cut = orig;
                self.hold_until = Some(at);
                Paid::Held
            }
        }
    }

    /// Books what frames before `cut` owe their meters; the others get theirs back.
    pub fn settle_meters(&mut self, cut: u16) {
        for (orig, m, len) in &self.debits {
            if *orig >= cut {
                let (meter, turn) = &mut self.meters[usize::from(*m)];
                meter.refund(turn, *len as usize);
            }
        }
        for (meter, turn) in &self.meters {
            meter.end(turn);
        }
    }
}

/// Whether a frame's fate is known.
enum Routed {
    /// Not yet: it waits for a meter.
    Held,
    Done,
}

enum Paid {
    Yes,
    Dropped,
    Held,
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
