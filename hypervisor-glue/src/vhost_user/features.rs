//! What is offered to a guest, and what comes of what it takes.

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net as net;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use valecast_switch::frame::VnetHdr;

/// What a port can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Most pairs of queues.
    pub pairs: u16,
    /// Offloads are offered.
    pub offload: bool,
    /// Longest IP packet that the guest is told of.
    pub mtu: Option<u16>,
    /// Address that the guest is told of, if its monitor asks for it.
    pub mac: [u8; 6],
    /// One worker alone delivers.
    pub exclusive: bool,
}

/// The protocol's own bit among the device's features.
pub const PROTOCOL: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

const fn bit(n: u32) -> u64 {
    1 << n
}

/// Offloads, in both directions.
const OFFLOADS: u64 = bit(net::VIRTIO_NET_F_CSUM)
    | bit(net::VIRTIO_NET_F_GUEST_CSUM)
    | bit(net::VIRTIO_NET_F_HOST_TSO4)
    | bit(net::VIRTIO_NET_F_HOST_TSO6)
    | bit(net::VIRTIO_NET_F_HOST_ECN)
    | bit(net::VIRTIO_NET_F_HOST_USO)
    | bit(net::VIRTIO_NET_F_GUEST_TSO4)
    | bit(net::VIRTIO_NET_F_GUEST_TSO6)
    | bit(net::VIRTIO_NET_F_GUEST_ECN)
    | bit(net::VIRTIO_NET_F_GUEST_USO4)
    | bit(net::VIRTIO_NET_F_GUEST_USO6);

