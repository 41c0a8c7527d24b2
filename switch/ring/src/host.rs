//! The switch's side of the rings. Nothing that a client can write is trusted: each word is read once,
//! checked, and used.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::abi::SlotFlags;
use crate::doorbell::{Call, Caller, Kick, bell};
use crate::layout::{Layout, SLOTS_PER_LINE};
use crate::ledger::Ledger;
use crate::notify::{self, Pairing};
use crate::region::{Desc, Region, RegionError, RingView};

/// A slot that a client handed in, its fields read once.
#[derive(Clone, Copy, Debug)]
pub struct RawFrame {
    /// Start of the buffer, valid for `len` bytes as long as the [`TxQueue`] lives. The client may write
    /// there at any time: copy, then look at the copy.
    pub data: NonNull<u8>,
    /// Bytes in this slot.
    pub len: u32,
    /// The slot's flags.
    pub flags: SlotFlags,
}

/// Why a slot was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSlot {
    /// The buffer index lies outside the region.
    Buffer,
    /// The length exceeds the buffer.
    Length,
}

/// A client's transmit ring, seen from the switch. One worker owns it.
#[derive(Debug)]
pub struct TxQueue {
    _region: Arc<Region>,
    view: RingView,
    /// The buffer that slot 0 began with.
    first_buf: u32,
    mask: u32,
    hwcur: u32,
    /// The client's head when it was last looked at.
    seen: u32,
    /// Slots completed since the client was told.
    untold: u32,
    kick: Arc<Kick>,
    caller: Caller,
    pairing: Pairing,
    resets: Arc<AtomicU64>,
}

impl TxQueue {
    /// Slots published by the client and not yet completed. A head outside the ring resets the ring:
    /// whatever was pending is forgotten, and counted as a reset.
    #[inline]
    pub fn pending(&mut self) -> u32 {
        // ORDERING: Acquire pairs with the client's Release of head: slots and buffers are visible.
        let head = self.view.atok_head().load(Ordering::Acquire);
        if head > self.mask {
            self.reset();
            return 0;
        }
        self.seen = head;
        head.wrapping_sub(self.hwcur) & self.mask
    }

    #[cold]
    fn reset(&mut self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.seen = self.hwcur;
        self.view.atok_head().store(self.hwcur, Ordering::Relaxed);
        self.view.atok_cur().store(self.hwcur, Ordering::Relaxed);
        self.publish();
    }

    /// The pending slots, to look at.
    #[inline]
    pub fn slots(&self) -> TxSlots<'_> {
        let (view, first, mask) = (self.view, self.hwcur, self.mask);
        let pending = self.seen.wrapping_sub(first) & mask;
        view.prefetch_first_descs(first, pending);
        TxSlots { view, first, pending, first_buf: self.first_buf, mask, _queue: self }
    }

    /// `n` pending slots are done with. The client hears of it at the next [`TxQueue::publish`], or now if that
    /// is a good part of the ring.
    #[inline]
    pub fn complete(&mut self, n: u32) {
        self.hwcur = self.hwcur.wrapping_add(n) & self.mask;
        self.untold += n;
        if self.untold > self.mask / 4 {
            self.publish();
        }
    }

    /// Tells the client what was completed. [`TxQueue::wake`] wakes it if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        let v = &self.view;
        // ORDERING: the client reads hwtail with Acquire; Release keeps our copies out of its slots before it.
        v.ktoa_hwcur().store(self.hwcur, Ordering::Relaxed);
        v.ktoa_hwtail().store(self.hwcur.wrapping_sub(1) & self.mask, Ordering::Release);
        self.untold = 0;
    }

    /// Wakes a client that waits for as much room as there is. It may be missed unless [`notify::settle`] comes
    /// between this and [`TxQueue::publish`].
    #[inline]
    pub fn wake(&self) {
        let v = &self.view;
        if notify::noticed_if(v.atok_need_kick(), || {
            let room =
                self.mask - (v.atok_head().load(Ordering::Relaxed).wrapping_sub(self.hwcur) & self.mask);
            room >= wake_slots(v, self.mask)
        }) {
            self.caller.ring();
        }
    }

    /// Raises need_kick and looks again; `true`: nothing came since [`TxQueue::pending`] looked, the client
    /// will kick. What it saw then may still be there: a frame whose last slot is to come.
    pub fn arm(&mut self) -> bool {
        let (view, seen) = (self.view, self.seen);
        // A wild head counts as work: `pending` deals with it.
        notify::arm(view.ktoa_need_kick(), self.pairing, || view.atok_head().load(Ordering::Acquire) != seen)
    }

    /// While armed: whether something came all the same, whose sender missed the flag; `None` if that cannot be.
    pub fn missed(&self) -> Option<bool> {
        (self.pairing == Pairing::Asymmetric)
            .then(|| self.view.atok_head().load(Ordering::Acquire) != self.seen)
    }

    /// The worker polls this ring again.
    pub fn disarm(&self) {
        notify::disarm(self.view.ktoa_need_kick());
    }

    /// What the client rings, to watch edge-triggered.
    pub fn kick(&self) -> &Kick {
        &self.kick
    }
}

