//! `ring`: a client process over shared memory.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use valecast_ring::SlotFlags;
use valecast_ring::abi::MAX_FRAGS;
use valecast_ring::host::{RxQueue, RxWriter, Source, TxQueue, TxSlots};

use super::{Caps, Egress, Ingress, Tally};
use crate::counters::Cause;
use crate::frame::{Burst, Entry, Frame, HEAD, MAX_BURST, VnetHdr};

/// Slots whose buffers are asked for before their descriptors have come.
const EARLY: u32 = 8;
/// Frames whose first bytes are asked for together: few enough for the first-level cache, and enough for the first of
/// them to have come when the last was asked for.
const BLOCK: usize = 64;
/// Frames that are written between two looks ahead.
const WRITTEN: usize = 32;
/// Flags of slots that need a look of their own.
const SPECIAL: SlotFlags = SlotFlags::MORE_FRAG.union(SlotFlags::NO_LEARN);
/// Longest offload header before a frame.
const MAX_HDR: usize = 12;
/// Flags of a received slot that holds a whole frame: netmap counts fragments in bits 8-15.
const WHOLE: SlotFlags = SlotFlags::from_bits_retain(1 << 8);

/// What sets a netmap client's frames apart from another's.
#[derive(Clone, Debug, Default)]
pub struct Special {
    /// Bytes of virtio-net header before each frame: 0, 10 or 12.
    pub hdr: Arc<AtomicU8>,
    /// Bits 8-15 of a transmitted slot's flags name the port that the frame goes to.
    pub steer: bool,
}

impl Special {
    #[inline]
    fn hdr(&self) -> usize {
        // ORDERING: Relaxed; a figure by itself.
        usize::from(self.hdr.load(Ordering::Relaxed)).min(MAX_HDR)
    }
}

/// [`Special`], as it is for one burst.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    hdr: usize,
    steer: bool,
}

/// A client's transmit ring.
pub struct RingIngress {
    queue: TxQueue,
    special: Special,
}

impl RingIngress {
    /// Over the switch's side of a ring.
    pub fn new(queue: TxQueue, special: Special) -> Self {
        Self { queue, special }
    }
}

/// One slot of a source: where its bytes are, how many, and its flags; `None` if it makes no sense.
pub(super) type SlotAt = Option<(*const u8, usize, SlotFlags)>;

/// Slots in a row that frames are taken from.
pub(super) trait Slots {
    /// The `i`-th.
    fn slot(&self, i: u32) -> SlotAt;

    /// Those from the `i`-th on, or the first of them, at most `n`: each a frame of at least [`HEAD`] bytes without the
    /// flags `look`, or `None`. What it begins with is asked for.
    fn plain(&self, i: u32, n: u32, look: SlotFlags) -> impl Fn(u32) -> Option<(*const u8, usize)>;
}

/// Slots of which only this is known.
pub(super) struct Each<F>(pub F);

impl<F: Fn(u32) -> SlotAt> Slots for Each<F> {
    #[inline(always)]
    fn slot(&self, i: u32) -> SlotAt {
        (self.0)(i)
    }

    #[inline(always)]
    fn plain(&self, i: u32, _: u32, look: SlotFlags) -> impl Fn(u32) -> Option<(*const u8, usize)> {
        move |k| {
            let (data, len, flags) = (self.0)(i + k)?;
            valecast_ring::prefetch(data);
            (len >= HEAD && !flags.intersects(look)).then_some((data, len))
        }
    }
}

impl Slots for TxSlots<'_> {
    #[inline(always)]
    fn slot(&self, i: u32) -> SlotAt {
        self.frame(i).ok().map(|f| (f.data.as_ptr().cast_const(), f.len as usize, f.flags))
    }

    #[inline(always)]
    fn plain(&self, i: u32, n: u32, look: SlotFlags) -> impl Fn(u32) -> Option<(*const u8, usize)> {
        self.prefetch_descs(i, n);
        let next = TxSlots::plain(self, i, n, HEAD as u32, look);
        move |k| {
            let (data, len) = next(k)?;
            let data = data.as_ptr().cast_const();
            valecast_ring::prefetch(data);
            Some((data, len as usize))
        }
    }
}

