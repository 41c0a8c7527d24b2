//! A client's receive rings.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use valecast_ring::SlotFlags;
use valecast_ring::abi::MAX_FRAGS;
use valecast_ring::host::{RxQueue, RxWriter, Source};

use super::{FEW, MAX_HDR, Special};
use crate::frame::{Burst, Entry, Frame, HEAD, VnetHdr};
use crate::port::{About, Caps, Egress, Tally};

/// Flags of a received slot that holds a whole frame: netmap counts fragments in bits 8-15.
pub(super) const WHOLE: SlotFlags = SlotFlags::from_bits_retain(1 << 8);

/// A client's receive rings.
#[derive(Clone)]
pub struct RingEgress {
    queues: Arc<[RxQueue]>,
    pub(super) max_len: usize,
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

    pub(super) fn queue(&self, lane: usize) -> &RxQueue {
        match &*self.queues {
            // A division costs more than a small burst's copy.
            [one] => one,
            more => &more[lane % more.len()],
        }
    }

    /// Whether frames go into slots with nothing before them.
    #[inline]
    pub(super) fn is_bare(&self) -> bool {
        self.hdr == 0
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

    /// How many of `list` fit into `got` claimed slots; the others are given back.
    #[inline(never)]
    fn fit(&self, burst: &Burst, list: &[Entry], q: &RxQueue, got: u32) -> usize {
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
/// all registers to itself. `WHOLE_HEADS`: each frame's head has [`HEAD`] bytes.
///
/// # Safety
/// Frames of `list` are readable and no longer than a slot, and `list.len()` positions from `start` on are reserved.
#[inline(never)]
unsafe fn write_plain<const WHOLE_HEADS: bool>(
    q: &RxQueue,
    frames: &[Frame],
    list: &[Entry],
    start: u64,
) -> u64 {
    let (w, mut pos, mut bytes) = (q.writer(), start, 0);
    let mut rest = list;
    while !rest.is_empty() {
        let sources = rest.iter().map(|e| source::<WHOLE_HEADS>(frames, *e));
        // SAFETY: heads and tails are readable, and the positions reserved, as the caller says.
        let (n, written) = unsafe { w.write(pos, rest.len() as u32, WHOLE, sources) };
        rest = &rest[n as usize..];
        pos += u64::from(n);
        bytes += written;
    }
    bytes
}

/// As [`write_plain`], frame by frame: for so few, getting ready for many costs more.
///
/// # Safety
/// As for [`write_plain`].
#[inline(never)]
unsafe fn write_few(q: &RxQueue, frames: &[Frame], list: &[Entry], start: u64) -> u64 {
    let (w, mut pos, mut bytes) = (q.writer(), start, 0);
    for e in list {
        let source = std::iter::once(source::<false>(frames, *e));
        // SAFETY: as the caller says.
        bytes += unsafe { w.write(pos, 1, WHOLE, source) }.1;
        pos += 1;
    }
    bytes
}

#[inline(always)]
fn source<const WHOLE_HEADS: bool>(frames: &[Frame], e: Entry) -> Source {
    let f = &frames[usize::from(e.frame)];
    let head_len = if WHOLE_HEADS { HEAD } else { usize::from(f.head_len) };
    Source { head: f.head, head_len, tail: f.tail, tail_len: f.tail_len as usize }
}

impl Egress for RingEgress {
    fn caps(&self) -> Caps {
        let max_frame = self.max_frame - self.hdr.min(self.max_frame);
        Caps { vnet: self.hdr > 0, max_frame, max_run: self.max_run, queues: self.queues.len() }
    }

    fn about(&self) -> About {
        About { huge_memory: self.queues.first().map_or(0, RxQueue::huge) as u64, ..About::default() }
    }

    fn ring(&self) -> Option<&RingEgress> {
        Some(self)
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
        if self.is_plain(burst) { got as usize } else { self.fit(burst, list, q, got) }
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
            unsafe {
                if n <= FEW {
                    write_few(q, &burst.frames, list, start)
                } else if burst.has_whole_heads() {
                    write_plain::<true>(q, &burst.frames, list, start)
                } else {
                    write_plain::<false>(q, &burst.frames, list, start)
                }
            }
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
