//! Attaching and detaching.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{Gid, Group, Uid, User};
use valecast_config::{Port, PortKind, RingPort};
use valecast_ring::attach::Request;
use valecast_ring::host::{Endpoint, EndpointError};
use valecast_ring::layout::{Layout, RingParams, Spare};
use valecast_ring::notify::{self, Pairing};
use valecast_ring::region::{HugePages, Region};

use super::{Attached, PortState, Switch, SwitchError};
use crate::clock;
use crate::counters::PortStats;
use crate::fdb::MAX_PORTS;
use crate::meter::Meter;
use crate::port::line::outlet::Change;
use crate::port::line::{self, Settings};
use crate::port::ring::{RingEgress, RingIngress, Special};
use crate::port::{Egress, Ingress, OpenError, Opened, netmap, null, packet, pcap, tap, vxlan, xdp};
use crate::worker::Command;

/// Who is attached to a ring port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Process, as the kernel told.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Switch {
    fn missing(&self, name: &str) -> SwitchError {
        let names: Vec<_> = self.ports.keys().map(String::as_str).collect();
        SwitchError::Missing {
            switch: self.cfg.name.clone(),
            kind: "port",
            name: name.to_owned(),
            hint: format!(" (it has {})", if names.is_empty() { "none".into() } else { names.join(", ") }),
        }
    }

    /// Adds a port and opens it. A ring waits for its client, a patch for its peer, a VM port for its VM.
    pub fn attach_port(&mut self, cfg: Port, temporary: bool) -> Result<(), SwitchError> {
        if self.ports.contains_key(&cfg.name) {
            return Err(SwitchError::Exists { switch: self.cfg.name.clone(), kind: "port", name: cfg.name });
        }
        let name = cfg.name.clone();
        let fail = |source| SwitchError::Open { port: name.clone(), source };
        let opened = match &cfg.kind {
            PortKind::Ring(r) => {
                Layout::try_from(params(r)).map_err(|e| fail(e.into()))?;
                None
            }
            PortKind::Patch(_) | PortKind::E1000(_) | PortKind::VhostUser(_) => None,
            PortKind::Null => Some(null::open()),
            PortKind::Tap(t) => Some(tap::open(&name, t).map_err(fail)?),
            PortKind::Packet(p) => Some(packet::open(&name, p).map_err(fail)?),
            PortKind::Xdp(x) => Some(xdp::open(&name, x).map_err(fail)?),
            PortKind::Pcap(p) => Some(pcap::open(&name, p).map_err(fail)?),
            PortKind::Vxlan(v) => Some(vxlan::open(&name, v).map_err(fail)?),
            PortKind::Netmap(n) => Some(netmap::open(&name, n).map_err(fail)?),
        };
        let memory = opened.as_ref().map_or(0, |o| o.egress.about().memory);
        self.has_memory(&name, memory + line_memory(&cfg))?;
        let serving = match &cfg.kind {
            PortKind::E1000(_) | PortKind::VhostUser(_) => {
                let exclusive = self.is_exclusive();
                let served = self.outside.serve(&cfg, &self.cfg.name, exclusive, &self.cfg.socket);
                Some(served.map_err(fail)?)
            }
            _ => None,
        };
        let free = self.ids.iter().position(Option::is_none).unwrap_or(self.ids.len());
        if free >= MAX_PORTS {
            return Err(SwitchError::Limit(format!("a switch has at most {MAX_PORTS} ports")));
        }
        if free == self.ids.len() {
            self.ids.push(None);
        }
        self.ids[free] = Some(name.clone());
        let state = PortState {
            id: free as u16,
            stats: Arc::new(PortStats::new(self.forwarders())),
            limit: limit(&cfg),
            attached: None,
            temporary,
            ring_resets: 0,
            serving,
            cfg,
        };
        self.ports.insert(name.clone(), state);
        match opened {
            Some(o) => drop(self.connect(&name, o, None, memory, None)?),
            None => self.publish(),
        }
        Ok(())
    }

    /// Joins an opened port to the data path. The number of the attachment.
    pub fn connect(
        &mut self,
        name: &str,
        opened: Opened,
        client: Option<Client>,
        memory: u64,
        resets: Option<Arc<std::sync::atomic::AtomicU64>>,
    ) -> Result<u64, SwitchError> {
        let Some(p) = self.ports.get_mut(name) else { return Err(self.missing(name)) };
        let id = p.id;
        let Opened { ingress, egress, keep } = opened;
        let queues = ingress.len().max(egress.caps().queues);
        let (egress, line) = match Settings::of(&p.cfg) {
            None => (egress, None),
            Some(settings) => {
                let (entrance, outlet) = line::wrap(egress, &settings, p.stats.clone())
                    .map_err(|source| SwitchError::Open { port: name.to_owned(), source })?;
                (entrance.clone() as Arc<dyn Egress>, Some((entrance, outlet)))
            }
        };
        let (entrance, outlet) = line.unzip();
        self.attachments += 1;
        let number = self.attachments;
        p.attached = Some(Attached {
            egress: egress.clone(),
            number,
            seat: None,
            _keep: keep,
            client,
            line: entrance,
            queues,
            memory: memory + line_memory(&p.cfg),
            resets,
            since: clock::now_ns(),
        });
        self.publish_now();
        for w in 0..self.workers.len() {
            self.tell(w, Command::AddRoom(id, egress.clone()));
        }
        if let Some(outlet) = outlet {
            let w = self.next_worker();
            self.tell(w, Command::AddOutlet(id, outlet));
        }
        for (lane, ingress) in ingress.into_iter().enumerate() {
            self.add_source(id, lane, ingress);
        }
        Ok(number)
    }

    /// Whether the switch may have `bytes` more for the rings of port `name`.
    fn has_memory(&self, name: &str, bytes: u64) -> Result<(), SwitchError> {
        let (used, top) = (self.memory(), self.cfg.memory_limit);
        if bytes > 0 && used + bytes > top {
            return Err(SwitchError::Limit(format!(
                "port {name:?}: its rings take {bytes} bytes and {used} of the switch's memory_limit of {top} are used"
            )));
        }
        Ok(())
    }

    fn next_worker(&mut self) -> usize {
        let w = self.next_worker;
        self.next_worker = (w + 1) % self.workers.len().max(1);
        w
    }

    fn add_source(&mut self, port: u16, lane: usize, ingress: Box<dyn Ingress>) {
        let w = self.next_worker();
        self.tell(w, Command::AddSource { port, lane, ingress });
    }

    /// Parts a port from the data path; it stays configured. What was learned on it is forgotten.
    pub fn disconnect(&mut self, name: &str) {
        let Some(p) = self.ports.get_mut(name) else { return };
        let Some(old) = p.attached.take() else { return };
        let id = p.id;
        if let Some(seat) = &old.seat {
            seat.end();
        }
        if let Some(r) = &old.resets {
            p.ring_resets += r.load(std::sync::atomic::Ordering::Relaxed);
        }
        self.publish_now();
        self.all_workers(|done| Command::Remove(id, done));
        self.all_workers(Command::Barrier);
        self.fdb.retain(|e| e.port != id || e.is_static);
        let gone = Arc::downgrade(&old.egress);
        drop(old);
        reclaim(|| gone.strong_count() == 0);
    }

    /// Removes a port. Groups lose their buckets to it; mirrors to or from it end.
    pub fn detach_port(&mut self, name: &str) -> Result<(), SwitchError> {
        if !self.ports.contains_key(name) {
            return Err(self.missing(name));
        }
        let using = self
            .groups
            .values()
            .find(|g| g.cfg.ingress.as_deref() == Some(name) || g.cfg.buckets.iter().any(|b| b.port == name));
        if let Some(g) = using {
            let by = format!("group {:?}", g.cfg.name);
            return Err(SwitchError::InUse { kind: "port", name: name.to_owned(), by });
        }
        self.disconnect(name);
        for m in &mut self.mirrors {
            m.from.retain(|f| f != name);
        }
        self.mirrors.retain(|m| m.to != name && !m.from.is_empty());
        self.statics.retain(|_, port| port != name);
        if let Some(p) = self.ports.remove(name) {
            self.publish_now();
            // After this no worker counts for the port any more.
            self.all_workers(Command::Barrier);
            self.retired.add(&p.stats.sums());
            self.ids[usize::from(p.id)] = None;
            self.fdb.retain(|e| e.port != p.id);
        }
        Ok(())
    }

    /// Changes the policy of an attached port.
    pub fn update_port(&mut self, cfg: Port) -> Result<(), SwitchError> {
        if !self.ports.contains_key(&cfg.name) {
            return Err(self.missing(&cfg.name));
        }
        let line = self.change_line(&cfg)?;
        if let Some(p) = self.ports.get_mut(&cfg.name) {
            if p.cfg.limit != cfg.limit {
                let new = cfg.limit.as_ref().map(|l| Meter::new(l.rate, l.burst, l.mode));
                let (old, now) = (p.limit.take(), clock::now_ns());
                p.limit = new.map(|new| Arc::new(old.iter().fold(new, |new, old| new.after(old, now))));
            }
            p.cfg = cfg;
        }
        if let (Some(later), NewLine::Same) = (&mut self.put_off, &line) {
            later.barrier = true;
            later.tables.set(true);
            return Ok(());
        }
        self.publish_now();
        // A sender that waited for this port may not have to any more.
        self.pass_all();
        // From here on nobody goes by the way that was before.
        match line {
            NewLine::Same => {}
            NewLine::Changed(id, change) => self.tell_line(id, &change),
            NewLine::Added(id, egress, outlet) => {
                for w in 0..self.workers.len() {
                    self.tell(w, Command::AddRoom(id, egress.clone()));
                }
                let w = self.next_worker();
                self.tell(w, Command::AddOutlet(id, outlet));
            }
        }
        Ok(())
    }

    pub(super) fn pass_all(&self) {
        self.all_workers(Command::Barrier);
    }

    /// Makes the line before a port, which is attached, what `cfg` says; the outlet is told afterwards.
    fn change_line(&mut self, cfg: &Port) -> Result<NewLine, SwitchError> {
        let Some(p) = self.ports.get(&cfg.name) else { return Ok(NewLine::Same) };
        let same = Settings::any(&p.cfg) == Settings::any(cfg);
        let (before, after) = (line_memory(&p.cfg), line_memory(cfg));
        self.has_memory(&cfg.name, after.saturating_sub(before))?;
        let Some(p) = self.ports.get_mut(&cfg.name) else { return Ok(NewLine::Same) };
        let Some(a) = p.attached.as_mut().filter(|_| !same) else { return Ok(NewLine::Same) };
        let new = match (&a.line, Settings::of(cfg)) {
            (Some(line), _) => {
                let (line, change) = line.changed(&Settings::any(cfg));
                a.egress = line.clone();
                a.line = Some(line);
                NewLine::Changed(p.id, change)
            }
            (None, None) => return Ok(NewLine::Same),
            (None, Some(settings)) => {
                let (line, outlet) = line::wrap(a.egress.clone(), &settings, p.stats.clone())
                    .map_err(|source| SwitchError::Open { port: cfg.name.clone(), source })?;
                a.egress = line.clone();
                a.line = Some(line);
                NewLine::Added(p.id, a.egress.clone(), outlet)
            }
        };
        a.memory = a.memory.saturating_sub(before) + after;
        Ok(new)
    }

    /// One worker has the outlet; the others' copies of the message are never read.
    fn tell_line(&self, id: u16, change: &Change) {
        for w in 0..self.workers.len() {
            self.tell(w, Command::ChangeLine(id, change.clone()));
        }
    }

    /// Replaces a port by another of the same name, unless the one that is there takes the change as it is.
    pub fn replace_port(&mut self, cfg: Port) -> Result<(), SwitchError> {
        let name = cfg.name.clone();
        let Some(old) = self.ports.get(&name) else { return Err(self.missing(&name)) };
        if old.cfg.kind.name() == cfg.kind.name() && old.serving.as_ref().is_some_and(|s| s.port.update(&cfg))
        {
            self.caps_changed();
            return self.update_port(cfg);
        }
        let (old_cfg, temporary) = (old.cfg.clone(), old.temporary);
        let (groups, mirrors, statics) =
            (std::mem::take(&mut self.groups), self.mirrors.clone(), self.statics());
        let swap = |s: &mut Self, cfg: Port| {
            if s.ports.contains_key(&name) {
                s.detach_port(&name)?;
            }
            s.attach_port(cfg, temporary)
        };
        let mut done = swap(self, cfg);
        if done.is_err()
            && let Err(e) = swap(self, old_cfg)
        {
            tracing::error!(port = name, "the port as it was cannot be restored: {e}");
            done = Err(e);
        }
        self.groups = groups;
        self.mirrors = mirrors;
        self.publish();
        let restored = self.set_statics(statics);
        done.and(restored)
    }

    /// A client wants a port: checks, makes the memory, and joins it. What the client gets is returned.
    pub fn attach_client(
        &mut self,
        request: &Request,
        client: Client,
        lifeline: OwnedFd,
    ) -> Result<(Endpoint, u64), SwitchError> {
        self.attach_rings(request, client, lifeline, Spare::default(), Special::default())
    }

    /// As [`Switch::attach_client`], with spare memory for netmap's further rings, and what sets netmap apart.
    pub fn attach_rings(
        &mut self,
        request: &Request,
        client: Client,
        lifeline: OwnedFd,
        spare: Spare,
        special: Special,
    ) -> Result<(Endpoint, u64), SwitchError> {
        let (mut end, bytes) = self.rings_for(request, Some(client), spare)?;
        if request.pairing == Pairing::Asymmetric && notify::has_barriers() {
            end.pair(Pairing::Asymmetric);
        }
        let opened = over_rings(&mut end, vec![Box::new(HangUp(lifeline))], special);
        let number = self.connect(&request.port, opened, Some(client), bytes, Some(end.resets.clone()))?;
        Ok((end, number))
    }

    /// Rings for who asks, if it may have them, and their bytes. The process itself, which is none of the clients, may.
    pub(super) fn rings_for(
        &self,
        request: &Request,
        client: Option<Client>,
        spare: Spare,
    ) -> Result<(Endpoint, u64), SwitchError> {
        let name = request.port.as_str();
        let Some(p) = self.ports.get(name) else { return Err(self.missing(name)) };
        let PortKind::Ring(ring) = &p.cfg.kind else {
            return Err(SwitchError::NotARing { port: name.to_owned(), kind: p.cfg.kind.name() });
        };
        if let Some(client) = client.filter(|c| !may(&ring.allow_users, &ring.allow_groups, *c)) {
            return Err(SwitchError::Denied { port: name.to_owned(), uid: client.uid });
        }
        if let Some(Client { pid, uid, .. }) = p.attached.as_ref().and_then(|a| a.client) {
            return Err(SwitchError::Busy { port: name.to_owned(), pid, uid });
        }
        let want = request.over(params(ring));
        let most = params(ring);
        for (what, got, top) in [
            ("tx_rings", u32::from(want.tx_rings), u32::from(most.tx_rings)),
            ("rx_rings", u32::from(want.rx_rings), u32::from(most.rx_rings)),
        ] {
            if got > top {
                return Err(SwitchError::Limit(format!(
                    "port {name:?} has {what} = {top}, {got} were asked for: raise it in the configuration"
                )));
            }
        }
        let fail = |source: OpenError| SwitchError::Open { port: name.to_owned(), source };
        let layout = Layout::with_spare(want, spare).map_err(|e| fail(e.into()))?;
        let bytes = layout.total() as u64;
        if let Some(top) = ring.memory_limit
            && bytes > top
        {
            let what = format!("port {name:?}: its rings take {bytes} bytes, memory_limit is {top}");
            return Err(SwitchError::Limit(what));
        }
        self.has_memory(name, bytes + line_memory(&p.cfg))?;
        let region = Region::create(layout, name, pages(ring)).map_err(EndpointError::from);
        let end = region.and_then(|region| Endpoint::over(region, self.is_exclusive()));
        let end = end.map_err(|e| fail(e.into()))?;
        Ok((end, bytes))
    }

    /// The client of attachment `number` is gone.
    pub fn client_gone(&mut self, name: &str, number: u64) {
        let current = self.ports.get(name).and_then(|p| p.attached.as_ref()).map(|a| a.number);
        if current != Some(number) {
            return;
        }
        self.disconnect(name);
        if self.ports.get(name).is_some_and(|p| p.temporary)
            && let Err(e) = self.detach_port(name)
        {
            tracing::warn!(port = name, "temporary port stays: {e}");
        }
    }
}

