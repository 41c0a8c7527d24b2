//! Frames to the other end. Those of one flow leave from one UDP port (RFC 7348, section 5: a hash of the inner frame), so
//! that routers and network cards can spread flows and keep each in order.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use crossbeam::queue::ArrayQueue;
use foldhash::fast::FixedState;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use socket2::Socket;
use std::hash::BuildHasher;
use valecast_config::VxlanPort;

use super::sockets::{self, Ends};
use super::{HEADER, MAX_DATAGRAM, header};
use crate::frame::{Burst, Entry, Frame};
use crate::port::sys::io::append;
use crate::port::{About, Caps, Egress, OpenError, Tally};

/// Bytes of a frame that tell flows apart: Ethernet, a VLAN tag, an IPv6 header and the ports behind it.
const LOOK: usize = 14 + 4 + 40 + 4;
/// Buffers kept for workers that send at the same time.
const SPARE: usize = 64;
/// Most segments of one call (`UDP_MAX_SEGMENTS` of older kernels).
const SEGMENTS: usize = 64;

/// A socket that sends.
pub struct Sender {
    pub socket: Socket,
    pub state: UdpSocketState,
}

/// Frames to the other end.
pub struct VxlanEgress {
    senders: Vec<Sender>,
    remote: SocketAddr,
    header: [u8; HEADER],
    max_frame: usize,
    /// Bytes of the longest datagram that goes in one piece.
    one_piece: usize,
    hash: FixedState,
    spare: ArrayQueue<Vec<u8>>,
    /// For what the kernel dropped.
    receive: Weak<Socket>,
}

/// Datagrams of one flow and size, one behind the other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    sender: usize,
    /// Bytes of each, but of the last, which may be shorter.
    each: usize,
    count: usize,
    payload: u64,
}

impl VxlanEgress {
    pub(super) fn new(cfg: &VxlanPort, ends: &Ends) -> Result<Self, OpenError> {
        let senders = super::super::sys::in_netns(cfg.netns.as_deref(), || sockets::senders(cfg))?;
        let most = MAX_DATAGRAM - HEADER;
        // The MTU is that of what is in an Ethernet frame, which may have a tag.
        let max_frame = cfg.mtu.map_or(most, |mtu| (mtu as usize + 18).min(most));
        Ok(Self {
            senders,
            remote: cfg.remote,
            header: header(cfg.vni),
            max_frame,
            one_piece: ends.one_piece,
            hash: FixedState::with_seed(u64::from(cfg.vni)),
            spare: ArrayQueue::new(SPARE),
            receive: Arc::downgrade(&ends.receive),
        })
    }

    fn flow(&self, burst: &Burst, f: &Frame) -> usize {
        if self.senders.len() == 1 {
            return 0;
        }
        let mut bytes = [0u8; LOOK];
        burst.bytes_of(f).read(0, &mut bytes);
        (self.hash.hash_one(flow_key(&bytes)) % self.senders.len() as u64) as usize
    }

    /// Sends what is in `batch`, and empties it.
    fn flush(&self, batch: &mut Batch, tally: &mut Tally) {
        if batch.count == 0 {
            return;
        }
        let sender = &self.senders[batch.sender];
        let send = |contents: &[u8], each: Option<usize>| {
            let (destination, ecn, src_ip) = (self.remote, None, None);
            let transmit = Transmit { destination, ecn, contents, segment_size: each, src_ip };
            sender.state.try_send(UdpSockRef::from(&sender.socket), &transmit)
        };
        let together = if batch.count > 1 { send(&batch.bytes, Some(batch.each)).is_ok() } else { false };
        if together {
            tally.frames += batch.count as u64;
            tally.bytes += batch.payload;
        } else {
            // One alone; or the kernel would not take them together.
            for datagram in batch.bytes.chunks(batch.each) {
                if send(datagram, None).is_ok() {
                    tally.frames += 1;
                    tally.bytes += (datagram.len() - HEADER) as u64;
                } else {
                    tally.tx_error += 1;
                }
            }
        }
        batch.bytes.clear();
        (batch.count, batch.payload) = (0, 0);
    }
}

