//! The driver's rings and buffers.

use core::sync::atomic::Ordering;

use super::{Flags, TX_BUFFER};
use crate::desc::{DD, POPTS_IXSM, POPTS_TXSM, Tx, Written, cmd, rx as bits};
use crate::dma::{Access, Dma, Ring, Unmapped};

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

fn store(mem: &impl Dma, ring: u64, n: u32, i: u32, halves: (u64, u64)) -> Result<(), Unmapped> {
    Ring::new(mem, ring, n, Access::Write).store(i, halves).ok_or(Unmapped { addr: ring })
}

fn load(mem: &impl Dma, ring: u64, n: u32, i: u32) -> Result<(u64, u64), Unmapped> {
    let addr = ring + 16 * u64::from(i);
    Ring::new(mem, ring, n, Access::Read).load(i).ok_or(Unmapped { addr })
}

/// The index after `i` in a ring of `n`.
fn after(i: u32, n: u32) -> u32 {
    if i + 1 == n { 0 } else { i + 1 }
}

/// The transmit ring.
pub(super) struct TxRing {
    at: u64,
    n: u32,
    buffers: u64,
    next: u32,
    oldest: u32,
}

impl TxRing {
    pub fn new(at: u64, n: u32, buffers: u64) -> Self {
        Self { at, n, buffers, next: 0, oldest: 0 }
    }

    pub fn prepare(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        (0..self.n).try_for_each(|i| store(mem, self.at, self.n, i, (0, 0)))
    }

    pub fn tail(&self) -> u32 {
        self.next
    }

    pub fn free(&self) -> u32 {
        let used =
            if self.next >= self.oldest { self.next - self.oldest } else { self.next + self.n - self.oldest };
        self.n - 1 - used
    }

    pub fn needs(&self, s: &Send<'_>) -> u32 {
        s.pieces().count() as u32 + u32::from(s.has_context())
    }

    fn buffer(&self, i: u32) -> u64 {
        self.buffers + u64::from(i) * TX_BUFFER as u64
    }

    /// Writes the same bytes into every buffer.
    pub fn fill(&self, mem: &impl Dma, bytes: &[u8]) -> Result<(), Unmapped> {
        (0..self.n).try_for_each(|i| mem.write(self.buffer(i), bytes))
    }

    /// Writes descriptors and buffers of a frame for which there is room; `extra`: command bits of its last one.
    pub fn put(&mut self, mem: &impl Dma, s: &Send<'_>, legacy: bool, extra: u8) -> Result<(), Unmapped> {
        let legacy = legacy && s.segments.is_none() && s.ip_checksum.is_none();
        if s.has_context() && !legacy {
            store(mem, self.at, self.n, self.next, s.context())?;
            self.next = after(self.next, self.n);
        }
        let count = s.pieces().count();
        for (k, p) in s.pieces().enumerate() {
            let buffer = self.buffer(self.next);
            mem.write(buffer, p)?;
            let last = if k + 1 == count { cmd::EOP } else { 0 };
            store(mem, self.at, self.n, self.next, (buffer, s.piece(legacy, p.len(), last | extra)))?;
            self.next = after(self.next, self.n);
        }
        Ok(())
    }

    /// Writes the descriptors of `count` frames of `len` bytes, for which there is room, that are in their buffers already.
    #[inline]
    pub fn put_filled(
        &mut self,
        mem: &impl Dma,
        len: usize,
        legacy: bool,
        extra: u8,
        count: u32,
    ) -> Result<(), Unmapped> {
        let word = Send::default().piece(legacy, len.min(TX_BUFFER), cmd::EOP | extra);
        let ring = Ring::new(mem, self.at, self.n, Access::Write);
        for _ in 0..count {
            let halves = (self.buffer(self.next), word);
            ring.renew(self.next, halves).ok_or(Unmapped { addr: self.at })?;
            self.next = after(self.next, self.n);
        }
        Ok(())
    }

    /// Takes back frames that the card reported as sent; how many descriptors.
    pub fn reclaim(&mut self, mem: &impl Dma) -> Result<u32, Unmapped> {
        let (mut n, mut i) = (0, self.oldest);
        let mut pending = 0;
        while i != self.next {
            let halves = load(mem, self.at, self.n, i)?;
            i = after(i, self.n);
            pending += 1;
            if !matches!(Tx::parse(halves), Tx::Piece(p) if p.command & cmd::EOP != 0) {
                continue;
            }
            if (halves.1 >> 32) as u8 & DD == 0 {
                break;
            }
            self.oldest = i;
            n += pending;
            pending = 0;
        }
        Ok(n)
    }

    /// Takes back what lies before the card's head; how many descriptors.
    pub fn reclaim_to(&mut self, head: u32) -> u32 {
        let before = self.free();
        if head < self.n {
            self.oldest = head;
        }
        // A head that is none of ours would only make room where there is none: the card's fault, and its loss.
        self.free().saturating_sub(before)
    }
}

