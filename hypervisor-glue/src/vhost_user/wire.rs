//! Messages as they lie on the socket (`docs/interop/vhost-user.rst` of QEMU). What is in them is the `vhost` crate's.
//!
//! Its own message loop is not used: it refuses SET_VRING_ENABLE before SET_FEATURES, which QEMU's virtio-net sends, and
//! a SET_MEM_TABLE longer than its number of regions, which user-mode Linux sends.

use vhost::vhost_user::message::{FrontendReq, MAX_ATTACHED_FD_ENTRIES, MAX_MSG_SIZE};
use vm_memory::ByteValued;
use zerocopy::native_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::stream::Framing;

/// Bytes of a [`Header`].
pub const HEADER: usize = size_of::<Header>();
/// The protocol's version, in the low bits of [`Header::flags`].
pub const VERSION: u32 = 1;
/// The bits of the version.
pub const VERSION_MASK: u32 = 3;
/// An answer.
pub const REPLY: u32 = 1 << 2;
/// The sender wants an answer to a message that has none by itself.
pub const NEED_REPLY: u32 = 1 << 3;
/// In the body of SET_VRING_KICK and its kind: no descriptor comes with it.
pub const NO_FD: u64 = 1 << 8;

/// Starts every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// A [`FrontendReq`].
    pub request: U32,
    /// Version, [`REPLY`], [`NEED_REPLY`].
    pub flags: U32,
    /// Bytes after the header.
    pub size: U32,
}

impl Framing for Header {
    const MAX_MESSAGE: usize = HEADER + MAX_MSG_SIZE + 64;
    const MAX_FDS: usize = MAX_ATTACHED_FD_ENTRIES;

    fn total(&self) -> u64 {
        HEADER as u64 + u64::from(self.size.get())
    }
}

/// A request.
pub type Message<'a> = crate::stream::Message<'a, Header>;
/// The receiving half of a connection.
pub type Stream = crate::stream::Stream<Header>;

/// Appends an answer.
pub fn reply(out: &mut Vec<u8>, request: FrontendReq, body: &[&[u8]]) {
    let size: usize = body.iter().map(|b| b.len()).sum();
    let header = Header {
        request: u32::from(request).into(),
        flags: (VERSION | REPLY).into(),
        size: (size as u32).into(),
    };
    out.extend_from_slice(header.as_bytes());
    body.iter().for_each(|b| out.extend_from_slice(b));
}

/// A structure off the front of a body, and the rest.
pub fn split<T: ByteValued>(body: &[u8]) -> Option<(T, &[u8])> {
    let (front, rest) = body.split_at_checked(size_of::<T>())?;
    let mut value = T::zeroed();
    value.as_mut_slice().copy_from_slice(front);
    Some((value, rest))
}
