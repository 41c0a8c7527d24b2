//! `NIOCREGIF` and `NIOCGINFO`: requests of the older API, translated into those of the newer one and back.

use nix::libc;
use valecast_ring::netmap::abi::{
    Nmreq, NmreqHeader, NmreqPortHdr, NmreqPortInfo, NmreqRegister, NmreqValeAttach, NmreqValeDetach,
    NmreqValeList, NmreqValeNewif, NmreqValePolling, flag, mode, req,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ctrl::ask;
use crate::file::File;
use crate::user;

/// `nr_cmd`.
mod cmd {
    pub const ATTACH: u16 = 1;
    pub const DETACH: u16 = 2;
    pub const LIST: u16 = 4;
    pub const VNET_HDR: u16 = 5;
    pub const NEWIF: u16 = 6;
    pub const DELIF: u16 = 7;
    pub const POLLING_ON: u16 = 10;
    pub const POLLING_OFF: u16 = 11;
    pub const VNET_HDR_GET: u16 = 12;
}

/// Bits of `nr_ringid`.
mod ringid {
    pub const NUMBER: u16 = 0x0fff;
    pub const NO_TX_POLL: u16 = 0x1000;
    pub const SW: u16 = 0x2000;
    pub const HW: u16 = 0x4000;
    pub const DO_RX_POLL: u16 = 0x8000;
}

/// `NETMAP_BDG_HOST` in `nr_arg1`.
const HOST: u16 = 1;

fn header(nmr: &Nmreq, reqtype: u16) -> NmreqHeader {
    let mut name = [0; 64];
    name[..15].copy_from_slice(&nmr.name[..15]);
    NmreqHeader { version: 14, reqtype, reserved: 0, name, options: 0, body: 0 }
}

/// Adds `{n` or `}n` to a name.
fn pipe(name: &mut [u8; 64], bracket: char, n: u16) {
    let end = name.iter().position(|b| *b == 0).unwrap_or(15);
    let text = format!("{bracket}{n}");
    // At most 15 bytes and 5.
    name[end..end + text.len()].copy_from_slice(text.as_bytes());
}

fn register(nmr: &Nmreq, name: &mut [u8; 64]) -> NmreqRegister {
    let mut r = NmreqRegister {
        tx_slots: nmr.tx_slots,
        rx_slots: nmr.rx_slots,
        tx_rings: nmr.tx_rings,
        rx_rings: nmr.rx_rings,
        mem_id: nmr.arg2,
        ringid: nmr.ringid & ringid::NUMBER,
        mode: nmr.flags & 0xf,
        extra_bufs: nmr.arg3,
        flags: u64::from(nmr.flags & !0xf),
        ..NmreqRegister::default()
    };
    r.mode = match r.mode {
        mode::DEFAULT if nmr.ringid & ringid::SW != 0 => mode::SW,
        mode::DEFAULT if nmr.ringid & ringid::HW != 0 => mode::ONE_NIC,
        mode::DEFAULT => mode::ALL_NIC,
        mode::PIPE_MASTER | mode::PIPE_SLAVE => {
            pipe(name, if r.mode == mode::PIPE_MASTER { '{' } else { '}' }, r.ringid);
            r.ringid = 0;
            mode::ALL_NIC
        }
        other => other,
    };
    if nmr.ringid & ringid::NO_TX_POLL != 0 {
        r.flags |= flag::NO_TX_POLL;
    }
    if nmr.ringid & ringid::DO_RX_POLL != 0 {
        r.flags |= flag::DO_RX_POLL;
    }
    r
}

fn registered(r: &NmreqRegister, nmr: &mut Nmreq) {
    nmr.offset = r.offset as u32;
    nmr.memsize = r.memsize as u32;
    (nmr.tx_slots, nmr.rx_slots) = (r.tx_slots, r.rx_slots);
    (nmr.tx_rings, nmr.rx_rings) = (r.tx_rings, r.rx_rings);
    nmr.arg2 = r.mem_id;
    nmr.arg3 = r.extra_bufs;
}

/// Asks with a body, and gets it back.
fn with<T: FromBytes + IntoBytes + Immutable + KnownLayout>(
    f: &File,
    h: &mut NmreqHeader,
    mut b: T,
) -> Result<T, i32> {
    ask(f, h, b.as_mut_bytes())?;
    Ok(b)
}

/// Does the request at `at`; `info`: it is `NIOCGINFO`.
pub fn request(f: &File, at: u64, info: bool) -> Result<(), i32> {
    let mut nmr: Nmreq = user::get(at)?;
    if nmr.version < 14 {
        return Err(libc::EINVAL);
    }
    if info {
        look(f, &mut nmr)?;
    } else {
        change(f, &mut nmr)?;
    }
    user::put(at, &nmr)
}

fn look(f: &File, nmr: &mut Nmreq) -> Result<(), i32> {
    if nmr.cmd == cmd::LIST {
        let mut h = header(nmr, req::VALE_LIST);
        let from = NmreqValeList { bridge_idx: nmr.arg1, pad: 0, port_idx: nmr.arg2.into() };
        let b = with(f, &mut h, from)?;
        nmr.name.copy_from_slice(&h.name[..16]);
        nmr.name[15] = 0;
        (nmr.arg1, nmr.arg2) = (b.bridge_idx, b.port_idx as u16);
        return Ok(());
    }
    let mut h = header(nmr, req::PORT_INFO_GET);
    let want = NmreqPortInfo {
        tx_slots: nmr.tx_slots,
        rx_slots: nmr.rx_slots,
        tx_rings: nmr.tx_rings,
        rx_rings: nmr.rx_rings,
        mem_id: nmr.arg2,
        ..NmreqPortInfo::default()
    };
    let b = with(f, &mut h, want)?;
    nmr.memsize = b.memsize as u32;
    (nmr.tx_slots, nmr.rx_slots) = (b.tx_slots, b.rx_slots);
    (nmr.tx_rings, nmr.rx_rings) = (b.tx_rings, b.rx_rings);
    nmr.arg2 = b.mem_id;
    Ok(())
}

fn change(f: &File, nmr: &mut Nmreq) -> Result<(), i32> {
    match nmr.cmd {
        0 => {
            let mut h = header(nmr, req::REGISTER);
            let want = register(nmr, &mut h.name);
            let r = with(f, &mut h, want)?;
            registered(&r, nmr);
            f.bind().map(drop)
        }
        cmd::ATTACH => {
            let mut h = header(nmr, req::VALE_ATTACH);
            let mut reg = register(nmr, &mut h.name);
            reg.mode = if nmr.arg1 & HOST != 0 { mode::NIC_SW } else { mode::ALL_NIC };
            let b = with(f, &mut h, NmreqValeAttach { reg, ..NmreqValeAttach::default() })?;
            registered(&b.reg, nmr);
            Ok(())
        }
        cmd::DETACH => with(f, &mut header(nmr, req::VALE_DETACH), NmreqValeDetach::default()).map(drop),
        cmd::VNET_HDR | cmd::VNET_HDR_GET => {
            let what = if nmr.cmd == cmd::VNET_HDR { req::PORT_HDR_SET } else { req::PORT_HDR_GET };
            let b = with(f, &mut header(nmr, what), NmreqPortHdr { hdr_len: nmr.arg1.into(), pad: 0 })?;
            nmr.arg1 = b.hdr_len as u16;
            Ok(())
        }
        cmd::NEWIF => {
            let want = NmreqValeNewif {
                tx_slots: nmr.tx_slots,
                rx_slots: nmr.rx_slots,
                tx_rings: nmr.tx_rings,
                rx_rings: nmr.rx_rings,
                mem_id: nmr.arg2,
                pad: 0,
            };
            let b = with(f, &mut header(nmr, req::VALE_NEWIF), want)?;
            (nmr.tx_slots, nmr.rx_slots) = (b.tx_slots, b.rx_slots);
            (nmr.tx_rings, nmr.rx_rings) = (b.tx_rings, b.rx_rings);
            nmr.arg2 = b.mem_id;
            Ok(())
        }
        cmd::DELIF => ask(f, &mut header(nmr, req::VALE_DELIF), &mut []),
        cmd::POLLING_ON | cmd::POLLING_OFF => {
            let on = nmr.cmd == cmd::POLLING_ON;
            let what = if on { req::VALE_POLLING_ENABLE } else { req::VALE_POLLING_DISABLE };
            let mode = match nmr.flags & 0xf {
                mode::ONE_NIC => 2,
                mode::ALL_NIC => 1,
                _ => 0,
            };
            let want = NmreqValePolling {
                mode,
                first_cpu: (nmr.ringid & ringid::NUMBER).into(),
                cpus: nmr.arg1.into(),
                pad: 0,
            };
            with(f, &mut header(nmr, what), want).map(drop)
        }
        _ => Err(libc::EINVAL),
    }
}
