//! Ethernet/IP/UDP frames, built once and changed in place.
//!
//! Checksums are kept as separate one's complement sums (addresses, payload, stamp), so that a change costs
//! a few additions however long the frame is.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::addr::{End, Family, Mac};

/// Ethernet header in front of everything.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EthHeader {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// What follows: [`ETHERTYPE_IPV4`] or [`ETHERTYPE_IPV6`].
    pub ethertype: U16,
}

/// IPv4 header without options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version 4, header of 5 words.
    pub version_len: u8,
    /// Type of service.
    pub tos: u8,
    /// Bytes of header and payload.
    pub len: U16,
    /// Identification.
    pub id: U16,
    /// Flags and fragment offset.
    pub fragment: U16,
    /// Hops left.
    pub ttl: u8,
    /// Protocol that follows.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
}

/// IPv6 header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version 6, traffic class and flow label.
    pub version_flow: U32,
    /// Bytes of payload.
    pub len: U16,
    /// Protocol that follows.
    pub next: u8,
    /// Hops left.
    pub hops: u8,
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
}

/// UDP header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub src: U16,
    /// Destination port.
    pub dst: U16,
    /// Bytes of header and payload.
    pub len: U16,
    /// Checksum over a pseudo header, this header and the payload.
    pub checksum: U16,
}

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Bytes of an Ethernet header.
pub const ETH_LEN: usize = size_of::<EthHeader>();
const UDP_LEN: usize = size_of::<UdpHeader>();
const PROTO_UDP: u8 = 17;
const TTL: u8 = 64;
/// What payloads are filled with, over and over.
const FILL: &[u8] = b"valecast pkt-gen: fast packets in userspace. ";

/// Bytes in front of a frame's UDP payload, its Ethernet header included: 42 or 62.
pub fn payload_offset(family: Family) -> usize {
    ETH_LEN + ip_len(family) + UDP_LEN
}

fn ip_len(family: Family) -> usize {
    match family {
        Family::V4 => size_of::<Ipv4Header>(),
        Family::V6 => size_of::<Ipv6Header>(),
    }
}

/// One's complement sum of `bytes` read as big-endian words, on top of `sum`.
fn sum_bytes(bytes: &[u8], sum: u32) -> u32 {
    let words = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b)));
    u32::from(fold(words.fold(u64::from(sum), |s, w| s + u64::from(w))))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A frame that is changed in place and sent again. Sizes are in bytes, without CRC and without the virtio
/// header that may stand in front.
#[derive(Clone, Debug)]
pub struct Template {
    family: Family,
    /// Virtio header, frame of the greatest size.
    buf: Vec<u8>,
    vnet: usize,
    size: usize,
    stamp_len: usize,
    /// `payload_sums[k]`: sum of the first `2k` payload bytes, the stamp taken as zeros.
    payload_sums: Vec<u16>,
    stamp_sum: u32,
    addr_sum: u32,
    port_sum: u32,
}

impl Template {
    /// A frame of `size` bytes at most, behind `vnet` zero bytes (a virtio header); `stamp_len` (even) bytes at
    /// the start of the payload are kept for [`Self::stamp`].
    pub fn new(family: Family, size: usize, vnet: usize, stamp_len: usize) -> Self {
        let head = payload_offset(family);
        let full = size.max(head + stamp_len);
        let mut buf = vec![0; vnet + full];
        let payload = &mut buf[vnet + head..];
        for (byte, fill) in payload.iter_mut().skip(stamp_len).zip(FILL.iter().cycle()) {
            *byte = *fill;
        }
        let mut payload_sums = vec![0];
        let mut sum = 0;
        for word in payload.chunks_exact(2) {
            sum = sum_bytes(word, sum);
            payload_sums.push(sum as u16);
        }
        let mut t = Self {
            family,
            buf,
            vnet,
            size: 0,
            stamp_len,
            payload_sums,
            stamp_sum: 0,
            addr_sum: 0,
            port_sum: 0,
        };
        t.constant_headers();
        t.resize(size);
        t
    }

    fn constant_headers(&mut self) {
        let family = self.family;
        let ethertype = match family {
            Family::V4 => ETHERTYPE_IPV4,
            Family::V6 => ETHERTYPE_IPV6,
        };
        let eth = EthHeader { dst: [0; 6], src: [0; 6], ethertype: ethertype.into() };
        self.buf[self.vnet..self.vnet + ETH_LEN].copy_from_slice(eth.as_bytes());
        let ip = self.ip();
        match family {
            Family::V4 => {
                if let Ok((h, _)) = Ipv4Header::mut_from_prefix(ip) {
                    // Low delay and "do not fragment", as pkt-gen sends.
                    (h.version_len, h.tos, h.fragment) = (0x45, 0x10, 0x4000.into());
                    (h.ttl, h.protocol) = (TTL, PROTO_UDP);
                }
            }
            Family::V6 => {
                if let Ok((h, _)) = Ipv6Header::mut_from_prefix(ip) {
                    (h.version_flow, h.next, h.hops) = (0x6000_0000.into(), PROTO_UDP, TTL);
                }
            }
        }
    }

