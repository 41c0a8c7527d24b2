//! `xdp`: an interface that exists, through AF_XDP sockets, one per receive queue.
//!
//! An XDP program on the interface (`bpf`) hands its frames to the sockets, so the switch gets them instead of
//! the host. Frames come by reference, out of memory that the kernel wrote them to (`socket`); frames to the
//! interface are copied once, into the same memory (`egress`). Between the two lie rings (`rings`), as
//! between the switch and its clients. The kernel says nothing of checksums left undone; `partial` sees them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use valecast_config::{XdpMode, XdpPort};
use valecast_ring::SlotFlags;

use super::ring::{Each, Extras, take_slots};
use super::sys::{self, Iface, OVER_MTU};
use super::{Ingress, OpenError, Opened};
use crate::frame::Burst;

mod bpf;
mod egress;
mod partial;
mod rings;
mod socket;

use egress::XdpEgress;
use socket::{Failure, Receive, Shape, Socket, Transmit};

const CAPABILITY: &str = "CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF";
/// Most queues, as of other kinds.
const MOST_QUEUES: u32 = 16;

/// Frames of one receive queue.
struct XdpIngress {
    socket: Arc<Socket>,
    receive: Receive,
    fill_checksums: bool,
}

impl XdpIngress {
    /// Says which frames still need their checksum.
    fn mark(burst: &mut Burst) {
        for i in 0..burst.taken() {
            let f = burst.frames[i];
            let looked_at = partial::first_bytes(f.len());
            if f.reject.is_some() || f.is_in_pieces() || looked_at < usize::from(f.head_len) {
                continue;
            }
            // SAFETY: the tail follows the head in memory that nobody writes before the frame is done with: a
            // chunk that was taken from the kernel, or the burst's own.
            let first = unsafe { std::slice::from_raw_parts(f.tail.sub(usize::from(f.head_len)), looked_at) };
            if let Some(vnet) = partial::left_to_do(first) {
                burst.frames[i].vnet = burst.add_vnet(vnet);
            }
        }
    }
}