/// The pending slots of a [`TxQueue`]. Everything is held by value: the compiler need not fear that a store
/// elsewhere changes where the ring lies, and keeps it in registers.
#[derive(Clone, Copy, Debug)]
pub struct TxSlots<'q> {
    view: RingView,
    first: u32,
    pending: u32,
    first_buf: u32,
    mask: u32,
    _queue: &'q TxQueue,
}

impl TxSlots<'_> {
    /// The `i`-th pending slot.
    #[inline(always)]
    pub fn frame(&self, i: u32) -> Result<RawFrame, BadSlot> {
        let d = self.view.desc(self.first.wrapping_add(i) & self.mask);
        let data = self.view.buf(d.buf_idx).ok_or(BadSlot::Buffer)?;
        if u32::from(d.len) > self.view.max_len {
            return Err(BadSlot::Length);
        }
        Ok(RawFrame { data, len: d.len.into(), flags: d.flags() })
    }

    /// Asks for the buffer of the `i`-th slot to be fetched.
    #[inline(always)]
    pub fn prefetch(&self, i: u32) {
        let slot = self.first.wrapping_add(i) & self.mask;
        self.view.prefetch_next_descs(slot, self.pending.saturating_sub(i));
        self.view.prefetch_buf(self.view.desc(slot).buf_idx);
    }

    /// The same for the first slots of a burst, whose descriptors are still on their way from the client: of the buffer
    /// that the slot began with, which is nearly always the one that it has.
    #[inline(always)]
    pub fn prefetch_early(&self, i: u32) {
        self.view.prefetch_buf(self.first_buf + (self.first.wrapping_add(i) & self.mask));
    }
}

/// How many slots a client wants before it is woken: its word, held to what can happen.
#[inline]
fn wake_slots(v: &RingView, mask: u32) -> u32 {
    v.atok_wake_slots().load(Ordering::Relaxed).clamp(1, mask / 2)
}

/// A client's receive ring, seen from the switch. Any worker may deliver into it.
#[derive(Debug)]
pub struct RxQueue {
    _region: Arc<Region>,
    ring: usize,
    view: RingView,
    ledger: Ledger,
    kick: Arc<Kick>,
    caller: Caller,
    pairing: Pairing,
    resets: Arc<AtomicU64>,
}

impl RxQueue {
    /// Claims up to `want` slots (see [`Ledger`]). The client's head is looked at when half of the ring seems
    /// full: its line comes from another core.
    #[inline]
    pub fn claim(&self, want: u32) -> u32 {
        if self.ledger.room() < u64::from(want).max(u64::from(self.view.nslots / 2)) {
            self.note_head();
        }
        self.ledger.claim(want)
    }

    #[inline]
    fn note_head(&self) {
        // ORDERING: Acquire: what the client read from its slots happened before we overwrite them.
        if self.ledger.release_to(|| self.view.atok_head().load(Ordering::Acquire)).is_err() {
            self.reset();
        }
    }

