//! Ports that programs open: of switches, of interfaces, and persistent ones outside every switch.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use valecast_config::{Overflow, PacketPort, PortKind, RingPort, Vlan};
use valecast_ring::attach::Request;
use valecast_ring::host::Endpoint;
use valecast_ring::layout::{Layout, RingParams, Spare};
use valecast_ring::netmap::abi::NmreqRegister;
use valecast_ring::netmap::kring::kind;
use valecast_ring::netmap::mem::{Mem, Ring};
use valecast_ring::notify::Pairing;
use valecast_ring::region::Region;

use super::{Errno, State};
use crate::daemon::DaemonError;
use crate::port::ring::Special;
use crate::switch::{Client, SwitchError};

/// Slots that netmap gives a ring, and the most that it lets programs ask for times eight.
const SLOTS: u32 = 1024;
/// Most rings each way.
const MAX_RINGS: u16 = 16;
/// Most extra buffers that a descriptor may ask for (netmap: 128 rings of 4096).
pub(super) const MAX_EXTRA: u32 = 128 * 4096;
/// Memory region that stands for netmap's global allocator.
pub(super) const GLOBAL: u16 = 1;
/// Buffers of the global region.
const GLOBAL_BUFS: u32 = 16384;

/// A port made by `NETMAP_REQ_VALE_NEWIF`.
#[derive(Clone, Debug)]
pub(super) struct Persistent {
    pub ring: RingPort,
    /// Switches that it is attached to.
    pub switches: Vec<String>,
    /// It was made for a pipe and goes with it.
    pub autodelete: bool,
}

/// One ring of a port.
pub(super) struct PortRing {
    pub ring: Ring,
    /// Descriptors that have it.
    pub users: u32,
    /// One of them has it for itself.
    pub exclusive: bool,
    /// What becomes readable when there is something on it.
    pub wait: Option<Arc<OwnedFd>>,
    /// What wakes the other side.
    pub kick: Option<Arc<OwnedFd>>,
}

impl PortRing {
    pub fn new(ring: Ring) -> Self {
        Self { ring, users: 0, exclusive: false, wait: None, kick: None }
    }
}

/// What a port is.
pub(super) enum What {
    /// A ring port of a switch.
    Switch { switch: String, port: String, number: u64, lifeline: Option<OwnedFd> },
    /// A persistent port outside every switch, or the NULL port of one descriptor.
    Loose,
    /// An end of a pipe.
    Pipe { parent: u32, peer: u32, master: bool },
    /// A monitor.
    Monitor { parent: u32 },
}

/// An open port.
pub(super) struct Port {
    pub name: String,
    pub what: What,
    pub mem: u16,
    /// Descriptors, pipes and monitors that need it.
    pub refs: u32,
    /// Descriptors that have registered rings of it.
    pub active: u32,
    pub tx: Vec<PortRing>,
    pub rx: Vec<PortRing>,
    pub host_tx: Vec<PortRing>,
    pub host_rx: Vec<PortRing>,
    /// It has rings of the host.
    pub has_host: bool,
    pub hdr: Arc<AtomicU8>,
    /// Who opened it first; others of the same user may share it.
    pub uid: u32,
}

impl Port {
    pub fn lifeline(&self) -> Option<&OwnedFd> {
        match &self.what {
            What::Switch { lifeline, .. } => lifeline.as_ref(),
            _ => None,
        }
    }

    pub fn lost(&mut self) {
        if let What::Switch { lifeline, .. } = &mut self.what {
            *lifeline = None;
        }
    }

    pub fn is_lost(&self) -> bool {
        matches!(self.what, What::Switch { lifeline: None, .. })
    }

    pub fn slots(rings: &[PortRing]) -> u32 {
        rings.first().map_or(0, |r| r.ring.slots)
    }
}

/// The errno for what a switch said.
fn errno(e: &SwitchError) -> Errno {
    match e {
        SwitchError::Missing { .. } => libc::ENXIO,
        SwitchError::Exists { .. } => libc::EEXIST,
        SwitchError::Limit(_) => libc::ENOMEM,
        SwitchError::InUse { .. } | SwitchError::Busy { .. } | SwitchError::NotARing { .. } => libc::EBUSY,
        SwitchError::Denied { .. } => libc::EPERM,
        SwitchError::Open { source: crate::port::OpenError::Os { source, .. }, .. } => {
            source.raw_os_error().unwrap_or(libc::EIO)
        }
        SwitchError::Open { .. } => libc::EINVAL,
        SwitchError::Worker { .. } => libc::ENOMEM,
    }
}