impl Ingress for XdpIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        let pending = self.receive.frames.pending();
        if pending == 0 {
            return;
        }
        let (frames, socket) = (&self.receive.frames, &self.socket);
        let slot = |i| {
            let d = frames.get(i);
            let more = d.options & libc::XDP_PKT_CONTD != 0;
            let flags = if more { SlotFlags::MORE_FRAG } else { SlotFlags::empty() };
            let len = d.len as usize;
            socket.bytes(d.addr, len).map(|p| (p.cast_const(), len, flags))
        };
        // SAFETY: chunks that were taken from the kernel stay as they are until they are put into the fill
        // ring, which is when the burst is done with.
        unsafe { take_slots(burst, pending, max, Extras::default(), Each(slot)) };
        if self.fill_checksums {
            Self::mark(burst);
        }
    }

    fn complete(&mut self, burst: &Burst, n: usize) {
        let slots = burst.slots(n);
        let chunk = u64::from(self.socket.shape().chunk);
        for i in 0..slots {
            self.receive.fill.push(self.receive.frames.get(i).addr & !(chunk - 1));
        }
        self.receive.frames.release(slots);
        self.receive.fill.publish();
        if self.receive.fill.needs_wakeup() {
            self.socket.wake_fill();
        }
    }

    fn arm(&mut self) -> bool {
        self.receive.frames.pending() == 0
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

/// Opens the interface.
pub fn open(name: &str, cfg: &XdpPort) -> Result<Opened, OpenError> {
    let made = sys::in_netns(cfg.netns.as_deref(), || make(cfg))?;
    let (mode, queues, memory) = (made.mode.name(), made.queues.len(), made.egress.memory());
    tracing::info!(port = name, interface = cfg.interface, mode, queues, memory, "AF_XDP sockets are open");
    let fill_checksums = cfg.fill_checksums;
    let ingress = made
        .queues
        .into_iter()
        .map(|(socket, receive)| Box::new(XdpIngress { socket, receive, fill_checksums }) as _)
        .collect();
    Ok(Opened { ingress, egress: Arc::new(made.egress), keep: vec![Box::new(made.keep)] })
}

/// What a port consists of.
struct Made {
    mode: XdpMode,
    queues: Vec<(Arc<Socket>, Receive)>,
    egress: XdpEgress,
    /// The program's link to the interface, and what keeps the interface promiscuous.
    keep: (OwnedFd, Option<OwnedFd>),
}

/// All of it, for an interface in the network namespace of this thread.
fn make(cfg: &XdpPort) -> Result<Made, OpenError> {
    let (iface, index, mtu) = sys::find(&cfg.interface, cfg.netns.as_deref(), CAPABILITY)?;
    let (have_rx, have_tx) = iface.queues();
    let queues = cfg.queues.map_or(have_rx.min(MOST_QUEUES), u32::from);
    if queues > have_rx {
        return Err(OpenError::File(format!(
            "interface {} has {have_rx} receive queues in use, `queues = {queues}` asks for more \
             (`ethtool -L` changes how many it uses)",
            cfg.interface
        )));
    }
    let longest = mtu + OVER_MTU;
    let shape = Shape::new(cfg.slots, longest);
    let modes = match cfg.mode {
        XdpMode::Auto => &[XdpMode::Native, XdpMode::Copy, XdpMode::Generic][..],
        ref one => std::slice::from_ref(one),
    };
    let mut modes = modes.iter().copied();
    let (mode, (sockets, link)) = loop {
        let Some(mode) = modes.next() else { return Err(OpenError::File("no mode is left".into())) };
        match attempt(shape, index, queues, mode) {
            Ok(made) => break (mode, made),
            Err((what, e)) if modes.len() > 0 && another_mode_may_help(e) => {
                let (interface, mode) = (&cfg.interface, mode.name());
                tracing::debug!(interface, mode, "cannot {what} the interface in this mode: {e}");
            }
            Err(failure) => return Err(explain(failure, cfg, mode, mtu)),
        }
    };
    let promiscuous = if cfg.promiscuous {
        let what = format!("cannot take frames for any address from interface {}", cfg.interface);
        Some(promiscuous(index).map_err(sys::refused(what, CAPABILITY))?)
    } else {
        None
    };
    let (mut ingress, mut transmits) = (Vec::new(), Vec::new());
    for (socket, receive, transmit) in sockets {
        let socket = Arc::new(socket);
        transmits.push((socket.clone(), transmit));
        ingress.push((socket, receive));
    }
    let sending = have_tx.min(queues) as usize;
    let egress = XdpEgress::new(transmits, sending, longest, mode, iface, index);
    Ok(Made { mode, queues: ingress, egress, keep: (link, promiscuous) })
}

/// A socket that nothing is read from; the kernel keeps the interface promiscuous while it is open.
fn promiscuous(index: i32) -> nix::Result<OwnedFd> {
    let socket = sys::packet_socket()?;
    sys::packet_promiscuous(socket.as_fd(), index)?;
    Ok(socket)
}

type Sockets = (Vec<(Socket, Receive, Transmit)>, OwnedFd);

fn attempt(shape: Shape, index: i32, queues: u32, mode: XdpMode) -> Result<Sockets, Failure> {
    let map = bpf::Sockets::new(queues).map_err(|e| ("make an XDP socket map for", e))?;
    let mut sockets = Vec::new();
    for queue in 0..queues {
        let made = Socket::new(shape, index, queue, mode == XdpMode::Native)?;
        map.set(queue, made.0.as_fd()).map_err(|e| ("enter a socket into the map of", e))?;
        sockets.push(made);
    }
    let program = bpf::load(&map, shape.frags).map_err(|e| ("load the XDP program for", e))?;
    let link = bpf::attach(program.as_fd(), index, mode != XdpMode::Generic).map_err(|e| (ATTACH, e))?;
    Ok((sockets, link))
}

const ATTACH: &str = "attach the XDP program to";

/// Not so if rights or memory are missing, or somebody else has the interface.
fn another_mode_may_help(e: Errno) -> bool {
    use Errno::{EACCES, EAFNOSUPPORT, EBUSY, EEXIST, ENETDOWN, ENOBUFS, ENODEV, ENOMEM, EPERM};
    !matches!(e, EPERM | EACCES | EBUSY | EEXIST | ENOBUFS | ENOMEM | ENODEV | ENETDOWN | EAFNOSUPPORT)
}

/// The failure, and what to do about it.
fn explain((what, e): Failure, cfg: &XdpPort, mode: XdpMode, mtu: usize) -> OpenError {
    let interface = &cfg.interface;
    let hint = match (e, what) {
        (Errno::EBUSY | Errno::EEXIST, ATTACH) => {
            format!("another XDP program is on it; `ip link set dev {interface} xdp off` may take it off")
        }
        (Errno::EBUSY, _) => "another AF_XDP socket has this queue, maybe of another port".into(),
        (Errno::EAFNOSUPPORT, _) => {
            "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): use `kind = \"packet\"`".into()
        }
        (Errno::ENOBUFS, _) => {
            "needs CAP_IPC_LOCK, or a higher limit on locked memory (`ulimit -l`), or fewer `slots`".into()
        }
        (Errno::ENETDOWN, _) => format!("it is down: `ip link set dev {interface} up`"),
        (Errno::ERANGE, ATTACH) => format!("its MTU of {mtu}, or its peer's, is too large for this mode"),
        (Errno::EPERM | Errno::EACCES | Errno::ENODEV | Errno::ENOMEM, _) => String::new(),
        _ if cfg.mode != XdpMode::Auto => {
            format!("`mode = \"{}\"` is refused; \"auto\" takes the best that it allows", mode.name())
        }
        _ => String::new(),
    };
    let hint = if hint.is_empty() { hint } else { format!(" ({hint})") };
    sys::refused(format!("cannot {what} interface {interface}{hint}"), CAPABILITY)(e)
}

/// Whether the interface that was number `index` is there, and up.
fn state(iface: &Iface, index: i32) -> &'static str {
    match (iface.index(), iface.is_up()) {
        (Ok(now), Ok(up)) if now == index => {
            if up {
                "up"
            } else {
                "down"
            }
        }
        _ => "gone",
    }
}

#[cfg(test)]
#[path = "xdp_tests.rs"]
mod tests;
