//! How a port comes to be when a program names it.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use valecast_config::{PortKind, RingPort};
use valecast_ring::attach::Request;
use valecast_ring::host::Endpoint;
use valecast_ring::netmap::abi::NmreqRegister;
use valecast_ring::netmap::kring::kind;
use valecast_ring::netmap::mem::Mem;
use valecast_ring::notify::Pairing;

use super::ports::{
    MAX_EXTRA, Port, PortRing, SLOTS, What, hosts, is_interface, is_name, packet_port, refused, ring_port,
    rings_wanted, spare, vale,
};
use super::{Errno, State};
use crate::port::ring::Special;
use crate::switch::{Client, SwitchError};

impl State {
    pub(super) fn find(
        &mut self,
        name: &str,
        req: &NmreqRegister,
        client: Client,
        create: bool,
    ) -> Result<u32, Errno> {
        if let Some(n) = self.open_port(name) {
            return Ok(n);
        }
        if name.contains(['{', '}']) {
            return self.pipe(name, req, client, create);
        }
        if name.starts_with("vale") {
            let (switch, port) = vale(name).ok_or(libc::EINVAL)?;
            if !create {
                return Err(libc::ENXIO);
            }
            return self.open_switch_port(name, switch, port, req, client);
        }
        if let Some(p) = self.persistent.get(name).cloned() {
            if let Some(switch) = p.switches.first() {
                return self.find(&format!("{switch}:{name}"), req, client, create);
            }
            return if create { self.open_loose(name, &p.ring, req, client) } else { Err(libc::ENXIO) };
        }
        if is_interface(name) && is_name(name) {
            return if create { self.open_interface(name, req, client) } else { Err(libc::ENXIO) };
        }
        Err(libc::ENXIO)
    }

    fn open_switch_port(
        &mut self,
        name: &str,
        switch: &str,
        port: &str,
        req: &NmreqRegister,
        client: Client,
    ) -> Result<u32, Errno> {
        self.switch(switch)?;
        let opened = self.open_in_switch(name, switch, port, req, client);
        if opened.is_err() {
            self.drop_switch(switch);
        }
        opened
    }

    fn open_in_switch(
        &mut self,
        name: &str,
        switch: &str,
        port: &str,
        req: &NmreqRegister,
        client: Client,
    ) -> Result<u32, Errno> {
        let state = self.daemon.with(switch, |s| s.port_state(port)).map_err(|e| refused(&e))?;
        let made = match state {
            Some((cfg, _)) if !matches!(cfg.kind, PortKind::Ring(_)) => return Err(libc::EBUSY),
            Some((_, Some(_))) => return Err(libc::EBUSY),
            Some(_) => false,
            // Interfaces have to be attached first.
            None if self.persistent.contains_key(port) || is_interface(port) => return Err(libc::EINVAL),
            None if !self.cfg.auto_create => {
                tracing::info!(
                    switch,
                    port,
                    "a netmap program names a port that the configuration does not have; \
                     `auto_create = true` in `[netmap]` would make it"
                );
                return Err(libc::ENXIO);
            }
            None => {
                let cfg = ring_port(port, rings_wanted(req));
                self.daemon.attach_port(switch, cfg, true).map_err(|e| refused(&e))?;
                true
            }
        };
        let opened = self.attach(name, switch, port, req, client, false);
        if made && opened.is_err() {
            let _ = self.daemon.detach_port(switch, port);
        }
        opened
    }

