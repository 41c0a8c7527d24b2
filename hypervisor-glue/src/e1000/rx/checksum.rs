//! Looking at the checksums of received frames, for guests that set RXCSUM.
//!
//! Manual, section 3.2.9: IPv4 with or without options, TCP and UDP over IPv4 and (without extension headers) IPv6;
//! fragments and anything else are not looked at.

use super::source::Parts;
use crate::e1000::desc::rx as bits;
use crate::e1000::sum::{add, fold};

/// Status and errors to be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub status: u8,
    pub errors: u8,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Looks at the IP checksum and the transport's, as asked for.
pub fn look(frame: &Parts<'_>, ip: bool, l4: bool) -> Seen {
    let mut b = [0; 14 + 4 + 60];
    frame.read(0, &mut b);
    let mut seen = Seen::default();
    let found = headers(&b, frame.len());
    let Some(h) = found else { return Seen { status: bits::IXSM, ..seen } };
    if ip && !h.v6 {
        seen.status |= bits::IPCS;
        if fold(add(0, &b[h.l3..h.l4], false)) != 0xffff {
            seen.errors |= bits::IPE;
        }
    }
    if l4 && let Some(good) = transport(frame, &b, &h) {
        seen.status |= bits::TCPCS;
        if !good {
            seen.errors |= bits::TCPE;
        }
    }
    if seen.status == 0 {
        seen.status = bits::IXSM;
    }
    seen
}

struct Headers {
    l3: usize,
    l4: usize,
    end: usize,
    v6: bool,
    /// The transport, of packets that are no fragments.
    protocol: Option<u8>,
}

fn be(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn headers(b: &[u8; 78], len: usize) -> Option<Headers> {
    let l3 = if be(b, 12) == 0x8100 { 18 } else { 14 };
    let (v6, hlen, total, protocol) = match (be(b, l3 - 2), b[l3] >> 4) {
        (0x0800, 4) => {
            let fragment = be(b, l3 + 6) & 0x3fff != 0;
            let hlen = usize::from(b[l3] & 15) * 4;
            (false, hlen, usize::from(be(b, l3 + 2)), (!fragment).then_some(b[l3 + 9]))
        }
        (0x86dd, 6) => (true, 40, 40 + usize::from(be(b, l3 + 4)), Some(b[l3 + 6])),
        _ => return None,
    };
    let (l4, end) = (l3 + hlen, l3 + total);
    (hlen >= 20 && l4 <= end && end <= len).then_some(Headers { l3, l4, end, v6, protocol })
}

/// Whether the transport's checksum is right; `None` if there is none.
fn transport(frame: &Parts<'_>, b: &[u8; 78], h: &Headers) -> Option<bool> {
    let protocol = h.protocol?;
    let (place, least) = match protocol {
        TCP => (16, 20),
        UDP => (6, 8),
        _ => return None,
    };
    if h.end - h.l4 < least {
        return None;
    }
    let mut field = [0; 2];
    frame.read(h.l4 + place, &mut field);
    if protocol == UDP && field == [0, 0] {
        return None;
    }
    let addresses = if h.v6 { h.l3 + 8..h.l3 + 40 } else { h.l3 + 12..h.l3 + 20 };
    let pseudo = add((h.end - h.l4) as u64 + u64::from(protocol), &b[addresses], false);
    Some(fold(pseudo + u64::from(frame.sum(h.l4..h.end))) == 0xffff)
}
