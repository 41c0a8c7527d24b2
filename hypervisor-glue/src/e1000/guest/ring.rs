//! The driver's rings and buffers.

use super::{Received, TX_BUFFER};
use crate::e1000::desc::{DD, POPTS_IXSM, POPTS_TXSM, Written, cmd, rx as bits};
use crate::e1000::dma::{Access, Dma, Ring, Unmapped};

/// A frame to send and what the card is to do to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Send<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Bytes of its first piece, if it is to have one of its own.
    pub split: usize,
    /// A checksum from the first to the frame's end, at the second.
    pub checksum: Option<(u8, u8)>,
    /// The IPv4 checksum: first byte, place, last byte. By context descriptors only.
    pub ip_checksum: Option<(u8, u8, u16)>,
    /// Segments.
    pub segments: Option<Segmentation>,
    /// A VLAN tag.
    pub tag: Option<u16>,
}

/// How a frame is to be segmented.
#[derive(Clone, Copy, Debug)]
pub struct Segmentation {
    /// Where IP and TCP begin.
    pub l3: u8,
    /// As above.
    pub l4: u8,
    /// Bytes of headers.
    pub header: u8,
    /// Payload per segment.
    pub mss: u16,
    /// IPv6.
    pub v6: bool,
    /// UDP.
    pub udp: bool,
}

impl Send<'_> {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (first, rest) = self.bytes.split_at(self.split.min(self.bytes.len()));
        first.chunks(TX_BUFFER).chain(rest.chunks(TX_BUFFER))
    }

    fn has_context(&self) -> bool {
        self.checksum.is_some() || self.ip_checksum.is_some() || self.segments.is_some()
    }

    /// A context descriptor for it.
    fn context(&self) -> (u64, u64) {
        let (ip, l4, command, header, mss) = match self.segments {
            Some(s) => {
                let place = if s.udp { 6 } else { 16 };
                let command = cmd::TSE | if s.v6 { 0 } else { cmd::IP } | if s.udp { 0 } else { cmd::TCP };
                ((s.l3, s.l3 + 10, u16::from(s.l4) - 1), (s.l4, s.l4 + place), command, s.header, s.mss)
            }
            None => (self.ip_checksum.unwrap_or_default(), self.checksum.unwrap_or_default(), 0, 0, 0),
        };
        let payload = (self.bytes.len() - usize::from(header)) as u64 & 0xf_ffff;
        let low = u64::from(ip.0)
            | u64::from(ip.1) << 8
            | u64::from(ip.2) << 16
            | u64::from(l4.0) << 32
            | u64::from(l4.1) << 40;
        let high =
            payload | u64::from(command | cmd::DEXT) << 24 | u64::from(header) << 40 | u64::from(mss) << 48;
        (low, high)
    }

    /// The second half of a piece's descriptor.
    fn piece(&self, legacy: bool, len: usize, command: u8) -> u64 {
        let command = command | if self.tag.is_some() { cmd::VLE } else { 0 };
        let special = u64::from(self.tag.unwrap_or(0)) << 48;
        if legacy {
            let (css, cso) = self.checksum.unwrap_or_default();
            let command = command | if self.checksum.is_some() { cmd::IC } else { 0 };
            return len as u64
                | u64::from(cso) << 16
                | u64::from(command) << 24
                | u64::from(css) << 40
                | special;
        }
        let command = command | cmd::DEXT | if self.segments.is_some() { cmd::TSE } else { 0 };
        let popts = if self.segments.is_some() || self.checksum.is_some() { POPTS_TXSM } else { 0 }
            | if self.segments.is_some_and(|s| !s.v6) || self.ip_checksum.is_some() { POPTS_IXSM } else { 0 };
        len as u64 | 1 << 20 | u64::from(command) << 24 | u64::from(popts) << 40 | special
    }
}

fn store(mem: &impl Dma, ring: u64, i: u32, (low, high): (u64, u64)) -> Result<(), Unmapped> {
    let mut b = [0; 16];
    b[..8].copy_from_slice(&low.to_le_bytes());
    b[8..].copy_from_slice(&high.to_le_bytes());
    mem.write(ring + 16 * u64::from(i), &b)
}

fn load(mem: &impl Dma, ring: u64, n: u32, i: u32) -> Result<(u64, u64), Unmapped> {
    let addr = ring + 16 * u64::from(i);
    Ring::new(mem, ring, n, Access::Read).load(i).ok_or(Unmapped { addr })
}

