//! MAC addresses as the forwarding table compares them: 48 bits in a word.

use valecast_config::Mac;

/// A MAC address in the low 48 bits, in the order in which its bytes lie in memory.
pub type MacBits = u64;

const MASK: u64 = 0xffff_ffff_ffff;

/// The destination of a frame's first 16 bytes.
#[inline]
pub fn dst(head: &[u8; 16]) -> MacBits {
    let mut b = [0u8; 8];
    b.copy_from_slice(&head[..8]);
    u64::from_ne_bytes(b) & MASK
}

/// The source of a frame's first 16 bytes.
#[inline]
pub fn src(head: &[u8; 16]) -> MacBits {
    let mut b = [0u8; 8];
    b.copy_from_slice(&head[4..12]);
    u64::from_ne_bytes(b) >> 16 & MASK
}

/// Whether the group bit is set: multicast or broadcast.
#[inline]
pub fn is_group(m: MacBits) -> bool {
    m & 1 != 0
}

/// From configuration.
pub fn bits(m: Mac) -> MacBits {
    let o = m.0;
    u64::from_ne_bytes([o[0], o[1], o[2], o[3], o[4], o[5], 0, 0]) & MASK
}

/// For people.
pub fn to_mac(m: MacBits) -> Mac {
    let b = m.to_ne_bytes();
    Mac([b[0], b[1], b[2], b[3], b[4], b[5]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_header() {
        let mut h = [0u8; 16];
        h[..12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(to_mac(dst(&h)), Mac([1, 2, 3, 4, 5, 6]));
        assert_eq!(to_mac(src(&h)), Mac([7, 8, 9, 10, 11, 12]));
        assert_eq!(dst(&h), bits(Mac([1, 2, 3, 4, 5, 6])));
        assert!(is_group(dst(&h)) && is_group(src(&h)));
        assert!(!is_group(bits(Mac([2, 0, 0, 0, 0, 1]))));
    }
}
