//! TCP segments of one flow that follow one another, as one large segment for the kernel, which takes it through its stack
//! in one go: what network cards' drivers have done for them by generic receive offload (GRO).
//!
//! Segments go together if a kernel that cuts the large one up again would make the same: one behind the other, all
//! headers alike but for lengths, checksums, IPv4's identification and PSH at the end, all of the same size but for the
//! last, and all checksums right, since nobody looks at them again. Only headers are made; payload stays where it is.

use crate::frame::{Burst, Entry, Frame, Piece, VnetHdr};
use crate::offload::{add, add_payload, fold};

/// Ethernet, IPv6 and the longest TCP header.
const MAX_HEADERS: usize = 14 + 40 + 60;
const ETHERNET: usize = 14;
/// Most frames that go together.
const MOST: usize = 64;
/// Longest IP packet, IPv4's total length and IPv6's payload.
const LONGEST: usize = u16::MAX as usize;

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const TCP: u8 = 6;

/// Fields of the TCP header.
const SEQUENCE: usize = 4;
const OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;

/// A TCP segment that could be part of a larger one.
struct Segment {
    /// As they came; zeros behind them.
    headers: [u8; MAX_HEADERS],
    /// Bytes of headers.
    len: usize,
    /// Where TCP begins.
    l4: usize,
    payload: usize,
}

/// Segments that go as one.
pub struct Run {
    /// How many.
    pub frames: usize,
    /// For the large one.
    pub vnet: VnetHdr,
    headers: [u8; MAX_HEADERS],
    len: usize,
}

fn be(b: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([b[at], b[at + 1]]))
}

fn put(b: &mut [u8], at: usize, n: usize) {
    b[at..at + 2].copy_from_slice(&(n as u16).to_be_bytes());
}

impl Segment {
    /// If the frame is one: whole, with payload, without options of IP, fragments, or flags that mean more than data.
    fn of(burst: &Burst, f: &Frame) -> Option<Self> {
        if burst.vnet(f).is_some_and(VnetHdr::is_needed) || f.len() <= ETHERNET + 20 + 20 {
            return None;
        }
        let mut b = [0; MAX_HEADERS];
        let seen = burst.bytes_of(f).read(0, &mut b);
        let ip = &b[ETHERNET..];
        let (l4, packet, protocol) = match (be(&b, 12), ip[0]) {
            // Neither a fragment nor the first of several, and the header is right: it is made anew.
            (0x0800, 0x45)
                if ip[9] == TCP && be(ip, 6) & 0xbfff == 0 && fold(add(0, &ip[..20], false)) == 0 =>
            {
                (ETHERNET + 20, be(ip, 2), ip[9])
            }
            (0x86dd, first) if first >> 4 == 6 => (ETHERNET + 40, 40 + be(ip, 4), ip[6]),
            _ => return None,
        };
        let len = l4 + usize::from(*b.get(l4 + OFFSET)? >> 4) * 4;
        let plain = protocol == TCP && b[l4 + FLAGS] & !PSH == ACK && len >= l4 + 20;
        if !plain || ETHERNET + packet != f.len() || len >= f.len() || len > seen {
            return None;
        }
        b[len..].fill(0);
        Some(Self { headers: b, len, l4, payload: f.len() - len })
    }

    fn is_v6(&self) -> bool {
        self.l4 == ETHERNET + 40
    }

    fn tcp(&self) -> &[u8] {
        &self.headers[self.l4..self.len]
    }

    fn sequence(&self) -> u32 {
        let s = &self.tcp()[SEQUENCE..];
        u32::from_be_bytes([s[0], s[1], s[2], s[3]])
    }

    /// Whether the sender wants all up to here to be delivered.
    fn pushes(&self) -> bool {
        self.tcp()[FLAGS] & PSH != 0
    }

    /// The pseudo-header's share of the checksum with so many bytes of payload.
    fn pseudo(&self, payload: usize) -> u64 {
        let from = if self.is_v6() { ETHERNET + 8 } else { ETHERNET + 12 };
        add(0, &self.headers[from..self.l4], false) + (self.len - self.l4 + payload) as u64 + u64::from(TCP)
    }

