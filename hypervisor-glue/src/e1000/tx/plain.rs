//! The usual frames, in few steps: one descriptor each, which asks for nothing but to be sent. All others are
//! [`super::frame`]'s.

use std::sync::atomic::{AtomicU64, Ordering};

use valecast_ring::prefetch;
use valecast_switch::frame::{Burst, HEAD};

use super::frame::{LEAST, MOST};
use crate::e1000::desc::cmd;
use crate::e1000::device::{Device, RingRegs};
use crate::e1000::dma::{Access, Dma, Ring, Window};
use crate::e1000::regs::{self, tctl};

/// Frames that are asked for ahead.
const AHEAD: usize = 8;
/// Descriptors of a cache line.
const PER_LINE: usize = 4;

const fn command(bits: u8) -> u64 {
    (bits as u64) << 24
}

/// A legacy descriptor that is a whole frame and asks for nothing.
const LEGACY: (u64, u64) = (command(cmd::EOP | cmd::IC | cmd::VLE | cmd::DEXT), command(cmd::EOP));
/// A data descriptor; type and POPTS are looked at, too.
const DATA: (u64, u64) = (
    command(cmd::EOP | cmd::TSE | cmd::VLE | cmd::DEXT) | 0xf << 20 | 0xff << 40,
    command(cmd::EOP | cmd::DEXT) | 1 << 20,
);
/// What the card writes.
const STATUS: u64 = 0xff << 32;
/// What it asks for when it was sent.
const REPORT: u64 = command(cmd::RS | cmd::RPS | cmd::IDE);

/// Bits of the length in such a descriptor.
#[inline(always)]
fn plain(high: u64) -> Option<u64> {
    if high & DATA.0 == DATA.1 {
        Some(0xf_ffff)
    } else if high & LEGACY.0 == LEGACY.1 {
        Some(0xffff)
    } else {
        None
    }
}

/// Frames that were taken, from the ring's head on.
pub(super) struct Taken {
    pub frames: u32,
    /// Each asks for a report.
    pub reports: bool,
    may_wait: bool,
}

impl Taken {
    /// The descriptor behind them.
    pub fn next(&self, r: &RingRegs) -> u32 {
        at(r, self.frames)
    }

    /// Theirs, and whether the report may wait.
    pub fn descriptors(&self, r: &RingRegs) -> impl Iterator<Item = (u32, bool)> {
        let (r, may_wait) = (*r, self.may_wait);
        (0..self.frames).map(move |n| (at(&r, n), may_wait))
    }
}

/// The descriptor `n` behind the head.
#[inline(always)]
fn at(r: &RingRegs, n: u32) -> u32 {
    let i = r.head + n;
    if i >= r.len { i - r.len } else { i }
}

/// Takes plain frames from a ring.
pub(super) struct Plain<'a, M: Dma + ?Sized> {
    ring: &'a [[AtomicU64; 2]],
    memory: Window<'a, M>,
    least: usize,
}

impl<'a, M: Dma + ?Sized> Plain<'a, M> {
    /// `None` if the ring is not in one piece.
    pub fn new(device: &Device, ring: &Ring<'a, M>, mem: &'a M) -> Option<Self> {
        // Shorter ones are padded, if the guest wants that.
        let least = if device.reg(regs::TCTL) & tctl::PSP != 0 { LEAST } else { HEAD };
        Some(Self { ring: ring.all()?, memory: Window::new(mem, Access::Read), least })
    }

    /// As many as there are from the head on to the ring's end, and are alike but for place and length, until `burst` has
    /// `max`.
    pub fn take(&mut self, r: &RingRegs, burst: &mut Burst, max: usize) -> Taken {
        let end = if r.tail >= r.head { r.tail } else { r.len };
        let ring = self.ring.get(r.head as usize..end as usize).unwrap_or_default();
        // ORDERING: Relaxed; the tail that led here was read with Acquire.
        let half = |w: &AtomicU64| u64::from_le(w.load(Ordering::Relaxed));
        let first = ring.first().map_or(0, |[_, high]| half(high));
        let Some(length) = plain(first) else { return Taken { frames: 0, reports: false, may_wait: false } };
        let alike = !(length | STATUS);
        let memory = &mut self.memory;
        let least = self.least;
        let most = max.saturating_sub(burst.taken()).min(ring.len());
        let next = |n: u32| {
            let n = n as usize;
            let [low, high] = ring.get(n)?;
            let high = half(high);
            let len = (high & length) as usize;
            if high & alike != first & alike || !(least..=MOST).contains(&len) {
                return None;
            }
            let p = memory.whole(half(low), len)?;
            if let Some([low, _]) = ring.get(n + AHEAD)
                && let Some(p) = memory.known(half(low))
            {
                prefetch(p.as_ptr());
            }
            if n.is_multiple_of(PER_LINE)
                && let Some(d) = ring.get(n + 3 * AHEAD)
            {
                prefetch(std::ptr::from_ref(d).cast());
            }
            Some((p.as_ptr().cast_const(), len))
        };
        // SAFETY: guest memory that stays mapped while the burst is in use (see `Dma`); frames have at least 16 bytes.
        let frames = unsafe { burst.push_plain(most, next) };
        let asked = first & REPORT;
        let reports = asked & command(cmd::RS | cmd::RPS) != 0;
        Taken { frames, reports, may_wait: asked & command(cmd::IDE) != 0 }
    }
}
