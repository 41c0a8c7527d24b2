//! Captures to send again: pcap and pcapng, read into memory before the run begins.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

/// Magic of a pcapng section header, the same in both byte orders.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Longest frame that is sent, in bytes.
const MAX_FRAME: usize = 65536;

/// Why a capture cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum PcapFail {
    /// The file cannot be opened or read at all.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The head of the file is not that of a capture.
    #[error("{path}: neither pcap nor pcapng: {why}")]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A record is broken.
    #[error("{path}: record {record}: {why}")]
    Record {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        record: u64,
        /// What is wrong.
        why: String,
    },
    /// There is nothing to send.
    #[error("{path}: no frames in it")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// After the first frame, in ns; never decreasing.
    at: u64,
    start: usize,
    len: usize,
}

/// The frames of a capture, with their times.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    bytes: Vec<u8>,
    records: Vec<Record>,
    first: Option<u64>,
    /// Frames of which the capture holds only the beginning; that is sent.
    pub cut_short: u64,
    /// Frames stamped earlier than one before them; they are sent right after it.
    pub back_in_time: u64,
}

impl Capture {
    /// Reads `path`, pcap or pcapng, of an Ethernet link.
    pub fn load(path: &Path) -> Result<Self, PcapFail> {
        let open = |source| PcapFail::Open { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(open)?;
        let mut magic = [0; 4];
        let got = file.read(&mut magic).map_err(open)?;
        file.seek(SeekFrom::Start(0)).map_err(open)?;
        let read = BufReader::new(file);
        let ng = got == 4 && magic == PCAPNG_MAGIC;
        let capture = if ng { Self::read_pcapng(read, path)? } else { Self::read_pcap(read, path)? };
        if capture.records.is_empty() {
            return Err(PcapFail::Empty { path: path.to_owned() });
        }
        Ok(capture)
    }

    fn read_pcap(read: impl Read, path: &Path) -> Result<Self, PcapFail> {
        let head = |why| PcapFail::Head { path: path.to_owned(), why };
        let mut reader = PcapReader::new(read).map_err(|e| head(tell(&e)))?;
        let header = reader.header();
        ethernet(header.datalink).map_err(head)?;
        let unit = match header.ts_resolution {
            TsResolution::MicroSecond => 1_000,
            TsResolution::NanoSecond => 1,
        };
        let (mut out, mut number) = (Self::default(), 0);
        // Raw packets: the checked ones are refused when a snap length cut them, which is common.
        while let Some(packet) = reader.next_raw_packet() {
            number += 1;
            let fail = |why| PcapFail::Record { path: path.to_owned(), record: number, why };
            let p = packet.map_err(|e| fail(tell(&e)))?;
            let at = u64::from(p.ts_sec) * 1_000_000_000 + u64::from(p.ts_frac) * unit;
            out.push(at, &p.data, p.orig_len).map_err(fail)?;
        }
        Ok(out)
    }

    fn read_pcapng(read: impl Read, path: &Path) -> Result<Self, PcapFail> {
        let head = |why| PcapFail::Head { path: path.to_owned(), why };
        let mut reader = PcapNgReader::new(read).map_err(|e| head(tell(&e)))?;
        let mut order = reader.section().endianness;
        let mut interfaces: Vec<Clock> = Vec::new();
        let (mut out, mut number, mut last) = (Self::default(), 0, 0);
        while let Some(block) = reader.next_block() {
            number += 1;
            let fail = |why| PcapFail::Record { path: path.to_owned(), record: number, why };
            let clock = |id: u32| {
                interfaces
                    .get(id as usize)
                    .ok_or_else(|| fail(format!("names interface {id}, not described")))
            };
            match block.map_err(|e| fail(tell(&e)))? {
                Block::SectionHeader(s) => {
                    order = s.endianness;
                    interfaces.clear();
                }
                Block::InterfaceDescription(d) => {
                    ethernet(d.linktype).map_err(fail)?;
                    interfaces.push(Clock::of(&d).map_err(fail)?);
                }
                Block::EnhancedPacket(p) => {
                    // The crate hands over the number as it stands in the file, whatever its unit.
                    last = clock(p.interface_id)?.ns(p.timestamp.as_nanos() as u64);
                    out.push(last, &p.data, p.original_len).map_err(fail)?;
                }
                Block::Packet(p) => {
                    // Two words, the high one first, that the crate reads as one number.
                    let raw = match order {
                        Endianness::Little => p.timestamp.rotate_left(32),
                        Endianness::Big => p.timestamp,
                    };
                    last = clock(p.interface_id.into())?.ns(raw);
                    out.push(last, &p.data, p.original_len).map_err(fail)?;
                }
                Block::SimplePacket(p) => {
                    // No time of its own, and padded to words.
                    let len = p.data.len().min(p.original_len as usize);
                    out.push(last, &p.data[..len], p.original_len).map_err(fail)?;
                }
                _ => {}
            }
        }
        Ok(out)
    }

    fn push(&mut self, ns: u64, data: &[u8], original: u32) -> Result<(), String> {
        if data.is_empty() {
            return Err("an empty frame".into());
        }
        if data.len() > MAX_FRAME {
            return Err(format!("{} bytes, more than the {MAX_FRAME} of a frame", data.len()));
        }
        let first = *self.first.get_or_insert(ns);
        let before = self.records.last().map_or(0, |r| r.at);
        let at = ns.checked_sub(first).filter(|at| *at >= before).unwrap_or_else(|| {
            self.back_in_time += 1;
            before
        });
        self.cut_short += u64::from(data.len() < original as usize);
        self.records.push(Record { at, start: self.bytes.len(), len: data.len() });
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Number of frames, at least 1 after [`Self::load`].
    pub fn len(&self) -> u64 {
        self.records.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the longest frame.
    pub fn longest(&self) -> usize {
        self.records.iter().map(|r| r.len).max().unwrap_or(0)
    }

    /// Time from the first frame to the last, in ns.
    pub fn span(&self) -> u64 {
        self.records.last().map_or(0, |r| r.at)
    }

    /// Frame `k`, counted on through repetitions.
    #[inline]
    pub fn frame(&self, k: u64) -> &[u8] {
        match self.records.get((k % self.len().max(1)) as usize) {
            Some(r) => &self.bytes[r.start..r.start + r.len],
            None => &[],
        }
    }

    /// When frame `k` was captured, in ns after the first, repetitions following each other at the capture's
    /// average distance between frames.
    pub fn at(&self, k: u64) -> u64 {
        let n = self.len().max(1);
        let gap = if n > 1 { self.span() / (n - 1) } else { 0 };
        let lap = (k / n).saturating_mul(self.span() + gap);
        lap.saturating_add(self.records.get((k % n) as usize).map_or(0, |r| r.at))
    }
}

fn tell(e: &PcapError) -> String {
    match e {
        PcapError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends in it".into()
        }
        PcapError::IoError(e) => e.to_string(),
        e => e.to_string(),
    }
}

fn ethernet(link: DataLink) -> Result<(), String> {
    match link {
        DataLink::ETHERNET => Ok(()),
        other => Err(format!("link type {other:?}, but only Ethernet frames can be sent")),
    }
}

/// How an interface of a pcapng file counts time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    per_second: u64,
    offset_s: u64,
}

impl Clock {
    fn of(d: &InterfaceDescriptionBlock<'_>) -> Result<Self, String> {
        let mut clock = Self { per_second: 1_000_000, offset_s: 0 };
        for option in &d.options {
            match option {
                InterfaceDescriptionOption::IfTsResol(r) => {
                    let exponent = u32::from(r & 0x7f);
                    let base = if r & 0x80 != 0 { 2u64 } else { 10 };
                    clock.per_second = base
                        .checked_pow(exponent)
                        .ok_or_else(|| format!("time resolution {base}^-{exponent} s is beyond reading"))?;
                }
                InterfaceDescriptionOption::IfTsOffset(s) => clock.offset_s = *s,
                _ => {}
            }
        }
        Ok(clock)
    }

    fn ns(self, raw: u64) -> u64 {
        let ns = u128::from(raw) * 1_000_000_000 / u128::from(self.per_second);
        (ns as u64).wrapping_add(self.offset_s.wrapping_mul(1_000_000_000))
    }
}

#[cfg(test)]
#[path = "pcap_tests.rs"]
mod tests;
