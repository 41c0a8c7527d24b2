//! netmap's control structures (API 14, `net/netmap.h` and `net/netmap_legacy.h`), as programs pass them to ioctl(2).
//!
//! All of these live in the program's own memory and are copied in and out whole; none is shared.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Oldest and newest API that is understood (`NETMAP_MIN_API`, `NETMAP_MAX_API`).
pub const APIS: std::ops::RangeInclusive<u16> = 14..=15;
/// Bytes of a name in [`NmreqHeader`].
pub const NAME: usize = 64;

/// `NIOCGINFO` (legacy).
pub const NIOCGINFO: u32 = 0xc03c_6991;
/// `NIOCREGIF` (legacy).
pub const NIOCREGIF: u32 = 0xc03c_6992;
/// `NIOCTXSYNC`.
pub const NIOCTXSYNC: u32 = 0x6994;
/// `NIOCRXSYNC`.
pub const NIOCRXSYNC: u32 = 0x6995;
/// `NIOCCONFIG`.
pub const NIOCCONFIG: u32 = 0xc110_6996;
/// `NIOCCTRL`.
pub const NIOCCTRL: u32 = 0xc058_6997;

/// `NETMAP_REQ_*`.
pub mod req {
    #![allow(missing_docs)] // Their names are netmap's.
    pub const REGISTER: u16 = 1;
    pub const PORT_INFO_GET: u16 = 2;
    pub const VALE_ATTACH: u16 = 3;
    pub const VALE_DETACH: u16 = 4;
    pub const VALE_LIST: u16 = 5;
    pub const PORT_HDR_SET: u16 = 6;
    pub const PORT_HDR_GET: u16 = 7;
    pub const VALE_NEWIF: u16 = 8;
    pub const VALE_DELIF: u16 = 9;
    pub const VALE_POLLING_ENABLE: u16 = 10;
    pub const VALE_POLLING_DISABLE: u16 = 11;
    pub const POOLS_INFO_GET: u16 = 12;
    pub const SYNC_KLOOP_START: u16 = 13;
    pub const SYNC_KLOOP_STOP: u16 = 14;
    pub const CSB_ENABLE: u16 = 15;
}

/// `NETMAP_REQ_OPT_*`.
pub mod opt {
    #![allow(missing_docs)] // Their names are netmap's.
    pub const EXTMEM: u32 = 1;
    pub const SYNC_KLOOP_EVENTFDS: u32 = 2;
    pub const CSB: u32 = 3;
    pub const SYNC_KLOOP_MODE: u32 = 4;
    pub const OFFSETS: u32 = 5;
}

/// `NR_REG_*`.
pub mod mode {
    #![allow(missing_docs)] // Their names are netmap's.
    pub const DEFAULT: u32 = 0;
    pub const ALL_NIC: u32 = 1;
    pub const SW: u32 = 2;
    pub const NIC_SW: u32 = 3;
    pub const ONE_NIC: u32 = 4;
    pub const PIPE_MASTER: u32 = 5;
    pub const PIPE_SLAVE: u32 = 6;
    pub const NULL: u32 = 7;
    pub const ONE_SW: u32 = 8;
}

/// Flags of [`NmreqRegister`] (`NR_*`).
pub mod flag {
    #![allow(missing_docs)] // Their names are netmap's.
    pub const MONITOR_TX: u64 = 0x100;
    pub const MONITOR_RX: u64 = 0x200;
    pub const ZCOPY_MON: u64 = 0x400;
    pub const EXCLUSIVE: u64 = 0x800;
    pub const RX_RINGS_ONLY: u64 = 0x2000;
    pub const TX_RINGS_ONLY: u64 = 0x4000;
    pub const ACCEPT_VNET_HDR: u64 = 0x8000;
    pub const DO_RX_POLL: u64 = 0x10000;
    pub const NO_TX_POLL: u64 = 0x20000;
}

macro_rules! body {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* } $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* #[allow(missing_docs)] pub $field: $type,)* }
        const _: () = assert!(std::mem::size_of::<$name>() == $size);
    };
}

