//! A port of kind `e1000` from its configuration.

use std::hash::Hasher;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};
use valecast_config::{E1000Port, Port, PortKind};
use valecast_switch::daemon::SocketFile;
use valecast_switch::port::outside::{Kind, Served, Site};
use valecast_switch::port::{About, OpenError};

use super::registers::{Registers, identity};
use super::serve::{Serving, client};
use super::shared::Shared;
use crate::e1000::device::Settings;
use crate::e1000::interrupt::ITR_UNIT;
use crate::vfio_user::{Bus, Peer, Server, Session};

/// Ports of kind `e1000`.
#[derive(Clone, Copy, Debug, Default)]
pub struct E1000;

impl Kind for E1000 {
    fn name(&self) -> &'static str {
        "e1000"
    }

    fn serve(&self, port: &Port, site: Site) -> Result<Box<dyn Served>, OpenError> {
        let PortKind::E1000(cfg) = &port.kind else {
            return Err(OpenError::File(format!("port {:?} is not of kind e1000", port.name)));
        };
        Ok(Box::new(Running::start(cfg, site)?))
    }
}

/// Whose monitors may come: users and groups.
type Allowed = Arc<Mutex<(Vec<String>, Vec<String>)>>;

/// A port that is being served.
struct Running {
    /// As it was made. What a guest or the socket's place depends on stays so.
    made: E1000Port,
    mac: [u8; 6],
    allowed: Allowed,
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    /// Removed when the thread has ended.
    _socket: SocketFile,
}

fn settings(cfg: &E1000Port, mac: [u8; 6]) -> Settings {
    Settings {
        mac,
        csb: cfg.csb,
        itr_floor: u64::from(cfg.itr) * ITR_UNIT,
        moderation: cfg.moderation,
        tx_idle_polls: cfg.tx_idle_polls,
    }
}

/// The address of a port for which none is configured: locally administered, and the same each time.
pub fn default_mac(switch: &str, port: &str) -> [u8; 6] {
    // FNV-1a: std's hasher may change from one release to the next. Its low bits are the better mixed ones.
    let mut h = Fnv(0xcbf2_9ce4_8422_2325);
    h.write(switch.as_bytes());
    h.write(b":");
    h.write(port.as_bytes());
    let [a, b, c, d, e, ..] = h.finish().to_le_bytes();
    [0x02, a, b, c, d, e]
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Running {
    fn start(cfg: &E1000Port, site: Site) -> Result<Self, OpenError> {
        let os = |what: &str| {
            let what = what.to_owned();
            |source: std::io::Error| OpenError::Os { what, source }
        };
        let wrong = |e: &dyn std::fmt::Display| OpenError::File(e.to_string());
        let id = identity(cfg.csb);
        let mac = cfg.mac.map_or_else(|| default_mac(site.switch(), site.port()), |m| m.0);
        let shared = Shared::new(settings(cfg, mac), Bus::new(&id)).map_err(os("eventfd"))?;
        let shared = Arc::new(shared);
        let allowed = Allowed::default();
        let names = allowed.clone();
        let gate = move |peer: &Peer| {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            Site::admits(&names.0, &names.1, client(*peer))
        };
        let registers = Registers::new(shared.clone(), Box::new(gate));
        let session = Session::new(&id, shared.bus.clone(), registers).map_err(|e| wrong(&e))?;
        let (socket, listener) = site.listen()?;
        let server = Server::from_listener(listener, session).map_err(|e| wrong(&e))?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = Arc::new(EventFd::from_flags(flags).map_err(|e| os("eventfd")(e.into()))?);
        let made = cfg.clone();
        let mut running =
            Self { made, mac, allowed, shared: shared.clone(), stop, thread: None, _socket: socket };
        running.set(cfg);
        let serving = Serving { server, shared: shared.clone(), site };
        let stopped = running.stop.clone();
        let name = format!("e1000-{}", serving.site.port());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let (switch, port) = (serving.site.switch().to_owned(), serving.site.port().to_owned());
            let span = tracing::info_span!("e1000", switch, port);
            let _inside = span.enter();
            serving.run(stopped.as_fd());
        });
        running.thread = Some(thread.map_err(os("start the port's thread"))?);
        Ok(running)
    }

    /// What can change under a living VM.
    fn set(&self, cfg: &E1000Port) {
        self.shared.device.adjust(settings(cfg, self.mac));
        // ORDERING: Relaxed; a figure by itself, looked at again after this (`Egress::renewed`).
        self.shared.mtu.store(cfg.mtu.unwrap_or(0), Ordering::Relaxed);
        let names = (cfg.allow_users.clone(), cfg.allow_groups.clone());
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

impl Served for Running {
    fn update(&self, port: &Port) -> bool {
        let PortKind::E1000(to) = &port.kind else { return false };
        let fixed = |p: &E1000Port| (p.socket.clone(), p.mac, p.csb);
        let can = fixed(to) == fixed(&self.made);
        if can {
            self.set(to);
            tracing::info!(port = port.name, "changed; a VM that is there stays");
        }
        can
    }

    fn about(&self) -> About {
        let (d, bus) = (&self.shared.device, &self.shared.bus);
        let (figures, c) = (d.interrupts(), bus.counters());
        let exits = c.reads.get() + c.writes.get();
        let mut counters = vec![
            ("exits", exits),
            ("exits_posted", c.posted.get()),
            ("interrupts", figures.raised),
            ("interrupts_moderated", figures.moderated),
            // ORDERING: Relaxed; a count.
            ("interrupts_timed", self.shared.timed.load(Ordering::Relaxed)),
            ("interrupts_signalled", bus.interrupt().signals()),
        ];
        counters.extend(d.counters.all());
        counters.extend([
            ("vms", c.clients.get()),
            ("vms_turned_away", c.turned_away.get()),
            ("vms_cut", c.broken.get()),
            ("requests_refused", c.refused.get()),
            ("dma_maps", c.maps.get()),
            ("dma_unmaps", c.unmaps.get()),
        ]);
        let guard = crossbeam::epoch::pin();
        let memory = bus.memory(&guard);
        let state = if memory.unshared() {
            Some("unshared")
        } else if memory.cut_off() {
            Some("cut_off")
        } else {
            None
        };
        let mode = (memory.maps() > 0).then(|| if d.uses_csb() { "csb" } else { "registers" });
        About { state, mode, counters, ..About::default() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_local_and_differ() {
        let macs = [("vale0", "vm1"), ("vale0", "vm2"), ("vale1", "vm1"), ("vale", "0:vm1")];
        let mut macs = macs.map(|(s, p)| default_mac(s, p));
        assert_eq!(macs[0], default_mac("vale0", "vm1"));
        assert!(macs.iter().all(|m| m[0] == 2), "locally administered, one receiver");
        macs.sort_unstable();
        assert!(macs.windows(2).all(|w| w[0] != w[1]));
    }
}
