//! Descriptors: registering rings, telling a process what is registered, and unregistering.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::libc;
use valecast_ring::netmap::abi::{NmreqRegister, flag, mode};
use valecast_ring::netmap::call::{Answer, MAX_RINGS, Token, WireRing};
use valecast_ring::netmap::mem::{Interface, Part};

use super::ports::{GLOBAL, MAX_EXTRA, Port, PortRing, What};
use super::{Errno, State};
use crate::switch::Client;

/// Which rings of a port: TX, host TX, RX, host RX.
type Ranges = [Range<usize>; 4];

/// What a descriptor has registered.
pub(super) struct Reg {
    pub port: u32,
    nifp: Part,
    flags: u64,
    rings: Ranges,
    exclusive: bool,
}

/// The lists of a port, in the order of [`Ranges`].
fn lists(port: &mut Port) -> [&mut Vec<PortRing>; 4] {
    [&mut port.tx, &mut port.host_tx, &mut port.rx, &mut port.host_rx]
}

/// The rings that a request is for (`netmap_interp_ringid`).
fn ranges(port: &Port, req: &NmreqRegister) -> Result<Ranges, Errno> {
    let (tx, rx) = (port.tx.len(), port.rx.len());
    let (host_tx, host_rx) = (port.host_tx.len(), port.host_rx.len());
    let one = |n: usize, most: usize| n.min(most)..(n + 1).min(most);
    let id = usize::from(req.ringid);
    if matches!(req.mode, mode::SW | mode::NIC_SW | mode::ONE_SW) && !port.has_host {
        return Err(libc::EINVAL);
    }
    let mut all = match req.mode {
        mode::ALL_NIC => [0..tx, 0..0, 0..rx, 0..0],
        mode::SW => [0..0, 0..host_tx, 0..0, 0..host_rx],
        mode::NIC_SW | mode::NULL => [0..tx, 0..host_tx, 0..rx, 0..host_rx],
        mode::ONE_NIC if id < tx.max(rx) => [one(id, tx), 0..0, one(id, rx), 0..0],
        mode::ONE_SW if id < host_tx.max(host_rx) => [0..0, one(id, host_tx), 0..0, one(id, host_rx)],
        _ => return Err(libc::EINVAL),
    };
    if req.flags & flag::TX_RINGS_ONLY != 0 {
        (all[2], all[3]) = (0..0, 0..0);
    }
    if req.flags & flag::RX_RINGS_ONLY != 0 {
        (all[0], all[1]) = (0..0, 0..0);
    }
    Ok(all)
}

impl State {
    /// `NETMAP_REQ_REGISTER`; `req` becomes what is written back.
    pub(super) fn register(
        &mut self,
        token: &Token,
        name: &str,
        req: &mut NmreqRegister,
        client: Client,
    ) -> Result<(), Errno> {
        let file = self.files.get(token).ok_or(libc::ENXIO)?;
        if file.reg.is_some() {
            return Err(libc::EBUSY);
        }
        if !self.knows_mem(req.mem_id) {
            return Err(libc::EINVAL);
        }
        let port = if req.mode == mode::NULL {
            self.null(req, client)?
        } else {
            self.registrable(name, req, client)?
        };
        let done = self.bind(token, port, req);
        if done.is_err() {
            self.unref(port);
        }
        done
    }

    /// Whether there is memory of this number; 0 is any.
    pub(super) fn knows_mem(&self, id: u16) -> bool {
        id <= GLOBAL || self.mems.contains_key(&id) || self.ids.values().any(|i| *i == id)
    }

    fn registrable(&mut self, name: &str, req: &mut NmreqRegister, client: Client) -> Result<u32, Errno> {
        if !matches!(req.mode, mode::ALL_NIC | mode::SW | mode::NIC_SW | mode::ONE_NIC | mode::ONE_SW) {
            return Err(libc::EINVAL);
        }
        if req.flags & flag::ZCOPY_MON != 0 {
            req.flags |= flag::MONITOR_TX | flag::MONITOR_RX;
        }
        let number = if req.flags & (flag::MONITOR_TX | flag::MONITOR_RX) != 0 {
            self.monitor(name, req, client)?
        } else {
            self.port(name, req, client, true)?
        };
        let Some(port) = self.ports.get(&number) else { return Err(libc::ENXIO) };
        // Memory of another port can only be shared by what is derived from it.
        let other = req.mem_id != 0 && req.mem_id != GLOBAL && req.mem_id != port.mem;
        let header = port.hdr.load(Ordering::Acquire) != 0 && req.flags & flag::ACCEPT_VNET_HDR == 0;
        let refused = match (other, header) {
            (true, _) => libc::EINVAL,
            (_, true) => libc::EIO,
            _ => return Ok(number),
        };
        self.unref(number);
        Err(refused)
    }

    /// A port of nothing, for its memory.
    fn null(&mut self, req: &NmreqRegister, client: Client) -> Result<u32, Errno> {
        let mem = match req.mem_id {
            0 | GLOBAL => self.global()?,
            id if self.mems.contains_key(&id) => id,
            _ => return Err(libc::EINVAL),
        };
        if self.ports.values().any(|p| p.mem == mem && p.uid != client.uid && client.uid != 0) {
            self.drop_mem(mem);
            return Err(libc::EPERM);
        }
        let slots = |n: u32| if n == 0 { 1024 } else { n.clamp(2, 4096) };
        let rings = |n: u16| if n == 0 { 1 } else { n.min(16) };
        let counts = (rings(req.tx_rings), rings(req.rx_rings), slots(req.tx_slots), slots(req.rx_slots));
        let number = self.add_null("", mem, counts, (0, 0), client)?;
        if let Some(p) = self.ports.get_mut(&number) {
            p.refs = 1;
        }
        Ok(number)
    }

