//! The host's side of the communication status block ([`crate::csb`]), in guest memory.
//!
//! The sleep protocol is [`valecast_ring::notify`]'s: the host raises `host_need_txkick` (or says at which tail it
//! wants to be kicked), makes a full fence and looks again; the guest publishes its tail, makes a full fence and looks
//! at the flag. The other way round for the guest's own flags, which only the guest lowers.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

use valecast_ring::notify::{self, Flag, Pairing};

use super::dma::{Access, Dma};
use crate::csb::{self, Csb};

const WORDS: usize = size_of::<Csb>() / 4;

/// Most empty polls that a guest may ask for.
const MOST_POLLS: u32 = 1000;

macro_rules! word {
    ($csb:expr, $field:ident) => {
        &$csb.0[offset_of!(Csb, $field) / 4]
    };
}

/// A mapped block.
#[derive(Clone, Copy)]
pub struct HostCsb<'m>(&'m [AtomicU32; WORDS]);

/// A flag that is the guest's own: the host sees it and leaves it as it is.
struct GuestFlag<'a>(&'a AtomicU32);

impl Flag for GuestFlag<'_> {
    fn get(&self) -> u32 {
        // Bit 0 only: a driver says 2 once it knows.
        u32::from_le(self.0.get()) & 1
    }
    fn put(&self, _: u32) {}
}

/// `host_rxkick_at` as a flag: up is an index, down is "never".
struct KickAt<'a>(&'a AtomicU32, u32);

impl Flag for KickAt<'_> {
    fn get(&self) -> u32 {
        u32::from(u32::from_le(self.0.get()) != csb::NO_KICK)
    }
    fn put(&self, v: u32) {
        self.0.put(if v == 0 { csb::NO_KICK } else { self.1 }.to_le());
    }
}

/// `host_need_txkick`, little-endian.
struct Little<'a>(&'a AtomicU32);

impl Flag for Little<'_> {
    fn get(&self) -> u32 {
        u32::from_le(self.0.get())
    }
    fn put(&self, v: u32) {
        self.0.put(v.to_le());
    }
}

impl<'m> HostCsb<'m> {
    /// The block at `base`, if that is guest memory, in one piece and aligned.
    pub fn map<M: Dma + ?Sized>(mem: &'m M, base: u64) -> Option<Self> {
        let p = mem.whole(base, size_of::<Csb>(), Access::Write)?.cast::<[AtomicU32; WORDS]>();
        if !p.is_aligned() {
            return None;
        }
        // SAFETY: aligned (checked), as long as a block, valid while `mem` is borrowed; atomics may be shared with
        // any writer.
        Some(Self(unsafe { p.as_ref() }))
    }

    fn load(w: &AtomicU32) -> u32 {
        // ORDERING: Acquire: descriptors were written before the tail that tells of them.
        u32::from_le(w.load(Ordering::Acquire))
    }

    fn store(w: &AtomicU32, v: u32) {
        // ORDERING: Release: descriptors were written back before the head that tells of it.
        w.store(v.to_le(), Ordering::Release);
    }

    /// Whether the guest uses it.
    pub fn on(&self) -> bool {
        Self::load(word!(self, guest_csb_on)) != 0
    }

    /// The transmit tail.
    pub fn guest_tdt(&self) -> u32 {
        Self::load(word!(self, guest_tdt))
    }

    /// The receive tail.
    pub fn guest_rdt(&self) -> u32 {
        Self::load(word!(self, guest_rdt))
    }

    /// Tells of the transmit head.
    pub fn set_tdh(&self, v: u32) {
        Self::store(word!(self, host_tdh), v);
    }

    /// Tells of the receive head.
    pub fn set_rdh(&self, v: u32) {
        Self::store(word!(self, host_rdh), v);
    }

    /// Empty polls that the guest wants before the host sleeps.
    pub fn polls(&self) -> u32 {
        Self::load(word!(self, host_txcycles_lim)).min(MOST_POLLS)
    }

    /// Whether the guest waits for transmit descriptors. Comes after a [`notify::settle`].
    pub fn wants_tx_interrupt(&self) -> bool {
        notify::noticed_if(&GuestFlag(word!(self, guest_need_txkick)), || true)
    }

    /// Whether the guest waits for frames. Comes after a [`notify::settle`].
    pub fn wants_rx_interrupt(&self) -> bool {
        notify::noticed_if(&GuestFlag(word!(self, guest_need_rxkick)), || true)
    }

    /// Asks for a write of TDT unless there is `work`; `true`: the host may sleep.
    pub fn arm_tx(&self, work: impl FnOnce() -> bool) -> bool {
        notify::arm(&Little(word!(self, host_need_txkick)), Pairing::Fences, work)
    }

    /// The host is awake: no writes of TDT are needed. Writes only if that is news.
    pub fn disarm_tx(&self) {
        let flag = Little(word!(self, host_need_txkick));
        if flag.get() != 0 {
            notify::disarm(&flag);
        }
    }

    /// Asks for a write of RDT when the guest's tail comes to `at`, unless there is `room`; `true`: it will come.
    pub fn arm_rx(&self, at: u32, room: impl FnOnce() -> bool) -> bool {
        notify::arm(&KickAt(word!(self, host_rxkick_at), at), Pairing::Fences, room)
    }

    /// No write of RDT is needed.
    pub fn disarm_rx(&self) {
        let flag = KickAt(word!(self, host_rxkick_at), 0);
        if flag.get() != 0 {
            notify::disarm(&flag);
        }
    }
}
