//! Offload headers: what a frame still needs.

/// `struct virtio_net_hdr` (legacy layout, 10 bytes): offloads that a frame still needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHdr {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Length of the headers, a hint.
    pub hdr_len: u16,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where the checksum begins.
    pub csum_start: u16,
    /// Where it goes, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// Bytes on the wire between kernel and switch (the `num_buffers` field is never used).
    pub const LEN: usize = 10;
    /// The checksum still has to be computed.
    pub const NEEDS_CSUM: u8 = 1;
    /// TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// UDP fragmentation over IPv4 (legacy).
    pub const GSO_UDP: u8 = 3;
    /// TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP segmentation.
    pub const GSO_UDP_L4: u8 = 5;
    /// ECN bit, or'ed to the type.
    pub const GSO_ECN: u8 = 0x80;

    /// From kernel memory, native byte order.
    pub fn from_bytes(b: [u8; Self::LEN]) -> Self {
        let w = |i: usize| u16::from_ne_bytes([b[i], b[i + 1]]);
        Self {
            flags: b[0],
            gso_type: b[1],
            hdr_len: w(2),
            gso_size: w(4),
            csum_start: w(6),
            csum_offset: w(8),
        }
    }

    /// To kernel memory.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut b = [0; Self::LEN];
        b[0] = self.flags;
        b[1] = self.gso_type;
        b[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        b[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        b[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        b[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        b
    }

    /// Whether a port that knows nothing of it needs the switch to do the work.
    pub fn is_needed(self) -> bool {
        self.flags & Self::NEEDS_CSUM != 0 || self.gso_type & !Self::GSO_ECN != 0
    }
}
