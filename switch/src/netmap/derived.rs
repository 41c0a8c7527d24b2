//! Pipes and monitors. Both live in the memory of the port that they belong to: a pipe moves buffers from one ring
//! to another without a copy, and whoever syncs a monitored ring writes the monitor's.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use valecast_ring::netmap::abi::{NmreqRegister, flag, mode};
use valecast_ring::netmap::kring::{Kring, kind};
use valecast_ring::netmap::mem::{Mem, Ring};

use super::ports::{Persistent, Port, PortRing, What, is_interface, is_name, rings_wanted};
use super::{Errno, State};
use crate::switch::Client;

/// Most slots of a pipe's or monitor's ring (netmap: 4096).
const MAX_SLOTS: u32 = 4096;
/// Most pipes of one port.
const MAX_PIPES: usize = 64;

fn bell() -> Option<Arc<OwnedFd>> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_flags(flags).ok().map(|e| Arc::new(e.into()))
}

fn bound(n: u32, default: u32) -> u32 {
    if n == 0 { default.min(MAX_SLOTS) } else { n.clamp(2, MAX_SLOTS) }
}

/// One direction of a pipe: the sender's ring and the receiver's.
fn direction(mem: &mut Mem, id: u16, slots: u32) -> Option<(PortRing, PortRing)> {
    let tx = mem.ring(kind::PIPE_TX, id, slots, None)?;
    let Some(rx) = mem.ring(kind::PIPE_RX, id, slots, Some(&tx)) else {
        mem.drop_ring(&tx, true);
        return None;
    };
    mem.kring(&tx).peer.store(rx.kring.ofs, Ordering::Release);
    mem.kring(&rx).peer.store(tx.kring.ofs, Ordering::Release);
    let (to_tx, to_rx) = (bell(), bell());
    let end = |ring: Ring, wait: &Option<Arc<OwnedFd>>, kick: &Option<Arc<OwnedFd>>| PortRing {
        wait: wait.clone(),
        kick: kick.clone(),
        ..PortRing::new(ring)
    };
    Some((end(tx, &to_tx, &to_rx), end(rx, &to_rx, &to_tx)))
}

impl State {
    /// The end of a pipe, `port{id` or `port}id`; both ends are made at once.
    pub(super) fn pipe(
        &mut self,
        name: &str,
        req: &NmreqRegister,
        client: Client,
        create: bool,
    ) -> Result<u32, Errno> {
        let at = name.rfind('{').or_else(|| name.rfind('}')).ok_or(libc::EINVAL)?;
        let (parent, id) = (&name[..at], &name[at + 1..]);
        let ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if parent.is_empty() || id.is_empty() || !id.chars().all(ok) {
            return Err(libc::EINVAL);
        }
        if !matches!(req.mode, mode::ALL_NIC | mode::ONE_NIC) {
            return Err(libc::EINVAL);
        }
        if !create {
            return Err(libc::ENODEV);
        }
        let known = self.open_port(parent).is_some() || self.persistent.contains_key(parent);
        if !known && !parent.starts_with("vale") && is_name(parent) && !is_interface(parent) {
            // As netmap does: a persistent port that goes with its pipes.
            if !self.cfg.auto_create {
                return Err(libc::ENXIO);
            }
            let ring = rings_wanted(&NmreqRegister::default());
            let port = Persistent { ring, switches: Vec::new(), autodelete: true };
            self.persistent.insert(parent.to_owned(), port);
        }
        // The parent is opened as it is by default: what is asked for is asked of the pipe.
        let plain =
            NmreqRegister { mode: mode::ALL_NIC, extra_bufs: req.extra_bufs, ..NmreqRegister::default() };
        let parent_number = self.port(parent, &plain, client, true)?;
        let made = self.make_pipe(parent_number, id, req, client);
        if made.is_err() {
            self.unref(parent_number);
        }
        let (master, slave) = made?;
        Ok(if name[at..].starts_with('{') { master } else { slave })
    }

