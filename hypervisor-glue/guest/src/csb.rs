//! The communication status block: one page of guest memory, 32-bit little-endian words.
//!
//! Words that the guest writes and words that the device (the *host*) writes lie on different cache lines.
//! The notification protocol over `host_need_txkick` and its siblings is that of the rings
//! (`valecast_ring::notify`): raise the flag, full fence, look again, sleep.
//!
//! Source: `struct paravirt_csb` of netmap's QEMU and FreeBSD drivers.

/// PCI subsystem device id by which a device says that it understands the CSB.
pub const SUBDEVICE_ID: u16 = 0x1101;
/// Register: low half of the block's guest-physical address. Writing it maps the block; 0 unmaps it.
pub const REG_CSBAL: u32 = 0x2830;
/// Register: high half, written first.
pub const REG_CSBAH: u32 = 0x2834;
/// Bytes that the guest sets aside for the block.
pub const PAGE: usize = 4096;

/// The layout of the block, words in little-endian order. It describes memory that both sides write at any time: its
/// fields are only ever reached as atomics, by their offsets.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Csb {
    /// Guest: next transmit descriptor published.
    pub guest_tdt: u32,
    /// Guest: out of transmit descriptors, wants an interrupt.
    pub guest_need_txkick: u32,
    /// Guest: idle on receive, wants an interrupt.
    pub guest_need_rxkick: u32,
    /// Guest: the block is in use.
    pub guest_csb_on: u32,
    /// Guest: receive buffers available up to here.
    pub guest_rdt: u32,
    /// Guest: threshold variant of `guest_need_txkick`; no driver uses it.
    pub guest_txkick_at: u32,
    /// Guest: MSI-X is in use.
    pub guest_use_msix: u32,
    /// To the end of the guest's line.
    pub guest_pad: [u32; 9],
    /// Host: transmit descriptors consumed up to here.
    pub host_tdh: u32,
    /// Host: asleep, the guest must write TDT.
    pub host_need_txkick: u32,
    /// Guest: empty polls before the host sleeps; read once, when the block is mapped.
    pub host_txcycles_lim: u32,
    /// Unused.
    pub host_txcycles: u32,
    /// Host: receive descriptors filled up to here.
    pub host_rdh: u32,
    /// Host: asleep for want of receive buffers; replaced by `host_rxkick_at`.
    pub host_need_rxkick: u32,
    /// Host: copy of the interrupt status register.
    pub host_isr: u32,
    /// Host: RDT at which the guest must write the register; [`NO_KICK`] for never.
    pub host_rxkick_at: u32,
    /// Guest: address of a ring of offload headers.
    pub vnet_ring_high: u32,
    /// As above.
    pub vnet_ring_low: u32,
}

/// `host_rxkick_at` when no kick is wanted.
pub const NO_KICK: u32 = u32::MAX;

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(offset_of!(Csb, guest_need_txkick) == 0x04 && offset_of!(Csb, guest_need_rxkick) == 0x08);
    assert!(offset_of!(Csb, guest_csb_on) == 0x0c && offset_of!(Csb, guest_rdt) == 0x10);
    assert!(offset_of!(Csb, host_tdh) == 0x40 && offset_of!(Csb, host_need_txkick) == 0x44);
    assert!(offset_of!(Csb, host_txcycles_lim) == 0x48 && offset_of!(Csb, host_rdh) == 0x50);
    assert!(offset_of!(Csb, host_need_rxkick) == 0x54 && offset_of!(Csb, host_isr) == 0x58);
    assert!(offset_of!(Csb, host_rxkick_at) == 0x5c && offset_of!(Csb, vnet_ring_low) == 0x64);
    assert!(size_of::<Csb>() <= PAGE);
};

/// The receive index at which a host that found the ring full wants to be told of new buffers: when three
/// quarters of what is missing have come, so that one kick serves many.
///
/// `rdt` is the index in use, `missing` the buffers that were taken, `ring` the number of descriptors.
pub fn rx_kick_at(rdt: u32, missing: u32, ring: u32) -> u32 {
    let ring = ring.max(1);
    ((u64::from(rdt) + 1 + u64::from(missing) * 3 / 4) % u64::from(ring)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use valecast_ring::notify::{self, Pairing};

    #[test]
    fn wants_a_kick_within_the_ring() {
        assert_eq!(rx_kick_at(10, 100, 256), 86);
        assert_eq!(rx_kick_at(250, 200, 256), 145);
        assert_eq!(rx_kick_at(u32::MAX, u32::MAX, 0), 0);
    }

    /// The transmit side over the same protocol as a ring's.
    #[test]
    fn a_transmit_kick_is_asked_for_once() {
        let (tdt, need_txkick) = (AtomicU32::new(0), AtomicU32::new(0));
        let host_sees = || tdt.load(Ordering::Acquire) != 0;
        assert!(notify::arm(&need_txkick, Pairing::Fences, host_sees), "nothing to do: the host sleeps");
        tdt.store(1, Ordering::Release);
        assert!(notify::wanted(&need_txkick, Pairing::Fences), "the guest must write TDT");
        assert!(!notify::wanted(&need_txkick, Pairing::Fences), "and once is enough");
        assert!(
            !notify::arm(&need_txkick, Pairing::Fences, host_sees),
            "the host looks again before it sleeps"
        );
    }
}