    #[cold]
    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        let head = self.ledger.reset();
        self.view.atok_head().store(head, Ordering::Relaxed);
        self.view.atok_cur().store(head, Ordering::Relaxed);
    }

    /// Gives claimed slots back.
    #[inline]
    pub fn unclaim(&self, n: u32) {
        self.ledger.unclaim(n);
    }

    /// Turns claimed slots into positions.
    #[inline]
    pub fn reserve(&self, n: u32) -> u64 {
        self.ledger.reserve(n)
    }

    /// To write reserved slots with.
    #[inline]
    pub fn writer(&self) -> RxWriter<'_> {
        RxWriter { view: self.view, mask: self.view.nslots - 1, free_to: self.ledger.free_to(), queue: self }
    }

    #[cold]
    #[inline(never)]
    fn first_buf(&self, slot: u32) -> u32 {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self._region.layout().first_buf(self.ring, slot)
    }

    /// Commits written slots. [`RxQueue::wake`] wakes the client if it sleeps.
    #[inline]
    pub fn commit(&self, start: u64, n: u32) {
        // ORDERING: Release: the frames are visible to a client that reads hwtail with Acquire.
        self.ledger.commit(start, n, |tail| self.view.ktoa_hwtail().store(tail, Ordering::Release));
    }

    /// Wakes a client that waits for as many frames as there are. It may be missed unless [`notify::settle`]
    /// comes between this and [`RxQueue::commit`].
    #[inline]
    pub fn wake(&self) {
        let v = &self.view;
        let enough = || self.unread() >= u64::from(wake_slots(v, v.nslots - 1));
        if notify::noticed_if(v.atok_need_kick(), enough) {
            self.caller.ring();
        }
    }

    /// Wakes a client even if it waits for more frames than there are; for a worker that runs dry, after
    /// [`notify::settle`].
    pub fn wake_patient(&self) {
        if notify::noticed_if(self.view.atok_need_kick(), || self.unread() > 0) {
            self.caller.ring();
        }
    }

    /// Raises need_kick, to hear of room; `true`: there is still room for fewer than `want` slots. Several
    /// workers may wait here at once, so one that finds room leaves the flag up for the others.
    pub fn arm(&self, want: u32) -> bool {
        notify::arm_shared(self.view.ktoa_need_kick(), self.pairing, || self.has_room(want))
    }

    fn has_room(&self, want: u32) -> bool {
        let got = self.claim(want);
        self.ledger.unclaim(got);
        got >= want
    }

    /// While armed: whether there is room all the same, which the client did not tell of because it missed the flag;
    /// `None` if that cannot be.
    pub fn missed(&self, want: u32) -> Option<bool> {
        (self.pairing == Pairing::Asymmetric).then(|| self.has_room(want))
    }

    /// What the client rings when it gave slots back.
    pub fn kick(&self) -> &Kick {
        &self.kick
    }

    /// Most bytes in one slot.
    #[inline]
    pub fn max_len(&self) -> usize {
        self.view.max_len as usize
    }

    /// Slots that the client has not read yet.
    pub fn unread(&self) -> u64 {
        self.note_head();
        self.ledger.unread()
    }
}

/// Writes slots of a [`RxQueue`]. By value, as [`TxSlots`].
#[derive(Clone, Copy, Debug)]
pub struct RxWriter<'q> {
    view: RingView,
    mask: u32,
    free_to: u64,
    queue: &'q RxQueue,
}

