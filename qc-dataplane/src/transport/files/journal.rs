//! Which chunks are here, as a file of bitmaps that is right after a crash.
//!
//! The content is divided into segments of [`SEGMENT`] chunks. Each has one page of bits, in two places by turns, with a
//! generation and a checksum; whichever place is right and newer counts. In memory are a few pages, and for each
//! segment how many chunks it lacks: 4 bytes for 46 MB of content.
//!
//! - `head`: of what it is, and how far that is; `page`: the bits of a segment, in two places;
//! - `cache`: the pages in memory; `find`: what they say of chunks.
//!
//! Order of writing ([`super::store::Store::checkpoint`]): chunks to their files, `fdatasync` of the files, pages here,
//! `fdatasync` of this. A bit is on the disk only after its chunk is, so after a crash chunks may be asked for once more
//! but none is missing. A page torn by the crash fails its checksum; the other place has the state before. Bits
//! are only ever set, except by [`Journal::clear`], which cuts the file to its head first.

mod cache;
mod find;
mod head;
mod page;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use zerocopy::{FromBytes, IntoBytes};

use super::{FileError, open_own};
use crate::transport::wire::Shape;
use cache::Cached;
use head::{Head, MAGIC, stage_of};
pub use head::{Stage, stage_in};
use page::{FIRST, STRIDE, place};
pub use page::{SEGMENT, WORDS};

/// Most segments: 16 MiB of memory, 193 TB in chunks of 1408 bytes.
const MOST_SEGMENTS: usize = 1 << 22;
/// The chunks of one transfer at one receiver.
pub struct Journal {
    file: Flock<File>,
    path: PathBuf,
    head: Head,
    chunks: u64,
    /// Chunks that each segment lacks.
    left: Vec<u32>,
    all_left: u64,
    cache: Vec<Cached>,
    /// Index of the page used last.
    last: usize,
    tick: u64,
}

