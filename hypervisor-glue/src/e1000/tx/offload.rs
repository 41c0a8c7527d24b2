//! What a guest asks the chip to do to a frame, as an offload header that the switch understands.
//!
//! A checksum from some byte to the frame's end is one ([`VnetHdr::NEEDS_CSUM`]); others are computed here, in the
//! frame's copy. Segmentation is one, too, but guests leave to the chip what the kernel's convention wants filled in:
//! the IP length and checksum, and the length's share of the pseudo-header in the TCP checksum.

use valecast_switch::frame::{HEAD, VnetHdr};

use crate::e1000::desc::{Context, POPTS_IXSM, POPTS_TXSM, cmd};
use crate::e1000::sum::{add, fold};

/// A frame's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// As it is.
    #[default]
    None,
    /// One checksum to the frame's end.
    Legacy {
        /// First byte.
        css: u8,
        /// Place.
        cso: u8,
    },
    /// Checksums by context: of IP, of TCP or UDP.
    Checksums(Context, bool, bool),
    /// Segments by context.
    Segment(Context),
}

/// A request that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonsense {
    /// The frame cannot be sent as it is, either.
    pub fatal: bool,
}

const IGNORED: Nonsense = Nonsense { fatal: false };
const FATAL: Nonsense = Nonsense { fatal: true };

impl Request {
    /// From a data descriptor's POPTS.
    pub fn of(popts: u8, context: Context) -> Self {
        match (popts & POPTS_IXSM != 0, popts & POPTS_TXSM != 0) {
            (false, false) => Self::None,
            (ip, l4) => Self::Checksums(context, ip, l4),
        }
    }

    /// How many of a frame's `len` first bytes are looked at or changed here; the rest is the switch's business.
    pub fn reach(self, len: usize) -> usize {
        let l4 = |css, cso, last| {
            if reaches_the_end(last, len) && to_the_end(css, cso, 0, len).is_some() { 0 } else { len }
        };
        let need = match self {
            Self::None => 0,
            Self::Legacy { css, cso } => l4(css, cso, 0),
            Self::Checksums(c, ip, sum) => {
                let (_, place, last) = c.ip;
                let header = if last == 0 { len } else { usize::from(last) + 1 };
                let ip = if ip { header.max(usize::from(place) + 2) } else { 0 };
                ip.max(if sum { l4(c.l4.0, c.l4.1, c.l4.2) } else { 0 })
            }
            Self::Segment(c) => c.header.into(),
        };
        need.min(len)
    }
}

/// Whether a checksum whose last byte is `last` (0: the frame's) covers all that follows.
fn reaches_the_end(last: u16, len: usize) -> bool {
    last == 0 || usize::from(last) + 1 >= len
}

/// A checksum to the frame's end that the switch can do.
fn to_the_end(first: u8, place: u8, shift: usize, len: usize) -> Option<VnetHdr> {
    let (start, place) = (usize::from(first) + shift, usize::from(place) + shift);
    if place < start || place + 2 > len || place + 2 < HEAD {
        return None;
    }
    Some(VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        csum_start: start as u16,
        csum_offset: (place - start) as u16,
        ..VnetHdr::default()
    })
}

/// Does what a frame's copied bytes need, at least [`Request::reach`]; the offload header for the rest. `shift`: bytes by
/// which a VLAN tag moved what follows the addresses. `len`: the whole frame's, without `padding`.
pub fn apply(
    r: Request,
    frame: &mut [u8],
    (shift, len, padding): (usize, usize, usize),
) -> Result<Option<VnetHdr>, Nonsense> {
    let here_or_there = |frame: &mut [u8], sum: (u8, u8, u16)| {
        // With padding it is not left to the switch, which would sum that, too.
        if padding == 0
            && reaches_the_end(sum.2, len - shift)
            && let Some(v) = to_the_end(sum.0, sum.1, shift, len)
        {
            return Ok(Some(v));
        }
        checksum(frame, sum, shift, len).map(|()| None)
    };
    match r {
        Request::None => Ok(None),
        Request::Legacy { css, cso } => here_or_there(frame, (css, cso, 0)),
        Request::Checksums(c, ip, l4) => {
            if ip {
                checksum(frame, c.ip, shift, len)?;
            }
            if l4 { here_or_there(frame, c.l4) } else { Ok(None) }
        }
        Request::Segment(c) => segment(c, frame, shift, len).map(Some).ok_or(FATAL),
    }
}

/// A checksum from byte `first` to byte `last` (0: the frame's), put at `place`.
fn checksum(
    frame: &mut [u8],
    (first, place, last): (u8, u8, u16),
    shift: usize,
    len: usize,
) -> Result<(), Nonsense> {
    let (first, place) = (usize::from(first) + shift, usize::from(place) + shift);
    let end = if last == 0 { len } else { (usize::from(last) + 1 + shift).min(len) };
    if first >= end || place + 2 > len || end.max(place + 2) > frame.len() {
        return Err(IGNORED);
    }
    let sum = !fold(add(0, &frame[first..end], false));
    frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Prepares a frame for segmentation; `None` if headers and context do not fit together.
fn segment(c: Context, frame: &mut [u8], shift: usize, len: usize) -> Option<VnetHdr> {
    let at = |v: u8| usize::from(v) + shift;
    let (l3, l4, header) = (at(c.ip.0), at(c.l4.0), at(c.header));
    let tcp = c.command & cmd::TCP != 0;
    let (v6, least) = if c.command & cmd::IP != 0 { (false, 20) } else { (true, 40) };
    let (place, least_l4) = if tcp { (l4 + 16, 20) } else { (l4 + 6, 8) };
    let fits = l3 >= 14 + shift && l4 >= l3 + least && header >= l4 + least_l4 && len > header;
    let fits = fits && header <= frame.len();
    if !fits || c.mss == 0 || at(c.l4.1) != place {
        return None;
    }
    let put = |frame: &mut [u8], at: usize, v: u16| frame[at..at + 2].copy_from_slice(&v.to_be_bytes());
    if v6 {
        put(frame, l3 + 4, u16::try_from(len - l3 - 40).ok()?);
    } else {
        put(frame, l3 + 2, u16::try_from(len - l3).ok()?);
        put(frame, l3 + 10, 0);
        let sum = !fold(add(0, &frame[l3..l4], false));
        put(frame, l3 + 10, sum);
    }
    // The guest's pseudo-header is without a length, for the chip to add each segment's.
    let partial = u16::from_be_bytes([frame[place], frame[place + 1]]);
    put(frame, place, fold(u64::from(partial) + (len - l4) as u64));
    let (mut gso_type, cwr) = match (tcp, v6) {
        (true, false) => (VnetHdr::GSO_TCPV4, frame[l4 + 13] & 0x80 != 0),
        (true, true) => (VnetHdr::GSO_TCPV6, frame[l4 + 13] & 0x80 != 0),
        (false, _) => {
            put(frame, l4 + 4, u16::try_from(len - l4).ok()?);
            (VnetHdr::GSO_UDP_L4, false)
        }
    };
    if cwr {
        gso_type |= VnetHdr::GSO_ECN;
    }
    Some(VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        gso_type,
        hdr_len: header as u16,
        gso_size: c.mss,
        csum_start: l4 as u16,
        csum_offset: (place - l4) as u16,
    })
}
