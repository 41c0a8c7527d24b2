//! What each request comes to.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::libc;
use valecast_config::PortKind;
use valecast_ring::netmap::abi::{
    NmreqPoolsInfo, NmreqPortHdr, NmreqPortInfo, NmreqRegister, NmreqValeAttach, NmreqValeDetach,
    NmreqValeList, NmreqValeNewif, NmreqValePolling, mode, req,
};
use valecast_ring::netmap::call::{Answer, BODY, Call, MAP};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::ports::{
    GLOBAL, Persistent, Port, is_interface, is_name, packet_port, refused, ring_port, rings_wanted, vale,
};
use super::{Errno, State};
use crate::switch::Client;

/// `NM_BDG_NOPORT`.
const NO_PORT: u32 = 255;
/// `NETMAP_POLLING_MODE_SINGLE_CPU` and `NETMAP_POLLING_MODE_MULTI_CPU`.
const POLLING_MODES: std::ops::RangeInclusive<u32> = 1..=2;

/// A body, as a type.
fn body<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8; BODY]) -> Result<T, Errno> {
    T::read_from_prefix(bytes).map(|(t, _)| t).map_err(|_| libc::EINVAL)
}

/// A name up to its first NUL.
fn text(name: &[u8]) -> Result<&str, Errno> {
    let n = name.iter().position(|b| *b == 0).ok_or(libc::EINVAL)?;
    std::str::from_utf8(&name[..n]).map_err(|_| libc::EINVAL)
}

impl State {
    /// Answers one call.
    pub(super) fn call(&mut self, call: &Call, client: Client) -> (Answer, Vec<Arc<OwnedFd>>) {
        let holder = self.files.get(&call.token).map(|f| f.client);
        let Some(holder) = holder else { return (Answer::errno(libc::ENXIO), Vec::new()) };
        // The user who opened the descriptor counts, whoever holds it now; being root, only one's own.
        let client = Client { pid: client.pid, ..holder };
        if call.reqtype == MAP {
            return match self.map(&call.token) {
                Ok(told) => told,
                Err(e) => (Answer::errno(e), Vec::new()),
            };
        }
        let mut answer = Answer::errno(0);
        answer.name = call.name;
        answer.body = call.body;
        answer.errno = self.request(call, client, &mut answer).err().unwrap_or(0);
        (answer, Vec::new())
    }

    fn request(&mut self, call: &Call, client: Client, answer: &mut Answer) -> Result<(), Errno> {
        let name = text(&call.name)?;
        macro_rules! with {
            ($type:ty, |$b:ident| $do:expr) => {{
                let mut $b: $type = body(&call.body)?;
                $do?;
                answer.body[..size_of::<$type>()].copy_from_slice($b.as_bytes());
                Ok(())
            }};
        }
        match call.reqtype {
            req::REGISTER => with!(NmreqRegister, |b| self.register(&call.token, name, &mut b, client)),
            req::PORT_INFO_GET => with!(NmreqPortInfo, |b| self.port_info(name, &mut b, client)),
            req::POOLS_INFO_GET => with!(NmreqPoolsInfo, |b| self.pools_info(name, &mut b, client)),
            req::VALE_ATTACH => with!(NmreqValeAttach, |b| self.vale_attach(name, &mut b)),
            req::VALE_DETACH => with!(NmreqValeDetach, |b| self.vale_detach(name, &mut b)),
            req::VALE_LIST => with!(NmreqValeList, |b| self.vale_list(name, &mut b, &mut answer.name)),
            req::PORT_HDR_SET => with!(NmreqPortHdr, |b| self.hdr_set(name, &mut b)),
            req::PORT_HDR_GET => with!(NmreqPortHdr, |b| self.hdr_get(name, &mut b)),
            req::VALE_NEWIF => with!(NmreqValeNewif, |b| self.new_if(name, &mut b)),
            req::VALE_DELIF => self.del_if(name),
            req::VALE_POLLING_ENABLE => with!(NmreqValePolling, |b| self.poll_on(name, &mut b)),
            req::VALE_POLLING_DISABLE => with!(NmreqValePolling, |b| self.poll_off(name, &mut b)),
            _ => Err(libc::EINVAL),
        }
    }

    fn port_info(&mut self, name: &str, b: &mut NmreqPortInfo, client: Client) -> Result<(), Errno> {
        if name.is_empty() {
            let id = if b.mem_id == 0 { GLOBAL } else { b.mem_id };
            if id == GLOBAL {
                self.global()?;
            }
            let mem = self.mems.get(&id).ok_or(libc::EINVAL)?;
            (b.memsize, b.mem_id) = (mem.region().layout().total() as u64, id);
            self.drop_mem(id);
            return Ok(());
        }
        let want = NmreqRegister {
            mode: mode::ALL_NIC,
            tx_slots: b.tx_slots,
            rx_slots: b.rx_slots,
            tx_rings: b.tx_rings,
            rx_rings: b.rx_rings,
            host_tx_rings: b.host_tx_rings,
            host_rx_rings: b.host_rx_rings,
            ..NmreqRegister::default()
        };
        let number = self.port(name, &want, client, true)?;
        if let Some(p) = self.ports.get(&number) {
            b.memsize = self.mems.get(&p.mem).map_or(0, |m| m.region().layout().total() as u64);
            b.mem_id = p.mem;
            (b.tx_rings, b.rx_rings) = (p.tx.len() as u16, p.rx.len() as u16);
            (b.tx_slots, b.rx_slots) = (Port::slots(&p.tx), Port::slots(&p.rx));
            b.host_tx_rings = p.host_tx.len().max(1) as u16;
            b.host_rx_rings = p.host_rx.len().max(1) as u16;
        }
        self.unref(number);
        Ok(())
    }

