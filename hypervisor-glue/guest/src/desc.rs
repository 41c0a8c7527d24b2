//! Descriptors, from copies of their two halves.
//!
//! Manual, sections 3.2.3 (receive), 3.3.3 (legacy), 3.3.6 (context) and 3.3.7 (data).

/// Command bits of transmit descriptors.
pub mod cmd {
    /// End of frame.
    pub const EOP: u8 = 1;
    /// Legacy: insert a checksum. Data and context: segmentation.
    pub const IC: u8 = 1 << 2;
    /// As `IC`.
    pub const TSE: u8 = 1 << 2;
    /// Report status.
    pub const RS: u8 = 1 << 3;
    /// Report when sent; the same here.
    pub const RPS: u8 = 1 << 4;
    /// Not a legacy descriptor.
    pub const DEXT: u8 = 1 << 5;
    /// Insert a VLAN tag.
    pub const VLE: u8 = 1 << 6;
    /// The report may wait.
    pub const IDE: u8 = 1 << 7;
    /// Context: TCP, else UDP.
    pub const TCP: u8 = 1;
    /// Context: IPv4, else IPv6.
    pub const IP: u8 = 2;
}

/// Data descriptors: insert the IP checksum.
pub const POPTS_IXSM: u8 = 1;
/// Data descriptors: insert the TCP or UDP checksum.
pub const POPTS_TXSM: u8 = 2;
/// Descriptor done, in either direction.
pub const DD: u8 = 1;
/// Where the status byte of a transmit descriptor is.
pub const TX_STATUS: u64 = 12;

/// What a context descriptor sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// IP checksum: first byte, place, last byte.
    pub ip: (u8, u8, u16),
    /// TCP or UDP checksum: first byte, place, last byte (0: the frame's).
    pub l4: (u8, u8, u16),
    /// TCP, IPv4.
    pub command: u8,
    /// Bytes of headers.
    pub header: u8,
    /// Payload bytes per segment.
    pub mss: u16,
}

/// A piece of a frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it is.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// Command bits.
    pub command: u8,
    /// Its VLAN tag.
    pub special: u16,
    /// What is to be done to the frame.
    pub offload: Offload,
}

/// What a data descriptor asks for beyond sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Legacy: a checksum from `css` to the end, at `cso`, if the command says so.
    Legacy {
        /// First byte.
        css: u8,
        /// Place.
        cso: u8,
    },
    /// By context: POPTS.
    Context(u8),
}

/// A transmit descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tx {
    /// Sets a context; the second says whether for segmentation.
    Context(Context, bool, u8),
    /// A piece of a frame.
    Piece(Piece),
    /// Of a type that there is not.
    Unknown(u8),
}

impl Tx {
    /// From its halves.
    pub fn parse((low, high): (u64, u64)) -> Self {
        let command = (high >> 24) as u8;
        let special = (high >> 48) as u16;
        let [_, _, _, _, _, b5, ..] = high.to_le_bytes();
        if command & cmd::DEXT == 0 {
            let offload = Offload::Legacy { css: b5, cso: (high >> 16) as u8 };
            return Tx::Piece(Piece { addr: low, len: (high & 0xffff) as u32, command, special, offload });
        }
        match high >> 20 & 15 {
            0 => {
                let [a, b, c, d, e, f, g, h] = low.to_le_bytes();
                let context = Context {
                    ip: (a, b, u16::from_le_bytes([c, d])),
                    l4: (e, f, u16::from_le_bytes([g, h])),
                    command,
                    header: b5,
                    mss: special,
                };
                Tx::Context(context, command & cmd::TSE != 0, command)
            }
            1 => Tx::Piece(Piece {
                addr: low,
                len: (high & 0xf_ffff) as u32,
                command,
                special,
                offload: Offload::Context(b5),
            }),
            _ => Tx::Unknown(command),
        }
    }

    /// Its command bits.
    pub fn command(&self) -> u8 {
        match self {
            Tx::Context(.., c) | Tx::Unknown(c) => *c,
            Tx::Piece(p) => p.command,
        }
    }
}

/// Status and error bits of receive descriptors.
pub mod rx {
    /// End of frame.
    pub const EOP: u8 = 1 << 1;
    /// Checksum bits mean nothing.
    pub const IXSM: u8 = 1 << 2;
    /// A tag was stripped.
    pub const VP: u8 = 1 << 3;
    /// TCP or UDP checksum was looked at.
    pub const TCPCS: u8 = 1 << 5;
    /// IP checksum was looked at.
    pub const IPCS: u8 = 1 << 6;
    /// Passed by an inexact filter.
    pub const PIF: u8 = 1 << 7;
    /// Error: TCP or UDP checksum.
    pub const TCPE: u8 = 1 << 5;
    /// Error: IP checksum.
    pub const IPE: u8 = 1 << 6;
    /// Error: data.
    pub const RXE: u8 = 1 << 7;
}

/// The second half of a receive descriptor, as the device writes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Bytes in this buffer.
    pub len: u16,
    /// Packet checksum.
    pub sum: u16,
    /// Status.
    pub status: u8,
    /// Errors.
    pub errors: u8,
    /// VLAN tag.
    pub special: u16,
}

impl Written {
    /// As one word.
    pub fn word(self) -> u64 {
        u64::from(self.len)
            | u64::from(self.sum) << 16
            | u64::from(self.status) << 32
            | u64::from(self.errors) << 40
            | u64::from(self.special) << 48
    }

    /// What a guest reads.
    pub fn parse(w: u64) -> Self {
        Self {
            len: w as u16,
            sum: (w >> 16) as u16,
            status: (w >> 32) as u8,
            errors: (w >> 40) as u8,
            special: (w >> 48) as u16,
        }
    }
}