    fn ip(&mut self) -> &mut [u8] {
        &mut self.buf[self.vnet + ETH_LEN..]
    }

    /// Sets the Ethernet addresses.
    pub fn set_macs(&mut self, src: Mac, dst: Mac) {
        let eth = &mut self.buf[self.vnet..];
        eth[..6].copy_from_slice(&dst);
        eth[6..12].copy_from_slice(&src);
    }

    /// Sets IP addresses and UDP ports; [`Self::seal`] makes the checksums follow.
    pub fn set_ends(&mut self, from: End, to: End) {
        let family = self.family;
        let udp_at = ip_len(family);
        let ip = self.ip();
        let addrs = match family {
            Family::V4 => {
                ip[12..16].copy_from_slice(&(from.addr as u32).to_be_bytes());
                ip[16..20].copy_from_slice(&(to.addr as u32).to_be_bytes());
                12..20
            }
            Family::V6 => {
                ip[8..24].copy_from_slice(&from.addr.to_be_bytes());
                ip[24..40].copy_from_slice(&to.addr.to_be_bytes());
                8..40
            }
        };
        ip[udp_at..udp_at + 2].copy_from_slice(&from.port.to_be_bytes());
        ip[udp_at + 2..udp_at + 4].copy_from_slice(&to.port.to_be_bytes());
        let addr_sum = sum_bytes(&ip[addrs], 0);
        self.addr_sum = addr_sum;
        self.port_sum = u32::from(from.port) + u32::from(to.port);
    }

    /// Changes the frame's size, up to that of [`Self::new`]. Below the size of its headers (and stamp) the
    /// frame is cut short, and its headers speak of what would have fitted.
    pub fn resize(&mut self, size: usize) {
        self.size = size.min(self.buf.len() - self.vnet);
    }

    /// Writes `bytes` (at most the stamp's length) at the start of the payload.
    #[inline]
    pub fn stamp(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.stamp_len)];
        let at = self.vnet + payload_offset(self.family);
        self.buf[at..at + bytes.len()].copy_from_slice(bytes);
        self.stamp_sum = sum_bytes(&self.buf[at..at + self.stamp_len], 0);
    }

    /// Writes lengths and checksums; call it after the changes and before [`Self::frame`].
    #[inline]
    pub fn seal(&mut self) {
        let (head, at) = (payload_offset(self.family), self.vnet + ETH_LEN);
        let payload = self.size.saturating_sub(head).max(self.stamp_len);
        let udp_len = UDP_LEN + payload;
        let mut sum = u32::from(self.payload_sums[payload / 2]) + self.stamp_sum;
        if payload % 2 == 1 {
            sum += u32::from(self.buf[self.vnet + head + payload - 1]) << 8;
        }
        // Pseudo header: addresses, protocol, length; then ports and length of the header itself.
        sum += self.addr_sum + self.port_sum + u32::from(PROTO_UDP) + 2 * udp_len as u32;
        let udp_sum = match !fold(sum.into()) {
            0 => 0xffff, // 0 would mean "no checksum".
            s => s,
        };
        let ip_bytes = ip_len(self.family);
        let (ip, udp) = self.buf[at..].split_at_mut(ip_bytes);
        match self.family {
            Family::V4 => {
                if let Ok((h, _)) = Ipv4Header::mut_from_prefix(ip) {
                    let len = ip_bytes + udp_len;
                    h.len = (len as u16).into();
                    let fixed = 0x4510 + 0x4000 + (u32::from(TTL) << 8) + u32::from(PROTO_UDP);
                    h.checksum = (!fold(u64::from(fixed + len as u32 + self.addr_sum))).into();
                }
            }
            Family::V6 => {
                if let Ok((h, _)) = Ipv6Header::mut_from_prefix(ip) {
                    h.len = (udp_len as u16).into();
                }
            }
        }
        if let Ok((h, _)) = UdpHeader::mut_from_prefix(udp) {
            h.len = (udp_len as u16).into();
            h.checksum = udp_sum.into();
        }
    }

    /// The frame as it goes into a ring, virtio header in front.
    #[inline]
    pub fn frame(&self) -> &[u8] {
        &self.buf[..self.vnet + self.size]
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