/// Protocol features. BACKEND_REQ: nothing is ever asked of the front end, but user-mode Linux takes the device away
/// again without its socket.
pub fn protocol() -> u64 {
    (VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::MTU
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
        .bits()
}

impl Shape {
    /// Features offered. The control queue is the monitor's own.
    pub fn features(&self) -> u64 {
        let mut f = bit(VIRTIO_F_VERSION_1)
            | bit(VIRTIO_RING_F_EVENT_IDX)
            | bit(VIRTIO_RING_F_INDIRECT_DESC)
            | bit(net::VIRTIO_NET_F_MRG_RXBUF)
            | bit(net::VIRTIO_NET_F_MAC)
            | bit(net::VIRTIO_NET_F_STATUS)
            | PROTOCOL;
        if self.offload {
            f |= OFFLOADS;
        }
        if self.pairs > 1 {
            f |= bit(net::VIRTIO_NET_F_MQ);
        }
        if self.mtu.is_some() {
            f |= bit(net::VIRTIO_NET_F_MTU);
        }
        f
    }

    /// `struct virtio_net_config`: address, status (link up), pairs, MTU.
    pub fn config(&self) -> [u8; 12] {
        let mut c = [0; 12];
        c[..6].copy_from_slice(&self.mac);
        c[6..8].copy_from_slice(&(net::VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        c[8..10].copy_from_slice(&self.pairs.to_le_bytes());
        c[10..].copy_from_slice(&self.mtu.unwrap_or(1500).to_le_bytes());
        c
    }
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    fn has(self, n: u32) -> bool {
        self.0 & bit(n) != 0
    }

    /// Kicks and interrupts go by event indices, not flags.
    pub fn event_index(self) -> bool {
        self.has(VIRTIO_RING_F_EVENT_IDX)
    }

    /// Chains may lie in a table of their own.
    pub fn indirect(self) -> bool {
        self.has(VIRTIO_RING_F_INDIRECT_DESC)
    }

    /// A received frame may take several buffers.
    pub fn mergeable(self) -> bool {
        self.has(net::VIRTIO_NET_F_MRG_RXBUF)
    }

    /// Bytes of the header before each frame.
    pub fn header(self) -> usize {
        if self.mergeable() || self.has(VIRTIO_F_VERSION_1) { 12 } else { VnetHdr::LEN }
    }

    /// Receives frames whose offloads are not done yet, of the kinds that senders usually have.
    pub fn receives_offloads(self) -> bool {
        self.has(net::VIRTIO_NET_F_GUEST_CSUM)
            && self.has(net::VIRTIO_NET_F_GUEST_TSO4)
            && self.has(net::VIRTIO_NET_F_GUEST_TSO6)
    }

    /// Whether the guest takes a frame with this header.
    pub fn receives(self, v: VnetHdr) -> bool {
        let ecn = v.gso_type & VnetHdr::GSO_ECN == 0 || self.has(net::VIRTIO_NET_F_GUEST_ECN);
        let kind = match v.gso_type & !VnetHdr::GSO_ECN {
            0 => self.has(net::VIRTIO_NET_F_GUEST_CSUM),
            VnetHdr::GSO_TCPV4 => self.has(net::VIRTIO_NET_F_GUEST_TSO4),
            VnetHdr::GSO_TCPV6 => self.has(net::VIRTIO_NET_F_GUEST_TSO6),
            VnetHdr::GSO_UDP_L4 => {
                self.has(net::VIRTIO_NET_F_GUEST_USO4) && self.has(net::VIRTIO_NET_F_GUEST_USO6)
            }
            _ => false,
        };
        ecn && kind
    }

    /// Whether the guest may send a frame of `len` bytes with this header.
    pub fn may_send(self, v: VnetHdr, len: usize) -> bool {
        let needs_sum = v.flags & VnetHdr::NEEDS_CSUM != 0;
        let ends = usize::from(v.csum_start) + usize::from(v.csum_offset) + 2;
        if needs_sum && (!self.has(net::VIRTIO_NET_F_CSUM) || ends > len) {
            return false;
        }
        let kind = match v.gso_type & !VnetHdr::GSO_ECN {
            0 => return v.gso_type == 0,
            VnetHdr::GSO_TCPV4 => self.has(net::VIRTIO_NET_F_HOST_TSO4),
            VnetHdr::GSO_TCPV6 => self.has(net::VIRTIO_NET_F_HOST_TSO6),
            VnetHdr::GSO_UDP_L4 => self.has(net::VIRTIO_NET_F_HOST_USO),
            _ => false,
        };
        let ecn = v.gso_type & VnetHdr::GSO_ECN == 0 || self.has(net::VIRTIO_NET_F_HOST_ECN);
        kind && ecn && needs_sum && v.gso_size > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, gso_type: u8) -> VnetHdr {
        VnetHdr { flags, gso_type, gso_size: 1448, csum_start: 34, csum_offset: 16, ..VnetHdr::default() }
    }

    #[test]
    fn offloads_are_what_was_agreed_on() {
        let all = Features(OFFLOADS);
        let tso = header(1, VnetHdr::GSO_TCPV4);
        assert!(all.may_send(tso, 9000) && all.receives(tso) && all.receives_offloads());
        assert!(!all.may_send(tso, 51), "the checksum lies behind the frame");
        assert!(!all.may_send(VnetHdr { gso_size: 0, ..tso }, 9000));
        assert!(!all.may_send(VnetHdr { flags: 0, ..tso }, 9000), "segments need checksums");
        assert!(!all.may_send(header(1, VnetHdr::GSO_UDP), 9000), "fragments are not offered");
        let no_ecn =
            Features(OFFLOADS & !bit(net::VIRTIO_NET_F_GUEST_ECN) & !bit(net::VIRTIO_NET_F_HOST_ECN));
        let ecn = header(1, VnetHdr::GSO_TCPV6 | VnetHdr::GSO_ECN);
        assert!(all.receives(ecn) && all.may_send(ecn, 9000));
        assert!(!no_ecn.receives(ecn) && !no_ecn.may_send(ecn, 9000) && no_ecn.receives(tso));
        let old = Features(OFFLOADS & !bit(net::VIRTIO_NET_F_GUEST_USO4));
        assert!(all.receives(header(1, 5)) && !old.receives(header(1, 5)) && old.receives_offloads());
        assert!(!Features(0).may_send(header(1, 0), 100) && Features(0).may_send(header(0, 0), 100));
    }

    #[test]
    fn a_shape_offers_what_it_has() {
        let shape = Shape { pairs: 4, offload: false, mtu: Some(9000), mac: [2; 6], exclusive: true };
        let f = Features(shape.features());
        assert!(
            f.event_index() && f.indirect() && f.mergeable() && f.header() == 12 && !f.receives_offloads()
        );
        assert!(f.has(net::VIRTIO_NET_F_MQ) && f.has(net::VIRTIO_NET_F_MTU));
        assert_eq!(shape.config(), [2, 2, 2, 2, 2, 2, 1, 0, 4, 0, 0x28, 0x23]);
        assert_eq!(Features(0).header(), 10);
    }
}