    fn make_pipe(
        &mut self,
        parent: u32,
        id: &str,
        req: &NmreqRegister,
        client: Client,
    ) -> Result<(u32, u32), Errno> {
        let pipes = self
            .ports
            .values()
            .filter(|p| matches!(p.what, What::Pipe { parent: of, master: true, .. } if of == parent));
        if pipes.count() >= MAX_PIPES {
            return Err(libc::ENOMEM);
        }
        let up = self.ports.get(&parent).ok_or(libc::ENXIO)?;
        let (tx_slots, rx_slots) =
            (bound(req.tx_slots, Port::slots(&up.tx)), bound(req.rx_slots, Port::slots(&up.rx)));
        let rings = |n: u16| n.clamp(1, 16);
        let (base, mem_id) = (up.name.clone(), up.mem);
        let mem = self.mems.get_mut(&mem_id).ok_or(libc::ENOMEM)?;
        let ([mut master_tx, mut slave_rx], [mut slave_tx, mut master_rx]) =
            (<[Vec<PortRing>; 2]>::default(), <[Vec<PortRing>; 2]>::default());
        let mut enough = true;
        for i in 0..rings(req.tx_rings) {
            let Some((tx, rx)) = direction(mem, i, tx_slots) else {
                enough = false;
                break;
            };
            master_tx.push(tx);
            slave_rx.push(rx);
        }
        for i in 0..rings(req.rx_rings) {
            let Some((tx, rx)) = direction(mem, i, rx_slots) else {
                enough = false;
                break;
            };
            slave_tx.push(tx);
            master_rx.push(rx);
        }
        if !enough {
            for (tx, rx) in master_tx.iter().zip(&slave_rx).chain(slave_tx.iter().zip(&master_rx)) {
                mem.drop_pipe(&tx.ring, &rx.ring);
            }
            tracing::info!("netmap: no room for pipe {base}{{{id}: raise `spare_buffers` in `[netmap]`");
            return Err(libc::ENOMEM);
        }
        let master = self.fresh_number();
        let slave = {
            // Not known yet: numbers follow one another.
            let n = self.fresh_number();
            if n == master { self.fresh_number() } else { n }
        };
        let end = |name, what, tx, rx| Port {
            name,
            what,
            mem: mem_id,
            refs: 0,
            active: 0,
            tx,
            rx,
            host_tx: Vec::new(),
            host_rx: Vec::new(),
            has_host: false,
            hdr: Arc::new(AtomicU8::new(0)),
            uid: client.uid,
        };
        let what = |peer, master| What::Pipe { parent, peer, master };
        self.ports.insert(master, end(format!("{base}{{{id}"), what(slave, true), master_tx, master_rx));
        self.ports.insert(slave, end(format!("{base}}}{id}"), what(master, false), slave_tx, slave_rx));
        Ok((master, slave))
    }

    /// Both ends of a pipe go.
    pub(super) fn drop_pipe(&mut self, a: u32, b: u32) {
        let (Some(a), Some(b)) = (self.ports.remove(&a), self.ports.remove(&b)) else { return };
        if let Some(mem) = self.mems.get_mut(&a.mem) {
            for (tx, rx) in a.tx.iter().zip(&b.rx).chain(b.tx.iter().zip(&a.rx)) {
                mem.drop_pipe(&tx.ring, &rx.ring);
            }
        }
        if let What::Pipe { parent, .. } = a.what {
            self.unref(parent);
        }
    }

    /// A monitor of a port that somebody has open.
    pub(super) fn monitor(&mut self, name: &str, req: &NmreqRegister, client: Client) -> Result<u32, Errno> {
        let kinds = flag::MONITOR_TX | flag::MONITOR_RX | flag::ZCOPY_MON;
        let plain = NmreqRegister { flags: req.flags & !kinds, mode: mode::ALL_NIC, ..*req };
        let parent = self.port(name, &plain, client, true)?;
        let made = self.make_monitor(parent, req, client);
        if made.is_err() {
            self.unref(parent);
        }
        made
    }

