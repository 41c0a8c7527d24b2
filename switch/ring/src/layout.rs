//! Where everything lies inside one region: validated parameters in, byte offsets out.
//!
//! ```text
//! | atok entries | ktoa entries | netmap_if | TX rings | RX rings | spare | buffers 0.. |
//!   one page+      one page+      one page+   each on a page of its own
//! ```
//! The spare part is there for clients that run netmap programs ([`crate::netmap`]); others have none.
//! The client's and the switch's CSB entries lie on different pages, so neither side's stores disturb
//! lines that only the other writes.

use std::mem::size_of;

use crate::abi::{CsbAtok, CsbKtoa, FIRST_BUF, IfHeader, RingHeader, Slot};

const PAGE: usize = 4096;
const LINE: usize = 64;

/// Slots that share a cache line.
pub const SLOTS_PER_LINE: u32 = (LINE / size_of::<Slot>()) as u32;

/// Most rings of one direction that a port may have.
pub const MAX_RINGS: u16 = 16;
/// Fewest and most slots in a ring.
pub const SLOTS: std::ops::RangeInclusive<u32> = 16..=32768;
/// Smallest and largest buffer, in bytes (a slot's `len` has 16 bits).
pub const BUF_SIZE: std::ops::RangeInclusive<u32> = 64..=65536;

/// What a port's rings look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingParams {
    /// Transmit rings (client to switch).
    pub tx_rings: u16,
    /// Receive rings (switch to client).
    pub rx_rings: u16,
    /// Slots in each ring, a power of two.
    pub slots: u32,
    /// Least bytes in a buffer; the distance between buffers is [`Layout::stride`].
    pub buf_size: u32,
}

impl Default for RingParams {
    /// VALE's defaults: one ring each way, 1024 slots, 2048-byte buffers.
    fn default() -> Self {
        Self { tx_rings: 1, rx_rings: 1, slots: 1024, buf_size: 2048 }
    }
}

/// Why parameters were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Ring count out of range.
    #[error("{0} {1} rings: must be 1 to {MAX_RINGS}")]
    Rings(u16, &'static str),
    /// Slot count out of range or no power of two.
    #[error("{0} slots: must be a power of two, {min} to {max}", min = SLOTS.start(), max = SLOTS.end())]
    Slots(u32),
    /// Buffer size out of range.
    #[error("buffer size {0}: must be {min} to {max} bytes", min = BUF_SIZE.start(), max = BUF_SIZE.end())]
    BufSize(u32),
    /// More spare memory than a region may have.
    #[error("{bytes} spare bytes and {bufs} spare buffers: must be at most {most} buffers", bytes = .0.bytes, bufs = .0.bufs, most = MOST_SPARE.bufs)]
    Spare(Spare),
}

/// Byte offsets of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    params: RingParams,
    ktoa: usize,
    netmap_if: usize,
    rings: usize,
    ring_len: usize,
    spare: usize,
    spare_len: usize,
    bufs: usize,
    nbufs: u32,
    stride: usize,
    total: usize,
}

/// What a region holds beside the rings of its port and their buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spare {
    /// Bytes for further rings and the books about them.
    pub bytes: usize,
    /// Buffers.
    pub bufs: u32,
}

/// Most bytes and buffers that may be spared: far beyond what the memory limits of a switch allow by default.
const MOST_SPARE: Spare = Spare { bytes: 1 << 28, bufs: 1 << 20 };

impl TryFrom<RingParams> for Layout {
    type Error = LayoutError;

    fn try_from(p: RingParams) -> Result<Self, LayoutError> {
        Self::with_spare(p, Spare::default())
    }
}

impl Layout {
    /// As [`Layout::try_from`], with spare memory.
    ///
    /// # Errors
    /// Which parameter is out of range.
    pub fn with_spare(p: RingParams, spare: Spare) -> Result<Self, LayoutError> {
        for (n, dir) in [(p.tx_rings, "transmit"), (p.rx_rings, "receive")] {
            if n == 0 || n > MAX_RINGS {
                return Err(LayoutError::Rings(n, dir));
            }
        }
        if !SLOTS.contains(&p.slots) || !p.slots.is_power_of_two() {
            return Err(LayoutError::Slots(p.slots));
        }
        if !BUF_SIZE.contains(&p.buf_size) {
            return Err(LayoutError::BufSize(p.buf_size));
        }
        let rings_total = usize::from(p.tx_rings) + usize::from(p.rx_rings);
        let ktoa = (rings_total * size_of::<CsbAtok>()).next_multiple_of(PAGE);
        let netmap_if = ktoa + (rings_total * size_of::<CsbKtoa>()).next_multiple_of(PAGE);
        // One fake host ring each way, as netmap reports: two more entries of ring_ofs.
        let rings = netmap_if + (size_of::<IfHeader>() + 8 * (rings_total + 2)).next_multiple_of(PAGE);
        let ring_len =
            (size_of::<RingHeader>() + p.slots as usize * size_of::<Slot>()).next_multiple_of(PAGE);
        if spare.bytes > MOST_SPARE.bytes || spare.bufs > MOST_SPARE.bufs {
            return Err(LayoutError::Spare(spare));
        }
        let spare_at = rings + rings_total * ring_len;
        let spare_len = spare.bytes.next_multiple_of(PAGE);
        let bufs = spare_at + spare_len;
        // An odd number of cache lines: with 2048 exactly, all first lines of all buffers share two
        // sets of the L1 cache and a burst evicts itself.
        let lines = (p.buf_size as usize).div_ceil(LINE) | 1;
        let stride = lines * LINE;
        let nbufs = FIRST_BUF + rings_total as u32 * p.slots + spare.bufs;
        let total = (bufs + nbufs as usize * stride).next_multiple_of(PAGE);
        Ok(Self {
            params: p,
            ktoa,
            netmap_if,
            rings,
            ring_len,
            spare: spare_at,
            spare_len,
            bufs,
            nbufs,
            stride,
            total,
        })
    }

