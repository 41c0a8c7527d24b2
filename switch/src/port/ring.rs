//! `ring`: a client process over shared memory.

use std::os::fd::BorrowedFd;

use valecast_ring::SlotFlags;
use valecast_ring::abi::MAX_FRAGS;
use valecast_ring::host::{RxQueue, RxWriter, TxQueue};

use super::{Caps, Egress, Ingress, Tally};
use crate::counters::Cause;
use crate::frame::{Burst, Entry, Frame, HEAD, MAX_BURST};

/// How far ahead buffers are asked for.
const AHEAD: u32 = 8;
/// Flags of slots that need a look of their own.
const SPECIAL: SlotFlags = SlotFlags::MORE_FRAG.union(SlotFlags::NO_LEARN);

/// A client's transmit ring.
pub struct RingIngress {
    queue: TxQueue,
}

impl RingIngress {
    /// Over the switch's side of a ring.
    pub fn new(queue: TxQueue) -> Self {
        Self { queue }
    }
}

/// One slot of a source: where its bytes are, how many, and its flags; `None` if it makes no sense.
pub(super) type SlotAt = Option<(*const u8, usize, SlotFlags)>;

/// Puts the frames of `pending` slots into `burst`.
///
/// # Safety
/// What `slot` returns must stay readable until the burst is cleared.
#[inline]
pub(super) unsafe fn take_slots(
    burst: &mut Burst,
    pending: u32,
    max: usize,
    slot: impl Fn(u32) -> SlotAt,
    prefetch: impl Fn(u32),
) {
    let max = max.min(MAX_BURST);
    for i in 0..pending.min(AHEAD) {
        prefetch(i);
    }
    let mut i = 0;
    while i < pending && burst.taken() < max {
        let plain = |k: u32| {
            let at = i + k;
            if at + AHEAD < pending {
                prefetch(at + AHEAD);
            }
            let (data, len, flags) = slot(at)?;
            (len >= HEAD && !flags.intersects(SPECIAL)).then_some((data, len))
        };
        let most = (max - burst.taken()).min((pending - i) as usize);
        // SAFETY: the caller vouches for what `slot` returns, and short frames are left out.
        i += unsafe { burst.push_plain(most, plain) };
        if i == pending || burst.taken() == max {
            return;
        }
        match slot(i) {
            Some((_, _, flags)) if flags.contains(SlotFlags::MORE_FRAG) => {
                match gather(burst, i, pending, &slot) {
                    Some(n) => i += n,
                    None => return,
                }
            }
            Some((data, len, flags)) => {
                // SAFETY: the caller vouches for it.
                unsafe { burst.push(data, len, 1) };
                if flags.contains(SlotFlags::NO_LEARN)
                    && let Some(last) = burst.last_mut()
                {
                    last.no_learn = true;
                }
                i += 1;
            }
            None => {
                burst.push_rejected(1, Cause::BadSlot);
                i += 1;
            }
        }
    }
}

/// A frame over several slots, gathered into the burst's own memory. Slots it takes, or `None` if its
/// end is not there yet or this burst cannot hold it.
#[cold]
fn gather(burst: &mut Burst, first: u32, pending: u32, slot: impl Fn(u32) -> SlotAt) -> Option<u32> {
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
    if bad || len > usize::from(u16::MAX) {
        burst.rewind(begin);
        burst.push_rejected(n as u16, Cause::BadSlot);
    } else {
        // SAFETY: arena memory, which stays put until the burst is cleared.
        unsafe { burst.push(data, len, n as u16) };
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
        let slot = |i| slots.frame(i).ok().map(|f| (f.data.as_ptr().cast_const(), f.len as usize, f.flags));
        // SAFETY: buffers are readable while the queue lives, which is longer than the burst.
        unsafe { take_slots(burst, pending, max, slot, |i| slots.prefetch(i)) };
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

    fn disarm(&mut self) {
        self.queue.disarm();
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.kick().fd())
    }
}

/// A client's receive rings.
pub struct RingEgress {
    queues: Vec<RxQueue>,
    max_len: usize,
    max_frame: usize,
    max_run: usize,
}

impl RingEgress {
    /// Over the switch's side of the rings; at least one.
    pub fn new(queues: Vec<RxQueue>, slots: u32) -> Self {
        let max_len = queues.iter().map(RxQueue::max_len).min().unwrap_or(0);
        let frags = MAX_FRAGS.min(slots as usize / 2);
        Self {
            queues,
            max_len,
            max_frame: (max_len * frags).min(usize::from(u16::MAX)),
            max_run: slots as usize / 2,
        }
    }

    fn queue(&self, lane: usize) -> &RxQueue {
        match self.queues.as_slice() {
            // A division costs more than a small burst's copy.
            [one] => one,
            more => &more[lane % more.len()],
        }
    }

    #[inline]
    fn cost(&self, burst: &Burst, e: Entry) -> u32 {
        let len = burst.frames[usize::from(e.frame)].len();
        if len <= self.max_len { 1 } else { len.div_ceil(self.max_len) as u32 }
    }

    fn slots(&self, burst: &Burst, list: &[Entry]) -> u32 {
        if burst.longest() <= self.max_len {
            return list.len() as u32;
        }
        list.iter().map(|e| self.cost(burst, *e)).sum()
    }

    /// Frames of which some are longer than a buffer. Bytes written.
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
        let head = usize::from(f.head_len);
        let (mut at, len) = (0usize, f.len());
        for i in 0..n {
            let part = self.max_len.min(len - at);
            let from_head = head.saturating_sub(at).min(part);
            let more = if i + 1 < n { SlotFlags::MORE_FRAG } else { SlotFlags::empty() };
            // SAFETY: [at, at + part) lies inside the frame, the first `from_head` of it in the head; the
            // caller reserved `n` positions.
            unsafe {
                let h = f.head.add(at.min(head));
                let t = f.tail.add((at + from_head) - head.min(at + from_head));
                w.write(pos + u64::from(i), h, from_head, t, part - from_head, more);
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
    let end = start + list.len() as u64;
    let (mut pos, mut bytes) = (start, 0);
    for p in start..end.min(start + u64::from(AHEAD)) {
        w.prefetch(p);
    }
    for e in list {
        if pos + u64::from(AHEAD) < end {
            w.prefetch(pos + u64::from(AHEAD));
        }
        w.prefetch_slots(pos + 2 * u64::from(AHEAD));
        let f = &frames[usize::from(e.frame)];
        let (head_len, tail_len) = (usize::from(f.head_len), f.tail_len as usize);
        bytes += (head_len + tail_len) as u64;
        // SAFETY: head and tail are readable, and the position reserved, as the caller says.
        unsafe { w.write(pos, f.head, head_len, f.tail, tail_len, SlotFlags::empty()) };
        pos += 1;
    }
    bytes
}

impl Egress for RingEgress {
    fn caps(&self) -> Caps {
        Caps { vnet: false, max_frame: self.max_frame, max_run: self.max_run, queues: self.queues.len() }
    }

    fn claim(&self, burst: &Burst, list: &[Entry], lane: usize) -> usize {
        let q = self.queue(lane);
        let want = self.slots(burst, list);
        let got = q.claim(want);
        if got == want {
            return list.len();
        }
        if burst.longest() <= self.max_len {
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
        let bytes = if burst.longest() <= self.max_len {
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
        let q = self.queue(lane);
        q.arm((self.max_frame.div_ceil(self.max_len.max(1)) as u32).clamp(1, 64))
    }

    fn room_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.queues.iter().map(|q| q.kick().fd()).collect()
    }
}
