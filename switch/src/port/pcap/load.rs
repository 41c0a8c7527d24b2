//! Reads a capture file, classic or pcapng, into memory.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

use crate::port::OpenError;

/// How pcapng files begin, in any byte order.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Resolution (10^-6 s) of pcapng times that say nothing else.
const MICROSECONDS: u8 = 6;

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// ns after the first frame; never before the frame that precedes it in the file.
    pub time: u64,
    at: usize,
    len: usize,
}

/// The frames of a file.
#[derive(Debug, Default)]
pub struct Capture {
    data: Vec<u8>,
    /// In the file's order; at least one.
    pub frames: Vec<Recorded>,
    /// Time of the first frame in the file (ns).
    first: u64,
}

impl Capture {
    /// The bytes of frame `i`.
    pub fn bytes(&self, i: usize) -> &[u8] {
        let f = self.frames[i];
        &self.data[f.at..f.at + f.len]
    }

    /// Adds a frame; without a time, it is the previous one's.
    fn push(&mut self, time: Option<u64>, bytes: &[u8]) {
        let last = self.frames.last().map_or(0, |f| f.time);
        if self.frames.is_empty() {
            self.first = time.unwrap_or(0);
        }
        // Clocks are set back now and then; a replay cannot go back.
        let time = time.map_or(last, |t| t.saturating_sub(self.first)).max(last);
        self.frames.push(Recorded { time, at: self.data.len(), len: bytes.len() });
        self.data.extend_from_slice(bytes);
    }
}

/// Reads the whole file.
pub fn load(path: &Path) -> Result<Capture, OpenError> {
    let wrong = |text: String| OpenError::File(format!("{}: {text}", path.display()));
    let os = |source| OpenError::Os { what: format!("cannot read {}", path.display()), source };
    let mut file = File::open(path).map_err(os)?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => wrong("is no capture file: it is too short".into()),
        _ => os(e),
    })?;
    file.rewind().map_err(os)?;
    let mut capture = Capture::default();
    let size = file.metadata().map_or(0, |m| m.len());
    capture.data.reserve(usize::try_from(size).unwrap_or(0));
    let result = if magic == PCAPNG { pcapng(file, &mut capture) } else { classic(file, &mut capture) };
    result.map_err(wrong)?;
    if capture.frames.is_empty() {
        return Err(wrong("has no frames to send".into()));
    }
    Ok(capture)
}

/// What is wrong with record `n` (from 1), or (`n` = 0) the file.
fn bad(n: usize, e: PcapError) -> String {
    let place = if n == 0 { "is no capture file".into() } else { format!("record {n}") };
    match e {
        PcapError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!("{place}: the file ends in the middle, or a length is wrong")
        }
        PcapError::IoError(e) => format!("{place}: {e}"),
        e => format!("{place}: {e}"),
    }
}

fn ethernet(link: DataLink) -> Result<(), String> {
    if link == DataLink::ETHERNET {
        Ok(())
    } else {
        Err(format!("has frames of type {link:?}; only Ethernet can be sent"))
    }
}

fn classic(file: File, capture: &mut Capture) -> Result<(), String> {
    let mut reader = PcapReader::new(file).map_err(|e| bad(0, e))?;
    let header = reader.header();
    ethernet(header.datalink)?;
    let unit = if header.ts_resolution == TsResolution::NanoSecond { 1 } else { 1000 };
    // Raw, because a frame longer than the snap length is no reason to refuse the file.
    while let Some(record) = reader.next_raw_packet() {
        let r = record.map_err(|e| bad(capture.frames.len() + 1, e))?;
        let time = u64::from(r.ts_sec) * 1_000_000_000 + u64::from(r.ts_frac) * unit;
        capture.push(Some(time), &r.data);
    }
    Ok(())
}

fn pcapng(file: File, capture: &mut Capture) -> Result<(), String> {
    let mut reader = PcapNgReader::new(file).map_err(|e| bad(0, e))?;
    // A copy, because a block keeps the reader borrowed; as the reader's, it begins anew with each section.
    let mut interfaces: Vec<InterfaceDescriptionBlock<'static>> = Vec::new();
    let mut little = reader.section().endianness == Endianness::Little;
    let (mut blocks, first_block) = (1, 1);
    while let Some(block) = reader.next_block() {
        blocks += 1;
        let n = blocks - first_block;
        let of = |list: &[InterfaceDescriptionBlock<'static>], id: u32| {
            let i = list.get(id as usize).ok_or_else(|| bad(n, PcapError::InvalidInterfaceId(id)))?;
            ethernet(i.linktype).map(|()| (resolution(i), i.snaplen))
        };
        match block.map_err(|e| bad(n, e))? {
            Block::SectionHeader(s) => {
                interfaces.clear();
                little = s.endianness == Endianness::Little;
            }
            Block::InterfaceDescription(i) => interfaces.push(i.into_owned()),
            Block::EnhancedPacket(p) => {
                let (unit, _) = of(&interfaces, p.interface_id)?;
                // The crate calls the units of the file nanoseconds, whatever they are.
                capture.push(Some(unit.ns(p.timestamp.as_nanos() as u64)), &p.data);
            }
            Block::Packet(p) => {
                let (unit, _) = of(&interfaces, p.interface_id.into())?;
                // Two words, the high one first; the crate reads them as one.
                let time = if little { p.timestamp.rotate_left(32) } else { p.timestamp };
                capture.push(Some(unit.ns(time)), &p.data);
            }
            Block::SimplePacket(p) => {
                let (_, snap) = of(&interfaces, 0)?;
                let snap = if snap == 0 { u32::MAX } else { snap };
                // What follows is padding.
                let len = p.data.len().min(p.original_len.min(snap) as usize);
                capture.push(None, &p.data[..len]);
            }
            _ => {}
        }
    }
    Ok(())
}

/// How an interface of a pcapng file tells the time.
#[derive(Clone, Copy, Debug)]
struct Resolution {
    exponent: u8,
    offset: u64,
}

fn resolution(i: &InterfaceDescriptionBlock<'_>) -> Resolution {
    let mut r = Resolution { exponent: MICROSECONDS, offset: 0 };
    for o in &i.options {
        match o {
            InterfaceDescriptionOption::IfTsResol(e) => r.exponent = *e,
            InterfaceDescriptionOption::IfTsOffset(s) => r.offset = *s,
            _ => {}
        }
    }
    r
}

impl Resolution {
    /// Its units in nanoseconds.
    fn ns(self, units: u64) -> u64 {
        let power = u32::from(self.exponent & 0x7f);
        let base: u128 = if self.exponent & 0x80 == 0 { 10 } else { 2 };
        // So fine a unit that it does not fit makes every time 0.
        let ns =
            base.checked_pow(power).map_or(0, |per_second| u128::from(units) * 1_000_000_000 / per_second);
        u64::try_from(ns).unwrap_or(u64::MAX).saturating_add(self.offset.saturating_mul(1_000_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_times() {
        let ns = |exponent, units| Resolution { exponent, offset: 0 }.ns(units);
        assert_eq!(ns(6, 1_000_001), 1_000_001_000);
        assert_eq!(ns(9, 12), 12);
        assert_eq!(ns(0, 3), 3_000_000_000);
        assert_eq!(ns(0x80 | 10, 512), 500_000_000);
        assert_eq!(ns(127, 5), 0);
        assert_eq!(Resolution { exponent: 9, offset: 2 }.ns(1), 2_000_000_001);
    }
}
