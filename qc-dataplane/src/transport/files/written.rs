//! Which chunks were handed to the system, for whoever comes after a process that was killed.
//!
//! A kill takes a process' own memory, not what it wrote: that is the system's, on its way to the disk. The journal says
//! nothing of it before the next checkpoint, so this file does: a bitmap that takes the bits of each block as soon as the
//! block is written, and never waits for the disk. The next process reads it, brings the chunks to the disk, and notes
//! them in the journal.
//!
//! When the machine stops, chunks and this file get lost in any order. So it names the boot of the machine in which it
//! was written, and is believed in no other. It needs no checksum: bits are only ever set, so a write that was
//! cut short leaves a mix of old bits and new ones that are all true. What neither can know, as a disk that was torn out
//! and put back, the content's hash finds in the end.
//!
//! It only saves work, so a file that cannot be written is done without.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::{FromZeros, IntoBytes};

use super::blocks::BLOCK;
use super::journal::{SEGMENT, WORDS};
use super::open_own;
use crate::transport::wire::Shape;

const MAGIC: &[u8] = b"VQW1";
/// Where bits begin, in the byte order of the machine.
const FIRST: u64 = 4096;
/// Words of a block.
pub(super) const BLOCK_WORDS: usize = BLOCK as usize / 64;
/// What differs from one start of the machine to the next.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The file.
#[derive(Debug)]
pub(super) struct Written {
    file: File,
}

impl Written {
    /// Opens the file of a content. It is empty unless it was written in this boot and for this content, and `keep` says
    /// that the chunks can still be there. `None`: there can be none.
    pub fn open(path: &Path, shape: &Shape, manifest_hash: &[u8; 32], keep: bool) -> Option<Self> {
        let boot = fs::read(BOOT).ok().filter(|b| !b.is_empty() && b.len() <= 64)?;
        let head = [MAGIC, &boot, manifest_hash, &shape.total().to_ne_bytes(), &shape.chunk().to_ne_bytes()];
        let head = head.concat();
        let file = open_own(path).ok()?;
        let mut there = vec![0; head.len()];
        let right = file.read_exact_at(&mut there, 0).is_ok() && there == head;
        if !(keep && right) {
            // Bits first: under the new head none of the old may be seen.
            file.set_len(0).and_then(|()| file.write_all_at(&head, 0)).ok()?;
        }
        Some(Self { file })
    }

    /// Notes the bits of a block; whether that was possible.
    pub fn note(&self, block: u64, bits: &[u64; BLOCK_WORDS]) -> bool {
        let at = FIRST + block * size_of_val(bits) as u64;
        self.file.write_all_at(bits.as_bytes(), at).is_ok()
    }

    /// Forgets all bits; whether that was possible.
    pub fn clear(&self) -> bool {
        self.file.set_len(FIRST).is_ok()
    }

    /// Calls `with` for each segment that has bits, and hands its errors on. What cannot be read has none.
    pub fn each<E>(&self, mut with: impl FnMut(u64, &[u64; WORDS]) -> Result<(), E>) -> Result<(), E> {
        let end = self.file.metadata().map_or(0, |m| m.len());
        for segment in 0.. {
            let at = FIRST + segment * (SEGMENT / 8);
            if at >= end {
                break;
            }
            let mut bits = [0u64; WORDS];
            let here = (end - at).min(SEGMENT / 8) as usize;
            let part = bits.as_mut_bytes().get_mut(..here).unwrap_or_default();
            if self.file.read_exact_at(part, at).is_err() {
                part.zero();
            }
            if bits != [0; WORDS] {
                with(segment, &bits)?;
            }
        }
        Ok(())
    }
}