    /// An interface of its own: a switch with two ports that learns nothing is a wire.
    fn open_interface(&mut self, name: &str, req: &NmreqRegister, client: Client) -> Result<u32, Errno> {
        if !self.cfg.auto_create {
            tracing::info!(
                interface = name,
                "netmap on an interface needs `auto_create = true` in `[netmap]`"
            );
            return Err(libc::ENXIO);
        }
        let switch = format!("netmap:{name}");
        let queues = RingPort { tx_rings: 1, rx_rings: 1, slots: SLOTS, ..rings_wanted(req) };
        self.switch(&switch)?;
        let port = valecast_config::Port { learn: false, ..ring_port("ring", queues) };
        let made = self
            .daemon
            .attach_port(&switch, packet_port("nic", name, false), false)
            .and_then(|()| self.daemon.attach_port(&switch, port, true));
        let opened = made
            .map_err(|e| refused(&e))
            .and_then(|()| self.attach(name, &switch, "ring", req, client, true));
        if opened.is_err() {
            self.drop_switch(&switch);
        }
        opened
    }

    /// Attaches to a ring port as its client does, with memory for everything that may be derived from it.
    pub(super) fn attach(
        &mut self,
        name: &str,
        switch: &str,
        port: &str,
        req: &NmreqRegister,
        client: Client,
        has_host: bool,
    ) -> Result<u32, Errno> {
        let (theirs, ours) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|e| e as i32)?;
        let cfg = self.daemon.with(switch, |s| s.port_state(port)).map_err(|e| refused(&e))?;
        let Some((valecast_config::Port { kind: PortKind::Ring(ring), .. }, _)) = cfg else {
            return Err(libc::ENXIO);
        };
        let wish = |n: u16, most: u16| (n != 0).then(|| n.min(most));
        let slots = (!has_host && req.tx_slots.max(req.rx_slots) != 0).then(|| rings_wanted(req).slots);
        let request = Request {
            port: port.to_owned(),
            tx_rings: wish(req.tx_rings, ring.tx_rings),
            rx_rings: wish(req.rx_rings, ring.rx_rings),
            slots,
            buf_size: None,
            pairing: Pairing::Fences,
        };
        let slots = slots.unwrap_or(ring.slots);
        let hosts = if has_host { hosts(req).0 + hosts(req).1 } else { 0 };
        let extra = req.extra_bufs.min(MAX_EXTRA) + u32::from(hosts) * slots;
        let special = Special { hdr: Arc::new(AtomicU8::new(0)), steer: true };
        let mut attached = Err(libc::ENOMEM);
        // A tight memory limit leaves no room for pipes and monitors.
        for more in [self.cfg.spare_buffers, 0] {
            let spare = spare(slots, extra + more);
            let lifeline = theirs.try_clone().map_err(|_| libc::ENFILE)?;
            let special = special.clone();
            let tried =
                self.daemon.with(switch, |s| s.attach_rings(&request, client, lifeline, spare, special));
            attached = match tried {
                Ok(Ok(a)) => Ok(a),
                Ok(Err(SwitchError::Limit(e))) if more > 0 => {
                    tracing::debug!("{e}: trying without spare buffers");
                    continue;
                }
                Ok(Err(e)) => Err(refused(&e.into())),
                Err(e) => Err(refused(&e)),
            };
            break;
        }
        let (end, number) = attached?;
        let what =
            What::Switch { switch: switch.to_owned(), port: port.to_owned(), number, lifeline: Some(ours) };
        let opened = self.adopt(name, what, end, special, req, client, has_host);
        if opened.is_err() {
            let _ = self.daemon.with(switch, |s| s.client_gone(port, number));
        }
        opened
    }

    #[allow(clippy::too_many_arguments)] // Each is what one caller knows, once.
    pub(super) fn adopt(
        &mut self,
        name: &str,
        what: What,
        end: Endpoint,
        special: Special,
        req: &NmreqRegister,
        client: Client,
        has_host: bool,
    ) -> Result<u32, Errno> {
        let mut mem = Mem::new(end.region.clone()).ok_or(libc::ENOMEM)?;
        let tx_rings = usize::from(end.region.layout().params().tx_rings);
        let (mut tx, mut rx) = (Vec::new(), Vec::new());
        for (r, (kick, call)) in end.bells.into_iter().enumerate() {
            let mut ring = PortRing::new(mem.port_ring(r).ok_or(libc::ENOMEM)?);
            let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(Arc::new).ok();
            ring.wait = copy(call.fd());
            ring.kick = copy(kick.fd());
            if r < tx_rings { tx.push(ring) } else { rx.push(ring) }
        }
        let (mut host_tx, mut host_rx) = (Vec::new(), Vec::new());
        if has_host {
            let (n_tx, n_rx) = hosts(req);
            let slots = Port::slots(&tx);
            for i in 0..n_tx {
                host_tx.push(PortRing::new(mem.ring(kind::NULL_TX, i, slots, None).ok_or(libc::ENOMEM)?));
            }
            for i in 0..n_rx {
                host_rx.push(PortRing::new(mem.ring(kind::NULL_RX, i, slots, None).ok_or(libc::ENOMEM)?));
            }
        }
        let lasting = has_host || self.is_lasting(&what);
        let id = self.keep_mem(mem, self.ids.get(name).copied().filter(|_| lasting))?;
        if lasting {
            self.ids.insert(name.to_owned(), id);
        }
        let port = Port {
            name: name.to_owned(),
            what,
            mem: id,
            refs: 0,
            active: 0,
            tx,
            rx,
            host_tx,
            host_rx,
            has_host,
            hdr: special.hdr,
            uid: client.uid,
        };
        let number = self.fresh_number();
        self.ports.insert(number, port);
        Ok(number)
    }

    /// A persistent port outside every switch: it takes everything and gives nothing.
    pub(super) fn open_loose(
        &mut self,
        name: &str,
        ring: &RingPort,
        req: &NmreqRegister,
        client: Client,
    ) -> Result<u32, Errno> {
        let rings = u32::from(ring.tx_rings) + u32::from(ring.rx_rings);
        let bufs = rings * ring.slots + req.extra_bufs.min(MAX_EXTRA) + self.cfg.spare_buffers;
        let mem = self.loose_mem(ring.slots, bufs, None)?;
        let counts = (ring.tx_rings, ring.rx_rings, ring.slots, ring.slots);
        self.add_null(name, mem, counts, (0, 0), client)
    }

    /// A port whose rings take everything and give nothing.
    pub(super) fn add_null(
        &mut self,
        name: &str,
        mem_id: u16,
        (tx_rings, rx_rings, tx_slots, rx_slots): (u16, u16, u32, u32),
        (host_tx, host_rx): (u16, u16),
        client: Client,
    ) -> Result<u32, Errno> {
        let mem = self.mems.get_mut(&mem_id).ok_or(libc::EINVAL)?;
        let mut made: Vec<Vec<PortRing>> = Vec::new();
        let wanted = [
            (kind::NULL_TX, tx_rings, tx_slots),
            (kind::NULL_RX, rx_rings, rx_slots),
            (kind::NULL_TX, host_tx, tx_slots),
            (kind::NULL_RX, host_rx, rx_slots),
        ];
        for (what, n, slots) in wanted {
            let mut list = Vec::new();
            for i in 0..n {
                let Some(r) = mem.ring(what, i, slots, None) else {
                    made.push(list);
                    made.iter().flatten().for_each(|r| mem.drop_ring(&r.ring, true));
                    self.drop_mem(mem_id);
                    return Err(libc::ENOMEM);
                };
                list.push(PortRing::new(r));
            }
            made.push(list);
        }
        let mut lists = made.into_iter();
        let mut take = || lists.next().unwrap_or_default();
        let (tx, rx, host_tx, host_rx) = (take(), take(), take(), take());
        let port = Port {
            name: name.to_owned(),
            what: What::Loose,
            mem: mem_id,
            refs: 0,
            active: 0,
            tx,
            rx,
            has_host: !host_tx.is_empty(),
            host_tx,
            host_rx,
            hdr: Arc::new(AtomicU8::new(0)),
            uid: client.uid,
        };
        let number = self.fresh_number();
        self.ports.insert(number, port);
        Ok(number)
    }
}