/// As [`errno`]; what went wrong is said in the log, as netmap says it in the kernel's.
pub(super) fn refused(e: &DaemonError) -> Errno {
    tracing::info!("a netmap program's request is refused: {e}");
    match e {
        DaemonError::Switch(e) => errno(e),
        DaemonError::NoSwitch(..) => libc::ENXIO,
        _ => libc::EIO,
    }
}

/// Switch and port of a VALE name.
pub(super) fn vale(name: &str) -> Option<(&str, &str)> {
    let (switch, port) = name.split_once(':')?;
    let id = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let known = switch.strip_prefix("vale").is_some_and(|s| s.chars().all(id)) && switch.len() <= 15;
    (known && is_name(port)).then_some((switch, port))
}

/// A port's name, as the configuration has it.
pub(super) fn is_name(name: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=15).contains(&name.len()) && name.chars().all(ok)
}

/// Whether the daemon sees a network interface of this name.
pub(super) fn is_interface(name: &str) -> bool {
    !name.contains('/') && nix::net::if_::if_nametoindex(name).is_ok()
}

/// Rings as asked for, held to what is possible.
pub(super) fn rings_wanted(req: &NmreqRegister) -> RingPort {
    let rings = |n: u16| n.clamp(1, MAX_RINGS);
    let slots = match req.tx_slots.max(req.rx_slots) {
        0 => SLOTS,
        n => n.clamp(16, 32768).next_power_of_two(),
    };
    RingPort {
        tx_rings: rings(req.tx_rings),
        rx_rings: rings(req.rx_rings),
        slots,
        buf_size: 2048,
        memory_limit: None,
        allow_users: Vec::new(),
        allow_groups: Vec::new(),
    }
}

/// A ring port as a program asks for one.
pub(super) fn ring_port(name: &str, ring: RingPort) -> valecast_config::Port {
    plain_port(name, PortKind::Ring(ring), true)
}

pub(super) fn packet_port(name: &str, interface: &str, learn: bool) -> valecast_config::Port {
    let interface = interface.to_owned();
    let kind = PortKind::Packet(PacketPort { interface, netns: None, promiscuous: true, offload: true });
    plain_port(name, kind, learn)
}

fn plain_port(name: &str, kind: PortKind, learn: bool) -> valecast_config::Port {
    valecast_config::Port {
        name: name.to_owned(),
        overflow: Overflow::Drop,
        mac_limit: 0,
        allowed_macs: Vec::new(),
        learn,
        vlan: Vlan::default(),
        limit: None,
        kind,
    }
}

/// Room for everything that may come: interfaces, rings of pipes and monitors, their books.
fn spare(slots: u32, bufs: u32) -> Spare {
    let ring = 512 + 16 * slots as usize;
    Spare { bytes: (256 << 10) + 40 * ring, bufs }
}

impl State {
    /// The port `name`, opened or made; with one more reference.
    pub(super) fn port(
        &mut self,
        name: &str,
        req: &NmreqRegister,
        client: Client,
        create: bool,
    ) -> Result<u32, Errno> {
        let number = self.find(name, req, client, create)?;
        let port = self.ports.get_mut(&number).ok_or(libc::ENXIO)?;
        if port.uid != client.uid && client.uid != 0 {
            tracing::info!(port = name, uid = client.uid, "netmap: another user has the port open");
            return Err(libc::EBUSY);
        }
        if port.is_lost() {
            return Err(libc::ENXIO);
        }
        port.refs += 1;
        Ok(number)
    }

    pub(super) fn open_port(&self, name: &str) -> Option<u32> {
        self.ports.iter().find(|(_, p)| p.name == name && !p.is_lost()).map(|(n, _)| *n)
    }

