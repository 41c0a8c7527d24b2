//! `tap`: a TAP interface, one source per queue.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use valecast_config::TapPort;

use super::sys::packed::Packed;
use super::sys::{self, Iface, MAX_FRAME, io, merge, netlink};
use super::{About, Caps, Egress, Ingress, OpenError, Opened, Tally};
use crate::frame::{Burst, Entry, VnetHdr};

const DEVICE: &str = "/dev/net/tun";
const CAPABILITY: &str = "CAP_NET_ADMIN";

/// What the kernel may leave to us, most first; older kernels do not know the UDP ones.
const OFFLOADS: [libc::c_uint; 3] = {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let ecn = tcp | libc::TUN_F_TSO_ECN;
    [ecn | libc::TUN_F_USO4 | libc::TUN_F_USO6, ecn, tcp]
};

/// One queue's frames from the kernel.
struct TapIngress {
    queue: Arc<File>,
    frames: Packed,
}

impl TapIngress {
    /// Reads one frame; `false` if there is none, or no room for it.
    fn read(&mut self) -> bool {
        loop {
            let Some(free) = self.frames.free() else { return false };
            match nix::unistd::read(&self.queue, free) {
                Ok(n) if n > 0 => {
                    if self.frames.fill(n) {
                        return true;
                    }
                }
                Err(Errno::EINTR) => {}
                // Nothing there; or the interface is down or gone, which comes to the same.
                _ => return false,
            }
        }
    }
}

impl Ingress for TapIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        while self.frames.len() < max && self.read() {}
        self.frames.give(burst, max);
    }

    fn complete(&mut self, _burst: &Burst, n: usize) {
        self.frames.done(n);
    }

    fn arm(&mut self) -> bool {
        self.frames.len() == 0 && !self.read()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }
}

/// Frames to the kernel.
struct TapEgress {
    queues: Vec<Arc<File>>,
    offload: bool,
    /// The kernel knows segmentation of UDP.
    udp: bool,
    /// Frames that went as part of a larger one.
    merged: AtomicU64,
}

impl Egress for TapEgress {
    fn caps(&self) -> Caps {
        // The MTU binds what the kernel sends, not what it gets.
        Caps {
            vnet: self.offload,
            max_frame: usize::from(u16::MAX),
            max_run: usize::MAX,
            queues: self.queues.len(),
        }
    }

    fn about(&self) -> About {
        let merged = self.merged.load(Ordering::Relaxed);
        About { counters: vec![("merged_frames", merged)], ..About::default() }
    }

    fn takes(&self, offload: VnetHdr) -> bool {
        self.udp || offload.gso_type & !VnetHdr::GSO_ECN != VnetHdr::GSO_UDP_L4
    }

    fn put(&self, burst: &Burst, list: &[Entry], lane: usize, _now: u64) -> Tally {
        let queue = self.queues[lane % self.queues.len()].as_fd();
        let mut tally = Tally::default();
        let mut rest = list;
        while !rest.is_empty() {
            let run = if self.offload { merge::run(burst, rest) } else { None };
            let (now, later) = rest.split_at(run.as_ref().map_or(1, |r| r.frames));
            let bytes = |e: &Entry| burst.frames[usize::from(e.frame)].len() as u64;
            match run.map(|run| io::write_run(queue, burst, now, &run)) {
                Some(Ok(())) => {
                    self.merged.fetch_add(now.len() as u64, Ordering::Relaxed);
                    tally.frames += now.len() as u64;
                    tally.bytes += now.iter().map(bytes).sum::<u64>();
                }
                // One alone; or the kernel would not take them together.
                _ => {
                    for e in now {
                        match io::write_frame(queue, burst, *e) {
                            Ok(()) => {
                                tally.frames += 1;
                                tally.bytes += bytes(e);
                            }
                            Err(_) => tally.tx_error += 1,
                        }
                    }
                }
            }
            rest = later;
        }
        tally
    }
}