body! {
    /// `struct nmreq_register`. Slots are per ring; `offset` and `memsize` in bytes.
    NmreqRegister {
        offset: u64, memsize: u64, tx_slots: u32, rx_slots: u32, tx_rings: u16, rx_rings: u16,
        host_tx_rings: u16, host_rx_rings: u16, mem_id: u16, ringid: u16, mode: u32, extra_bufs: u32,
        pad: u32, flags: u64,
    } 56
}
body! {
    /// `struct nmreq_port_info_get`.
    NmreqPortInfo {
        memsize: u64, tx_slots: u32, rx_slots: u32, tx_rings: u16, rx_rings: u16, host_tx_rings: u16,
        host_rx_rings: u16, mem_id: u16, pad: u16, pad2: u32,
    } 32
}
body! {
    /// `struct nmreq_vale_attach`.
    NmreqValeAttach { reg: NmreqRegister, port_index: u32, pad: u32, } 64
}
body! {
    /// `struct nmreq_vale_detach`.
    NmreqValeDetach { port_index: u32, pad: u32, } 8
}
body! {
    /// `struct nmreq_vale_list`.
    NmreqValeList { bridge_idx: u16, pad: u16, port_idx: u32, } 8
}
body! {
    /// `struct nmreq_port_hdr`.
    NmreqPortHdr { hdr_len: u32, pad: u32, } 8
}
body! {
    /// `struct nmreq_vale_newif`.
    NmreqValeNewif { tx_slots: u32, rx_slots: u32, tx_rings: u16, rx_rings: u16, mem_id: u16, pad: u16, } 16
}
body! {
    /// `struct nmreq_vale_polling`.
    NmreqValePolling { mode: u32, first_cpu: u32, cpus: u32, pad: u32, } 16
}
body! {
    /// `struct nmreq_pools_info`; three times offset, number of objects and their size.
    NmreqPoolsInfo {
        memsize: u64, mem_id: u16, pad: [u16; 3],
        if_offset: u64, if_total: u32, if_size: u32,
        ring_offset: u64, ring_total: u32, ring_size: u32,
        buf_offset: u64, buf_total: u32, buf_size: u32,
    } 64
}
body! {
    /// `struct nmreq_sync_kloop_start`.
    NmreqKloopStart { sleep_us: u32, pad: u32, } 8
}
body! {
    /// `struct nmreq_option`: the head of each option.
    NmreqOption { next: u64, reqtype: u32, status: u32, size: u64, } 24
}

/// `struct nmreq_header`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)] // Their names are netmap's.
pub struct NmreqHeader {
    pub version: u16,
    pub reqtype: u16,
    pub reserved: u32,
    pub name: [u8; NAME],
    pub options: u64,
    pub body: u64,
}

/// `struct nmreq`, of the API before [`NmreqHeader`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)] // Their names are netmap's.
pub struct Nmreq {
    pub name: [u8; 16],
    pub version: u32,
    pub offset: u32,
    pub memsize: u32,
    pub tx_slots: u32,
    pub rx_slots: u32,
    pub tx_rings: u16,
    pub rx_rings: u16,
    pub ringid: u16,
    pub cmd: u16,
    pub arg1: u16,
    pub arg2: u16,
    pub arg3: u32,
    pub flags: u32,
    pub spare: u32,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<NmreqHeader>() == 88 && offset_of!(NmreqHeader, body) == 80);
    assert!(size_of::<Nmreq>() == 60 && offset_of!(Nmreq, arg3) == 48);
    assert!(offset_of!(NmreqRegister, mem_id) == 32 && offset_of!(NmreqRegister, flags) == 48);
    assert!(offset_of!(NmreqPortInfo, mem_id) == 24 && offset_of!(NmreqPoolsInfo, ring_offset) == 32);
};

/// Bytes of the body of a request, `None` if there is no such request.
pub fn body_len(reqtype: u16) -> Option<usize> {
    Some(match reqtype {
        req::REGISTER => size_of::<NmreqRegister>(),
        req::PORT_INFO_GET => size_of::<NmreqPortInfo>(),
        req::VALE_ATTACH => size_of::<NmreqValeAttach>(),
        req::VALE_DETACH => size_of::<NmreqValeDetach>(),
        req::VALE_LIST => size_of::<NmreqValeList>(),
        req::PORT_HDR_SET | req::PORT_HDR_GET => size_of::<NmreqPortHdr>(),
        req::VALE_NEWIF => size_of::<NmreqValeNewif>(),
        req::VALE_DELIF | req::SYNC_KLOOP_STOP | req::CSB_ENABLE => 0,
        req::VALE_POLLING_ENABLE | req::VALE_POLLING_DISABLE => size_of::<NmreqValePolling>(),
        req::POOLS_INFO_GET => size_of::<NmreqPoolsInfo>(),
        req::SYNC_KLOOP_START => size_of::<NmreqKloopStart>(),
        _ => return None,
    })
}
