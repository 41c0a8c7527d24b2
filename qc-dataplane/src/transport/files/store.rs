//! One transfer's files at a receiver, from the first chunk to the rename.
//!
//! ```text
//! DIR/.valecast/<transfer>/journal     which chunks are on the disk (`journal`)
//! DIR/.valecast/<transfer>/written     which are with the system, on their way there (`written`)
//! DIR/.valecast/<transfer>/data/NAME   the files, of full size from the start
//! DIR/NAME                             appears when all is here and its hash is right
//! ```
//!
//! - `begin`: opens or goes on with a transfer, makes its files, takes up what a killed process had written;
//! - here: takes chunks; `write` brings them to the disk; `hash`: reads back what was not hashed on its way;
//! - `place`: the end; [`left`]: what is kept afterwards, until it is removed; `disk`: what all ask of the file system.
//!
//! Files are allocated when the manifest is known, so a full disk shows before anything is sent. The journal stays
//! after the end until [`Store::forget`]: a receiver that is started again can say that it has the transfer.

mod begin;
mod disk;
mod hash;
pub mod left;
mod place;
mod write;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::FileError;
use super::blocks::{BLOCK, Blocks};
use super::journal::{Journal, Stage};
use super::manifest::{KEPT, Manifest};
use super::written::Written;
use crate::transport::wire::Shape;
use disk::remove;

/// Files that are open at once.
const OPEN: usize = 64;

/// How a receiver keeps what arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Where transfers go.
    pub dir: PathBuf,
    /// Whether what is there under the name of a transfer may go.
    pub replace: bool,
    /// Bytes of blocks in memory.
    pub memory: usize,
    /// Bytes after which all is brought to the disk, so that no more is lost when the machine stops. When only the
    /// process does, no more is lost than `memory`.
    pub checkpoint: u64,
}

impl StoreOptions {
    /// 16 MiB in memory, 64 MiB between checkpoints, nothing replaced.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), replace: false, memory: 16 << 20, checkpoint: 64 << 20 }
    }
}

struct Piece {
    path: PathBuf,
    start: u64,
    size: u64,
}

/// The files of a transfer.
pub struct Store {
    options: StoreOptions,
    stage: PathBuf,
    manifest: Manifest,
    shape: Shape,
    journal: Journal,
    written: Option<Written>,
    blocks: Blocks,
    pieces: Vec<Piece>,
    open: Vec<(usize, File)>,
    /// Pieces written since the last checkpoint.
    touched: Vec<usize>,
    since: u64,
    hasher: blake3::Hasher,
    hashed: u64,
    /// Chunks below are all here.
    prefix: u64,
}

/// Chunks of a chunk's block that are here, when none of them is in memory.
fn written_of_block(journal: &mut Journal, chunk: u64, chunks: u64) -> Result<u64, FileError> {
    let from = chunk / BLOCK * BLOCK;
    let to = (from + BLOCK).min(chunks);
    let (mut missing, mut at) = (0, from);
    while let Some(run) = journal.missing(at, to)? {
        missing += run.end - run.start;
        at = run.end;
    }
    Ok(to - from - missing)
}

/// The directory in which a transfer is kept while it is not complete.
fn stage_of(dir: &Path, transfer: u64) -> PathBuf {
    dir.join(KEPT).join(format!("{transfer:016x}"))
}

impl Store {
    fn data(&self) -> PathBuf {
        self.stage.join("data")
    }

    fn target(&self) -> PathBuf {
        self.options.dir.join(self.manifest.root())
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        self.journal.stage()
    }

    /// Chunks that are not here.
    pub fn left(&self) -> u64 {
        self.journal.left()
    }

    /// Whether a chunk is here.
    ///
    /// # Errors
    ///
    /// The journal cannot be read.
    pub fn has(&mut self, chunk: u64) -> Result<bool, FileError> {
        self.journal.has(chunk)
    }

    /// The first run in `from..to` that is not here.
    ///
    /// # Errors
    ///
    /// The journal cannot be read.
    pub fn missing(&mut self, from: u64, to: u64) -> Result<Option<Range<u64>>, FileError> {
        self.journal.missing(from, to)
    }

    /// Takes a chunk of the right length; whether it was new.
    ///
    /// # Errors
    ///
    /// The disk is full, or fails.
    pub fn put(&mut self, chunk: u64, bytes: &[u8]) -> Result<bool, FileError> {
        if bytes.len() != self.shape.len_of(chunk) || self.journal.has(chunk)? {
            return Ok(false);
        }
        if self.journal.is_crowded(chunk) {
            self.checkpoint()?;
        }
        let (journal, chunks) = (&mut self.journal, self.shape.chunks());
        let out = self.blocks.put(chunk, bytes, || written_of_block(journal, chunk, chunks))?;
        self.journal.set(chunk)?;
        if let Some(block) = out {
            self.write_out(block)?;
        }
        self.since += bytes.len() as u64;
        if self.since >= self.options.checkpoint {
            self.checkpoint()?;
        }
        Ok(true)
    }

    /// Copies a chunk that is here to `out`, and zeros after its end.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn get(&mut self, chunk: u64, out: &mut [u8]) -> Result<(), FileError> {
        let len = self.shape.len_of(chunk).min(out.len());
        let (now, rest) = out.split_at_mut(len);
        rest.fill(0);
        match self.blocks.get(chunk) {
            Some(bytes) => now.copy_from_slice(&bytes[..len]),
            None => self.each(chunk * self.shape.chunk() as u64, len, |file, at, part| {
                file.read_exact_at(&mut now[part], at)
            })?,
        }
        Ok(())
    }

    /// Forgets all chunks, because what was read back is wrong.
    ///
    /// # Errors
    ///
    /// The journal cannot be written.
    pub fn clear(&mut self) -> Result<(), FileError> {
        while self.blocks.pop().is_some() {}
        self.hasher.reset();
        self.hashed = 0;
        self.prefix = 0;
        // Before the journal: what that forgets is not to come back from here.
        if let Some(written) = self.written.take_if(|w| !w.clear()) {
            drop(written);
            remove(&self.stage.join("written"))?;
        }
        self.journal.clear()
    }

    /// Removes the journal, and the files if they are not in their place.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn forget(self) -> Result<(), FileError> {
        remove(&self.stage)?;
        left::no_empty(&self.options.dir.join(KEPT));
        Ok(())
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