/// Old tables hold descriptors of detached ports until their epoch has passed. Nothing depends on when that is,
/// but users expect an interface to be gone once its port is; so this helps the epochs on for a moment.
fn reclaim(done: impl Fn() -> bool) {
    for _ in 0..500 {
        crossbeam::epoch::pin().flush();
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

/// Tells a client that its port is gone, by ending the connection it was attached over.
pub(super) struct HangUp(pub OwnedFd);

impl Drop for HangUp {
    fn drop(&mut self) {
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
    }
}

/// The switch's ends of an endpoint as a port.
pub(crate) fn over_rings(
    end: &mut Endpoint,
    keep: Vec<Box<dyn std::any::Any + Send>>,
    special: Special,
) -> Opened {
    let slots = end.region.layout().params().slots;
    let mut ingress: Vec<Box<dyn Ingress>> = Vec::new();
    for q in end.tx.drain(..) {
        ingress.push(Box::new(RingIngress::new(q, special.clone())));
    }
    let rx = std::mem::take(&mut end.rx);
    Opened { ingress, egress: Arc::new(RingEgress::new(rx, slots, special)), keep }
}

/// What became of a port's line.
enum NewLine {
    Same,
    Changed(u16, Change),
    Added(u16, Arc<dyn Egress>, Box<line::Outlet>),
}

/// Most memory of the line before a port.
fn line_memory(cfg: &Port) -> u64 {
    Settings::of(cfg).map_or(0, |s| s.memory())
}

/// Ring parameters from the configuration.
pub fn params(r: &RingPort) -> RingParams {
    RingParams { tx_rings: r.tx_rings, rx_rings: r.rx_rings, slots: r.slots, buf_size: r.buf_size }
}

fn pages(r: &RingPort) -> HugePages {
    match r.hugepages {
        valecast_config::HugePages::Try => HugePages::Try,
        valecast_config::HugePages::Off => HugePages::Off,
    }
}

fn limit(cfg: &Port) -> Option<Arc<Meter>> {
    cfg.limit.as_ref().map(|l| Arc::new(Meter::new(l.rate, l.burst, l.mode)))
}

/// Whether one of these users and groups, or anybody if there are none, is this client.
pub(crate) fn may(users: &[String], groups: &[String], c: Client) -> bool {
    if users.is_empty() && groups.is_empty() {
        return true;
    }
    let user = |u: &String| match u.parse() {
        Ok(n) => Uid::from_raw(n) == Uid::from_raw(c.uid),
        Err(_) => User::from_name(u).ok().flatten().is_some_and(|u| u.uid.as_raw() == c.uid),
    };
    let in_group = |g: &String| {
        let group = match g.parse::<u32>() {
            Ok(n) => Group::from_gid(Gid::from_raw(n)).ok().flatten(),
            Err(_) => Group::from_name(g).ok().flatten(),
        };
        let member = User::from_uid(Uid::from_raw(c.uid)).ok().flatten();
        g.parse() == Ok(c.gid)
            || group.is_some_and(|g| {
                g.gid.as_raw() == c.gid || member.is_some_and(|u| u.gid == g.gid || g.mem.contains(&u.name))
            })
    };
    users.iter().any(user) || groups.iter().any(in_group)
}

impl Switch {
    /// The patches that wait for their peer: port, peer's switch, peer's port.
    pub fn loose_patches(&self) -> Vec<(String, String, String)> {
        let loose = self.ports.values().filter(|p| p.attached.is_none());
        loose
            .filter_map(|p| match &p.cfg.kind {
                PortKind::Patch(x) => Some((p.cfg.name.clone(), x.peer_switch.clone(), x.peer_port.clone())),
                _ => None,
            })
            .collect()
    }

    /// The peer of a patch port that is connected.
    pub fn patch_peer(&self, name: &str) -> Option<(String, String)> {
        match &self.ports.get(name)?.cfg.kind {
            PortKind::Patch(x) => Some((x.peer_switch.clone(), x.peer_port.clone())),
            _ => None,
        }
    }

    /// The ports and their numbers, by number.
    pub fn port_numbers(&self) -> Vec<(u16, String)> {
        let numbered = (0u16..).zip(&self.ids);
        numbered.filter_map(|(id, name)| Some((id, name.clone()?))).collect()
    }

    /// A port's configuration, and who is attached to it.
    pub fn port_state(&self, name: &str) -> Option<(Port, Option<Client>)> {
        let p = self.ports.get(name)?;
        Some((p.cfg.clone(), p.attached.as_ref().and_then(|a| a.client)))
    }

    /// Lets the data path know that a port can do other things than before.
    pub fn caps_changed(&mut self) {
        for a in self.ports.values_mut().filter_map(|p| p.attached.as_mut()) {
            if let Some(line) = a.line.as_ref().and_then(|l| l.anew()) {
                a.egress = line.clone();
                a.line = Some(line);
            } else if let Some(egress) = a.egress.renewed() {
                a.egress = egress;
            }
        }
        self.publish();
    }

    /// Whether one worker alone delivers, and no inline sender.
    pub fn is_exclusive(&self) -> bool {
        self.forwarders() == 1
    }

    /// How its sockets are to be.
    pub fn access(&self) -> &valecast_config::SocketAccess {
        &self.cfg.socket
    }
}
