//! The frames of a generator: a template, the walk through its address ranges, sizes and numbers.

use zerocopy::IntoBytes;

use crate::addr::{Family, IpRange, MacRange, Sweep};
use crate::packet::{Template, payload_offset};
use crate::rng::Rng;
use crate::run::RunError;
use crate::stamp::SeqStamp;

/// Bytes of a bare sequence number.
const SEQ_LEN: usize = 4;

/// What generated frames look like. The default is pkt-gen's: 60 bytes (without CRC), UDP from
/// 10.0.0.1:1234 to 10.1.0.1:1234, broadcast.
#[derive(Clone, Debug)]
pub struct FrameSpec {
    /// IP version.
    pub family: Family,
    /// Source addresses and ports, of [`Self::family`].
    pub src: IpRange,
    /// Destination addresses and ports, of [`Self::family`].
    pub dst: IpRange,
    /// Source Ethernet addresses.
    pub src_mac: MacRange,
    /// Destination Ethernet addresses.
    pub dst_mac: MacRange,
    /// Random source address and port in every frame.
    pub random_src: bool,
    /// Random destination address and port in every frame.
    pub random_dst: bool,
    /// Frame size in bytes, without CRC and virtio header.
    pub size: usize,
    /// Least size: sizes are random from this to [`Self::size`], both included.
    pub min_size: Option<usize>,
    /// Bytes of empty virtio header in front: 0, 10 or 12.
    pub vnet: usize,
    /// Where random numbers begin.
    pub seed: u64,
    /// Number the frames of this stream ([`SeqStamp`]).
    pub sequence: Option<u32>,
}

impl FrameSpec {
    /// pkt-gen's default addresses for `family`, from `src_mac` to everybody.
    pub fn new(family: Family, src_mac: MacRange) -> Result<Self, crate::addr::BadAddr> {
        let (src, dst) = match family {
            Family::V4 => ("10.0.0.1", "10.1.0.1"),
            Family::V6 => ("fd00::1", "fd00::1:1"),
        };
        Ok(Self {
            family,
            src: IpRange::parse(src, family)?,
            dst: IpRange::parse(dst, family)?,
            src_mac,
            dst_mac: MacRange::single([0xff; 6]),
            random_src: false,
            random_dst: false,
            size: 60,
            min_size: None,
            vnet: 0,
            seed: 1,
            sequence: None,
        })
    }
}

/// Makes one frame after the other.
#[derive(Clone, Debug)]
pub struct Generator {
    template: Template,
    sweep: Sweep,
    macs: Option<(MacRange, MacRange)>,
    src_mac: [u8; 6],
    dst_mac: [u8; 6],
    sizes: Option<(usize, usize)>,
    rng: Rng,
    sequence: Option<(u32, u32)>,
}

impl Generator {
    /// Starts at the beginning of all ranges; the first `stamp_len` payload bytes (even) can be stamped.
    pub fn new(spec: &FrameSpec, stamp_len: usize) -> Result<Self, RunError> {
        let bytes = spec.min_size.unwrap_or(spec.size).min(spec.size);
        let head = payload_offset(spec.family);
        let stamp_len = match spec.sequence {
            Some(_) if bytes >= head + SeqStamp::LEN => SeqStamp::LEN,
            // No room for the stream's name: the bare number, as pkt-gen has it.
            Some(_) => SEQ_LEN,
            None => stamp_len,
        };
        if stamp_len > 0 && bytes < head + stamp_len {
            return Err(RunError::Short { bytes, least: head + stamp_len });
        }
        let mut template = Template::new(spec.family, spec.size, spec.vnet, stamp_len);
        let (src_mac, dst_mac) = (spec.src_mac.start(), spec.dst_mac.start());
        template.set_macs(src_mac, dst_mac);
        let (random_src, random_dst) = (spec.random_src, spec.random_dst);
        let sweep = Sweep::new(spec.src.clone(), spec.dst.clone(), random_src, random_dst, spec.seed);
        template.set_ends(sweep.from, sweep.to);
        template.seal();
        let ranges = !spec.src_mac.is_single() || !spec.dst_mac.is_single();
        Ok(Self {
            template,
            sweep,
            macs: ranges.then(|| (spec.src_mac.clone(), spec.dst_mac.clone())),
            src_mac,
            dst_mac,
            sizes: spec.min_size.filter(|m| *m < spec.size).map(|m| (m, spec.size)),
            rng: Rng::new(spec.seed ^ 0x5eed),
            sequence: spec.sequence.map(|stream| (stream, 0)),
        })
    }

    /// Whether all frames are the same, so that one need not be made again.
    pub fn is_constant(&self) -> bool {
        self.sweep.is_constant() && self.macs.is_none() && self.sizes.is_none() && self.sequence.is_none()
    }

    /// The next frame, virtio header in front.
    #[inline]
    pub fn make(&mut self) -> &[u8] {
        self.prepare();
        self.template.seal();
        self.template.frame()
    }

    /// The next frame with `stamp` at the start of its payload.
    pub fn make_stamped(&mut self, stamp: &[u8]) -> &[u8] {
        self.prepare();
        self.template.stamp(stamp);
        self.template.seal();
        self.template.frame()
    }

    /// The addresses of this frame, then those of the next.
    fn prepare(&mut self) {
        if !self.sweep.is_constant() {
            self.template.set_ends(self.sweep.from, self.sweep.to);
            self.sweep.step();
        }
        if let Some((src, dst)) = &self.macs {
            self.template.set_macs(self.src_mac, self.dst_mac);
            (self.src_mac, self.dst_mac) = (src.after(self.src_mac), dst.after(self.dst_mac));
        }
        if let Some((lo, hi)) = self.sizes {
            self.template.resize(self.rng.between(lo, hi));
        }
        if let Some((stream, seq)) = &mut self.sequence {
            self.template.stamp(SeqStamp::new(*stream, *seq).as_bytes());
            *seq = seq.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> FrameSpec {
        FrameSpec::new(Family::V4, MacRange::single([2, 0, 0, 0, 0, 1])).unwrap()
    }

    #[test]
    fn the_default_is_one_frame_for_ever() {
        let mut g = Generator::new(&spec(), 0).unwrap();
        assert!(g.is_constant());
        let first = g.make().to_vec();
        assert_eq!(first.len(), 60);
        assert_eq!(g.make(), first);
    }

    #[test]
    fn ranges_sizes_and_numbers_change() {
        let mut s = spec();
        s.dst = IpRange::parse("10.1.0.1:5-10.1.0.1:6", Family::V4).unwrap();
        s.dst_mac = MacRange::parse("02:00:00:00:00:10-02:00:00:00:00:12").unwrap();
        (s.size, s.min_size, s.sequence) = (200, Some(100), Some(9));
        let mut g = Generator::new(&s, 0).unwrap();
        assert!(!g.is_constant());
        for i in 0..50u32 {
            let f = g.make();
            assert!((100..=200).contains(&f.len()));
            assert_eq!(f[5], 0x10 + (i % 3) as u8);
            assert_eq!(f[36..38], [0, 5 + (i % 2) as u8]);
            assert_eq!(SeqStamp::read(f), Some((9, i)));
            let ip = &f[14..];
            assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), f.len() - 14);
        }
    }

    #[test]
    fn too_short_for_a_number_is_refused() {
        let mut s = spec();
        (s.size, s.sequence) = (45, Some(1));
        let text = Generator::new(&s, 0).unwrap_err().to_string();
        assert!(text.contains("45 bytes are too short") && text.contains("46"), "{text}");
        s.size = 46;
        assert!(Generator::new(&s, 0).is_ok());
    }
}