    fn bind(&mut self, token: &Token, number: u32, req: &mut NmreqRegister) -> Result<(), Errno> {
        let port = self.ports.get_mut(&number).ok_or(libc::ENXIO)?;
        let rings = ranges(port, req)?;
        let exclusive = req.flags & flag::EXCLUSIVE != 0;
        for (list, range) in lists(port).into_iter().zip(&rings) {
            if list[range.clone()].iter().any(|r| r.exclusive || (exclusive && r.users > 0)) {
                return Err(libc::EBUSY);
            }
        }
        let mem = self.mems.get_mut(&port.mem).ok_or(libc::ENOMEM)?;
        // netmap says that there is a host ring each way even where there is none.
        let fake = |n: usize| n.max(1);
        let mut bound = Vec::new();
        for (i, (list, range)) in lists(port).into_iter().zip(&rings).enumerate() {
            bound.extend(
                list.iter().enumerate().map(|(n, r)| if range.contains(&n) { r.ring.ring } else { 0 }),
            );
            if i % 2 == 1 && list.is_empty() {
                bound.push(0);
            }
        }
        let tell = Interface {
            name: &port.name,
            tx: port.tx.len() as u32,
            rx: port.rx.len() as u32,
            host_tx: fake(port.host_tx.len()) as u32,
            host_rx: fake(port.host_rx.len()) as u32,
            rings: bound,
        };
        let nifp = mem.interface(&tell).ok_or(libc::ENOMEM)?;
        for (list, range) in lists(port).into_iter().zip(&rings) {
            for r in &mut list[range.clone()] {
                if r.users == 0 {
                    mem.reopen(&r.ring);
                }
                r.users += 1;
                r.exclusive = exclusive;
            }
        }
        port.active += 1;
        if req.extra_bufs > 0 {
            req.extra_bufs = mem.extra(nifp, req.extra_bufs.min(MAX_EXTRA));
        }
        req.offset = nifp.ofs;
        req.memsize = mem.region().layout().total() as u64;
        req.mem_id = port.mem;
        (req.tx_rings, req.rx_rings) = (port.tx.len() as u16, port.rx.len() as u16);
        (req.tx_slots, req.rx_slots) = (Port::slots(&port.tx), Port::slots(&port.rx));
        req.host_tx_rings = fake(port.host_tx.len()) as u16;
        req.host_rx_rings = fake(port.host_rx.len()) as u16;
        let reg = Reg { port: number, nifp, flags: req.flags, rings, exclusive };
        if let Some(file) = self.files.get_mut(token) {
            file.reg = Some(reg);
        }
        Ok(())
    }

    /// What a process needs to sync a descriptor's rings.
    pub(super) fn map(&self, token: &Token) -> Result<(Answer, Vec<Arc<OwnedFd>>), Errno> {
        let reg = self.files.get(token).and_then(|f| f.reg.as_ref()).ok_or(libc::ENXIO)?;
        let port = self.ports.get(&reg.port).ok_or(libc::ENXIO)?;
        let mem = self.mems.get(&port.mem).ok_or(libc::ENXIO)?;
        let mut answer = Answer::errno(0);
        answer.total = mem.region().layout().total() as u64;
        answer.nifp = reg.nifp.ofs;
        answer.header = mem.header();
        answer.flags = reg.flags;
        let memfd = mem.region().fd().try_clone_to_owned().map_err(|_| libc::ENFILE)?;
        let mut fds = vec![Arc::new(memfd)];
        let mut n = 0;
        let all = [&port.tx, &port.host_tx, &port.rx, &port.host_rx];
        for (dir, (list, range)) in [0, 0, 1, 1].into_iter().zip(all.into_iter().zip(&reg.rings)) {
            for r in &list[range.clone()] {
                if n == MAX_RINGS {
                    return Err(libc::ENOMEM);
                }
                let bells = u32::from(r.wait.is_some()) | u32::from(r.kick.is_some()) << 1;
                answer.rings[n] = WireRing { kring: r.ring.kring.ofs, dir, bells };
                fds.extend(r.wait.iter().chain(&r.kick).cloned());
                n += 1;
            }
        }
        answer.nrings = n as u16;
        Ok((answer, fds))
    }

    /// A descriptor gives back what it had.
    pub(super) fn unregister(&mut self, token: &Token) {
        let Some(reg) = self.files.get_mut(token).and_then(|f| f.reg.take()) else { return };
        if let Some(port) = self.ports.get_mut(&reg.port) {
            port.active -= 1;
            for (list, range) in lists(port).into_iter().zip(&reg.rings) {
                for r in &mut list[range.clone()] {
                    r.users = r.users.saturating_sub(1);
                    r.exclusive &= !reg.exclusive;
                }
            }
            if let Some(mem) = self.mems.get_mut(&port.mem) {
                mem.drop_interface(reg.nifp);
            }
            if port.active == 0 {
                match port.what {
                    What::Monitor { .. } => self.unwatch(reg.port),
                    _ => self.orphan_monitors(reg.port),
                }
            }
        }
        self.unref(reg.port);
    }
}
