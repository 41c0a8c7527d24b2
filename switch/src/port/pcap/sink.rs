//! A capture file that is being written, classic or pcapng.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::PcapHeader;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError, PcapResult, TsResolution};

use crate::port::OpenError;

/// What is said in the file: more than can happen.
const SNAPLEN: u32 = 262_144;

/// The open file.
pub enum Sink {
    /// Nanoseconds, in this machine's byte order.
    Classic(BufWriter<File>),
    /// Likewise.
    Ng(PcapNgWriter<BufWriter<File>>),
}

impl Sink {
    /// Creates the file, pcapng if it is called so, and writes its header.
    pub fn create(path: &Path) -> Result<Self, OpenError> {
        let what = format!("cannot create {}", path.display());
        Self::with_header(path).map_err(|e| match e {
            PcapError::IoError(source) => OpenError::Os { what, source },
            e => OpenError::File(format!("{what}: {e}")),
        })
    }

    fn with_header(path: &Path) -> PcapResult<Self> {
        let mut file = BufWriter::with_capacity(256 << 10, File::create(path).map_err(PcapError::IoError)?);
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pcapng")) {
            let mut w = PcapNgWriter::new(file)?;
            let options = vec![InterfaceDescriptionOption::IfTsResol(9)];
            w.write_pcapng_block(InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: SNAPLEN,
                options,
            })?;
            return Ok(Self::Ng(w));
        }
        let (ts_resolution, endianness) = (TsResolution::NanoSecond, Endianness::native());
        PcapHeader { snaplen: SNAPLEN, ts_resolution, endianness, ..PcapHeader::default() }
            .write_to(&mut file)?;
        Ok(Self::Classic(file))
    }

    /// Adds a frame that was seen at `time`, since 1970.
    pub fn write(&mut self, time: Duration, bytes: &[u8]) -> PcapResult<()> {
        let len = bytes.len() as u32;
        match self {
            // By hand, because the crate's writer does not let go of the file to flush it.
            Self::Classic(w) => {
                let words = [time.as_secs() as u32, time.subsec_nanos(), len, len];
                words.iter().try_for_each(|n| w.write_all(&n.to_ne_bytes())).map_err(PcapError::IoError)?;
                w.write_all(bytes).map_err(PcapError::IoError)
            }
            Self::Ng(w) => {
                let b = EnhancedPacketBlock {
                    interface_id: 0,
                    timestamp: time,
                    original_len: len,
                    data: Cow::Borrowed(bytes),
                    options: Vec::new(),
                };
                w.write_block(&Block::EnhancedPacket(b)).map(drop)
            }
        }
    }

    /// Hands everything so far to the system.
    pub fn flush(&mut self) -> PcapResult<()> {
        let w = match self {
            Self::Classic(w) => w,
            Self::Ng(w) => w.get_mut(),
        };
        w.flush().map_err(PcapError::IoError)
    }
}

/// Why, without the crate's preamble to what the system said.
pub fn reason(e: &PcapError) -> String {
    match e {
        PcapError::IoError(e) => e.to_string(),
        e => e.to_string(),
    }
}