    fn find(&mut self, name: &str, req: &NmreqRegister, client: Client, create: bool) -> Result<u32, Errno> {
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

    /// The switch, made if it is not there and may be.
    pub(super) fn switch(&mut self, name: &str) -> Result<(), Errno> {
        if self.daemon.switch_names().iter().any(|s| s == name) {
            return Ok(());
        }
        if !self.cfg.auto_create {
            tracing::info!(
                switch = name,
                "a netmap program names a switch that the configuration does not have; \
                 `auto_create = true` in `[netmap]` would make it"
            );
            return Err(libc::ENXIO);
        }
        self.daemon.make_switch(name).map_err(|e| refused(&e))?;
        self.made.push(name.to_owned());
        Ok(())
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
    fn attach(
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
    fn adopt(
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

    /// Whether a port stays when nobody has it open: its memory has the same number then each time.
    fn is_lasting(&self, what: &What) -> bool {
        let What::Switch { switch, port, .. } = what else { return false };
        self.persistent.contains_key(port)
            || self
                .daemon
                .loaded()
                .switches
                .iter()
                .any(|s| s.name == *switch && s.ports.iter().any(|p| p.name == *port))
    }

    /// The number that a lasting port's memory has, or will have.
    pub(super) fn lasting_id(&mut self, name: &str) -> Result<u16, Errno> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let free = |n: &u16| !self.mems.contains_key(n) && self.ids.values().all(|i| i != n);
        let id = (GLOBAL + 1..u16::MAX).find(free).ok_or(libc::ENOMEM)?;
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Gives memory a number of its own.
    pub(super) fn keep_mem(&mut self, mem: Mem, id: Option<u16>) -> Result<u16, Errno> {
        let id = id.filter(|n| !self.mems.contains_key(n));
        let free = || {
            (GLOBAL + 1..u16::MAX).find(|n| !self.mems.contains_key(n) && self.ids.values().all(|i| i != n))
        };
        let id = id.or_else(free).ok_or(libc::ENOMEM)?;
        self.mems.insert(id, mem);
        Ok(id)
    }

    /// Memory that belongs to no switch.
    fn loose_mem(&mut self, slots: u32, bufs: u32, id: Option<u16>) -> Result<u16, Errno> {
        let least = RingParams { tx_rings: 1, rx_rings: 1, slots: 16, buf_size: 2048 };
        let layout = Layout::with_spare(least, spare(slots, bufs)).map_err(|_| libc::ENOMEM)?;
        let region = Region::create(layout, "netmap").map_err(|e| {
            tracing::info!("netmap: {e}");
            libc::ENOMEM
        })?;
        let mem = Mem::new(Arc::new(region)).ok_or(libc::ENOMEM)?;
        self.keep_mem(mem, id)
    }

    /// The region that stands for netmap's global allocator.
    pub(super) fn global(&mut self) -> Result<u16, Errno> {
        if !self.mems.contains_key(&GLOBAL) {
            self.loose_mem(4 * SLOTS, GLOBAL_BUFS, Some(GLOBAL))?;
        }
        Ok(GLOBAL)
    }

    /// A persistent port outside every switch: it takes everything and gives nothing.
    fn open_loose(
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

    /// One reference less; what nobody needs goes.
    pub(super) fn unref(&mut self, number: u32) {
        let Some(port) = self.ports.get_mut(&number) else { return };
        port.refs = port.refs.saturating_sub(1);
        if port.refs > 0 {
            return;
        }
        if let What::Pipe { peer, .. } = port.what {
            // The ends of a pipe come and go together.
            if self.ports.get(&peer).is_none_or(|p| p.refs == 0) {
                self.drop_pipe(number, peer);
            }
            return;
        }
        let Some(port) = self.ports.remove(&number) else { return };
        if let Some(mem) = self.mems.get_mut(&port.mem) {
            for r in port.tx.iter().chain(&port.rx).chain(&port.host_tx).chain(&port.host_rx) {
                mem.drop_ring(&r.ring, true);
            }
        }
        match port.what {
            What::Switch { switch, port: name, number, .. } => {
                let _ = self.daemon.with(&switch, |s| s.client_gone(&name, number));
                self.drop_mem(port.mem);
                self.drop_switch(&switch);
            }
            What::Monitor { parent } => self.unref(parent),
            What::Loose | What::Pipe { .. } => {
                self.drop_mem(port.mem);
                if self.persistent.get(&port.name).is_some_and(|p| p.autodelete) {
                    self.persistent.remove(&port.name);
                }
            }
        }
    }

    /// Memory goes with the last port in it.
    pub(super) fn drop_mem(&mut self, id: u16) {
        if self.ports.values().all(|p| p.mem != id) {
            self.mems.remove(&id);
        }
    }

    /// A switch that a program's naming made goes with its last port; that of an interface, with its ring.
    pub(super) fn drop_switch(&mut self, switch: &str) {
        if !self.made.iter().any(|s| s == switch) {
            return;
        }
        let ports = self.daemon.with(switch, |s| s.port_numbers()).unwrap_or_default();
        if ports.iter().all(|(_, p)| switch.starts_with("netmap:") && p == "nic") {
            self.made.retain(|s| s != switch);
            self.daemon.unmake_switch(switch);
        }
    }

    /// Sets the header length of an open port.
    pub(super) fn set_hdr(&mut self, number: u32, len: u8) -> Result<(), Errno> {
        let port = self.ports.get(&number).ok_or(libc::ENXIO)?;
        let What::Switch { switch, .. } = &port.what else { return Err(libc::EINVAL) };
        port.hdr.store(len, Ordering::Release);
        self.daemon.with(switch, |s| s.caps_changed()).map_err(|e| refused(&e))
    }
}

/// Rings of the host, as asked for; at least one each way.
pub(super) fn hosts(req: &NmreqRegister) -> (u16, u16) {
    (req.host_tx_rings.clamp(1, MAX_RINGS), req.host_rx_rings.clamp(1, MAX_RINGS))
}