/// What a frame's flow is told by: its addresses, and those of IP with the ports of TCP and UDP.
fn flow_key(bytes: &[u8; LOOK]) -> [u8; 50] {
    let mut key = [0; 50];
    key[..12].copy_from_slice(&bytes[..12]);
    let at = if bytes[12..14] == [0x81, 0] { 4 } else { 0 };
    let (kind, ip) = (&bytes[12 + at..14 + at], &bytes[14 + at..]);
    let ported = |protocol: u8| protocol == 6 || protocol == 17;
    match kind {
        [8, 0] => {
            key[12..20].copy_from_slice(&ip[12..20]);
            let (long, whole) = (usize::from(ip[0] & 15) * 4, ip[6] & 0x3f == 0 && ip[7] == 0);
            // Fragments have no ports; all of one datagram must go the same way.
            if let (true, true, Some(ports)) = (ported(ip[9]), whole, ip.get(long..long + 4)) {
                key[44..48].copy_from_slice(ports);
            }
        }
        [0x86, 0xdd] => {
            key[12..44].copy_from_slice(&ip[8..40]);
            if let (true, Some(ports)) = (ported(ip[6]), ip.get(40..44)) {
                key[44..48].copy_from_slice(ports);
            }
        }
        _ => key[48..].copy_from_slice(kind),
    }
    key
}

impl Egress for VxlanEgress {
    fn caps(&self) -> Caps {
        Caps { vnet: false, max_frame: self.max_frame, max_run: usize::MAX, queues: 1 }
    }

    fn about(&self) -> About {
        let drops = self.receive.upgrade().map_or(0, |s| sockets::drops(&s));
        About { kernel_drops: vec![("socket_full", drops)], ..About::default() }
    }

    fn put(&self, burst: &Burst, list: &[Entry], _lane: usize, _now: u64) -> Tally {
        let mut tally = Tally::default();
        let mut batch = Batch { bytes: self.spare.pop().unwrap_or_default(), ..Batch::default() };
        for e in list {
            let f = &burst.frames[usize::from(e.frame)];
            let (sender, len) = (self.flow(burst, f), f.len() + HEADER);
            let most = self.senders[sender].state.max_gso_segments().min(SEGMENTS);
            let fits = batch.count > 0
                && batch.count < most
                && batch.sender == sender
                && len <= batch.each
                && batch.each <= self.one_piece
                && batch.bytes.len() + len <= MAX_DATAGRAM;
            if !fits {
                self.flush(&mut batch, &mut tally);
                (batch.sender, batch.each) = (sender, len);
            }
            batch.bytes.extend_from_slice(&self.header);
            append(&mut batch.bytes, burst, *e);
            batch.count += 1;
            batch.payload += f.len() as u64;
            if len < batch.each {
                // A shorter one is the last.
                self.flush(&mut batch, &mut tally);
            }
        }
        self.flush(&mut batch, &mut tally);
        // Full means that there are plenty.
        let _ = self.spare.push(batch.bytes);
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(f: &[u8]) -> [u8; 50] {
        let mut bytes = [0; LOOK];
        bytes[..f.len().min(LOOK)].copy_from_slice(&f[..f.len().min(LOOK)]);
        flow_key(&bytes)
    }

    #[test]
    fn flows_are_told_apart_and_fragments_are_not() {
        let frame = |port: u16, more: u8| {
            let mut f = vec![0u8; 60];
            f[12] = 8;
            f[14] = 0x45;
            f[20] = more;
            f[23] = 17;
            f[26..30].copy_from_slice(&[10, 0, 0, 1]);
            f[34..36].copy_from_slice(&port.to_be_bytes());
            f
        };
        assert_ne!(key(&frame(1, 0)), key(&frame(2, 0)));
        assert_eq!(key(&frame(1, 0x20)), key(&frame(2, 0x20)), "ports of a fragment");
        let tagged = |port| {
            let mut f = frame(port, 0);
            f.splice(12..12, [0x81, 0, 0, 7]);
            f
        };
        assert_eq!(key(&tagged(1)), key(&frame(1, 0)));
        assert_ne!(key(&tagged(1)), key(&tagged(2)));
        let six = |port: u8| {
            let mut f = vec![0u8; 62];
            f[12..14].copy_from_slice(&[0x86, 0xdd]);
            f[20] = 6;
            f[57] = port;
            f
        };
        assert_ne!(key(&six(1)), key(&six(2)));
        assert_ne!(key(&six(1))[44..48], [0; 4]);
        // Options so long that the ports are not seen.
        let mut long = frame(1, 0);
        long[14] = 0x4f;
        assert_eq!(key(&long)[44..48], [0; 4]);
    }
}