    fn make_monitor(&mut self, parent: u32, req: &NmreqRegister, client: Client) -> Result<u32, Errno> {
        let up = self.ports.get(&parent).ok_or(libc::ENXIO)?;
        if up.active == 0 {
            return Err(libc::EINVAL);
        }
        let (tx_slots, rx_slots) =
            (bound(req.tx_slots, Port::slots(&up.tx)), bound(req.rx_slots, Port::slots(&up.rx)));
        let zcopy = req.flags & flag::ZCOPY_MON != 0;
        let name = format!("{}/{}#{parent}", up.name, if zcopy { "z" } else { "m" });
        let rings = up.tx.len().max(up.rx.len()) as u16;
        let mem_id = up.mem;
        let mem = self.mems.get_mut(&mem_id).ok_or(libc::ENOMEM)?;
        let (mut tx, mut rx) = (Vec::new(), Vec::new());
        tx.extend(mem.ring(kind::MONITOR_TX, 0, tx_slots, None).map(PortRing::new));
        for i in 0..rings {
            rx.extend(mem.ring(kind::MONITOR_RX, i, rx_slots, None).map(PortRing::new));
        }
        let whole = tx.len() == 1 && rx.len() == usize::from(rings);
        if !whole || !watch(mem, up, &rx, req.flags) {
            unwatch(mem, up, &rx);
            tx.iter().chain(&rx).for_each(|r| mem.drop_ring(&r.ring, true));
            return Err(libc::ENOMEM);
        }
        let port = Port {
            name,
            what: What::Monitor { parent },
            mem: mem_id,
            refs: 1,
            active: 0,
            tx,
            rx,
            host_tx: Vec::new(),
            host_rx: Vec::new(),
            has_host: false,
            hdr: Arc::new(AtomicU8::new(0)),
            uid: client.uid,
        };
        let number = self.fresh_number();
        self.ports.insert(number, port);
        Ok(number)
    }

    /// A monitor is closed: what it watched forgets it.
    pub(super) fn unwatch(&mut self, monitor: u32) {
        let Some(Port { what: What::Monitor { parent }, mem, rx, .. }) = self.ports.get(&monitor) else {
            return;
        };
        if let (Some(up), Some(mem)) = (self.ports.get(parent), self.mems.get(mem)) {
            unwatch(mem, up, rx);
        }
    }

    /// Nobody has a port open any more: its monitors have nothing to watch.
    pub(super) fn orphan_monitors(&mut self, number: u32) {
        let Some(up) = self.ports.get(&number) else { return };
        let Some(mem) = self.mems.get(&up.mem) else { return };
        for m in
            self.ports.values().filter(|p| matches!(p.what, What::Monitor { parent } if parent == number))
        {
            unwatch(mem, up, &m.rx);
            for r in &m.rx {
                mem.kring(&r.ring).peer.store(0, Ordering::Release);
                mem.kring(&r.ring).orphan.store(1, Ordering::Release);
            }
        }
    }
}

/// The lists of a ring's monitors.
fn monitors(k: &Kring, zcopy: bool) -> &[AtomicU64] {
    if zcopy { &k.zmonitors } else { &k.monitors }
}

/// Puts a monitor's rings on the lists of the rings it watches; `false` if one of these is full.
fn watch(mem: &Mem, up: &Port, rx: &[PortRing], flags: u64) -> bool {
    let zcopy = flags & flag::ZCOPY_MON != 0;
    let mut fits = true;
    for (list, wanted) in [(&up.tx, flag::MONITOR_TX), (&up.rx, flag::MONITOR_RX)] {
        if flags & wanted == 0 {
            continue;
        }
        for (seen, m) in list.iter().zip(rx) {
            let k = mem.kring(&seen.ring);
            if wanted == flag::MONITOR_RX {
                if !zcopy {
                    mem.kring(&m.ring).peer.store(seen.ring.kring.ofs, Ordering::Release);
                }
                // Only what comes from now on.
                k.mon_tail.store(k.hwtail.load(Ordering::Acquire), Ordering::Relaxed);
            }
            let free = monitors(k, zcopy).iter().find(|w| w.load(Ordering::Relaxed) == 0);
            match free {
                Some(w) => w.store(m.ring.kring.ofs, Ordering::Release),
                None => fits = false,
            }
        }
    }
    fits
}

fn unwatch(mem: &Mem, up: &Port, rx: &[PortRing]) {
    for seen in up.tx.iter().chain(&up.rx) {
        let k = mem.kring(&seen.ring);
        for w in k.monitors.iter().chain(&k.zmonitors) {
            let ofs = w.load(Ordering::Relaxed);
            if rx.iter().any(|r| r.ring.kring.ofs == ofs) {
                w.store(0, Ordering::Release);
            }
        }
    }
}
