//! The guest's side of the CSB.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::Bus;
use crate::csb::{self, Csb};
use crate::dma::{Dma, Unmapped};

/// A block at a guest address.
#[derive(Clone, Copy, Debug)]
pub struct GuestCsb {
    base: u64,
}

macro_rules! word {
    ($self:expr, $mem:expr, $field:ident) => {{
        let addr = $self.base + offset_of!(Csb, $field) as u64;
        $mem.word32(addr).ok_or(Unmapped { addr })
    }};
}

fn put(w: &AtomicU32, v: u32) {
    // ORDERING: Release: descriptors before the tail.
    w.store(v.to_le(), Ordering::Release);
}

fn get(w: &AtomicU32) -> u32 {
    // ORDERING: Acquire, and fences where the protocol has them.
    u32::from_le(w.load(Ordering::Acquire))
}

/// Between what this side says and its look at what the other wants.
fn settle() {
    // ORDERING: SeqCst pairs with the host's fence between its flag and its last look (`valecast_ring::notify`).
    fence(Ordering::SeqCst);
}

impl GuestCsb {
    /// Clears a block, tells the card of it, and says that it is in use.
    pub fn enable(bus: &mut impl Bus, mem: &impl Dma, base: u64) -> Result<Self, Unmapped> {
        let c = Self { base };
        mem.write(base, &[0; csb::PAGE])?;
        put(word!(c, mem, host_need_txkick)?, 1);
        put(word!(c, mem, guest_need_rxkick)?, 1);
        put(word!(c, mem, host_rxkick_at)?, csb::NO_KICK);
        bus.write(csb::REG_CSBAH, (base >> 32) as u32);
        bus.write(csb::REG_CSBAL, base as u32);
        put(word!(c, mem, guest_csb_on)?, 1);
        Ok(c)
    }

    /// Tells of the transmit tail; whether TDT must be written.
    pub fn publish_tx(&self, mem: &impl Dma, tail: u32) -> Result<bool, Unmapped> {
        put(word!(self, mem, guest_tdt)?, tail);
        settle();
        let flag = word!(self, mem, host_need_txkick)?;
        if get(flag) & 1 == 0 {
            return Ok(false);
        }
        // Once is enough: it may be a while until the card gets a processor and lowers the flag itself.
        put(flag, 0);
        Ok(true)
    }

    /// Where the card is in the transmit ring.
    pub fn tdh(&self, mem: &impl Dma) -> Result<u32, Unmapped> {
        Ok(get(word!(self, mem, host_tdh)?))
    }

    /// Where the card is in the receive ring.
    pub fn rdh(&self, mem: &impl Dma) -> Result<u32, Unmapped> {
        Ok(get(word!(self, mem, host_rdh)?))
    }

    /// Tells of the receive tail, which moved on from `told` in a ring of `n`; whether RDT must be written. The card's
    /// threshold may lie anywhere on the way.
    pub fn publish_rx(&self, mem: &impl Dma, told: u32, tail: u32, n: u32) -> Result<bool, Unmapped> {
        put(word!(self, mem, guest_rdt)?, tail);
        settle();
        let at = get(word!(self, mem, host_rxkick_at)?);
        let way = |to: u32| if to >= told { to - told } else { to + n - told };
        Ok(at < n && at != told && way(at) <= way(tail))
    }

    /// No transmit descriptors: an interrupt is wanted.
    pub fn wait_for_tx(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        put(word!(self, mem, guest_need_txkick)?, 1);
        settle();
        Ok(())
    }

    /// There are some again.
    pub fn has_tx_room(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        let w = word!(self, mem, guest_need_txkick)?;
        if get(w) == 1 {
            put(w, 2);
        }
        Ok(())
    }

    /// Nothing to receive: an interrupt is wanted.
    pub fn wait_for_rx(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        put(word!(self, mem, guest_need_rxkick)?, 1);
        settle();
        Ok(())
    }

    /// Receiving: none is wanted.
    pub fn awake(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        put(word!(self, mem, guest_need_rxkick)?, 0);
        Ok(())
    }
}
