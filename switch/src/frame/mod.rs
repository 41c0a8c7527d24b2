//! Frames in flight: a burst of references into senders' memory, with private copies of what was looked at.
//!
//! A sender may rewrite its buffer while the switch works on it. So the first 16 bytes (addresses, type,
//! VLAN tag) are copied once; all decisions are made on that copy and *it* is what receivers get,
//! followed by the rest straight from the sender's buffer, or buffers.
//!
//! - [`Burst`]: what a source gave in one turn: frames, their heads, and memory for headers made in passing;
//! - [`Frame`]: one of them. What follows its head is one piece of memory, or a list of pieces in the burst;
//! - [`Bytes`]: a frame's bytes in their order, whichever it is. Receivers copy from there;
//! - [`VnetHdr`]: what its sender left to others.

use crate::counters::Cause;

mod burst;
mod bytes;
mod vnet;

pub use burst::{Burst, Note};
pub use bytes::{Bytes, Piece};
pub use vnet::VnetHdr;

/// Most frames that a worker takes from a source at once.
pub const MAX_BURST: usize = 1024;
/// Bytes of a frame that are copied out before it is looked at.
pub const HEAD: usize = 16;
/// Most pieces that a frame may lie in ([`Burst::push_pieces`]). A Linux guest lays headers and up to
/// `MAX_SKB_FRAGS` = 17 parts of the payload out separately. With that many in each, the frames of the longest burst take
/// less than a third of the places that there are in its list, so that a source never finds none.
pub const MAX_PIECES: usize = 18;

/// What counts of a head without a tag.
const UNTAGGED: u128 = u128::MAX >> 16;

/// What makes frames alike: addresses, type and VLAN tag. The last two bytes of a head count only if they belong to
/// a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadKey(u128);

impl HeadKey {
    /// Of this head.
    #[inline(always)]
    pub fn of(head: &[u8; HEAD]) -> Self {
        let w = u128::from_le_bytes(*head);
        Self(if Self::is_tagged(w) { w } else { w & UNTAGGED })
    }

    /// In which bits, among those that count, a head differs from those with this key.
    #[inline(always)]
    fn like(self) -> impl Fn(&[u8; HEAD]) -> u128 {
        let key = self.0;
        // A head that has a tag, unlike this one, differs in its type.
        let count = if Self::is_tagged(key) { u128::MAX } else { UNTAGGED };
        move |head| (u128::from_le_bytes(*head) ^ key) & count
    }

    /// How many of `heads`, from the first on, have this key.
    #[inline]
    pub fn alike(self, heads: &[[u8; HEAD]]) -> usize {
        let like = self.like();
        // Nearly always all have, or the first has not.
        let all = heads.chunks_exact(8).take_while(|c| c.iter().fold(0, |d, h| d | like(h)) == 0).count() * 8;
        all + heads[all..].iter().take_while(|h| like(h) == 0).count()
    }

    #[inline(always)]
    fn is_tagged(head: u128) -> bool {
        (head >> 96) as u16 == u16::from_le_bytes([0x81, 0])
    }
}

/// One frame: private head, then the rest in the sender's memory. [`Burst::bytes_of`] has its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The private copy of the first bytes.
    pub(crate) head: *const u8,
    /// The bytes after it, if they are in one piece.
    pub(crate) tail: *const u8,
    /// Bytes at `head`.
    pub(crate) head_len: u16,
    /// Slots of the source that this frame takes.
    pub slots: u16,
    /// Bytes behind the head.
    pub(crate) tail_len: u32,
    /// 0, or 1 + index into the burst's vnet headers.
    pub vnet: u16,
    /// Where the list of its pieces begins in the burst's.
    pub(crate) first: u16,
    /// Pieces behind the head; 0: the one at `tail`.
    pub(crate) pieces: u8,
    /// Do not learn from it (`NS_NO_LEARN`).
    pub no_learn: bool,
    /// Not 0: the port it goes to, whatever its address (bits 8-15 of a netmap slot's flags).
    pub steer: u8,
    /// Refused by the source already.
    pub reject: Option<Cause>,
}

const _: () = assert!(size_of::<Frame>() == 32, "two to a cache line");

// SAFETY: addresses and lengths, like a `Piece`: what is there is reached by copies only, and whoever puts a frame into a
// burst vouches for it until the burst is cleared.
unsafe impl Send for Frame {}

impl Frame {
    /// Bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.head_len) + self.tail_len as usize
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what follows the head lies in several pieces of memory.
    #[inline]
    pub fn is_in_pieces(&self) -> bool {
        self.pieces > 0
    }
}

/// One intended copy: frame `frame` of the burst, made from the source's frame `orig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index among the frames taken from the source.
    pub orig: u16,
    /// Index among all frames of the burst.
    pub frame: u16,
}

#[cfg(test)]
mod tests;
