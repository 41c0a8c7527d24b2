//! The usual frame, in few steps: it fits into one buffer, has no VLAN tag, looks like the one before it, and the guest
//! leaves checksums alone. All others are [`super::write`]'s.

use std::sync::atomic::{AtomicU64, Ordering};

use valecast_ring::{copy_payload, prefetch, prefetch_write};
use valecast_switch::frame::{Burst, Entry, HEAD};

use super::write::Sums;
use super::{FCS, LEAST, Shape};
use crate::e1000::desc::{DD, Written, rx as bits};
use crate::e1000::device::{Device, RingRegs};
use crate::e1000::dma::{Access, Dma, Ring, Window};
use crate::e1000::filter::{Filter, Verdict};
use crate::e1000::regs::{self, rxcsum};

/// Frames that buffers are asked for ahead of them.
const AHEAD: usize = 8;
/// Descriptors of a cache line.
const PER_LINE: usize = 4;

/// Writes plain frames into a ring.
pub(super) struct Plain<'a, M: Dma + ?Sized> {
    filter: &'a Filter<'a>,
    ring: &'a [[AtomicU64; 2]],
    memory: Window<'a, M>,
    shape: Shape,
    /// Longest frame that SRPD tells of, FCS included.
    small: usize,
    /// What the frames before began with, and the status that they got.
    known: Option<(u128, u8)>,
}

/// What frames are alike by: all of a head but its last two bytes, which belong to a tag if there is one.
fn key(head: &[u8; HEAD]) -> u128 {
    u128::from_le_bytes(*head) & (u128::MAX >> 16)
}

impl<'a, M: Dma + ?Sized> Plain<'a, M> {
    /// `None` if no frame is plain to this guest.
    pub fn new(
        device: &Device,
        filter: &'a Filter<'a>,
        ring: &Ring<'a, M>,
        mem: &'a M,
        shape: Shape,
    ) -> Option<Self> {
        let sums = rxcsum::IPOFL | rxcsum::TUOFL | rxcsum::PCSS;
        if device.reg(regs::RXCSUM) & sums != 0 {
            return None;
        }
        let small = device.reg(regs::RSRPD) as usize;
        let memory = Window::new(mem, Access::Write);
        Some(Self { filter, ring: ring.all()?, memory, shape, small, known: None })
    }

    /// Frames of `list` into the next buffers, from its beginning, as many as are that plain; the head behind them. How many.
    pub fn frames(&mut self, r: &mut RingRegs, burst: &Burst, list: &[Entry], sums: &mut Sums) -> usize {
        let mut done = 0;
        loop {
            match self.row(r, burst, &list[done..], sums) {
                0 => return done,
                n => done += n,
            }
        }
    }

    /// The same, of frames that begin alike and are as long as each other, up to the ring's end.
    #[inline(always)]
    fn row(&mut self, r: &mut RingRegs, burst: &Burst, list: &[Entry], sums: &mut Sums) -> usize {
        let of = |e: &Entry| &burst.frames[usize::from(e.frame)];
        let Some((f, head)) = list.first().map(of).and_then(|f| Some((f, burst.plain(f)?.0))) else {
            return 0;
        };
        let len = f.len();
        let total = len.max(LEAST) + self.shape.fcs;
        if len > self.shape.most || total > self.shape.buffer {
            return 0;
        }
        let alike = key(head);
        let status = match self.known {
            Some((k, status)) if k == alike => status,
            _ => match self.look(head) {
                Some(status) => status,
                None => return 0,
            },
        };
        let w = Written { len: total as u16, status, ..Written::default() }.word().to_le();
        let end = if r.tail >= r.head { r.tail } else { r.len };
        let ring = self.ring.get(r.head as usize..end as usize).unwrap_or_default();
        // A guest that goes by the CSB's head clears no descriptors. One that says already what it is to say is not written, so
        // that its line stays with both sides' cores.
        let says = |high: &AtomicU64| high.load(Ordering::Relaxed) == w;
        let kept = ring.first().is_some_and(|[_, high]| says(high));
        let mut n = 0;
        for (f, [low, high]) in list.iter().map(of).zip(ring) {
            let Some((head, rest)) = burst.plain(f) else { break };
            if key(head) != alike || f.len() != len {
                break;
            }
            // ORDERING: Relaxed; the tail that led here was read with Acquire.
            let addr = u64::from_le(low.load(Ordering::Relaxed));
            let Some(to) = (addr != 0).then(|| self.memory.whole(addr, total)).flatten() else { break };
            ask_ahead(ring, n, &self.memory, kept);
            let to = to.as_ptr();
            // SAFETY: `total` bytes are writable at `to`: the frame, or 60 bytes if it is shorter, and the FCS. The
            // frame's rest is readable, as the burst vouches.
            unsafe {
                to.cast::<[u8; HEAD]>().write_unaligned(*head);
                copy_payload(rest.at, to.add(HEAD), rest.len);
                if total == len + FCS {
                    to.add(len).cast::<[u8; FCS]>().write_unaligned([0; FCS]);
                } else if total > len {
                    to.add(len).write_bytes(0, total - len);
                }
            }
            if !says(high) {
                // ORDERING: Release: data first, status last.
                high.store(w, Ordering::Release);
            }
            n += 1;
        }
        if n > 0 {
            r.head += n as u32;
            if r.head == r.len {
                r.head = 0;
            }
            sums.count(head, len, n as u32);
            sums.small |= len + FCS <= self.small;
        }
        n
    }

    /// The status of frames that begin so; `None` if they are not plain.
    #[cold]
    fn look(&mut self, head: &[u8; HEAD]) -> Option<u8> {
        if self.filter.tag(head).is_some() {
            return None;
        }
        let inexact = match self.filter.verdict(head) {
            Verdict::Exact => 0,
            Verdict::Inexact => bits::PIF,
            Verdict::Refused => return None,
        };
        let status = DD | bits::EOP | bits::IXSM | inexact;
        self.known = Some((key(head), status));
        Some(status)
    }
}

/// Asks for what frames after the `n`th of `ring` will be written to; `kept`: descriptors will likely only be read.
#[inline(always)]
fn ask_ahead<M: Dma + ?Sized>(ring: &[[AtomicU64; 2]], n: usize, memory: &Window<'_, M>, kept: bool) {
    if n.is_multiple_of(PER_LINE)
        && let Some(d) = ring.get(n + 2 * AHEAD)
    {
        let d = std::ptr::from_ref(d).cast();
        if kept { prefetch(d) } else { prefetch_write(d) }
    }
    if let Some([low, _]) = ring.get(n + AHEAD)
        && let Some(p) = memory.known(u64::from_le(low.load(Ordering::Relaxed)))
    {
        prefetch_write(p.as_ptr());
    }
}
