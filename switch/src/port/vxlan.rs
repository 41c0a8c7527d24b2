//! `vxlan`: a tunnel to another host, Ethernet in UDP (RFC 7348).
//!
//! Each port has a socket that receives and a few that send (`sockets`). The kernel sorts what arrives at a shared
//! address by network number and sender, so each port reads its own frames only. Batches go in and out by `quinn-udp`:
//! datagrams of one size and flow in one call (GSO), and likewise back (GRO).

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::Socket;
use valecast_config::VxlanPort;

use super::{Ingress, OpenError, Opened};
use crate::counters::Cause;
use crate::frame::Burst;

mod egress;
mod sockets;

use egress::VxlanEgress;

/// Bytes of a VXLAN header.
const HEADER: usize = 8;
/// The flag that says that there is a network number.
const HAS_VNI: u8 = 0x08;
/// Most bytes of a datagram, over IPv4.
const MAX_DATAGRAM: usize = 65507;
/// Bytes of a receive buffer: as many as the kernel puts together.
const BUFFER: usize = 1 << 16;

/// The header of network `vni`.
fn header(vni: u32) -> [u8; HEADER] {
    let [_, a, b, c] = vni.to_be_bytes();
    [HAS_VNI, 0, 0, 0, a, b, c, 0]
}

/// The frame in a datagram from `from`, if that is `remote` and the network is `vni`. What is reserved is ignored, as the
/// RFC wants it.
fn frame_of(datagram: &[u8], from: SocketAddr, remote: SocketAddr, vni: u32) -> Result<&[u8], Cause> {
    let Some((head, frame)) = datagram.split_first_chunk::<HEADER>() else { return Err(Cause::Malformed) };
    if head[0] & HAS_VNI == 0 {
        return Err(Cause::Malformed);
    }
    if from.ip() != remote.ip() || head[4..7] != vni.to_be_bytes()[1..] {
        return Err(Cause::Stranger);
    }
    Ok(frame)
}

/// What was received and not yet given away.
#[derive(Clone, Copy)]
struct Received {
    at: usize,
    len: usize,
    reject: Option<Cause>,
}

/// Frames from the other end.
struct VxlanIngress {
    socket: Arc<Socket>,
    state: Arc<UdpSocketState>,
    remote: SocketAddr,
    vni: u32,
    buffers: Box<[u8]>,
    received: Vec<Received>,
    /// How many of them are done with.
    done: usize,
}

impl VxlanIngress {
    /// Reads what is there, if all before is done with; whether there is anything.
    fn read(&mut self) -> bool {
        if self.done < self.received.len() {
            return true;
        }
        (self.received, self.done) = (std::mem::take(&mut self.received), 0);
        self.received.clear();
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        // Errors are those of datagrams sent before, of which nobody is told.
        for _ in 0..TRIES {
            let mut parts: Vec<_> =
                self.buffers.chunks_exact_mut(BUFFER).map(std::io::IoSliceMut::new).collect();
            match self.state.recv(UdpSockRef::from(&*self.socket), &mut parts, &mut meta) {
                Ok(n) => {
                    meta[..n].iter().enumerate().for_each(|(i, m)| self.sort(i * BUFFER, m));
                    return !self.received.is_empty();
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(_) => {}
            }
        }
        false
    }

    /// Finds the frames in one buffer.
    fn sort(&mut self, at: usize, meta: &RecvMeta) {
        let (len, stride) = (meta.len.min(BUFFER), meta.stride.max(1));
        let mut from = 0;
        // An empty datagram is one, too.
        while from < len || from == 0 {
            let to = (from + stride).min(len);
            let datagram = &self.buffers[at + from..at + to];
            self.received.push(match frame_of(datagram, meta.addr, self.remote, self.vni) {
                Ok(frame) => Received { at: at + to - frame.len(), len: frame.len(), reject: None },
                Err(cause) => Received { at, len: 0, reject: Some(cause) },
            });
            from = to.max(1);
        }
    }
}

/// Errors in a row after which reading is given up for this turn.
const TRIES: u32 = 8;

impl Ingress for VxlanIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        if !self.read() {
            return;
        }
        for r in self.received[self.done..].iter().take(max) {
            match r.reject {
                Some(cause) => burst.push_rejected(1, cause),
                // SAFETY: the frame lies in a buffer that is not read into before all in it is done with.
                None => unsafe { burst.push(self.buffers[r.at..].as_ptr(), r.len, 1) },
            }
        }
    }

    fn complete(&mut self, _burst: &Burst, n: usize) {
        self.done = (self.done + n).min(self.received.len());
    }

    fn arm(&mut self) -> bool {
        !self.read()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

/// Opens the sockets.
pub fn open(name: &str, cfg: &VxlanPort) -> Result<Opened, OpenError> {
    let ends = super::sys::in_netns(cfg.netns.as_deref(), || sockets::open(cfg))?;
    tracing::debug!(port = name, remote = %cfg.remote, vni = cfg.vni, one_piece = ends.one_piece, "VXLAN is open");
    let egress = VxlanEgress::new(cfg, &ends)?;
    let ingress = VxlanIngress {
        socket: ends.receive.clone(),
        state: Arc::new(ends.state),
        remote: cfg.remote,
        vni: cfg.vni,
        buffers: vec![0; BATCH_SIZE * BUFFER].into_boxed_slice(),
        received: Vec::new(),
        done: 0,
    };
    Ok(Opened {
        ingress: vec![Box::new(ingress)],
        egress: Arc::new(egress),
        keep: vec![Box::new(ends.membership)],
    })
}

#[cfg(test)]
#[path = "vxlan_tests.rs"]
mod tests;
