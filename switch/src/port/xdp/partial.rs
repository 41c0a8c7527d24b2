//! Checksums that their sender left to the device.
//!
//! A frame that a host on this machine sends into a veth pair may have a transport checksum that is not
//! computed: the field holds the sum over the pseudo header only, and a flag beside the frame says so. AF_XDP does
//! not hand the flag over. But the field itself tells: a finished checksum equals the pseudo header's sum
//! only once in 65536 frames, and for those, computing it again gives the same.

use crate::frame::VnetHdr;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of the Ethernet header, with one tag or none, IPv6's and the checksum field of TCP: enough to look at.
const LOOKED_AT: usize = 18 + 60 + 18;

fn be(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?)))
}

fn sum(b: &[u8], from: usize, to: usize) -> Option<u32> {
    Some(b.get(from..to)?.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum())
}

/// What is left to do for a frame, if its checksum looks as if it was left. `frame` are its first bytes, as many
/// as there are up to [`first_bytes`].
#[inline]
pub fn left_to_do(frame: &[u8]) -> Option<VnetHdr> {
    let (mut l3, mut kind) = (14, be(frame, 12)?);
    if kind == 0x8100 || kind == 0x88a8 {
        (l3, kind) = (18, be(frame, 16)?);
    }
    let (protocol, l4, addresses, len) = match kind {
        0x0800 => {
            let header = usize::from(frame.get(l3)? & 15) * 4;
            // Fragments are sent with their checksum done.
            if header < 20 || be(frame, l3 + 6)? & 0x3fff != 0 {
                return None;
            }
            let len = be(frame, l3 + 2)?.checked_sub(header as u32)?;
            (*frame.get(l3 + 9)?, l3 + header, sum(frame, l3 + 12, l3 + 20)?, len)
        }
        0x86dd => (*frame.get(l3 + 6)?, l3 + 40, sum(frame, l3 + 8, l3 + 40)?, be(frame, l3 + 4)?),
        _ => return None,
    };
    let csum_offset: u16 = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let mut pseudo = addresses + u32::from(protocol) + len;
    while pseudo >> 16 != 0 {
        pseudo = (pseudo & 0xffff) + (pseudo >> 16);
    }
    // UDP without a checksum has a zero there, which no pseudo header sums up to.
    (be(frame, l4 + usize::from(csum_offset))? == pseudo).then(|| VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        csum_start: l4 as u16,
        csum_offset,
        ..VnetHdr::default()
    })
}

/// How many bytes of a frame of `len` bytes to look at.
pub fn first_bytes(len: usize) -> usize {
    len.min(LOOKED_AT)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    /// The frame as a host sends it to a device that computes checksums.
    fn leave(mut frame: Vec<u8>, l4: usize, offset: usize, pseudo: u16) -> Vec<u8> {
        frame[l4 + offset..l4 + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        frame
    }

    fn folded(words: &[u16]) -> u16 {
        let s: u32 = words.iter().map(|w| u32::from(*w)).sum();
        ((s & 0xffff) + (s >> 16)) as u16
    }

    #[test]
    fn sees_what_was_left() {
        let v4 = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut udp = Vec::new();
        v4().udp(1, 2).write(&mut udp, &[7; 18]).unwrap();
        assert_eq!(left_to_do(&udp), None, "a finished checksum");
        let udp = leave(udp, 34, 6, folded(&[0x0a00, 1, 0x0a00, 2, 17, 26]));
        let want = VnetHdr { flags: 1, csum_start: 34, csum_offset: 6, ..VnetHdr::default() };
        assert_eq!(left_to_do(&udp), Some(want));
        for n in 0..udp.len() - 18 {
            assert_eq!(left_to_do(&udp[..n]), None, "{n} bytes tell nothing");
        }

        let mut tagged = udp.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(left_to_do(&tagged), Some(VnetHdr { csum_start: 38, ..want }));

        let mut fragment = udp;
        fragment[20] = 0x20;
        assert_eq!(left_to_do(&fragment), None, "a fragment");

        let mut tcp = Vec::new();
        let v6 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64);
        v6.tcp(1, 2, 3, 4).write(&mut tcp, &[7; 100]).unwrap();
        assert_eq!(left_to_do(&tcp), None);
        let tcp = leave(tcp, 54, 16, folded(&[&[0x0101; 8][..], &[0x0202; 8], &[6, 120]].concat()));
        let want = VnetHdr { csum_start: 54, csum_offset: 16, ..want };
        assert_eq!(left_to_do(&tcp[..first_bytes(tcp.len())]), Some(want));
        assert_eq!(left_to_do(&[0; 60]), None);
    }
}
