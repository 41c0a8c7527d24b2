//! What frames carry at the start of their UDP payload so that the other end can measure.
//!
//! | frame | bytes |
//! |---|---|
//! | sequence (`txseq`) | sequence u32 big-endian (as pkt-gen), `VCsq`, stream u32 |
//! | ping | sequence u32, seconds u32, nanoseconds u32, all little-endian (as pkt-gen) |
//! | probe | `VCprobe1`, stream u32, sequence u32, sent u64 ns, intended u64 ns, 2 bytes 0, all little-endian |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, little_endian};

use crate::addr::{Family, IpRange, MacRange};
use crate::clock::SECOND;
use crate::packet::{ETHERTYPE_IPV6, Template, payload_offset};

/// Stamp of `txseq` frames.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SeqStamp {
    /// The sequence number.
    pub seq: big_endian::U32,
    magic: [u8; 4],
    stream: little_endian::U32,
}

impl SeqStamp {
    /// Bytes.
    pub const LEN: usize = size_of::<Self>();
    const MAGIC: [u8; 4] = *b"VCsq";

    /// Number `seq` of `stream`.
    pub fn new(stream: u32, seq: u32) -> Self {
        Self { seq: seq.into(), magic: Self::MAGIC, stream: stream.into() }
    }

    /// Stream and number in `frame` (virtio header cut off). A frame of netmap's own pkt-gen names no
    /// stream and gets 0; `None` is for a frame too short to hold a number.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<(u32, u32)> {
        let payload = frame.get(payload_offset(family_of(frame))..)?;
        match Self::read_from_prefix(payload) {
            Ok((s, _)) if s.magic == Self::MAGIC => Some((s.stream.get(), s.seq.get())),
            _ => Some((0, big_endian::U32::read_from_prefix(payload).ok()?.0.get())),
        }
    }
}

/// Stamp of ping frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PingStamp {
    /// The sequence number.
    pub seq: little_endian::U32,
    sec: little_endian::U32,
    nsec: little_endian::U32,
}

impl PingStamp {
    /// Bytes.
    pub const LEN: usize = size_of::<Self>();

    /// Ping `seq`, sent at `now` (ns).
    pub fn new(seq: u32, now: u64) -> Self {
        let (sec, nsec) = ((now / SECOND) as u32, (now % SECOND) as u32);
        Self { seq: seq.into(), sec: sec.into(), nsec: nsec.into() }
    }

    /// The stamp in `frame` (virtio header cut off), if it is long enough.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let payload = frame.get(payload_offset(family_of(frame))..)?;
        Self::read_from_prefix(payload).ok().map(|(s, _)| s)
    }
}

/// The family that a frame's EtherType announces; anything but IPv6 counts as IPv4.
#[inline]
pub fn family_of(frame: &[u8]) -> Family {
    match frame.get(12..14) {
        Some(t) if t == ETHERTYPE_IPV6.to_be_bytes() => Family::V6,
        _ => Family::V4,
    }
}

/// Stamp of probe frames.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ProbeStamp {
    magic: [u8; 8],
    stream: little_endian::U32,
    seq: little_endian::U32,
    sent: little_endian::U64,
    intended: little_endian::U64,
    zero: [u8; 2],
}

const PROBE_MAGIC: [u8; 8] = *b"VCprobe1";
const PROBE_AT: usize = 42;

/// What a probe said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which sender it belongs to.
    pub stream: u32,
    /// Its number.
    pub seq: u32,
    /// When it was put into the ring, in ns of [`crate::clock::now_ns`].
    pub sent: u64,
    /// When it was meant to be sent, in ns.
    pub intended: u64,
}

impl Probe {
    /// Bytes of every probe frame, without a virtio header: a length that hardly any other frame has, so
    /// that a receiver need not look into each frame.
    pub const FRAME_LEN: usize = PROBE_AT + size_of::<ProbeStamp>();

    /// The probe in `frame` (virtio header cut off), if it is one.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let (s, _) = ProbeStamp::read_from_prefix(frame.get(PROBE_AT..)?).ok()?;
        (s.magic == PROBE_MAGIC).then_some(Self {
            stream: s.stream.get(),
            seq: s.seq.get(),
            sent: s.sent.get(),
            intended: s.intended.get(),
        })
    }
}

