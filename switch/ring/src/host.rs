//! The switch's side of the rings. Nothing that a client can write is trusted: each word is read once,
//! checked, and used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::doorbell::{Call, Caller, Kick, bell};
use crate::layout::Layout;
use crate::ledger::Ledger;
use crate::notify::{self, Pairing};
use crate::region::{HugePages, Region, RegionError, RingView};

mod slots;
mod writer;

pub use slots::{BadSlot, RawFrame, TxSlots};
pub use writer::{RxWriter, Source};

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
        TxSlots::new(self)
    }

    /// The same, to look at a few at once: whoever looks at many has their descriptors asked for.
    #[inline]
    pub fn slots_unasked(&self) -> TxSlots<'_> {
        TxSlots::unasked(self)
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

/// How many slots a client wants before it is woken: its word, held to what can happen.
#[inline]
fn wake_slots(v: &RingView, mask: u32) -> u32 {
    v.atok_wake_slots().load(Ordering::Relaxed).clamp(1, mask / 2)
}

/// A client's receive ring, seen from the switch. Any worker may deliver into it.
#[derive(Debug)]
pub struct RxQueue {
    region: Arc<Region>,
    view: RingView,
    /// The buffer that slot 0 began with.
    first_buf: u32,
    /// The client has given slots other buffers than they began with.
    swapped: AtomicBool,
    /// The last slots said something else before they were written: frames are not of one length.
    differs: AtomicBool,
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
        RxWriter::new(self)
    }

    /// A slot of the ring had to be put right.
    #[cold]
    #[inline(never)]
    fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
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

    /// Bytes of the port's memory that lie in huge pages.
    pub fn huge(&self) -> usize {
        self.region.huge()
    }

    /// Slots that the client has not read yet.
    pub fn unread(&self) -> u64 {
        self.note_head();
        self.ledger.unread()
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
    /// Makes the memory, in huge pages if there are some, and the doorbells of port `name`. `exclusive`: one worker alone
    /// delivers into it.
    pub fn new(layout: Layout, name: &str, exclusive: bool) -> Result<Self, EndpointError> {
        Self::over(Region::create(layout, name, HugePages::Try)?, exclusive)
    }

    /// The same over memory that has been made.
    pub fn over(region: Region, exclusive: bool) -> Result<Self, EndpointError> {
        let layout = *region.layout();
        let region = Arc::new(region);
        let p = layout.params();
        let resets = Arc::new(AtomicU64::new(0));
        let (mut tx, mut rx, mut bells) = (Vec::new(), Vec::new(), Vec::new());
        for ring in 0..layout.rings_total() {
            let kick = Arc::new(Kick::new()?);
            let (caller, call) = bell()?;
            bells.push((kick.clone(), call));
            let (view, resets, region) = (region.ring(ring), resets.clone(), region.clone());
            if ring < usize::from(p.tx_rings) {
                tx.push(TxQueue {
                    _region: region,
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
                rx.push(RxQueue {
                    region,
                    view,
                    first_buf: layout.first_buf(ring, 0),
                    swapped: AtomicBool::new(false),
                    differs: AtomicBool::new(false),
                    ledger,
                    kick,
                    caller,
                    pairing,
                    resets,
                });
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