/// Puts the frames of `pending` slots into `burst`.
///
/// # Safety
/// What `slots` returns must stay readable until the burst is cleared.
#[inline]
pub(super) unsafe fn take_slots(
    burst: &mut Burst,
    pending: u32,
    max: usize,
    extras: Extras,
    slots: &impl Slots,
) {
    let max = max.min(MAX_BURST);
    let hdr = extras.hdr;
    let look = if extras.steer { SPECIAL.union(SlotFlags::FRAGS) } else { SPECIAL };
    let slot = |i| slots.slot(i);
    let mut i = 0;
    while i < pending && burst.taken() < max {
        if hdr == 0 {
            let most = (max - burst.taken()).min((pending - i) as usize).min(BLOCK) as u32;
            // SAFETY: the caller vouches for what `slots` returns, and short frames are left out.
            let n = unsafe { burst.push_plain(most as usize, slots.plain(i, most, look)) };
            i += n;
            if n == most {
                continue;
            }
        }
        match slots.slot(i) {
            Some((_, _, flags)) if flags.contains(SlotFlags::MORE_FRAG) => {
                match gather(burst, i, pending, hdr, slot) {
                    Some(n) => i += n,
                    None => return,
                }
                mark(burst, flags, look);
            }
            Some((_, len, _)) if len < hdr => {
                burst.push_rejected(1, Cause::BadSlot);
                i += 1;
            }
            Some((data, len, flags)) => {
                // SAFETY: the caller vouches for `len` bytes, of which the header takes `hdr`.
                unsafe {
                    let offload = header(data, hdr);
                    burst.push(data.add(hdr), len - hdr, 1);
                    offer(burst, offload);
                }
                mark(burst, flags, look);
                i += 1;
            }
            None => {
                burst.push_rejected(1, Cause::BadSlot);
                i += 1;
            }
        }
    }
}

/// Notes what a frame's flags ask for.
fn mark(burst: &mut Burst, flags: SlotFlags, look: SlotFlags) {
    let steer = ((flags & look).bits() >> 8) as u8;
    if (flags.contains(SlotFlags::NO_LEARN) || steer != 0)
        && let Some(last) = burst.last_mut()
    {
        last.no_learn |= flags.contains(SlotFlags::NO_LEARN);
        last.steer = steer;
    }
}

/// The offload header at `data`, if frames have one: of the 12 bytes of the longer one the last two count buffers.
///
/// # Safety
/// `hdr` bytes must be readable at `data`; others may write there.
unsafe fn header(data: *const u8, hdr: usize) -> Option<VnetHdr> {
    // SAFETY: a header has at least so many bytes, as the caller says; read once.
    let bytes = (hdr >= VnetHdr::LEN).then(|| unsafe { data.cast::<[u8; VnetHdr::LEN]>().read_unaligned() });
    bytes.map(VnetHdr::from_bytes).filter(|v| v.is_needed())
}

/// Gives the frame pushed last its offload header.
fn offer(burst: &mut Burst, offload: Option<VnetHdr>) {
    if let Some(v) = offload {
        let n = burst.add_vnet(v);
        if let Some(last) = burst.last_mut() {
            last.vnet = n;
        }
    }
}

/// A frame over several slots, gathered into the burst's own memory. Slots it takes, or `None` if its
/// end is not there yet or this burst cannot hold it.
#[cold]
fn gather(
    burst: &mut Burst,
    first: u32,
    pending: u32,
    hdr: usize,
    slot: impl Fn(u32) -> SlotAt,
) -> Option<u32> {
    let begin = burst.mark();
    let (mut n, mut bad) = (0u32, false);
    loop {
        if first + n >= pending {
            burst.rewind(begin);
            return None;
        }
        let part = slot(first + n);
        n += 1;
        let Some((data, len, flags)) = part else {
            bad = true;
            break;
        };
        if !burst.has_room(len) && burst.taken() > 0 {
            // In the next burst.
            burst.rewind(begin);
            return None;
        }
        match burst.alloc(len) {
            // SAFETY: the slot's bytes are readable (see `take_slots`), the room is ours and as long.
            Some(room) => unsafe { std::ptr::copy_nonoverlapping(data, room.as_mut_ptr(), len) },
            None => bad = true,
        }
        let more = flags.contains(SlotFlags::MORE_FRAG);
        if more && n as usize >= MAX_FRAGS {
            bad = true;
        }
        if bad || !more {
            break;
        }
    }
    let (data, len) = (burst.since(begin).as_ptr(), burst.since(begin).len());
    if bad || len < hdr || len - hdr > usize::from(u16::MAX) {
        burst.rewind(begin);
        burst.push_rejected(n as u16, Cause::BadSlot);
    } else {
        // SAFETY: arena memory of `len` bytes, at least a header, which stays put until the burst is cleared.
        unsafe {
            let offload = header(data, hdr);
            burst.push(data.add(hdr), len - hdr, n as u16);
            offer(burst, offload);
        }
    }
    Some(n)
}