/// Makes the interface, or attaches to it if it is a TAP already, and configures it.
pub fn open(name: &str, cfg: &TapPort) -> Result<Opened, OpenError> {
    let (queues, udp) = sys::in_netns(cfg.netns.as_deref(), || create(cfg))?;
    tracing::debug!(port = name, interface = cfg.ifname, queues = queues.len(), "TAP is open");
    let ingress = queues
        .iter()
        .map(|q| {
            Box::new(TapIngress { queue: q.clone(), frames: Packed::new(VnetHdr::LEN + MAX_FRAME) }) as _
        })
        .collect();
    Ok(Opened {
        ingress,
        egress: Arc::new(TapEgress { queues, offload: cfg.offload, udp, merged: AtomicU64::new(0) }),
        keep: Vec::new(),
    })
}

/// Queues of the interface, which belongs to the network namespace of this thread; and whether the kernel can segment
/// UDP.
fn create(cfg: &TapPort) -> Result<(Vec<Arc<File>>, bool), OpenError> {
    let many = if cfg.queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | many;
    let (mut queues, mut udp) = (Vec::new(), false);
    for _ in 0..cfg.queues.max(1) {
        let queue = device()?;
        sys::tun_queue(&queue, &cfg.ifname, flags).map_err(|e| {
            let what = format!("cannot make or attach to TAP interface {}", cfg.ifname);
            match e {
                Errno::EBUSY => super::os(format!("{what} (another process has it)"))(e),
                Errno::EINVAL => {
                    let hint = "the name is bad, or an interface of that name is no TAP, or \
                                has one queue where several are configured, or the reverse";
                    super::os(format!("{what} ({hint})"))(e)
                }
                Errno::E2BIG => super::os(format!("{what} (it has no queue left)"))(e),
                e => sys::refused(what, CAPABILITY)(e),
            }
        })?;
        udp = configure_queue(&queue, cfg)?;
        queues.push(Arc::new(queue));
    }
    configure_interface(cfg)?;
    Ok((queues, udp))
}

fn device() -> Result<File, OpenError> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(DEVICE).map_err(|source| {
        let hint = match source.kind() {
            ErrorKind::NotFound => " (load the kernel module `tun`, or give the container the device)",
            ErrorKind::PermissionDenied => " (needs read and write access: run as root)",
            _ => "",
        };
        OpenError::Os { what: format!("cannot open {DEVICE}{hint}"), source }
    })
}

/// Whether the kernel can segment UDP.
fn configure_queue(queue: &File, cfg: &TapPort) -> Result<bool, OpenError> {
    let (fd, ifname) = (queue.as_fd(), &cfg.ifname);
    sys::tun_set_header_len(fd, VnetHdr::LEN)
        .map_err(super::os(format!("cannot set the offload header of TAP interface {ifname}")))?;
    let mut result = Ok(());
    let mut set = 0;
    for features in if cfg.offload { &OFFLOADS[..] } else { &[0] } {
        set = *features;
        result = sys::tun_set_offload(fd, set);
        if result != Err(Errno::EINVAL) {
            break;
        }
    }
    result.map_err(super::os(format!("cannot set offloads of TAP interface {ifname}")))?;
    Ok(set & libc::TUN_F_USO4 != 0)
}

fn configure_interface(cfg: &TapPort) -> Result<(), OpenError> {
    let what =
        |text: String| sys::refused(format!("cannot {text} of TAP interface {}", cfg.ifname), CAPABILITY);
    let iface = Iface::new(&cfg.ifname).map_err(what("find the name".into()))?;
    if let Some(mtu) = cfg.mtu {
        iface.set_mtu(mtu).map_err(what(format!("set the MTU {mtu}")))?;
    }
    if let Some(mac) = cfg.mac {
        iface.set_mac(mac.0).map_err(what(format!("set the address {mac}")))?;
    }
    if cfg.up {
        // Before addresses are set: the kernel takes IPv6 ones away from an interface that is down.
        iface.set_up().map_err(what("set the state up".into()))?;
    }
    let index = iface.index().map_err(what("find the index".into()))?;
    for a in &cfg.addresses {
        netlink::add_address(index, a.addr, a.prefix).map_err(what(format!("set the IP address {a}")))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
