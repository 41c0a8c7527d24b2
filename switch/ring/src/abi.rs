//! netmap's memory layout (API 14, `net/netmap.h`), as a switch in userspace serves it.
//!
//! Every struct here describes memory that another process writes. None is ever put behind a Rust
//! reference: they exist so that sizes and offsets are checked by the compiler, and [`crate::region`]
//! reads and writes single fields by offset.

use bitflags::bitflags;

/// The netmap API that this layout follows (`NETMAP_API`).
pub const NETMAP_API: u32 = 14;
/// `ni_flags`: the region belongs to this port alone.
pub const NI_PRIV_MEM: u32 = 1;
/// Buffers 0 and 1 are reserved by netmap; clients warn about smaller indices.
pub const FIRST_BUF: u32 = 2;
/// Most slots that one frame may span (`NM_MAX_FRAGS` of VALE).
pub const MAX_FRAGS: usize = 64;

bitflags! {
    /// Flags of a slot (`NS_*` in `net/netmap.h`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct SlotFlags: u16 {
        /// The buffer index in this slot changed.
        const BUF_CHANGED = 0x0001;
        /// Report when this slot has been transmitted.
        const REPORT = 0x0002;
        /// Pass the frame to the host stack.
        const FORWARD = 0x0004;
        /// Do not learn the source address of this frame.
        const NO_LEARN = 0x0008;
        /// Data is at `ptr` in the client's address space.
        const INDIRECT = 0x0010;
        /// The frame goes on in the next slot.
        const MORE_FRAG = 0x0020;
        /// Seen by a monitor of the transmit side.
        const TXMON = 0x0040;
        /// Bits 8–15: the number of fragments on receive.
        const FRAGS = 0xff00;
    }
}

/// `struct netmap_slot`: one descriptor.
#[repr(C)]
pub struct Slot {
    /// Index of the buffer.
    pub buf_idx: u32,
    /// Bytes used in the buffer.
    pub len: u16,
    /// [`SlotFlags`].
    pub flags: u16,
    /// Client pointer for indirect buffers; carried, never followed.
    pub ptr: u64,
}

/// `struct netmap_ring`: the header in front of the slots.
#[repr(C, align(128))]
pub struct RingHeader {
    /// Offset from this header to the buffer pool, in bytes.
    pub buf_ofs: i64,
    /// Number of slots.
    pub num_slots: u32,
    /// Distance between two buffers, in bytes.
    pub nr_buf_size: u32,
    /// Number of this ring.
    pub ringid: u16,
    /// 0 transmit, 1 receive.
    pub dir: u16,
    /// First slot owned by the client.
    pub head: u32,
    /// The client's wake-up point.
    pub cur: u32,
    /// First slot owned by the switch.
    pub tail: u32,
    /// `NR_*` flags.
    pub flags: u32,
    /// Time of the last sync: seconds, microseconds.
    pub ts: [i64; 2],
    /// Mask for buffers with offsets (unused here: 0).
    pub offset_mask: u64,
    /// Alignment of buffers with offsets (unused here: 0).
    pub buf_align: u64,
    /// Up to the client's private area.
    pub _reserved: [u8; 56],
    /// The client's private area.
    pub sem: [u8; 128],
}

/// `struct netmap_if`: the head of a region; the array `ring_ofs` follows it.
#[repr(C)]
pub struct IfHeader {
    /// Port name, NUL-terminated.
    pub name: [u8; 16],
    /// Unused by netmap.
    pub version: u32,
    /// [`NI_PRIV_MEM`].
    pub flags: u32,
    /// Number of transmit rings.
    pub tx_rings: u32,
    /// Number of receive rings.
    pub rx_rings: u32,
    /// First extra buffer, 0 for none.
    pub bufs_head: u32,
    /// Transmit host rings (netmap always says at least 1).
    pub host_tx_rings: u32,
    /// Receive host rings.
    pub host_rx_rings: u32,
    /// Reserved.
    pub spare: [u32; 3],
}

/// `struct nm_csb_atok`: written by the client ("application to kernel"), one per ring.
#[repr(C)]
pub struct CsbAtok {
    /// The client's head.
    pub head: u32,
    /// The client's wake-up point.
    pub cur: u32,
    /// Non-zero: kick me.
    pub appl_need_kick: u32,
    /// Sync flags of `NIOC*SYNC`.
    pub sync_flags: u32,
    /// Valecast's own, in netmap's padding: kick only when this many slots are available; 0 means 1.
    pub wake_slots: u32,
    /// Padding to one cache line.
    pub _pad: [u32; 11],
}

