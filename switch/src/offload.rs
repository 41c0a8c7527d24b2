//! Segmentation and checksums in software, for receivers that do not take offload headers.
//!
//! A segment shares the original's payload in the sender's memory; only its headers are made here. So a
//! large frame still crosses by one copy.

use crate::frame::{Burst, Frame, VnetHdr};

/// Longest Ethernet + IP + transport headers that are understood.
const MAX_HEADERS: usize = 256;

/// Why it could not be done: the headers do not say what the offload header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotOffload;

/// Makes plain frames of frame `i`. Returns their indices, which are consecutive.
#[inline(never)]
pub fn finish(burst: &mut Burst, i: u16) -> Result<std::ops::Range<u16>, CannotOffload> {
    let f = burst.frames[usize::from(i)];
    let v = burst.vnet(&f).ok_or(CannotOffload)?;
    let first = u16::try_from(burst.frames.len()).map_err(|_| CannotOffload)?;
    match v.gso_type & !VnetHdr::GSO_ECN {
        0 => checksum_only(burst, &f, v)?,
        VnetHdr::GSO_TCPV4 | VnetHdr::GSO_TCPV6 | VnetHdr::GSO_UDP_L4 => segment(burst, &f, v)?,
        _ => return Err(CannotOffload),
    }
    let end = u16::try_from(burst.frames.len()).map_err(|_| CannotOffload)?;
    Ok(first..end)
}

fn checksum_only(burst: &mut Burst, f: &Frame, v: VnetHdr) -> Result<(), CannotOffload> {
    let (start, offset) = (usize::from(v.csum_start), usize::from(v.csum_offset));
    let field = start + offset;
    if field + 2 > f.len() || field + 2 < usize::from(f.head_len) {
        return Err(CannotOffload);
    }
    let headers = field + 2;
    let payload = f.len() - headers;
    let behind = add_payload(burst, f, headers, payload, (headers - start) % 2 == 1);
    let room = burst.copied(f, headers).ok_or(CannotOffload)?;
    let sum = add(behind, &room[start.min(headers)..], false);
    put_sum(room, field, sum, v.csum_offset == UDP_CHECKSUM);
    let head = (room.as_ptr(), headers as u16);
    let derived = burst.part(f, head, headers, payload).ok_or(CannotOffload)?;
    burst.derive(derived).ok_or(CannotOffload).map(|_| ())
}

fn segment(burst: &mut Burst, f: &Frame, v: VnetHdr) -> Result<(), CannotOffload> {
    let mut buf = [0u8; MAX_HEADERS];
    let seen = f.len().min(MAX_HEADERS);
    burst.bytes_of(f).read(0, &mut buf[..seen]);
    let h = Headers::parse(&buf[..seen], v)?;
    let size = usize::from(v.gso_size);
    if size == 0 || f.len() <= h.len || h.len < usize::from(f.head_len) {
        return Err(CannotOffload);
    }
    let payload = f.len() - h.len;
    let count = payload.div_ceil(size);
    for i in 0..count {
        let at = i * size;
        let n = size.min(payload - at);
        let behind = add_payload(burst, f, h.len + at, n, (h.len - h.l4) % 2 == 1);
        let room = burst.alloc(h.len).ok_or(CannotOffload)?;
        room.copy_from_slice(&buf[..h.len]);
        h.patch(room, i, count, at, n);
        let sum = add(behind + h.pseudo(room, n), &room[h.l4..], false);
        put_sum(room, h.l4 + if h.tcp { 16 } else { 6 }, sum, !h.tcp);
        let head = (room.as_ptr(), h.len as u16);
        let derived = burst.part(f, head, h.len + at, n).ok_or(CannotOffload)?;
        burst.derive(derived).ok_or(CannotOffload)?;
    }
    Ok(())
}

/// Where the headers of a large frame lie.
struct Headers {
    l3: usize,
    l4: usize,
    len: usize,
    v6: bool,
    tcp: bool,
}

impl Headers {
    fn parse(b: &[u8], v: VnetHdr) -> Result<Self, CannotOffload> {
        let be = |i: usize| b.get(i..i + 2).map(|x| u16::from_be_bytes([x[0], x[1]])).ok_or(CannotOffload);
        let (mut l3, mut kind) = (14, be(12)?);
        if kind == 0x8100 {
            kind = be(16)?;
            l3 = 18;
        }
        let v6 = match kind {
            0x0800 => false,
            0x86dd => true,
            _ => return Err(CannotOffload),
        };
        let l4 = usize::from(v.csum_start);
        let tcp = v.gso_type & !VnetHdr::GSO_ECN != VnetHdr::GSO_UDP_L4;
        let least = if v6 { 40 } else { 20 };
        if v.flags & VnetHdr::NEEDS_CSUM == 0 || l4 < l3 + least {
            return Err(CannotOffload);
        }
        let len = if tcp {
            let words = usize::from(*b.get(l4 + 12).ok_or(CannotOffload)? >> 4);
            if words < 5 {
                return Err(CannotOffload);
            }
            l4 + 4 * words
        } else {
            l4 + 8
        };
        if len > b.len() {
            return Err(CannotOffload);
        }
        Ok(Self { l3, l4, len, v6, tcp })
    }

