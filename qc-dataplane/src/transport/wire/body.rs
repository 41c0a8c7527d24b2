//! What follows a frame's head, by kind.

use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{MAX_PAYLOAD, Reject, Shape, Spans};

/// Before the bytes of a chunk, a part of the manifest, or a parity shard.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PieceHead {
    /// Chunk, part, or block.
    pub number: U64,
    /// Parity shard in its block; 0 otherwise.
    pub shard: U16,
    /// 0; not looked at.
    pub reserved: U16,
}

/// Body of a hello. The manifest follows if `flags` says so.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HelloHead {
    /// Which run of the sender.
    pub session: U64,
    /// Bytes of content.
    pub total: U64,
    /// Bytes of the manifest.
    pub manifest: U32,
    /// Receivers of this partition.
    pub group: U32,
    /// Bytes of a chunk; the last may be shorter.
    pub chunk: U16,
    /// Chunks of a block, 0 without parity.
    pub fec_data: U16,
    /// Parity shards of a block.
    pub fec_parity: U16,
    /// 1: the manifest follows; 2: the content's hash is known.
    pub flags: U16,
    /// 0; not looked at.
    pub reserved: U32,
    /// BLAKE3 of the manifest.
    pub manifest_hash: [u8; 32],
    /// BLAKE3 of the content, if known.
    pub content_hash: [u8; 32],
}

/// What a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// See [`HelloHead::session`].
    pub session: u64,
    /// See [`HelloHead::group`].
    pub group: u32,
    /// How it is cut.
    pub shape: Shape,
    /// BLAKE3 of the manifest.
    pub manifest_hash: [u8; 32],
    /// BLAKE3 of the content, once the sender has read it all.
    pub content_hash: Option<[u8; 32]>,
    /// The manifest, if it fits.
    pub manifest: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Reject> {
        let (h, rest) = HelloHead::ref_from_prefix(body).map_err(|_| Reject::Short)?;
        let shape =
            Shape::new(h.total.get(), h.manifest.get(), h.chunk.get(), h.fec_data.get(), h.fec_parity.get())
                .map_err(Reject::Field)?;
        let flags = h.flags.get();
        if flags & 1 != 0 && rest.len() != shape.manifest() {
            return Err(Reject::Field("manifest's length is not what the hello says"));
        }
        Ok(Self {
            session: h.session.get(),
            group: h.group.get(),
            shape,
            manifest_hash: h.manifest_hash,
            content_hash: (flags & 2 != 0).then_some(h.content_hash),
            manifest: (flags & 1 != 0).then_some(rest),
        })
    }

    /// As bytes; the manifest goes after them.
    pub fn head(&self) -> HelloHead {
        let s = &self.shape;
        HelloHead {
            session: self.session.into(),
            total: s.total.into(),
            manifest: s.manifest.into(),
            group: self.group.into(),
            chunk: s.chunk.into(),
            fec_data: s.fec_data.into(),
            fec_parity: s.fec_parity.into(),
            flags: (u16::from(self.manifest.is_some()) | (u16::from(self.content_hash.is_some()) << 1))
                .into(),
            reserved: U32::ZERO,
            manifest_hash: self.manifest_hash,
            content_hash: self.content_hash.unwrap_or_default(),
        }
    }

    /// What goes into the heads of the transfer's frames.
    pub fn tag(&self) -> u32 {
        tag(&self.manifest_hash)
    }
}

/// See [`super::Head::tag`].
pub fn tag(manifest_hash: &[u8; 32]) -> u32 {
    u32::from_be_bytes([manifest_hash[0], manifest_hash[1], manifest_hash[2], manifest_hash[3]])
}

/// Body of a poll; [`Spans`] of content follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PollHead {
    /// Which run of the sender.
    pub session: U64,
    /// Number of the poll, from 1.
    pub round: U32,
    /// Receivers answer within so many microseconds, at random.
    pub spread: U32,
    /// Chunks below were sent once.
    pub cursor: U64,
    /// Reports begin at this chunk.
    pub from: U64,
    /// 1: everybody answers, not only who lacks something; 2: nobody answers, this is only news.
    pub flags: U32,
    /// Receivers that may answer.
    pub group: U32,
}

/// A question to all receivers, and what repairs are coming anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// See [`PollHead::session`].
    pub session: u64,
    /// See [`PollHead::round`].
    pub round: u32,
    /// See [`PollHead::spread`]: microseconds.
    pub spread: u32,
    /// See [`PollHead::cursor`].
    pub cursor: u64,
    /// See [`PollHead::from`].
    pub from: u64,
    /// Everybody is to answer.
    pub census: bool,
    /// Nobody is to answer.
    pub advert: bool,
    /// See [`PollHead::group`].
    pub group: u32,
    /// Chunks that will be repaired for all, asked for or not.
    pub coming: Spans,
}

impl Poll {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Reject> {
        let (p, rest) = PollHead::ref_from_prefix(body).map_err(|_| Reject::Short)?;
        let flags = p.flags.get();
        Ok(Self {
            session: p.session.get(),
            round: p.round.get(),
            spread: p.spread.get(),
            cursor: p.cursor.get(),
            from: p.from.get(),
            census: flags & 1 != 0,
            advert: flags & 2 != 0,
            group: p.group.get(),
            coming: Spans::parse(rest)?,
        })
    }