    fn pools_info(&mut self, name: &str, b: &mut NmreqPoolsInfo, client: Client) -> Result<(), Errno> {
        if name.is_empty() {
            return Err(libc::ENXIO);
        }
        let want = NmreqRegister { mode: mode::ALL_NIC, ..NmreqRegister::default() };
        let number = self.port(name, &want, client, true)?;
        if let Some(p) = self.ports.get(&number)
            && let Some(mem) = self.mems.get(&p.mem)
        {
            let l = mem.region().layout();
            let (spare, spare_len) = l.spare();
            let ring = 256 + 16 * l.params().slots;
            *b = NmreqPoolsInfo {
                memsize: l.total() as u64,
                mem_id: p.mem,
                if_offset: spare as u64,
                if_total: (spare_len / 1024) as u32,
                if_size: 1024,
                ring_offset: l.ring(0) as u64,
                ring_total: l.rings_total() as u32 + spare_len as u32 / ring,
                ring_size: ring,
                buf_offset: l.bufs() as u64,
                buf_total: l.buffers(),
                buf_size: l.stride() as u32,
                ..*b
            };
        }
        self.unref(number);
        Ok(())
    }

    fn vale_attach(&mut self, name: &str, b: &mut NmreqValeAttach) -> Result<(), Errno> {
        let (switch, port) = vale(name).ok_or(libc::EINVAL)?;
        if !self.knows_mem(b.reg.mem_id) {
            return Err(libc::EINVAL);
        }
        if !matches!(b.reg.mode, mode::ALL_NIC | mode::NIC_SW) {
            return Err(libc::EINVAL);
        }
        if self.daemon.with(switch, |s| s.port_state(port).is_some()).unwrap_or(false) {
            return Err(libc::EBUSY);
        }
        let cfg = match self.persistent.get(port) {
            Some(_) if self.open_port(port).is_some() => return Err(libc::EBUSY),
            Some(p) => ring_port(port, p.ring.clone()),
            // The host keeps the interface, so there is nothing to do for its side of it.
            None if is_interface(port) => packet_port(port, port, true),
            None => return Err(libc::EINVAL),
        };
        self.switch(switch)?;
        if let Err(e) = self.daemon.attach_port(switch, cfg, false) {
            self.drop_switch(switch);
            return Err(refused(&e));
        }
        if let Some(p) = self.persistent.get_mut(port) {
            p.switches.push(switch.to_owned());
        }
        b.port_index = self.index(switch, port);
        if b.reg.mem_id == 0 {
            // The memory is made when a program opens the port.
            b.reg.mem_id = self.lasting_id(name)?;
        }
        Ok(())
    }

    fn vale_detach(&mut self, name: &str, b: &mut NmreqValeDetach) -> Result<(), Errno> {
        let (switch, port) = vale(name).ok_or(libc::EINVAL)?;
        let state = self.daemon.with(switch, |s| s.port_state(port)).unwrap_or(None);
        let Some((_, client)) = state else { return Err(libc::ENXIO) };
        if client.is_some() || self.open_port(name).is_some() || self.polled.contains_key(name) {
            return Err(libc::EBUSY);
        }
        b.port_index = self.index(switch, port);
        self.daemon.detach_port(switch, port).map_err(|e| refused(&e))?;
        if let Some(p) = self.persistent.get_mut(port) {
            p.switches.retain(|s| s != switch);
        }
        self.drop_switch(switch);
        Ok(())
    }

    fn index(&self, switch: &str, port: &str) -> u32 {
        let numbers = self.daemon.with(switch, |s| s.port_numbers()).unwrap_or_default();
        numbers.iter().find(|(_, p)| p == port).map_or(NO_PORT, |(n, _)| u32::from(*n))
    }