impl Journal {
    /// Opens or begins the journal of a content. A journal of another content is begun anew; whether that, or the
    /// file was new, is the second of the pair.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or another process has it.
    pub fn open(path: &Path, shape: &Shape, manifest_hash: &[u8; 32]) -> Result<(Self, bool), FileError> {
        let file = open_own(path).map_err(FileError::io(path, "open it"))?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| {
            FileError::io(path, "lock it; is the same transfer being received by another process?")(e.into())
        })?;
        let segments =
            usize::try_from(shape.chunks().div_ceil(SEGMENT)).ok().filter(|n| *n <= MOST_SEGMENTS).ok_or(
                FileError::Shape("more than 2^37 chunks, which no receiver counts; larger chunks would do"),
            )?;
        let head = Head {
            magic: MAGIC,
            stage: Stage::Receiving as u32,
            total: shape.total(),
            manifest_hash: *manifest_hash,
            chunk: shape.chunk() as u32,
            checksum: 0,
        };
        let mut journal = Self {
            file,
            path: path.to_path_buf(),
            head,
            chunks: shape.chunks(),
            left: vec![0; segments],
            all_left: shape.chunks(),
            cache: Vec::new(),
            last: 0,
            tick: 0,
        };
        for s in 0..segments {
            journal.left[s] = journal.len(s) as u32;
        }
        let fresh = match journal.read_head()? {
            Some(there) => {
                journal.head.stage = there.stage;
                journal.count()?;
                false
            }
            None => {
                journal.clear()?;
                true
            }
        };
        Ok((journal, fresh))
    }

    /// How far the transfer is.
    pub fn stage(&self) -> Stage {
        stage_of(self.head.stage)
    }

    /// Writes down how far it is, and waits for the disk.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn set_stage(&mut self, stage: Stage) -> Result<(), FileError> {
        self.head.stage = stage as u32;
        self.head.checksum = self.head.sum();
        self.file
            .write_all_at(self.head.as_bytes(), 0)
            .and_then(|()| self.file.sync_data())
            .map_err(FileError::io(&self.path, "write it"))
    }

    /// Forgets all chunks.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn clear(&mut self) -> Result<(), FileError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.set_len(FIRST))
            .map_err(FileError::io(&self.path, "cut it"))?;
        self.cache.clear();
        for s in 0..self.left.len() {
            self.left[s] = self.len(s) as u32;
        }
        self.all_left = self.chunks;
        self.set_stage(Stage::Receiving)
    }

    /// Chunks that are not here.
    pub fn left(&self) -> u64 {
        self.all_left
    }

    /// Notes that a chunk is here; whether that is new. Not on the disk before [`Self::sync`]; [`Self::is_crowded`]
    /// is to be asked before.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn set(&mut self, chunk: u64) -> Result<bool, FileError> {
        let Some(s) = self.segment(chunk) else { return Ok(false) };
        if self.left[s] == 0 {
            return Ok(false);
        }
        let (word, bit) = place(chunk);
        let page = self.page(s)?;
        if page.bits[word] & bit != 0 {
            return Ok(false);
        }
        page.bits[word] |= bit;
        self.cache[self.last].dirty = true;
        self.left[s] -= 1;
        self.all_left -= 1;
        Ok(true)
    }

    /// As [`Self::set`] for all chunks of a segment whose bits are set; how many are new.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn merge(&mut self, segment: u64, bits: &[u64; WORDS]) -> Result<u64, FileError> {
        let Some(s) = self.segment(segment.saturating_mul(SEGMENT)) else { return Ok(0) };
        if self.left[s] == 0 {
            return Ok(0);
        }
        let valid = page::mask(self.len(s));
        let page = self.page(s)?;
        let mut new = 0;
        for ((mine, more), valid) in page.bits.iter_mut().zip(bits).zip(valid) {
            new += (more & valid & !*mine).count_ones();
            *mine |= more & valid;
        }
        self.cache[self.last].dirty |= new > 0;
        self.left[s] -= new;
        self.all_left -= u64::from(new);
        Ok(new.into())
    }

    /// Writes what was noted and waits for the disk. All chunks noted must be there by then.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn sync(&mut self) -> Result<(), FileError> {
        let mut any = false;
        for cached in self.cache.iter_mut().filter(|c| c.dirty) {
            cached.page.write(&self.file).map_err(FileError::io(&self.path, "write it"))?;
            cached.dirty = false;
            any = true;
        }
        if any {
            self.file.sync_data().map_err(FileError::io(&self.path, "wait for the disk"))?;
        }
        Ok(())
    }

    fn segment(&self, chunk: u64) -> Option<usize> {
        (chunk < self.chunks).then_some((chunk / SEGMENT) as usize)
    }

    fn len(&self, segment: usize) -> u64 {
        (self.chunks - segment as u64 * SEGMENT).min(SEGMENT)
    }

    fn read_head(&self) -> Result<Option<Head>, FileError> {
        let mut bytes = [0; size_of::<Head>()];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(FileError::io(&self.path, "read it")(e)),
        }
        let head = Head::read_from_bytes(&bytes).ok();
        if head.is_some_and(|h| h.magic != MAGIC && h.magic != 0) {
            return Err(FileError::Journal(self.path.display().to_string()));
        }
        Ok(head.filter(|h| {
            h.checksum == h.sum()
                && h.manifest_hash == self.head.manifest_hash
                && (h.total, h.chunk) == (self.head.total, self.head.chunk)
        }))
    }

    /// Counts what the pages say.
    fn count(&mut self) -> Result<(), FileError> {
        let end = self.file.metadata().map_err(FileError::io(&self.path, "look at it"))?.len();
        for s in 0..self.left.len() {
            if FIRST + s as u64 * 2 * STRIDE >= end {
                break;
            }
            let set: u32 = self.read_page(s)?.bits.iter().map(|w| w.count_ones()).sum();
            self.left[s] -= set;
            self.all_left -= u64::from(set);
        }
        Ok(())
    }
}
