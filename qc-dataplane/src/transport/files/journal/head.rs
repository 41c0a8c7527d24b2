//! The first bytes of a journal: of what it is, and how far that is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"VQJ1");

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// Chunks come in.
    Receiving = 0,
    /// All is here and right, and being moved to its place.
    Placing = 1,
    /// In its place.
    Done = 2,
}

/// First bytes of the file, in the byte order of the machine, as everything here.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    pub magic: u32,
    pub stage: u32,
    pub total: u64,
    pub manifest_hash: [u8; 32],
    pub chunk: u32,
    pub checksum: u32,
}
const _: () = assert!(size_of::<Head>() == 56);

impl Head {
    /// What its checksum should be.
    pub fn sum(&self) -> u32 {
        crc32c::crc32c(Self { checksum: 0, ..*self }.as_bytes())
    }
}

/// How far the transfer of a journal is; `None` if that is none.
pub fn stage_in(path: &Path) -> Option<Stage> {
    let mut bytes = [0; size_of::<Head>()];
    File::open(path).and_then(|f| f.read_exact_at(&mut bytes, 0)).ok()?;
    let head = Head::read_from_bytes(&bytes).ok()?;
    (head.magic == MAGIC && head.checksum == head.sum()).then(|| stage_of(head.stage))
}

pub(super) fn stage_of(number: u32) -> Stage {
    match number {
        0 => Stage::Receiving,
        1 => Stage::Placing,
        _ => Stage::Done,
    }
}
