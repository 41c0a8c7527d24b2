//! The file that a capture writes.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};

/// A pcapng file of one interface.
pub struct Recording {
    writer: PcapNgWriter<BufWriter<Box<dyn Write>>>,
    snaplen: usize,
}

fn io_error(e: PcapError) -> io::Error {
    match e {
        PcapError::IoError(e) => e,
        other => io::Error::other(other.to_string()),
    }
}

impl Recording {
    /// Begins the file.
    pub fn start(output: Box<dyn Write>, name: &str, snaplen: u32) -> io::Result<Self> {
        let writer = BufWriter::with_capacity(1 << 20, output);
        let mut writer = PcapNgWriter::new(writer).map_err(io_error)?;
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
            // Nanoseconds.
            InterfaceDescriptionOption::IfTsResol(9),
        ];
        let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen, options };
        writer.write_pcapng_block(interface).map_err(io_error)?;
        let snaplen = usize::try_from(snaplen).unwrap_or(usize::MAX);
        let mut me = Self { writer, snaplen };
        me.flush()?;
        Ok(me)
    }

    /// Adds a frame that came at this time since 1970.
    pub fn frame(&mut self, data: &[u8], at: Duration) -> io::Result<()> {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: at,
            original_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&data[..data.len().min(self.snaplen)]),
            options: Vec::new(),
        };
        self.writer.write_pcapng_block(block).map(drop).map_err(io_error)
    }

    /// Makes all that was added visible.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }
}