impl Ingress for RingIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        let pending = self.queue.pending();
        if pending == 0 {
            return;
        }
        let slots = self.queue.slots();
        for i in 0..pending.min(EARLY) {
            slots.prefetch_early(i);
        }
        let extras = Extras { hdr: self.special.hdr(), steer: self.special.steer };
        // SAFETY: buffers are readable while the queue lives, which is longer than the burst.
        unsafe { take_slots(burst, pending, max, extras, &slots) };
    }

    fn complete(&mut self, burst: &Burst, n: usize) {
        self.queue.complete(burst.slots(n));
    }

    fn publish(&mut self) {
        self.queue.publish();
    }

    fn wake(&mut self) {
        self.queue.wake();
    }

    fn arm(&mut self) -> bool {
        self.queue.arm()
    }

    fn missed(&self) -> Option<bool> {
        self.queue.missed()
    }

    fn disarm(&mut self) {
        self.queue.disarm();
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.kick().fd())
    }
}

/// A client's receive rings.
#[derive(Clone)]
pub struct RingEgress {
    queues: Arc<[RxQueue]>,
    max_len: usize,
    max_frame: usize,
    max_run: usize,
    special: Special,
    /// Bytes of header before each frame, as they were when this was made: who claims by one length and writes by
    /// another would write slots that are not its own.
    hdr: usize,
}

impl RingEgress {
    /// Over the switch's side of the rings; at least one.
    pub fn new(queues: Vec<RxQueue>, slots: u32, special: Special) -> Self {
        let max_len = queues.iter().map(RxQueue::max_len).min().unwrap_or(0);
        let frags = MAX_FRAGS.min(slots as usize / 2);
        Self {
            queues: queues.into(),
            max_len,
            max_frame: (max_len * frags).min(usize::from(u16::MAX)),
            max_run: slots as usize / 2,
            hdr: special.hdr(),
            special,
        }
    }

    fn queue(&self, lane: usize) -> &RxQueue {
        match &*self.queues {
            // A division costs more than a small burst's copy.
            [one] => one,
            more => &more[lane % more.len()],
        }
    }

    /// Slots that the longest frame takes.
    fn longest(&self) -> u32 {
        (self.max_frame.div_ceil(self.max_len.max(1)) as u32).clamp(1, 64)
    }

    /// Whether each frame takes one slot and goes into it as it is.
    #[inline]
    fn is_plain(&self, burst: &Burst) -> bool {
        burst.bound() <= self.max_len && self.hdr == 0
    }

    #[inline]
    fn cost(&self, burst: &Burst, e: Entry) -> u32 {
        let len = burst.frames[usize::from(e.frame)].len() + self.hdr;
        if len <= self.max_len { 1 } else { len.div_ceil(self.max_len) as u32 }
    }

    #[inline(always)]
    fn slots(&self, burst: &Burst, list: &[Entry]) -> u32 {
        if self.is_plain(burst) { list.len() as u32 } else { self.slots_mixed(burst, list) }
    }

    /// As [`RingEgress::slots`], frame by frame.
    #[inline(never)]
    fn slots_mixed(&self, burst: &Burst, list: &[Entry]) -> u32 {
        list.iter().map(|e| self.cost(burst, *e)).sum()
    }

    /// Frames of which some are longer than a buffer, or lie in pieces. Bytes written. Apart, as its needs must not
    /// burden the usual burst.
    #[inline(never)]
    fn write_mixed(&self, w: RxWriter<'_>, burst: &Burst, list: &[Entry], start: u64) -> u64 {
        let (mut pos, mut bytes) = (start, 0);
        for e in list {
            bytes += burst.frames[usize::from(e.frame)].len() as u64;
            pos += u64::from(self.write_long(&w, burst, *e, pos));
        }
        bytes
    }