    /// Makes `room`, a copy of the original's headers, those of segment `i` of `count`.
    fn patch(&self, room: &mut [u8], i: usize, count: usize, at: usize, n: usize) {
        let l3 = self.l3;
        if self.v6 {
            let payload = (self.len - l3 - 40 + n) as u16;
            room[l3 + 4..l3 + 6].copy_from_slice(&payload.to_be_bytes());
        } else {
            let total = (self.len - l3 + n) as u16;
            room[l3 + 2..l3 + 4].copy_from_slice(&total.to_be_bytes());
            let id = u16::from_be_bytes([room[l3 + 4], room[l3 + 5]]).wrapping_add(i as u16);
            room[l3 + 4..l3 + 6].copy_from_slice(&id.to_be_bytes());
            room[l3 + 10..l3 + 12].fill(0);
            let ihl = (usize::from(room[l3] & 15) * 4).clamp(20, self.l4 - l3);
            let sum = add(0, &room[l3..l3 + ihl], false);
            put_sum_raw(room, l3 + 10, sum);
        }
        let l4 = self.l4;
        if self.tcp {
            let s = [room[l4 + 4], room[l4 + 5], room[l4 + 6], room[l4 + 7]];
            let seq = u32::from_be_bytes(s).wrapping_add(at as u32);
            room[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
            if i + 1 < count {
                room[l4 + 13] &= !0x09; // FIN and PSH belong to the last segment
            }
            if i > 0 {
                room[l4 + 13] &= !0x80; // CWR to the first (RFC 3168)
            }
            room[l4 + 16..l4 + 18].fill(0);
        } else {
            room[l4 + 4..l4 + 6].copy_from_slice(&((8 + n) as u16).to_be_bytes());
            room[l4 + 6..l4 + 8].fill(0);
        }
    }

    /// The pseudo-header's share of the checksum of a segment with `n` bytes of payload.
    fn pseudo(&self, room: &[u8], n: usize) -> u64 {
        let addrs = if self.v6 { self.l3 + 8..self.l3 + 40 } else { self.l3 + 12..self.l3 + 20 };
        let len = (self.len - self.l4 + n) as u64;
        add(0, &room[addrs], false) + len + if self.tcp { 6 } else { 17 }
    }
}

/// Adds the big-endian words of `b`; `odd`: the first byte is the low half of a word.
pub(crate) fn add(mut sum: u64, b: &[u8], odd: bool) -> u64 {
    let b = match (odd, b.split_first()) {
        (true, Some((first, rest))) => {
            sum += u64::from(*first);
            rest
        }
        _ => b,
    };
    let mut chunks = b.chunks_exact(4);
    for c in &mut chunks {
        sum += u64::from(u32::from_be_bytes([c[0], c[1], c[2], c[3]]));
    }
    match *chunks.remainder() {
        [a] => sum + (u64::from(a) << 8),
        [a, b] => sum + (u64::from(a) << 8 | u64::from(b)),
        [a, b, c] => sum + (u64::from(a) << 8 | u64::from(b)) + (u64::from(c) << 8),
        _ => sum,
    }
}

/// The sum of `len` bytes of a frame from byte `from` on.
pub(crate) fn add_payload(burst: &Burst, f: &Frame, from: usize, len: usize, odd: bool) -> u64 {
    let (mut buf, mut sum, mut at) = ([0u8; 1024], 0, 0);
    let Ok(()) = burst.bytes_of(f).range::<std::convert::Infallible>(from, len, |p| {
        let mut done = 0;
        while done < p.len {
            let n = buf.len().min(p.len - done);
            // SAFETY: inside the piece; copied before it is used, since its sender may still write there.
            unsafe { std::ptr::copy_nonoverlapping(p.at.add(done), buf.as_mut_ptr(), n) };
            sum = add(sum, &buf[..n], odd ^ (at % 2 == 1));
            at += n;
            done += n;
        }
        Ok(())
    });
    sum
}

/// The checksum that a sum comes to.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put_sum_raw(room: &mut [u8], at: usize, sum: u64) {
    room[at..at + 2].copy_from_slice(&fold(sum).to_be_bytes());
}

/// Where the checksum is in a UDP header.
const UDP_CHECKSUM: u16 = 6;

/// A transport checksum. In UDP 0 means "none", so all ones stands for it (RFC 768); in TCP it is just 0, and
/// receivers look askance at all ones (RFC 1624).
fn put_sum(room: &mut [u8], at: usize, sum: u64, udp: bool) {
    let s = match fold(sum) {
        0 if udp => 0xffff,
        s => s,
    };
    room[at..at + 2].copy_from_slice(&s.to_be_bytes());
}

#[cfg(test)]
#[path = "offload_tests.rs"]
pub(crate) mod tests;