impl RxWriter<'_> {
    /// Writes one slot at a reserved position: `head` bytes, then `tail_len` bytes from `tail`.
    ///
    /// # Safety
    /// `head` and `tail` must be readable for `head_len` and `tail_len` bytes, the sum at most
    /// [`RxQueue::max_len`], and `pos` reserved by the caller and not yet committed.
    #[inline(always)]
    pub unsafe fn write(
        &self,
        pos: u64,
        head: *const u8,
        head_len: usize,
        tail: *const u8,
        tail_len: usize,
        flags: SlotFlags,
    ) {
        // SAFETY: the buffer has room for both, and the caller vouches for the sources. The regions of two ports are
        // different mappings, and within one a client only harms itself, so overlap is met with `copy`, not
        // `copy_nonoverlapping`, where it can happen (own buffers).
        unsafe {
            self.fill(pos, head_len + tail_len, flags, |to| {
                crate::region::copy_head(head, to, head_len);
                crate::region::copy_payload(tail, to.add(head_len), tail_len);
            });
        }
    }

    /// Has `f` write `len` bytes into one slot at a reserved position.
    ///
    /// # Safety
    /// `len` must be at most [`RxQueue::max_len`], and `pos` reserved by the caller and not yet committed; `f` may write
    /// that much where it is told to, and nothing else.
    #[inline(always)]
    pub unsafe fn fill(&self, pos: u64, len: usize, flags: SlotFlags, f: impl FnOnce(*mut u8)) {
        debug_assert!(len <= self.view.max_len as usize);
        let slot = pos as u32 & self.mask;
        let mut idx = self.view.desc(slot).buf_idx;
        if !self.view.has_buf(idx) {
            // The client scribbled over its slot: give it the buffer it began with.
            idx = self.queue.first_buf(slot);
        }
        let Some(buf) = self.view.buf(idx) else { return };
        f(buf.as_ptr());
        self.view.put_desc(slot, Desc { buf_idx: idx, len: len as u16, flags: flags.bits() });
    }

    /// Asks for the buffer of a position that will be written soon, in this burst or the next; unless the client may not
    /// have read what is in it yet.
    #[inline(always)]
    pub fn prefetch(&self, pos: u64) {
        if pos >= self.free_to {
            return;
        }
        self.view.prefetch_buf_write(self.view.desc(pos as u32 & self.mask).buf_idx);
    }

    /// Asks for the slots of the line that begins at a position that will be written soon.
    #[inline(always)]
    pub fn prefetch_slots(&self, pos: u64) {
        let slot = pos as u32 & self.mask;
        if slot.is_multiple_of(SLOTS_PER_LINE) {
            self.view.prefetch_desc_write(slot);
        }
    }
}

/// A new region with the switch's queues, and what goes to the client.
#[derive(Debug)]
pub struct Endpoint {
    /// The memory.
    pub region: Arc<Region>,
    /// One per transmit ring.
    pub tx: Vec<TxQueue>,
    /// One per receive ring.
    pub rx: Vec<RxQueue>,
    /// The client's ends, transmit rings first.
    pub bells: Vec<(Arc<Kick>, Call)>,
    /// Times a ring was reset because of what the client wrote.
    pub resets: Arc<AtomicU64>,
    pairing: Pairing,
}

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No memory.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// No doorbell.
    #[error("doorbell: {0}")]
    Doorbell(#[from] std::io::Error),
}

impl Endpoint {
    /// Makes the memory and doorbells of port `name`. `exclusive`: one worker alone delivers into it.
    pub fn new(layout: Layout, name: &str, exclusive: bool) -> Result<Self, EndpointError> {
        let region = Arc::new(Region::create(layout, name)?);
        let p = layout.params();
        let resets = Arc::new(AtomicU64::new(0));
        let (mut tx, mut rx, mut bells) = (Vec::new(), Vec::new(), Vec::new());
        for ring in 0..layout.rings_total() {
            let kick = Arc::new(Kick::new()?);
            let (caller, call) = bell()?;
            bells.push((kick.clone(), call));
            let (view, resets, _region) = (region.ring(ring), resets.clone(), region.clone());
            if ring < usize::from(p.tx_rings) {
                tx.push(TxQueue {
                    _region,
                    view,
                    first_buf: layout.first_buf(ring, 0),
                    mask: p.slots - 1,
                    hwcur: 0,
                    seen: 0,
                    untold: 0,
                    kick,
                    caller,
                    pairing: Pairing::default(),
                    resets,
                });
            } else {
                let ledger = Ledger::new(p.slots, exclusive);
                let pairing = Pairing::default();
                rx.push(RxQueue { _region, ring, view, ledger, kick, caller, pairing, resets });
            }
        }
        Ok(Self { region, tx, rx, bells, resets, pairing: Pairing::default() })
    }

    /// What [`Endpoint::pair`] set.
    pub fn pairing(&self) -> Pairing {
        self.pairing
    }

    /// The client makes no fences: before a worker sleeps on one of these rings it makes them for it. For a
    /// process that has [`notify::has_barriers`].
    pub fn pair(&mut self, pairing: Pairing) {
        self.pairing = pairing;
        self.tx.iter_mut().for_each(|q| q.pairing = pairing);
        self.rx.iter_mut().for_each(|q| q.pairing = pairing);
    }
}