    /// A frame over as many slots as it takes. Slots written.
    fn write_long(&self, w: &RxWriter<'_>, burst: &Burst, e: Entry, pos: u64) -> u32 {
        let f = &burst.frames[usize::from(e.frame)];
        let n = self.cost(burst, e);
        // What comes before the frame.
        let hdr = self.hdr;
        let mut before = [0u8; MAX_HDR];
        before[..VnetHdr::LEN].copy_from_slice(&burst.vnet(f).unwrap_or_default().to_bytes());
        let (mut at, len, bytes) = (0usize, f.len() + hdr, burst.bytes_of(f));
        let frags = SlotFlags::from_bits_retain((n as u16) << 8);
        for i in 0..n {
            let part = self.max_len.min(len - at);
            let more = frags | if i + 1 < n { SlotFlags::MORE_FRAG } else { SlotFlags::empty() };
            let header = &before[at.min(hdr)..hdr.min(at + part)];
            // SAFETY: the caller reserved `n` positions, and a slot has `max_len` bytes.
            unsafe {
                w.fill(pos + u64::from(i), part, more, |to| {
                    std::ptr::copy_nonoverlapping(header.as_ptr(), to, header.len());
                    bytes.copy(at.saturating_sub(hdr), part - header.len(), to.add(header.len()));
                });
            }
            at += part;
        }
        n
    }
}

/// Frames of one slot each, into consecutive positions. Bytes written. A function of its own, so that the loop has
/// all registers to itself.
///
/// # Safety
/// Frames of `list` are readable and no longer than a slot, and `list.len()` positions from `start` on are reserved.
#[inline(never)]
unsafe fn write_plain(w: RxWriter<'_>, frames: &[Frame], list: &[Entry], start: u64) -> u64 {
    let (mut pos, mut bytes) = (start, 0);
    for block in list.chunks(WRITTEN) {
        // Beyond the end, too: the first buffers of this burst were asked for by the last one.
        w.prefetch(pos, block.len() as u32);
        let mut rest = block;
        while !rest.is_empty() {
            let sources = rest.iter().map(|e| {
                let f = &frames[usize::from(e.frame)];
                let (head_len, tail_len) = (usize::from(f.head_len), f.tail_len as usize);
                Source { head: f.head, head_len, tail: f.tail, tail_len }
            });
            // SAFETY: heads and tails are readable, and the positions reserved, as the caller says.
            let (n, written) = unsafe { w.write(pos, rest.len() as u32, WHOLE, sources) };
            rest = &rest[n as usize..];
            pos += u64::from(n);
            bytes += written;
        }
    }
    bytes
}

impl Egress for RingEgress {
    fn caps(&self) -> Caps {
        let max_frame = self.max_frame - self.hdr.min(self.max_frame);
        Caps { vnet: self.hdr > 0, max_frame, max_run: self.max_run, queues: self.queues.len() }
    }

    fn renewed(&self) -> Option<Arc<dyn Egress>> {
        let hdr = self.special.hdr();
        (hdr != self.hdr).then(|| Arc::new(Self { hdr, ..self.clone() }) as Arc<dyn Egress>)
    }

    fn claim(&self, burst: &Burst, list: &[Entry], lane: usize) -> usize {
        let q = self.queue(lane);
        let want = self.slots(burst, list);
        let got = q.claim(want);
        if got == want {
            return list.len();
        }
        if self.is_plain(burst) {
            return got as usize;
        }
        let (mut used, mut fit) = (0, 0);
        for e in list {
            let c = self.cost(burst, *e);
            if used + c > got {
                break;
            }
            used += c;
            fit += 1;
        }
        q.unclaim(got - used);
        fit
    }

    fn unclaim(&self, burst: &Burst, list: &[Entry], lane: usize) {
        self.queue(lane).unclaim(self.slots(burst, list));
    }

    fn put(&self, burst: &Burst, list: &[Entry], lane: usize, _now: u64) -> Tally {
        let q = self.queue(lane);
        let n = self.slots(burst, list);
        let start = q.reserve(n);
        let bytes = if self.is_plain(burst) {
            // SAFETY: as many positions were reserved as frames are listed, and none is longer than a slot.
            unsafe { write_plain(q.writer(), &burst.frames, list, start) }
        } else {
            self.write_mixed(q.writer(), burst, list, start)
        };
        if n > 0 {
            q.commit(start, n);
        }
        Tally { frames: list.len() as u64, bytes, tx_error: 0 }
    }

    fn wake(&self) {
        self.queues.iter().for_each(RxQueue::wake);
    }

    fn wake_patient(&self) {
        self.queues.iter().for_each(RxQueue::wake_patient);
    }

    fn arm_room(&self, lane: usize) -> bool {
        self.queue(lane).arm(self.longest())
    }

    fn missed_room(&self, lane: usize) -> Option<bool> {
        self.queue(lane).missed(self.longest())
    }

    fn room_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.queues.iter().map(|q| q.kick().fd()).collect()
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
