//! Messages as they lie on the socket (vfio-user 0.x; `docs/interop/vfio-user.rst` of QEMU).
//!
//! Both ends run on one host, so numbers are in its byte order. Nothing here needs alignment: messages are read
//! out of the receive buffer wherever they start, by copy.

use nix::errno::Errno;
use zerocopy::native_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a [`Header`].
pub const HEADER: usize = size_of::<Header>();
/// Most bytes of data that one region access may carry; announced as `max_data_xfer_size`.
pub const MAX_DATA: usize = 64 * 1024;
/// Most bytes of a message, header included. Longer ones are skipped and refused.
pub const MAX_MESSAGE: usize = MAX_DATA + 1024;
/// Most descriptors that one message may carry; announced as `max_msg_fds`.
pub const MAX_FDS: usize = 16;
/// Most writes in one REGION_WRITE_MULTI.
pub const MAX_MULTI: u64 = 1024;

/// The low bits of [`Header::flags`] say what a message is.
pub const TYPE_MASK: u32 = 0xf;
/// A request.
pub const TYPE_COMMAND: u32 = 0;
/// An answer.
pub const TYPE_REPLY: u32 = 1;
/// The sender wants no answer, not even of failure.
pub const NO_REPLY: u32 = 1 << 4;
/// The answer is an error; [`Header::error`] holds its errno.
pub const ERROR: u32 = 1 << 5;

/// Starts every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Chosen by the requester, repeated in the answer.
    pub id: U16,
    /// A [`Command`].
    pub command: U16,
    /// Bytes of the whole message.
    pub size: U32,
    /// Type, [`NO_REPLY`], [`ERROR`].
    pub flags: U32,
    /// errno of an error reply.
    pub error: U32,
}

impl crate::stream::Framing for Header {
    const MAX_MESSAGE: usize = MAX_MESSAGE;
    const MAX_FDS: usize = MAX_FDS;

    fn total(&self) -> u64 {
        self.size.get().into()
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the specification's names")]
pub enum Command {
    Version,
    DmaMap,
    DmaUnmap,
    DeviceGetInfo,
    GetRegionInfo,
    GetIrqInfo,
    SetIrqs,
    RegionRead,
    RegionWrite,
    DeviceReset,
    WriteMulti,
}

impl TryFrom<u16> for Command {
    type Error = Errno;

    /// Commands that a server without migration, ioeventfds or message-based DMA need not know are refused
    /// as `ENOTSUP`, as the specification says.
    fn try_from(code: u16) -> Result<Self, Errno> {
        Ok(match code {
            1 => Self::Version,
            2 => Self::DmaMap,
            3 => Self::DmaUnmap,
            4 => Self::DeviceGetInfo,
            5 => Self::GetRegionInfo,
            7 => Self::GetIrqInfo,
            8 => Self::SetIrqs,
            9 => Self::RegionRead,
            10 => Self::RegionWrite,
            13 => Self::DeviceReset,
            15 => Self::WriteMulti,
            _ => return Err(Errno::ENOTSUP),
        })
    }
}

/// VERSION; JSON text with a final NUL follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Version {
    /// 0.
    pub major: U16,
    /// Offered, then agreed on.
    pub minor: U16,
}

/// DMA_MAP, with at most one descriptor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DmaMap {
    /// Bytes of this structure.
    pub argsz: U32,
    /// [`MAP_READ`], [`MAP_WRITE`].
    pub flags: U32,
    /// Where in the descriptor's file the memory starts.
    pub offset: U64,
    /// First guest address.
    pub address: U64,
    /// Bytes.
    pub size: U64,
}

/// The device may read.
pub const MAP_READ: u32 = 1;
/// The device may write.
pub const MAP_WRITE: u32 = 2;

/// DMA_UNMAP, and its answer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DmaUnmap {
    /// Bytes of this structure.
    pub argsz: U32,
    /// [`UNMAP_BITMAP`], [`UNMAP_ALL`].
    pub flags: U32,
    /// First guest address.
    pub address: U64,
    /// Bytes; in the answer, those that were unmapped.
    pub size: U64,
}