    /// Whether its checksum is right.
    fn is_right(&self, burst: &Burst, f: &Frame) -> bool {
        // TCP's header is of whole words: the payload begins with one.
        let payload = add_payload(burst, f, self.len, self.payload, false);
        fold(payload + self.pseudo(self.payload) + add(0, self.tcp(), false)) == 0
    }

    /// What is the same in all segments that go together.
    fn alike(&self) -> [u8; MAX_HEADERS] {
        let mut b = self.headers;
        if self.is_v6() {
            b[ETHERNET + 4..ETHERNET + 6].fill(0);
        } else {
            b[ETHERNET + 2..ETHERNET + 6].fill(0);
            b[ETHERNET + 10..ETHERNET + 12].fill(0);
        }
        let tcp = &mut b[self.l4..];
        tcp[SEQUENCE..SEQUENCE + 4].fill(0);
        tcp[FLAGS] &= !PSH;
        tcp[CHECKSUM..CHECKSUM + 2].fill(0);
        b
    }
}

/// How many frames from the beginning of `list` go as one, and how; none if that is only the first.
pub fn run(burst: &Burst, list: &[Entry]) -> Option<Run> {
    let frame = |e: &Entry| burst.frames[usize::from(e.frame)];
    let (e, rest) = list.split_first()?;
    let (f, next) = (frame(e), frame(rest.first()?));
    let first = Segment::of(burst, &f)?;
    // Looked at first: nearly all that does not go together is told by it, without a sum over the payload.
    let second = Segment::of(burst, &next)?;
    let (alike, each) = (first.alike(), first.payload);
    let (mut frames, mut payload, mut pushes) = (1, each, first.pushes());
    let mut segment = Some(second);
    for f in rest.iter().map(frame).take(MOST - 1) {
        let Some(s) = segment.take().or_else(|| Segment::of(burst, &f)) else { break };
        let follows = !pushes
            && s.payload <= each
            && s.sequence() == first.sequence().wrapping_add(payload as u32)
            && s.len - ETHERNET + payload + s.payload <= LONGEST
            && s.alike() == alike;
        let right = |f| frames > 1 || first.is_right(burst, f);
        if !follows || !right(&frame(e)) || !s.is_right(burst, &f) {
            break;
        }
        (frames, payload, pushes) = (frames + 1, payload + s.payload, s.pushes());
        if s.payload < each {
            break;
        }
    }
    (frames > 1).then(|| Run::of(&first, frames, payload, pushes))
}

impl Run {
    fn of(first: &Segment, frames: usize, payload: usize, pushes: bool) -> Self {
        let (l4, len, v6) = (first.l4, first.len, first.is_v6());
        let pseudo = fold(first.pseudo(payload));
        let mut headers = first.headers;
        if v6 {
            put(&mut headers, ETHERNET + 4, len - ETHERNET - 40 + payload);
        } else {
            put(&mut headers, ETHERNET + 2, len - ETHERNET + payload);
            headers[ETHERNET + 10..ETHERNET + 12].fill(0);
            let sum = fold(add(0, &headers[ETHERNET..l4], false));
            put(&mut headers, ETHERNET + 10, sum.into());
        }
        headers[l4 + FLAGS] |= if pushes { PSH } else { 0 };
        // Whoever finishes the checksum begins with the pseudo-header's sum, which is not inverted.
        put(&mut headers, l4 + CHECKSUM, (!pseudo).into());
        let vnet = VnetHdr {
            flags: VnetHdr::NEEDS_CSUM,
            gso_type: if v6 { VnetHdr::GSO_TCPV6 } else { VnetHdr::GSO_TCPV4 },
            hdr_len: len as u16,
            gso_size: first.payload as u16,
            csum_start: l4 as u16,
            csum_offset: CHECKSUM as u16,
        };
        Self { frames, vnet, headers, len }
    }

    /// The large segment's bytes: its headers, and the payload of the frames of `list`, of which there are as many as in
    /// the run.
    pub fn pieces(&self, burst: &Burst, list: &[Entry], mut each: impl FnMut(Piece)) {
        each(Piece { at: self.headers.as_ptr(), len: self.len });
        for e in list {
            let f = &burst.frames[usize::from(e.frame)];
            let bytes = burst.bytes_of(f);
            let Ok(()) = bytes.range::<std::convert::Infallible>(self.len, f.len() - self.len, |p| {
                each(p);
                Ok(())
            });
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