/// Makes probe frames.
#[derive(Clone, Debug)]
pub struct ProbeMaker {
    template: Template,
    stream: u32,
    seq: u32,
}

impl ProbeMaker {
    /// Probes from `src` to `dst`, IPv4/UDP between `10.0.0.1` and `10.1.0.1` whatever the load is, behind
    /// `vnet` bytes of virtio header. `stream` should be unlike that of other senders.
    pub fn new(src: &MacRange, dst: &MacRange, vnet: usize, stream: u32) -> Self {
        let mut template = Template::new(Family::V4, Probe::FRAME_LEN, vnet, size_of::<ProbeStamp>());
        template.set_macs(src.start(), dst.start());
        let end = |text| IpRange::parse(text, Family::V4).map(|r| r.start());
        if let (Ok(from), Ok(to)) = (end("10.0.0.1"), end("10.1.0.1")) {
            template.set_ends(from, to);
        }
        Self { template, stream, seq: 0 }
    }

    /// Bytes of a probe with its virtio header.
    pub fn frame_len(&self) -> usize {
        self.template.frame().len()
    }

    /// The next probe, meant for `intended` and sent at `now` (both ns).
    pub fn make(&mut self, intended: u64, now: u64) -> &[u8] {
        let stamp = ProbeStamp {
            magic: PROBE_MAGIC,
            stream: self.stream.into(),
            seq: self.seq.into(),
            sent: now.into(),
            intended: intended.into(),
            zero: [0; 2],
        };
        self.seq = self.seq.wrapping_add(1);
        self.template.stamp(stamp.as_bytes());
        self.template.seal();
        self.template.frame()
    }
}

/// A stream number that two runs or threads hardly share.
pub fn stream_id(thread: usize) -> u32 {
    let seed = crate::clock::now_ns() ^ u64::from(std::process::id()) << 32;
    // 0 is for senders that name no stream.
    (crate::rng::Rng::new(seed.wrapping_add(thread as u64)).next_u64() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_survive_the_trip() {
        let mac = MacRange::single([2, 0, 0, 0, 0, 1]);
        let mut m = ProbeMaker::new(&mac, &mac, 10, 77);
        m.make(1, 2);
        let frame = m.make(1000, 1234).to_vec();
        assert_eq!(frame.len(), 10 + Probe::FRAME_LEN);
        assert_eq!(Probe::FRAME_LEN, 76);
        let p = Probe { stream: 77, seq: 1, sent: 1234, intended: 1000 };
        assert_eq!(Probe::read(&frame[10..]), Some(p));
        assert_eq!(Probe::read(&frame[10..60]), None);
        let mut other = frame[10..].to_vec();
        other[42] = b'v';
        assert_eq!(Probe::read(&other), None);
    }

    #[test]
    fn sequence_numbers_where_pkt_gen_has_them() {
        for family in [Family::V4, Family::V6] {
            let mut t = Template::new(family, 80, 0, SeqStamp::LEN);
            t.stamp(SeqStamp::new(5, 0x0102_0304).as_bytes());
            t.seal();
            let at = payload_offset(family);
            assert_eq!(t.frame()[at..at + 4], [1, 2, 3, 4]);
            assert_eq!(SeqStamp::read(t.frame()), Some((5, 0x0102_0304)));
            assert_eq!(SeqStamp::read(&t.frame()[..at + 4]), Some((0, 0x0102_0304)));
            assert_eq!(SeqStamp::read(&t.frame()[..at + 3]), None);
        }
        assert_eq!(SeqStamp::read(&[]), None);
    }

    #[test]
    fn pings_where_pkt_gen_has_them() {
        let mut t = Template::new(Family::V4, 60, 0, PingStamp::LEN);
        let s = PingStamp::new(7, 3 * SECOND + 5);
        t.stamp(s.as_bytes());
        t.seal();
        assert_eq!(t.frame()[42..54], [7, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(PingStamp::read(t.frame()), Some(s));
    }
}
