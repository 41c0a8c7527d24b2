//! Frames on a tree's address: what is sent, and what is believed of what arrives.
//!
//! Straight in Ethernet, EtherType 0x88b5 (IEEE 802, local experimental 1), not in UDP: a tree *is* a destination
//! address that switches match, links carry whole frames, so IP would be 28 bytes a frame with nobody to read them, and
//! sites would need addresses and routes for it. What crosses routers does so inside a link's own encapsulation.
//!
//! A frame is an Ethernet header, [`Head`], and the body of its kind ([`body`]); [`shape`] says how content is cut, [`spans`]
//! which chunks are meant. All numbers are big-endian. The
//! checksum (CRC-32C) covers head and body, so that a frame is right or is dropped; it finds accidents. Against
//! people who forge frames a link needs a tunnel that knows its ends.

pub mod body;
pub mod shape;
pub mod spans;

use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use body::{Cause, Hello, HelloHead, PieceHead, Poll, PollHead, Report, ReportHead, State};
pub use shape::{MAX_CHUNK, Shape};
pub use spans::Spans;
pub use valecast_config::Mac;

/// EtherType of all frames here.
pub const ETHERTYPE: u16 = 0x88b5;
/// Bytes of an Ethernet header without tag.
pub const ETHERNET: usize = 14;
/// Least bytes of an Ethernet frame without its check sequence.
pub const MIN_FRAME: usize = 60;
/// First bytes after the Ethernet header. The EtherType is anybody's.
pub const MAGIC: u16 = 0x5651;
/// Version of all that this module describes.
pub const VERSION: u8 = 1;
/// Most bytes of head and body that anyone may send: what fits into 9000 bytes of payload.
pub const MAX_PAYLOAD: usize = 9000;
/// Payload that a frame of the default chunk size needs; what VXLAN leaves of 1500 bytes.
pub const DEFAULT_PAYLOAD: usize = 1450;
/// Chunk size that makes the most of [`DEFAULT_PAYLOAD`].
pub const DEFAULT_CHUNK: u16 = 1408;

/// After the Ethernet header of every frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Head {
    /// [`MAGIC`].
    pub magic: U16,
    /// [`VERSION`].
    pub version: u8,
    /// [`Kind`].
    pub kind: u8,
    /// Which transfer.
    pub transfer: U64,
    /// First bytes of the manifest's hash: frames of another content under the same number are not believed.
    pub tag: U32,
    /// Which partition of the transfer, that is, which tree.
    pub partition: U16,
    /// Bytes of body. What follows is Ethernet's padding.
    pub length: U16,
    /// CRC-32C of head, with zeros here, and body.
    pub checksum: U32,
}

/// Bytes before the body.
pub const BEFORE_BODY: usize = ETHERNET + size_of::<Head>();

const _: () = assert!(size_of::<Head>() == 24 && align_of::<Head>() == 1);
const _: () = assert!(size_of::<PieceHead>() == 12);
const _: () = assert!(size_of::<HelloHead>() == 100);
const _: () = assert!(size_of::<PollHead>() == 40);
const _: () = assert!(size_of::<ReportHead>() == 52);
const _: () = assert!(size_of::<spans::SpansHead>() == 28);
const _: () = assert!(
    size_of::<Head>() + size_of::<PieceHead>() + DEFAULT_CHUNK as usize <= DEFAULT_PAYLOAD,
    "a frame fits a VXLAN link over 1500 bytes"
);

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Sender: what the transfer is.
    Hello = 1,
    /// Sender: a part of the manifest.
    Manifest = 2,
    /// Sender: a chunk of content.
    Data = 3,
    /// Sender: a parity shard of a block.
    Parity = 4,
    /// Sender: asks for reports, and tells which repairs are on their way.
    Poll = 5,
    /// Receiver: how far it is, and what it lacks.
    Report = 6,
    /// Sender: nothing more comes.
    End = 7,
}

impl Kind {
    fn of(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Hello,
            2 => Self::Manifest,
            3 => Self::Data,
            4 => Self::Parity,
            5 => Self::Poll,
            6 => Self::Report,
            7 => Self::End,
            _ => return None,
        })
    }
}

/// Why a frame is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Another EtherType or magic number: not a frame of ours at all.
    #[error("not a frame of a transfer")]
    Foreign,
    /// Ends before its head, or before what its kind needs.
    #[error("too short")]
    Short,
    /// Of another version.
    #[error("version {0}, not {VERSION}")]
    Version(u8),
    /// Of a kind that there is not.
    #[error("kind {0}")]
    Kind(u8),
    /// The length field says more than there is.
    #[error("length field beyond the frame")]
    Length,
    /// Changed on the way.
    #[error("checksum")]
    Checksum,
    /// Right bytes that make no sense.
    #[error("{0}")]
    Field(&'static str),
}

/// What is said in a frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// To whom: a tree, a receiver, the sender.
    pub to: Mac,
    /// From whom.
    pub from: Mac,
    /// See [`Head::transfer`].
    pub transfer: u64,
    /// See [`Head::tag`].
    pub tag: u32,
    /// See [`Head::partition`].
    pub partition: u16,
}