    /// The parameters it was made of.
    pub fn params(&self) -> RingParams {
        self.params
    }

    /// Bytes of the whole region.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes from one buffer to the next; also what a client may put in one.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Most bytes that one slot can describe.
    pub fn max_slot_len(&self) -> usize {
        self.stride.min(u16::MAX as usize)
    }

    /// Number of buffers, the reserved ones included.
    pub fn buffers(&self) -> u32 {
        self.nbufs
    }

    /// The first buffer that belongs to no ring of the port; those from here to [`Self::buffers`] are spare.
    pub fn first_spare_buf(&self) -> u32 {
        FIRST_BUF + self.rings_total() as u32 * self.params.slots
    }

    /// Offset and length of the spare part.
    pub fn spare(&self) -> (usize, usize) {
        (self.spare, self.spare_len)
    }

    /// Number of rings of both directions.
    pub fn rings_total(&self) -> usize {
        usize::from(self.params.tx_rings) + usize::from(self.params.rx_rings)
    }

    /// Offset of `netmap_if`.
    pub fn netmap_if(&self) -> usize {
        self.netmap_if
    }

    /// Offset of ring `ring`'s `atok` entry, rings being numbered with transmit rings first.
    pub fn atok(&self, ring: usize) -> usize {
        ring * size_of::<CsbAtok>()
    }

    /// Offset of ring `ring`'s `ktoa` entry.
    pub fn ktoa(&self, ring: usize) -> usize {
        self.ktoa + ring * size_of::<CsbKtoa>()
    }

    /// Offset of ring `ring`'s header.
    pub fn ring(&self, ring: usize) -> usize {
        self.rings + ring * self.ring_len
    }

    pub(crate) fn slots(&self, ring: usize) -> usize {
        self.ring(ring) + size_of::<RingHeader>()
    }

    /// Offset of buffer 0.
    pub fn bufs(&self) -> usize {
        self.bufs
    }

    /// The buffer that slot `slot` of ring `ring` starts with.
    pub(crate) fn first_buf(&self, ring: usize, slot: u32) -> u32 {
        FIRST_BUF + ring as u32 * self.params.slots + slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_do_not_overlap(tx in 1u16..=16, rx in 1u16..=16, bits in 4u32..=15, buf in 64u32..=65536, spare in 0u32..9000) {
            let p = RingParams { tx_rings: tx, rx_rings: rx, slots: 1 << bits, buf_size: buf };
            let l = Layout::with_spare(p, Spare { bytes: 7 * spare as usize, bufs: spare }).unwrap();
            let n = l.rings_total();
            prop_assert!(l.atok(n) <= l.ktoa(0));
            prop_assert!(l.ktoa(n) <= l.netmap_if());
            prop_assert!(l.netmap_if() + 56 + 8 * (n + 2) <= l.ring(0));
            for r in 0..n {
                prop_assert!(l.slots(r) + 16 * (1usize << bits) <= l.ring(r + 1));
                prop_assert_eq!(l.ring(r) % 128, 0);
            }
            prop_assert_eq!(l.ring(n), l.spare().0);
            prop_assert_eq!(l.spare().0 + l.spare().1, l.bufs());
            prop_assert!(l.bufs() + l.buffers() as usize * l.stride() <= l.total());
            prop_assert!(l.stride() >= buf as usize && (l.stride() / 64) % 2 == 1);
            prop_assert_eq!(l.first_buf(n - 1, (1 << bits) - 1) + 1, l.first_spare_buf());
            prop_assert_eq!(l.first_spare_buf() + spare, l.buffers());
        }
    }

    #[test]
    fn refuses_what_it_cannot_serve() {
        let bad = |f: fn(&mut RingParams)| {
            let mut p = RingParams::default();
            f(&mut p);
            Layout::try_from(p).unwrap_err().to_string()
        };
        assert_eq!(bad(|p| p.tx_rings = 0), "0 transmit rings: must be 1 to 16");
        assert_eq!(bad(|p| p.slots = 1000), "1000 slots: must be a power of two, 16 to 32768");
        assert_eq!(bad(|p| p.buf_size = 1 << 20), "buffer size 1048576: must be 64 to 65536 bytes");
    }
}
