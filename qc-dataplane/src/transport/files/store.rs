//! One transfer's files at a receiver, from the first chunk to the rename.
//!
//! ```text
//! DIR/.valecast/<transfer>/journal     which chunks are on the disk (`journal`)
//! DIR/.valecast/<transfer>/written     which are with the system, on their way there (`written`)
//! DIR/.valecast/<transfer>/data/NAME   the files, of full size from the start
//! DIR/NAME                             appears when all is here and its hash is right
//! ```
//!
//! Files are allocated when the manifest is known, so a full disk shows before anything is sent. The journal stays
//! after the end until [`Store::forget`]: a receiver that is started again can say that it has the transfer.

mod disk;
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
use super::journal::{Journal, SEGMENT, Stage};
use super::manifest::{KEPT, Kind, Manifest};
use super::written::Written;
use crate::transport::wire::Shape;
use disk::{allocate, mode, open_file, private_dir, remove};

/// Files that are open at once.
const OPEN: usize = 64;
/// Bytes that are hashed between two reads.
const STEP: usize = 1 << 20;

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
    /// Begins a transfer or continues it.
    ///
    /// # Errors
    ///
    /// No room, something of that name is there, a manifest of another length, or the system refuses.
    pub fn open(
        options: &StoreOptions,
        transfer: u64,
        shape: &Shape,
        manifest: Manifest,
        manifest_hash: &[u8; 32],
    ) -> Result<Self, FileError> {
        if manifest.total() != shape.total() {
            return Err(FileError::Shape("the manifest's files are not as long as the content"));
        }
        let stage = stage_of(&options.dir, transfer);
        private_dir(&stage)?;
        let opened = Journal::open(&stage.join("journal"), shape, manifest_hash);
        // Nothing stays of what could not even be begun.
        let (journal, fresh) = opened.inspect_err(|_| left::no_empty(&stage))?;
        let mut store = Self {
            options: options.clone(),
            blocks: Blocks::new(shape.chunk(), shape.chunks(), options.memory),
            stage,
            manifest,
            shape: *shape,
            journal,
            written: None,
            pieces: Vec::new(),
            open: Vec::new(),
            touched: Vec::new(),
            since: 0,
            hasher: blake3::Hasher::new(),
            hashed: 0,
            prefix: 0,
        };
        match store.journal.stage() {
            Stage::Done => return Ok(store),
            Stage::Placing => {
                store.rename()?;
                return Ok(store);
            }
            Stage::Receiving => {}
        }
        if let Err(e) = store.begin(fresh) {
            if fresh {
                // Half of the room is of no use to anybody. What went wrong first is what counts.
                let _ = store.forget();
            }
            return Err(e);
        }
        let path = store.stage.join("written");
        store.written = Written::open(&path, shape, manifest_hash, !fresh);
        store.recall()?;
        Ok(store)
    }

    /// Takes up what a process that was killed had written since its last checkpoint.
    fn recall(&mut self) -> Result<(), FileError> {
        let Some(written) = self.written.take() else { return Ok(()) };
        let mut any = false;
        written.each(|segment, bits| -> Result<(), FileError> {
            if self.journal.is_crowded(segment * SEGMENT) {
                self.harden()?;
            }
            any |= self.journal.merge(segment, bits)? > 0;
            Ok(())
        })?;
        if any {
            self.harden()?;
        }
        self.written = Some(written);
        Ok(())
    }

    /// Brings to the disk what another process wrote, and then the journal.
    fn harden(&mut self) -> Result<(), FileError> {
        self.sync_all()?;
        self.journal.sync()
    }

    /// Makes room for what is to come, if it may come at all.
    fn begin(&mut self, fresh: bool) -> Result<(), FileError> {
        if !self.options.replace && self.target().symlink_metadata().is_ok() {
            return Err(FileError::Exists(self.target().display().to_string()));
        }
        if fresh {
            remove(&self.data())?;
        }
        self.lay_out()
    }

    fn data(&self) -> PathBuf {
        self.stage.join("data")
    }

    fn target(&self) -> PathBuf {
        self.options.dir.join(self.manifest.root())
    }

    /// Makes directories and files, of full size. Those that are there may have their last modes already, if a receiver
    /// died while it placed them.
    fn lay_out(&mut self) -> Result<(), FileError> {
        let data = self.data();
        private_dir(&data)?;
        let mut start = 0;
        for entry in self.manifest.entries() {
            let path = data.join(entry.path());
            match entry.kind {
                Kind::Directory => {
                    private_dir(&path)?;
                    mode(&path, 0o700)?;
                }
                Kind::Link(_) => {}
                Kind::File(size) => {
                    if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
                        mode(&path, 0o600)?;
                    }
                    let file = open_file(&path)?;
                    if file.metadata().map_err(FileError::io(&path, "look at it"))?.len() != size {
                        allocate(&file, size).map_err(FileError::io(&path, "make room for it"))?;
                    }
                    if size > 0 {
                        self.pieces.push(Piece { path, start, size });
                    }
                    start += size;
                }
            }
        }
        Ok(())
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

    /// Hashes what is here in order, at most `most` bytes now, reading back what was written. The hash once all is.
    ///
    /// # Errors
    ///
    /// The files cannot be read, or what is in memory cannot be written.
    pub fn hash(&mut self, most: usize) -> Result<Option<[u8; 32]>, FileError> {
        let all = self.shape.chunks();
        let until = if self.left() == 0 {
            if self.hashed == 0 || self.since > 0 {
                self.checkpoint()?;
            }
            self.shape.total()
        } else {
            self.prefix = self.journal.missing(self.prefix, all)?.map_or(all, |r| r.start);
            // What is in memory cannot be read from the files: the block that is being filled, and what is left of
            // blocks that a checkpoint wrote in part.
            let written = self.blocks.lowest().map_or(self.prefix, |b| b.min(self.prefix));
            written * self.shape.chunk() as u64
        };
        let end = until.min(self.hashed.saturating_add(most as u64));
        let mut buffer = vec![0; STEP.min(end.saturating_sub(self.hashed) as usize)];
        while self.hashed < end {
            let n = (end - self.hashed).min(STEP as u64) as usize;
            let at = self.hashed;
            self.each(at, n, |file, at, part| file.read_exact_at(&mut buffer[part], at))?;
            self.hasher.update(&buffer[..n]);
            self.hashed += n as u64;
        }
        Ok(self.done())
    }

    /// Bytes that were hashed so far.
    pub fn hashed(&self) -> u64 {
        self.hashed
    }

    /// The hash, if all was read.
    pub fn done(&self) -> Option<[u8; 32]> {
        let whole = self.left() == 0 && self.hashed == self.shape.total();
        whole.then(|| self.hasher.finalize().into())
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