    /// As bytes; the spans go after them.
    pub fn head(&self) -> PollHead {
        PollHead {
            session: self.session.into(),
            round: self.round.into(),
            spread: self.spread.into(),
            cursor: self.cursor.into(),
            from: self.from.into(),
            flags: (u32::from(self.census) | (u32::from(self.advert) << 1)).into(),
            group: self.group.into(),
        }
    }
}

/// Where a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Has not got the whole manifest; its spans are parts of the manifest.
    Joining,
    /// Takes content.
    Receiving,
    /// Has all chunks and reads them.
    Checking,
    /// Has the files in place, and their hash is right.
    Verified,
    /// Cannot go on.
    Failed(Cause),
}

/// Why a receiver cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Cause {
    /// No room for the files.
    #[error("disk full")]
    DiskFull = 1,
    /// Something of that name is there, and it may not be replaced.
    #[error("a file of that name is there already")]
    Exists = 2,
    /// Reading or writing failed.
    #[error("cannot read or write its files")]
    Io = 3,
    /// Read back twice, and wrong twice.
    #[error("content does not have the sender's hash")]
    Mismatch = 4,
    /// The manifest names what it must not.
    #[error("manifest refused")]
    Manifest = 5,
    /// Somebody stopped it.
    #[error("stopped")]
    Stopped = 6,
}

impl Cause {
    fn of(n: u8) -> Option<Self> {
        use Cause::{DiskFull, Exists, Io, Manifest, Mismatch, Stopped};
        [DiskFull, Exists, Io, Mismatch, Manifest, Stopped].into_iter().find(|&c| c as u8 == n)
    }
}

/// Body of a report; [`Spans`] follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReportHead {
    /// Session of the sender that asked; 0 if none has.
    pub session: U64,
    /// Number of the poll that is answered; 0 if none is.
    pub round: U32,
    /// Number of the receiver in the transfer.
    pub receiver: U32,
    /// Chunks on its disk.
    pub have: U64,
    /// Bytes it took in the last second, new ones.
    pub rate: U64,
    /// Frames of the transfer that it took.
    pub frames: U64,
    /// Frames that it did not need.
    pub duplicates: U32,
    /// Frames for it that were not right.
    pub rejected: U32,
    /// [`State`]: 0 joining, 1 receiving, 2 checking, 3 verified, 4 failed.
    pub state: u8,
    /// [`Cause`], if failed.
    pub cause: u8,
    /// 0; not looked at.
    pub reserved: U16,
}

/// How far a receiver is, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// See [`ReportHead::session`].
    pub session: u64,
    /// See [`ReportHead::round`].
    pub round: u32,
    /// See [`ReportHead::receiver`].
    pub receiver: u32,
    /// See [`ReportHead::have`].
    pub have: u64,
    /// See [`ReportHead::rate`]: bytes in a second.
    pub rate: u64,
    /// See [`ReportHead::frames`].
    pub frames: u64,
    /// See [`ReportHead::duplicates`].
    pub duplicates: u32,
    /// See [`ReportHead::rejected`].
    pub rejected: u32,
    /// Where it is.
    pub state: State,
    /// What it lacks: parts of the manifest while joining, else chunks.
    pub lacks: Spans,
}

impl Report {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Reject> {
        let (r, rest) = ReportHead::ref_from_prefix(body).map_err(|_| Reject::Short)?;
        let state = match r.state {
            0 => State::Joining,
            1 => State::Receiving,
            2 => State::Checking,
            3 => State::Verified,
            4 => State::Failed(Cause::of(r.cause).ok_or(Reject::Field("cause that there is not"))?),
            _ => return Err(Reject::Field("state that there is not")),
        };
        Ok(Self {
            session: r.session.get(),
            round: r.round.get(),
            receiver: r.receiver.get(),
            have: r.have.get(),
            rate: r.rate.get(),
            frames: r.frames.get(),
            duplicates: r.duplicates.get(),
            rejected: r.rejected.get(),
            state,
            lacks: Spans::parse(rest)?,
        })
    }

    /// As bytes; the spans go after them.
    pub fn head(&self) -> ReportHead {
        let (state, cause) = match self.state {
            State::Joining => (0, 0),
            State::Receiving => (1, 0),
            State::Checking => (2, 0),
            State::Verified => (3, 0),
            State::Failed(cause) => (4, cause as u8),
        };
        ReportHead {
            session: self.session.into(),
            round: self.round.into(),
            receiver: self.receiver.into(),
            have: self.have.into(),
            rate: self.rate.into(),
            frames: self.frames.into(),
            duplicates: self.duplicates.into(),
            rejected: self.rejected.into(),
            state,
            cause,
            reserved: U16::ZERO,
        }
    }
}

/// Bytes of spans that go behind `head` bytes: what fits a frame with a chunk of `chunk` bytes, but enough to say
/// something if chunks are very small.
pub fn room_for_spans(chunk: usize, head: usize) -> usize {
    let most = MAX_PAYLOAD - size_of::<super::Head>();
    (chunk + size_of::<PieceHead>()).min(most).saturating_sub(head).max(128)
}