/// The transmit ring.
pub(super) struct TxRing {
    at: u64,
    n: u32,
    buffers: u64,
    next: u32,
    oldest: u32,
    /// Last descriptor of each frame that was not taken back.
    ends: std::collections::VecDeque<u32>,
}

impl TxRing {
    pub fn new(at: u64, n: u32, buffers: u64) -> Self {
        Self { at, n, buffers, next: 0, oldest: 0, ends: std::collections::VecDeque::new() }
    }

    pub fn prepare(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        (0..self.n).try_for_each(|i| store(mem, self.at, i, (0, 0)))
    }

    pub fn tail(&self) -> u32 {
        self.next
    }

    pub fn free(&self) -> u32 {
        (self.oldest + self.n - self.next - 1) % self.n
    }

    pub fn needs(&self, s: &Send<'_>) -> u32 {
        s.pieces().count() as u32 + u32::from(s.has_context())
    }

    /// Writes descriptors and buffers of a frame for which there is room.
    pub fn put(&mut self, mem: &impl Dma, s: &Send<'_>, legacy: bool, extra: u8) -> Result<(), Unmapped> {
        let legacy = legacy && s.segments.is_none() && s.ip_checksum.is_none();
        if s.has_context() && !legacy {
            store(mem, self.at, self.next, s.context())?;
            self.advance();
        }
        let count = s.pieces().count();
        for (k, p) in s.pieces().enumerate() {
            let buffer = self.buffers + u64::from(self.next) * TX_BUFFER as u64;
            mem.write(buffer, p)?;
            let last = if k + 1 == count { cmd::EOP | cmd::RS } else { 0 };
            store(mem, self.at, self.next, (buffer, s.piece(legacy, p.len(), last | extra)))?;
            if k + 1 == count {
                self.ends.push_back(self.next);
            }
            self.advance();
        }
        Ok(())
    }

    fn advance(&mut self) {
        self.next = (self.next + 1) % self.n;
    }

    /// Takes back frames that were sent; how many.
    pub fn reclaim(&mut self, mem: &impl Dma) -> Result<u32, Unmapped> {
        let mut n = 0;
        while let Some(end) = self.ends.front().copied() {
            let (_, high) = load(mem, self.at, self.n, end)?;
            if (high >> 32) as u8 & DD == 0 {
                break;
            }
            self.ends.pop_front();
            self.oldest = (end + 1) % self.n;
            n += 1;
        }
        Ok(n)
    }
}

/// The receive ring.
pub(super) struct RxRing {
    at: u64,
    n: u32,
    buffers: u64,
    size: usize,
    next: u32,
    tail: u32,
    told: u32,
}

impl RxRing {
    pub fn new(at: u64, n: u32, buffers: u64, size: usize) -> Self {
        Self { at, n, buffers, size, next: 0, tail: n - 1, told: 0 }
    }

    pub fn prepare(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        (0..self.n).try_for_each(|i| store(mem, self.at, i, (self.buffer(i), 0)))
    }

    fn buffer(&self, i: u32) -> u64 {
        self.buffers + u64::from(i) * self.size as u64
    }

    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Tails since the last call, one by one.
    pub fn published(&mut self) -> Vec<u32> {
        let mut all = Vec::new();
        while self.told != self.tail {
            self.told = (self.told + 1) % self.n;
            all.push(self.told);
        }
        all
    }

    pub fn is_ready(&self, mem: &impl Dma) -> Result<bool, Unmapped> {
        Ok((load(mem, self.at, self.n, self.next)?.1 >> 32) as u8 & DD != 0)
    }

    /// The next whole frame; its buffers are free again.
    pub fn next(&mut self, mem: &impl Dma) -> Result<Option<Received>, Unmapped> {
        let (mut bytes, mut k) = (Vec::new(), 0);
        loop {
            let i = (self.next + k) % self.n;
            let w = Written::parse(load(mem, self.at, self.n, i)?.1);
            if w.status & DD == 0 || k == self.n {
                return Ok(None);
            }
            let at = bytes.len();
            bytes.resize(at + usize::from(w.len).min(self.size), 0);
            mem.read(self.buffer(i), &mut bytes[at..])?;
            k += 1;
            if w.status & bits::EOP != 0 {
                for j in 0..k {
                    let i = (self.next + j) % self.n;
                    store(mem, self.at, i, (self.buffer(i), 0))?;
                }
                self.next = (self.next + k) % self.n;
                self.tail = (self.tail + k) % self.n;
                return Ok(Some(Received { bytes, descriptors: k, last: w.into() }));
            }
        }
    }
}
