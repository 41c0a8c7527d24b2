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
//! - here: takes chunks and brings them to the disk; `hash`: reads back what was not hashed on its way;
//! - `place`: the end; [`left`]: what is kept afterwards, until it is removed; `disk`: what all ask of the file system.
//!
//! Files are allocated when the manifest is known, so a full disk shows before anything is sent. The journal stays
//! after the end until [`Store::forget`]: a receiver that is started again can say that it has the transfer.

mod begin;
mod disk;
mod hash;
pub mod left;
mod place;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::unistd::syncfs;

use super::FileError;
use super::blocks::{BLOCK, Block, Blocks};
use super::journal::{Journal, Stage};
use super::manifest::{KEPT, Manifest};
use super::written::Written;
use crate::transport::wire::Shape;
use disk::{open_file, remove};

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

    /// Writes a block, and says so to whoever comes after this process.
    fn write_out(&mut self, block: Block) -> Result<(), FileError> {
        self.write(&block)?;
        if let Some(written) = &self.written {
            // No chunk of it is in memory now: those that the journal has are all with the system.
            let bits = self.journal.bits(block.first())?;
            if !written.note(block.first() / BLOCK, &bits) {
                self.written = None;
            }
        }
        self.blocks.recycle(block);
        Ok(())
    }

    fn write(&mut self, block: &Block) -> Result<(), FileError> {
        for (run, bytes) in block.runs(self.shape.chunk()) {
            let start = run.start * self.shape.chunk() as u64;
            let len = (self.shape.total() - start).min(bytes.len() as u64) as usize;
            self.each(start, len, |file, at, part| file.write_all_at(&bytes[part], at))?;
            if start == self.hashed {
                // What comes in order is hashed as it is written. All else is read back.
                self.hasher.update(&bytes[..len]);
                self.hashed += len as u64;
            }
        }
        Ok(())
    }

    /// Calls `with` for each file that has some of `len` bytes at `at`: the file, where in it, and which of the bytes.
    fn each(
        &mut self,
        at: u64,
        len: usize,
        mut with: impl FnMut(&File, u64, Range<usize>) -> io::Result<()>,
    ) -> Result<(), FileError> {
        let mut which = self.pieces.partition_point(|p| p.start + p.size <= at);
        let mut done = 0;
        while done < len {
            let here = at + done as u64;
            let Some((start, size)) = self.pieces.get(which).map(|p| (p.start, p.size)) else { break };
            let n = ((start + size - here).min((len - done) as u64)) as usize;
            let slot = self.file(which)?;
            with(&self.open[slot].1, here - start, done..done + n)
                .map_err(FileError::io(&self.pieces[which].path, "read or write it"))?;
            done += n;
            which += 1;
        }
        Ok(())
    }

    fn file(&mut self, which: usize) -> Result<usize, FileError> {
        if let Some(slot) = self.open.iter().position(|(w, _)| *w == which) {
            return Ok(slot);
        }
        let file = open_file(&self.pieces[which].path)?;
        if self.open.len() == OPEN {
            self.open.remove(0);
        }
        self.open.push((which, file));
        if self.touched.len() <= OPEN && !self.touched.contains(&which) {
            self.touched.push(which);
        }
        Ok(self.open.len() - 1)
    }

    /// Brings all to the disk: chunks first, then the journal.
    ///
    /// # Errors
    ///
    /// The disk is full, or fails. The journal then says nothing about what came since the last one.
    pub fn checkpoint(&mut self) -> Result<(), FileError> {
        while let Some(block) = self.blocks.pop() {
            self.write_out(block)?;
        }
        if self.since > 0 {
            if self.touched.len() > OPEN {
                self.sync_all()?;
            } else {
                for which in self.touched.clone() {
                    let path = &self.pieces[which].path;
                    match self.open.iter().find(|(w, _)| *w == which) {
                        Some((_, file)) => file.sync_data(),
                        None => File::open(path).and_then(|f| f.sync_data()),
                    }
                    .map_err(FileError::io(path, "wait for the disk"))?;
                }
            }
            // Files that stay open are written again without passing through `file`'s slow part.
            self.touched = self.open.iter().map(|(w, _)| *w).collect();
            self.since = 0;
        }
        self.journal.sync()
    }

    /// Waits for all of the file system: cheaper than for each of many files.
    fn sync_all(&self) -> Result<(), FileError> {
        let dir = File::open(&self.stage).map_err(FileError::io(&self.stage, "open it"))?;
        syncfs(dir.as_fd()).map_err(|e| FileError::io(&self.stage, "wait for the disk")(e.into()))
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