/// Return dirty pages as well (migration).
pub const UNMAP_BITMAP: u32 = 1;
/// Everything.
pub const UNMAP_ALL: u32 = 2;

/// DEVICE_GET_INFO, and its answer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DeviceInfo {
    /// Bytes of this structure.
    pub argsz: U32,
    /// 1: can be reset, 2: is a PCI device.
    pub flags: U32,
    /// Regions.
    pub regions: U32,
    /// Kinds of interrupts.
    pub irqs: U32,
}

/// DEVICE_GET_REGION_INFO, and its answer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RegionInfo {
    /// Bytes of this structure.
    pub argsz: U32,
    /// 1: can be read, 2: written.
    pub flags: U32,
    /// Which.
    pub index: U32,
    /// No capabilities here: 0.
    pub cap_offset: U32,
    /// Bytes; 0: not there.
    pub size: U64,
    /// For mmap, which no region offers: 0.
    pub offset: U64,
}

/// DEVICE_GET_IRQ_INFO, and its answer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IrqInfo {
    /// Bytes of this structure.
    pub argsz: U32,
    /// 1: eventfd, 2: maskable, 4: masks itself, 8: vectors come and go together.
    pub flags: U32,
    /// Which kind.
    pub index: U32,
    /// Vectors.
    pub count: U32,
}

/// DEVICE_SET_IRQS, with descriptors or bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SetIrqs {
    /// Bytes of this structure and of the data behind it.
    pub argsz: U32,
    /// One `DATA_` and one `ACTION_` flag.
    pub flags: U32,
    /// Which kind.
    pub index: U32,
    /// First vector.
    pub start: U32,
    /// Vectors.
    pub count: U32,
}

/// REGION_READ, REGION_WRITE and their answers; data follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Access {
    /// Bytes into the region.
    pub offset: U64,
    /// Which.
    pub region: U32,
    /// Bytes.
    pub count: U32,
}

/// One write of a REGION_WRITE_MULTI, whose body is a 64-bit count and then these.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MultiWrite {
    /// Where.
    pub access: Access,
    /// What: the first [`Access::count`] bytes.
    pub data: [u8; 8],
}

const _: () = {
    assert!(HEADER == 16 && size_of::<Version>() == 4);
    assert!(size_of::<DmaMap>() == 32 && size_of::<DmaUnmap>() == 24);
    assert!(size_of::<DeviceInfo>() == 16 && size_of::<RegionInfo>() == 32);
    assert!(size_of::<IrqInfo>() == 16 && size_of::<SetIrqs>() == 20);
    assert!(size_of::<Access>() == 16 && size_of::<MultiWrite>() == 24);
};

/// The structure that a body starts with, and what follows it; `EINVAL` if the body is too short.
pub fn split<T: FromBytes>(body: &[u8]) -> Result<(T, &[u8]), Errno> {
    T::read_from_prefix(body).map_err(|_| Errno::EINVAL)
}

/// Appends a successful answer to `request` with `parts` as its body.
pub fn reply(out: &mut Vec<u8>, request: &Header, parts: &[&[u8]]) {
    let size = HEADER + parts.iter().map(|p| p.len()).sum::<usize>();
    let header = Header {
        id: request.id,
        command: request.command,
        // Parts are at most MAX_DATA and a structure.
        size: (size as u32).into(),
        flags: TYPE_REPLY.into(),
        error: 0.into(),
    };
    out.extend_from_slice(header.as_bytes());
    for p in parts {
        out.extend_from_slice(p);
    }
}

/// Appends an error answer to `request`.
pub fn refuse(out: &mut Vec<u8>, request: &Header, why: Errno) {
    let header = Header {
        id: request.id,
        command: request.command,
        size: (HEADER as u32).into(),
        flags: (TYPE_REPLY | ERROR).into(),
        error: (why as i32 as u32).into(),
    };
    out.extend_from_slice(header.as_bytes());
}