/// A frame in the driver's buffers, until the next one is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Its bytes, FCS included if the card leaves it.
    pub len: usize,
    /// Descriptors it took.
    pub descriptors: u32,
    /// What the last of them said.
    pub last: Flags,
    first: u32,
    n: u32,
    buffers: u64,
    size: usize,
}

impl Frame {
    /// Guest addresses of its pieces, and their bytes.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, usize)> {
        (0..self.descriptors).map(|k| {
            let i = (self.first + k) % self.n;
            let at = k as usize * self.size;
            (self.buffers + u64::from(i) * self.size as u64, self.size.min(self.len.saturating_sub(at)))
        })
    }

    /// Where it begins.
    #[inline]
    pub fn at(&self) -> u64 {
        self.buffers + u64::from(self.first) * self.size as u64
    }

    /// Copies as much of it as `to` has room for; how much that was.
    pub fn copy(&self, mem: &impl Dma, to: &mut [u8]) -> Result<usize, Unmapped> {
        let mut at = 0;
        for (addr, len) in self.pieces() {
            let len = len.min(to.len() - at);
            mem.read(addr, &mut to[at..at + len])?;
            at += len;
        }
        Ok(at)
    }
}

/// The receive ring.
pub(super) struct RxRing {
    at: u64,
    pub n: u32,
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
        (0..self.n).try_for_each(|i| store(mem, self.at, self.n, i, (self.buffer(i), 0)))
    }

    fn buffer(&self, i: u32) -> u64 {
        self.buffers + u64::from(i) * self.size as u64
    }

    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// The tail that the card was last told of; it counts as told of the present one from now on.
    pub fn tell(&mut self) -> u32 {
        core::mem::replace(&mut self.told, self.tail)
    }

    pub fn is_ready(&self, mem: &impl Dma) -> Result<bool, Unmapped> {
        Ok((load(mem, self.at, self.n, self.next)?.1 >> 32) as u8 & DD != 0)
    }

    /// Whether there are descriptors before the card's head.
    pub fn is_behind(&self, head: u32) -> bool {
        head < self.n && head != self.next
    }

    /// The next whole frame, before the card's `head` if that is known.
    pub fn next(&self, mem: &impl Dma, head: Option<u32>) -> Result<Option<Frame>, Unmapped> {
        let (mut len, mut k, mut i) = (0, 0, self.next);
        while k < self.n && Some(i) != head {
            let w = Written::parse(load(mem, self.at, self.n, i)?.1);
            if w.status & DD == 0 {
                break;
            }
            (k, i) = (k + 1, after(i, self.n));
            len += usize::from(w.len).min(self.size);
            if w.status & bits::EOP != 0 {
                let Self { n, buffers, size, next: first, .. } = *self;
                return Ok(Some(Frame { len, descriptors: k, last: w.into(), first, n, buffers, size }));
            }
        }
        Ok(None)
    }

    /// Frames of one descriptor each before the card's `head`, up to `max` and to the ring's end: calls `each` with them,
    /// and their buffers are free again. How many; others are [`RxRing::next`]'s. A function of its own, so that the loop has all
    /// registers to itself.
    #[inline(never)]
    pub fn row(&mut self, mem: &impl Dma, head: u32, max: u32, mut each: impl FnMut(&Frame)) -> u32 {
        let ring = Ring::new(mem, self.at, self.n, Access::Read);
        let end = if head < self.next { self.n } else { head }.min(self.next.saturating_add(max));
        let descriptors = ring.all().and_then(|all| all.get(self.next as usize..end as usize));
        let Self { n, buffers, size, next, .. } = *self;
        let mut row = 0;
        for [_, high] in descriptors.unwrap_or_default() {
            // ORDERING: Relaxed; the head that led here was read with Acquire.
            let w = Written::parse(u64::from_le(high.load(Ordering::Relaxed)));
            if w.status & (DD | bits::EOP) != DD | bits::EOP {
                break;
            }
            let len = usize::from(w.len).min(size);
            each(&Frame { len, descriptors: 1, last: w.into(), first: next + row, n, buffers, size });
            row += 1;
        }
        let go = |i: u32| if i + row >= n { i + row - n } else { i + row };
        (self.next, self.tail) = (go(self.next), go(self.tail));
        row
    }

    /// The next frame's buffers are free again; `clear`: their descriptors are to say so.
    pub fn give_back(&mut self, mem: &impl Dma, f: &Frame, clear: bool) -> Result<(), Unmapped> {
        for _ in 0..f.descriptors {
            if clear {
                store(mem, self.at, self.n, self.next, (self.buffer(self.next), 0))?;
            }
            self.next = after(self.next, self.n);
            self.tail = after(self.tail, self.n);
        }
        Ok(())
    }
}