/// A frame that is right in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// See [`Kind::Hello`].
    Hello(Hello<'a>),
    /// See [`Kind::Manifest`]: the number of the part, and its bytes.
    Manifest(u64, &'a [u8]),
    /// See [`Kind::Data`]: chunk and bytes.
    Data(u64, &'a [u8]),
    /// See [`Kind::Parity`]: block, shard and bytes.
    Parity(u64, u16, &'a [u8]),
    /// See [`Kind::Poll`].
    Poll(Poll),
    /// See [`Kind::Report`].
    Report(Report),
    /// See [`Kind::End`]: the sender's session.
    End(u64),
}

/// Reads a frame.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse(frame: &[u8]) -> Result<(Envelope, Message<'_>), Reject> {
    let (ethernet, rest) = frame.split_at_checked(ETHERNET).ok_or(Reject::Foreign)?;
    if ethernet[12..] != ETHERTYPE.to_be_bytes() {
        return Err(Reject::Foreign);
    }
    let (head, rest) = Head::ref_from_prefix(rest).map_err(|_| Reject::Foreign)?;
    if head.magic.get() != MAGIC {
        return Err(Reject::Foreign);
    }
    if head.version != VERSION {
        return Err(Reject::Version(head.version));
    }
    let kind = Kind::of(head.kind).ok_or(Reject::Kind(head.kind))?;
    let body = rest.get(..head.length.get().into()).ok_or(Reject::Length)?;
    if checksum(head, &[body]) != head.checksum.get() {
        return Err(Reject::Checksum);
    }
    let mut envelope = Envelope {
        to: Mac::default(),
        from: Mac::default(),
        transfer: head.transfer.get(),
        tag: head.tag.get(),
        partition: head.partition.get(),
    };
    envelope.to.0.copy_from_slice(&ethernet[..6]);
    envelope.from.0.copy_from_slice(&ethernet[6..12]);
    let message = match kind {
        Kind::Hello => {
            let hello = Hello::parse(body)?;
            if envelope.tag != hello.tag() {
                return Err(Reject::Field("tag is not that of the manifest's hash"));
            }
            Message::Hello(hello)
        }
        Kind::Manifest | Kind::Data | Kind::Parity => {
            let (piece, bytes) = PieceHead::ref_from_prefix(body).map_err(|_| Reject::Short)?;
            if bytes.is_empty() {
                return Err(Reject::Short);
            }
            let number = piece.number.get();
            match kind {
                Kind::Manifest => Message::Manifest(number, bytes),
                Kind::Data => Message::Data(number, bytes),
                _ => Message::Parity(number, piece.shard.get(), bytes),
            }
        }
        Kind::Poll => Message::Poll(Poll::parse(body)?),
        Kind::Report => Message::Report(Report::parse(body)?),
        Kind::End => Message::End(U64::ref_from_prefix(body).map_err(|_| Reject::Short)?.0.get()),
    };
    Ok((envelope, message))
}

/// Writes a frame into `out`, in place of what is there. `body` in pieces, at most [`MAX_PAYLOAD`] with the head.
pub fn write(out: &mut Vec<u8>, envelope: &Envelope, kind: Kind, body: &[&[u8]]) {
    let length: usize = body.iter().map(|b| b.len()).sum();
    debug_assert!(length + size_of::<Head>() <= MAX_PAYLOAD);
    let mut head = Head {
        magic: MAGIC.into(),
        version: VERSION,
        kind: kind as u8,
        transfer: envelope.transfer.into(),
        tag: envelope.tag.into(),
        partition: envelope.partition.into(),
        length: U16::new(u16::try_from(length).unwrap_or(u16::MAX)),
        checksum: U32::ZERO,
    };
    head.checksum = checksum(&head, body).into();
    out.clear();
    out.extend_from_slice(&envelope.to.0);
    out.extend_from_slice(&envelope.from.0);
    out.extend_from_slice(&ETHERTYPE.to_be_bytes());
    out.extend_from_slice(head.as_bytes());
    for part in body {
        out.extend_from_slice(part);
    }
    if out.len() < MIN_FRAME {
        out.resize(MIN_FRAME, 0);
    }
}

/// Writes a chunk, a part of the manifest, or a parity shard.
pub fn write_piece(
    out: &mut Vec<u8>,
    envelope: &Envelope,
    kind: Kind,
    number: u64,
    shard: u16,
    bytes: &[u8],
) {
    let piece = PieceHead { number: number.into(), shard: shard.into(), reserved: U16::ZERO };
    write(out, envelope, kind, &[piece.as_bytes(), bytes]);
}

fn checksum(head: &Head, body: &[&[u8]]) -> u32 {
    let head = Head { checksum: U32::ZERO, ..*head };
    body.iter().fold(crc32c::crc32c(head.as_bytes()), |crc, part| crc32c::crc32c_append(crc, part))
}

#[cfg(test)]
mod tests;