    fn vale_list(&self, name: &str, b: &mut NmreqValeList, out: &mut [u8]) -> Result<(), Errno> {
        let bridges: Vec<_> =
            self.daemon.switch_names().into_iter().filter(|s| !s.starts_with("netmap:")).collect();
        if !name.is_empty() {
            if !name.starts_with("vale") {
                return Err(libc::EINVAL);
            }
            let (switch, port) = name.split_once(':').unwrap_or((name, ""));
            let bridge = bridges.iter().position(|s| s == switch).ok_or(libc::ENOENT)?;
            (b.bridge_idx, b.port_idx) = (bridge as u16, self.index(switch, port));
            return Ok(());
        }
        let mut from = b.port_idx;
        for (i, switch) in bridges.iter().enumerate().skip(usize::from(b.bridge_idx)) {
            let ports = self.daemon.with(switch, |s| s.port_numbers()).unwrap_or_default();
            if let Some((n, port)) = ports.iter().find(|(n, _)| u32::from(*n) >= from) {
                let full = format!("{switch}:{port}");
                out.fill(0);
                let len = full.len().min(out.len() - 1);
                out[..len].copy_from_slice(&full.as_bytes()[..len]);
                (b.bridge_idx, b.port_idx) = (i as u16, u32::from(*n));
                return Ok(());
            }
            from = 0;
        }
        Err(libc::ENOENT)
    }

    fn hdr_set(&mut self, name: &str, b: &mut NmreqPortHdr) -> Result<(), Errno> {
        let len = b.hdr_len;
        if !matches!(len, 0 | 10 | 12) {
            return Err(libc::EINVAL);
        }
        if vale(name).is_none() {
            return Err(libc::ENXIO);
        }
        let number = self.open_port(name).ok_or(libc::ENXIO)?;
        self.set_hdr(number, len as u8)
    }

    fn hdr_get(&self, name: &str, b: &mut NmreqPortHdr) -> Result<(), Errno> {
        let port = self.open_port(name).and_then(|n| self.ports.get(&n));
        let there = |(s, p)| self.daemon.with(s, |s| s.port_state(p).is_some()).unwrap_or(false);
        b.hdr_len = match port {
            Some(p) => p.hdr.load(Ordering::Acquire).into(),
            None if self.persistent.contains_key(name) || is_interface(name) => 0,
            None if vale(name).is_some_and(there) => 0,
            None => return Err(libc::ENXIO),
        };
        Ok(())
    }

    fn new_if(&mut self, name: &str, b: &mut NmreqValeNewif) -> Result<(), Errno> {
        if name.starts_with("vale") || !is_name(name) {
            return Err(libc::EINVAL);
        }
        if self.persistent.contains_key(name) || is_interface(name) {
            return Err(libc::EEXIST);
        }
        if !self.knows_mem(b.mem_id) {
            return Err(libc::EINVAL);
        }
        if !self.cfg.auto_create {
            tracing::info!(port = name, "netmap: a persistent port needs `auto_create = true` in `[netmap]`");
            return Err(libc::EPERM);
        }
        let ring = rings_wanted(&NmreqRegister {
            tx_slots: b.tx_slots,
            rx_slots: b.rx_slots,
            tx_rings: b.tx_rings,
            rx_rings: b.rx_rings,
            ..NmreqRegister::default()
        });
        (b.tx_slots, b.rx_slots) = (ring.slots, ring.slots);
        (b.tx_rings, b.rx_rings) = (ring.tx_rings, ring.rx_rings);
        if b.mem_id == 0 {
            b.mem_id = self.lasting_id(name)?;
        }
        self.persistent.insert(name.to_owned(), Persistent { ring, switches: Vec::new(), autodelete: false });
        Ok(())
    }

    fn del_if(&mut self, name: &str) -> Result<(), Errno> {
        let Some(p) = self.persistent.get(name) else {
            return Err(if is_interface(name) { libc::EINVAL } else { libc::ENXIO });
        };
        if p.autodelete {
            return Err(libc::EINVAL);
        }
        if !p.switches.is_empty() || self.open_port(name).is_some() {
            return Err(libc::EBUSY);
        }
        self.persistent.remove(name);
        self.ids.retain(|n, _| n != name && n.split_once(':').is_none_or(|(_, port)| port != name));
        Ok(())
    }

    /// The workers poll whatever is busy, so there is nothing to switch on: the request is checked and remembered.
    fn poll_on(&mut self, name: &str, b: &mut NmreqValePolling) -> Result<(), Errno> {
        let (switch, port) = vale(name).ok_or(libc::EINVAL)?;
        let state = self.daemon.with(switch, |s| s.port_state(port)).unwrap_or(None);
        let Some((cfg, _)) = state else { return Err(libc::ENXIO) };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u32;
        let fits = b.cpus >= 1 && b.first_cpu < cpus && b.cpus <= cpus - b.first_cpu;
        let single = b.mode != 1 || b.cpus == 1;
        let hardware = !matches!(cfg.kind, PortKind::Ring(_) | PortKind::Null | PortKind::Patch(_));
        if !hardware || !POLLING_MODES.contains(&b.mode) || !fits || !single {
            return Err(libc::EINVAL);
        }
        if self.polled.contains_key(name) {
            return Err(libc::EFAULT);
        }
        self.polled.insert(name.to_owned(), (b.mode, b.first_cpu, b.cpus));
        Ok(())
    }

    fn poll_off(&mut self, name: &str, b: &mut NmreqValePolling) -> Result<(), Errno> {
        let (mode, first_cpu, cpus) = self.polled.remove(name).ok_or(libc::EINVAL)?;
        *b = NmreqValePolling { mode, first_cpu, cpus, pad: 0 };
        Ok(())
    }
}
