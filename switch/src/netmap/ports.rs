//! Ports that programs open: of switches, of interfaces, and persistent ones outside every switch.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::libc;
use valecast_config::{HugePages, Overflow, PacketPort, PortKind, RingPort, Vlan};
use valecast_ring::layout::Spare;
use valecast_ring::netmap::abi::NmreqRegister;
use valecast_ring::netmap::mem::Ring;

use super::{Errno, State};
use crate::daemon::DaemonError;
use crate::switch::{Client, SwitchError};

/// Slots that netmap gives a ring, and the most that it lets programs ask for times eight.
pub(super) const SLOTS: u32 = 1024;
/// Most rings each way.
pub(super) const MAX_RINGS: u16 = 16;
/// Most extra buffers that a descriptor may ask for (netmap: 128 rings of 4096).
pub(super) const MAX_EXTRA: u32 = 128 * 4096;
/// Memory region that stands for netmap's global allocator.
pub(super) const GLOBAL: u16 = 1;
/// Buffers of the global region.
pub(super) const GLOBAL_BUFS: u32 = 16384;

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
pub(super) fn errno(e: &SwitchError) -> Errno {
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
        hugepages: HugePages::Try,
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

pub(super) fn plain_port(name: &str, kind: PortKind, learn: bool) -> valecast_config::Port {
    valecast_config::Port {
        name: name.to_owned(),
        overflow: Overflow::Drop,
        mac_limit: 0,
        allowed_macs: Vec::new(),
        learn,
        flood: true,
        vlan: Vlan::default(),
        limit: None,
        capacity: None,
        queue: None,
        faults: None,
        kind,
    }
}

/// Room for everything that may come: interfaces, rings of pipes and monitors, their books.
pub(super) fn spare(slots: u32, bufs: u32) -> Spare {
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
