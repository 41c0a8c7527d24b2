//! One burst of one port: which frame goes where. Classify, learn, look up, sort into per-destination lists.
//!
//! Nothing is delivered here and nothing is counted for good: a frame may still be held back by a
//! receiver that is full ([`crate::deliver`]), and then it is as if it had not been looked at.

use std::sync::Arc;

use valecast_config::MeterMode;

use crate::clock;
use crate::counters::Cause;
use crate::fdb::{Fdb, Learned, key};
use crate::frame::{Burst, Entry, Frame};
use crate::mac;
use crate::meter::{Meter, Turn};
use crate::offload;
use crate::tables::{PortEntry, PortId, Tables, TagOp};

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
    /// (group's counter block is chosen by worker) frames that matched, by frame.
    pub group_hits: Vec<(u16, Arc<[crossbeam::utils::CachePadded<crate::counters::Count>]>)>,
    meters: Vec<(Arc<Meter>, Turn)>,
    debits: Vec<(u16, u16, u32)>,
    made: Vec<Made>,
}

/// A derived frame, remembered so that a flood makes it once.
struct Made {
    orig: u16,
    op: TagOp,
    set_dst: Option<[u8; 6]>,
    frame: u16,
    segments: Option<Result<std::ops::Range<u16>, offload::CannotOffload>>,
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

    /// Decides for all of `burst`.
    pub fn make(&mut self, cx: Context<'_>, burst: &mut Burst) {
        let Context { tables: t, fdb, port, now, .. } = cx;
        let n = burst.taken();
        self.reset(t.ports.len(), n);
        let secs = clock::secs(now);
        let (mut last_src, mut last_dst, mut last_tag) = (0u64, 0u64, None);
        let mut last_out: Option<(PortId, usize)> = None;
        for i in 0..n {
            let orig = i as u16;
            let f = burst.frames[i];
            if let Some(cause) = f.reject {
                self.in_drops.push((orig, cause));
                continue;
            }
            let head = *burst.head(i);
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
            let src_key = key(src, vlan);
            if src_key != last_src && port.learn && !f.no_learn && !mac::is_group(src) {
                last_src = src_key;
                if fdb.learn(src_key, port.id, secs, port.mac_limit) == Learned::Refused {
                    self.learn_refused += 1;
                }
            }
            let seen = Seen { orig, vlan, tag };
            let dst_key = key(dst, vlan);
            // The common case: to the same port as the frame before, as it is.
            if dst_key == last_dst
                && tag == last_tag
                && let Some((p, max)) = last_out
                && f.vnet == 0
            {
                self.place(burst, p, orig, orig, max);
                continue;
            }
            last_out = match self.route(cx, burst, seen, dst) {
                Route::Held => return,
                Route::Done => None,
                Route::Plain(p, max) => Some((p, max)),
            };
            (last_dst, last_tag) = (dst_key, tag);
            for m in &port.mirror_in {
                self.copy_to(t, burst, *m, seen, TagOp::Keep, None);
            }
        }
    }

    /// Places one frame.
    fn route(&mut self, cx: Context<'_>, burst: &mut Burst, seen: Seen, dst: u64) -> Route {
        let Context { tables: t, fdb, port, now, .. } = cx;
        if !t.groups.is_empty()
            && let Some(g) = t.group(dst, port.id)
        {
            if let Some(m) = &g.meter {
                match self.pay(m, seen.orig, burst.frames[usize::from(seen.orig)].len(), now) {
                    Paid::Yes => {}
                    Paid::Dropped => return Route::Done,
                    Paid::Held => return Route::Held,
                }
            }
            self.group_hits.push((seen.orig, g.hits.clone()));
            let mut any = false;
            for b in g.buckets.iter().filter(|b| b.port != port.id) {
                any |= self.emit(t, burst, b.port, seen, b.set_dst);
            }
            if !any {
                self.in_drops.push((seen.orig, Cause::NoDestination));
            }
            return Route::Done;
        }
        if !mac::is_group(dst) {
            match fdb.lookup(key(dst, seen.vlan), clock::secs(now)) {
                Some(p) if p == port.id => {
                    self.in_drops.push((seen.orig, Cause::OwnPort));
                    return Route::Done;
                }
                Some(p) => {
                    if !self.emit(t, burst, p, seen, None) {
                        self.in_drops.push((seen.orig, Cause::Vlan));
                        return Route::Done;
                    }
                    return plain(t, port, p, seen).map_or(Route::Done, |max| Route::Plain(p, max));
                }
                None => {}
            }
        }
        let mut any = false;
        for &p in &t.flood {
            if p != port.id {
                any |= self.emit(t, burst, p, seen, None);
            }
        }
        if !any {
            self.in_drops.push((seen.orig, Cause::NoDestination));
        }
        Route::Done
    }

    /// Places a copy on `to` as its VLAN policy wants it. `false`: `to` does not carry the VLAN.
    fn emit(&mut self, t: &Tables, burst: &mut Burst, to: PortId, seen: Seen, set: Option<[u8; 6]>) -> bool {
        let Some(dest) = t.port(to) else { return false };
        let Some(op) = dest.vlan.emit(seen.vlan, seen.tag) else { return false };
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
        if dest.egress.is_none() {
            self.out_drops.push((seen.orig, to, Cause::PortDown));
            return;
        }
        let (orig, caps) = (seen.orig, dest.caps);
        let plain = op == TagOp::Keep && set.is_none();
        let vnet = burst.frames[usize::from(orig)].vnet != 0 && !caps.vnet;
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

/// Where a frame went.
enum Route {
    /// Nowhere yet: it waits for a meter.
    Held,
    /// To one port, as it is; frames up to that length may follow unasked.
    Plain(PortId, usize),
    /// Elsewhere.
    Done,
}

/// Whether frames to `to` go there unchanged and nowhere else; the longest that may.
fn plain(t: &Tables, from: &PortEntry, to: PortId, seen: Seen) -> Option<usize> {
    let dest = t.port(to)?;
    let same = dest.vlan.emit(seen.vlan, seen.tag) == Some(TagOp::Keep);
    (same && dest.egress.is_some() && dest.mirror_out.is_empty() && from.mirror_in.is_empty())
        .then_some(dest.caps.max_frame)
}

enum Paid {
    Yes,
    Dropped,
    Held,
}
