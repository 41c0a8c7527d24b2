//! `packet`: an interface that exists, through a packet socket.
//!
//! The socket always speaks with offload headers, so that frames whose checksum or segmentation the kernel put
//! off (any from the other end of a veth) are finished by whoever needs it. The configuration's
//! `offload` only says whether frames may *leave* unfinished.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use valecast_config::PacketPort;

use super::sys::io::{self, BATCH, FRAME_AT, Received, TAG};
use super::sys::slots::{SLOTS, Slot, Slots};
use super::sys::{self, MAX_FRAME, OVER_MTU};
use super::{Caps, Egress, Ingress, OpenError, Opened, Tally};
use crate::frame::{Burst, Entry};

const CAPABILITY: &str = "CAP_NET_RAW";
const STRIDE: usize = FRAME_AT + MAX_FRAME;
/// Bytes that may wait in the kernel, either way.
const SOCKET_BUFFER: usize = 16 << 20;
/// Errors in a row after which reading is given up for this turn.
const TRIES: u32 = 8;

/// Frames that the interface received.
struct PacketIngress {
    name: String,
    socket: Arc<OwnedFd>,
    slots: Slots,
}

/// What came of reading.
#[derive(PartialEq)]
enum Read {
    /// Some, and there may be more.
    Frames,
    /// Some, and these were all.
    Last,
    Nothing,
    /// There may be more.
    Trouble,
}

impl PacketIngress {
    fn read(&mut self, most: usize) -> Read {
        let mut got = [Received::default(); BATCH];
        for _ in 0..TRIES {
            match io::receive_batch(self.socket.as_fd(), self.slots.free(most), STRIDE, &mut got) {
                Ok(0) | Err(Errno::EAGAIN | Errno::ENODEV | Errno::ENXIO) => return Read::Nothing,
                Ok(n) => {
                    for r in &got[..n] {
                        let slot = place(self.slots.free(1), r);
                        self.slots.fill(slot);
                    }
                    return if n < most.min(BATCH) { Read::Last } else { Read::Frames };
                }
                // The interface went down, once told; or one frame's offload has no name in the header.
                Err(_) => {}
            }
        }
        Read::Trouble
    }
}

/// Puts a VLAN tag that the kernel took out back into a frame.
fn place(buffer: &mut [u8], r: &Received) -> Slot {
    let mut slot = Slot { at: FRAME_AT, len: r.len, vnet: r.vnet, cut: r.cut };
    if let (Some((tpid, tci)), false) = (r.tag, r.cut || r.len < 12) {
        slot.at -= TAG;
        slot.len += TAG;
        buffer.copy_within(FRAME_AT..FRAME_AT + 12, slot.at);
        buffer[slot.at + 12..slot.at + 14].copy_from_slice(&tpid.to_be_bytes());
        buffer[slot.at + 14..slot.at + 16].copy_from_slice(&tci.to_be_bytes());
        if slot.vnet.is_needed() {
            // These count from the beginning of the frame.
            slot.vnet.csum_start = slot.vnet.csum_start.saturating_add(TAG as u16);
            slot.vnet.hdr_len = slot.vnet.hdr_len.saturating_add(TAG as u16);
        }
    }
    if slot.cut {
        slot.len = 0;
    }
    slot
}

impl Ingress for PacketIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        let most = max.min(SLOTS);
        while self.slots.len() < most && self.read(most - self.slots.len()) == Read::Frames {}
        self.slots.give(burst, max);
    }

    fn complete(&mut self, _burst: &Burst, n: usize) {
        self.slots.done(n);
    }

    fn arm(&mut self) -> bool {
        self.slots.len() == 0 && self.read(1) == Read::Nothing
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

impl Drop for PacketIngress {
    fn drop(&mut self) {
        let drops = sys::packet_drops(self.socket.as_fd()).unwrap_or(0);
        if drops > 0 {
            tracing::info!(port = self.name, drops, "the kernel dropped frames that were not read in time");
        }
    }
}

/// Frames to the interface.
struct PacketEgress {
    socket: Arc<OwnedFd>,
    offload: bool,
    max_frame: usize,
}

impl Egress for PacketEgress {
    fn caps(&self) -> Caps {
        Caps { vnet: self.offload, max_frame: self.max_frame, max_run: usize::MAX, queues: 1 }
    }

    fn put(&self, burst: &Burst, list: &[Entry], _lane: usize, _now: u64) -> Tally {
        let mut tally = Tally::default();
        let mut rest = list;
        while !rest.is_empty() {
            match io::send_batch(self.socket.as_fd(), burst, rest) {
                Ok(n) if n > 0 => {
                    let (sent, left) = rest.split_at(n);
                    tally.frames += n as u64;
                    tally.bytes +=
                        sent.iter().map(|e| burst.frames[usize::from(e.frame)].len() as u64).sum::<u64>();
                    rest = left;
                }
                // The first was refused: too long, or no room, or the interface is down. Others may pass.
                _ => {
                    tally.tx_error += 1;
                    rest = &rest[1..];
                }
            }
        }
        tally
    }
}

/// Opens the interface.
pub fn open(name: &str, cfg: &PacketPort) -> Result<Opened, OpenError> {
    let (socket, mtu) = sys::in_netns(cfg.netns.as_deref(), || bound(cfg))?;
    tracing::debug!(port = name, interface = cfg.interface, mtu, "packet socket is open");
    let socket = Arc::new(socket);
    let ingress = PacketIngress { name: name.into(), socket: socket.clone(), slots: Slots::new(STRIDE) };
    let egress = PacketEgress { socket, offload: cfg.offload, max_frame: mtu + OVER_MTU };
    Ok(Opened { ingress: vec![Box::new(ingress)], egress: Arc::new(egress), keep: Vec::new() })
}

/// A socket on the interface, which belongs to the network namespace of this thread; the interface's MTU.
fn bound(cfg: &PacketPort) -> Result<(OwnedFd, usize), OpenError> {
    let what = |text: &str| sys::refused(format!("cannot {text} interface {}", cfg.interface), CAPABILITY);
    let (_, index, mtu) = sys::find(&cfg.interface, cfg.netns.as_deref(), CAPABILITY)?;
    let socket = sys::packet_socket().map_err(what("open a packet socket for"))?;
    let fd = socket.as_fd();
    // Everything before `bind`, so that no frame arrives in another form.
    sys::packet_enable(fd, libc::PACKET_VNET_HDR).map_err(what("set offload headers for"))?;
    sys::packet_enable(fd, libc::PACKET_AUXDATA).map_err(what("ask for the VLAN tags of"))?;
    sys::packet_enable(fd, libc::PACKET_IGNORE_OUTGOING).map_err(what("ignore own frames of"))?;
    // The limit of the system may be far below; then as much as it allows.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER).map_err(what("set the receive buffer of"))?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER).map_err(what("set the send buffer of"))?;
    }
    sys::packet_bind(fd, index).map_err(what("bind to"))?;
    if cfg.promiscuous {
        sys::packet_promiscuous(fd, index).map_err(what("take frames for any address from"))?;
    }
    Ok((socket, mtu))
}

#[cfg(test)]
#[path = "packet_tests.rs"]
pub(super) mod tests;