/// `struct nm_csb_ktoa`: written by the switch ("kernel to application"), one per ring.
#[repr(C)]
pub struct CsbKtoa {
    /// The switch's place in the ring.
    pub hwcur: u32,
    /// First slot owned by the switch.
    pub hwtail: u32,
    /// Non-zero: the switch sleeps, kick it.
    pub kern_need_kick: u32,
    /// Padding to one cache line.
    pub _pad: [u32; 13],
}

const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Slot>() == 16 && align_of::<Slot>() == 8);
    assert!(offset_of!(Slot, len) == 4 && offset_of!(Slot, flags) == 6 && offset_of!(Slot, ptr) == 8);
    assert!(size_of::<RingHeader>() == 256 && align_of::<RingHeader>() == 128);
    assert!(offset_of!(RingHeader, num_slots) == 8 && offset_of!(RingHeader, nr_buf_size) == 12);
    assert!(offset_of!(RingHeader, ringid) == 16 && offset_of!(RingHeader, dir) == 18);
    assert!(offset_of!(RingHeader, head) == 20 && offset_of!(RingHeader, cur) == 24);
    assert!(offset_of!(RingHeader, tail) == 28 && offset_of!(RingHeader, flags) == 32);
    assert!(offset_of!(RingHeader, ts) == 40 && offset_of!(RingHeader, offset_mask) == 56);
    assert!(offset_of!(RingHeader, buf_align) == 64 && offset_of!(RingHeader, sem) == 128);
    assert!(size_of::<IfHeader>() == 56 && offset_of!(IfHeader, spare) == 44);
    assert!(offset_of!(IfHeader, bufs_head) == 32 && offset_of!(IfHeader, host_tx_rings) == 36);
    assert!(size_of::<CsbAtok>() == 64 && size_of::<CsbKtoa>() == 64);
    assert!(offset_of!(CsbAtok, appl_need_kick) == 8 && offset_of!(CsbAtok, sync_flags) == 12);
    assert!(offset_of!(CsbKtoa, hwtail) == 4 && offset_of!(CsbKtoa, kern_need_kick) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    /// `netmap_sys` 0.1.4 describes API 11; this is what API 11 and 14 have in common.
    #[test]
    fn agrees_with_netmap_sys() {
        use netmap_sys::netmap as sys;
        assert_eq!(size_of::<Slot>(), size_of::<sys::netmap_slot>());
        assert_eq!(offset_of!(Slot, len), offset_of!(sys::netmap_slot, len));
        assert_eq!(offset_of!(Slot, flags), offset_of!(sys::netmap_slot, flags));
        assert_eq!(offset_of!(Slot, ptr), offset_of!(sys::netmap_slot, ptr));
        assert_eq!(offset_of!(RingHeader, num_slots), offset_of!(sys::netmap_ring, num_slots));
        assert_eq!(offset_of!(RingHeader, nr_buf_size), offset_of!(sys::netmap_ring, nr_buf_size));
        assert_eq!(offset_of!(RingHeader, ringid), offset_of!(sys::netmap_ring, ringid));
        assert_eq!(offset_of!(RingHeader, head), offset_of!(sys::netmap_ring, head));
        assert_eq!(offset_of!(RingHeader, cur), offset_of!(sys::netmap_ring, cur));
        assert_eq!(offset_of!(RingHeader, tail), offset_of!(sys::netmap_ring, tail));
        assert_eq!(offset_of!(RingHeader, flags), offset_of!(sys::netmap_ring, flags));
        assert_eq!(u32::from(SlotFlags::BUF_CHANGED.bits()), u32::from(sys::NS_BUF_CHANGED));
        assert_eq!(u32::from(SlotFlags::REPORT.bits()), u32::from(sys::NS_REPORT));
        assert_eq!(u32::from(SlotFlags::NO_LEARN.bits()), u32::from(sys::NS_NO_LEARN));
        assert_eq!(u32::from(SlotFlags::INDIRECT.bits()), u32::from(sys::NS_INDIRECT));
        assert_eq!(u32::from(SlotFlags::MORE_FRAG.bits()), u32::from(sys::NS_MOREFRAG));
    }
}
