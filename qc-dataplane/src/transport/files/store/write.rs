//! Chunks to their files, and all of it to the disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::unistd::syncfs;

use super::disk::open_file;
use super::{OPEN, Store};
use crate::transport::files::FileError;
use crate::transport::files::blocks::{BLOCK, Block};

impl Store {
    /// Writes a block, and says so to whoever comes after this process.
    pub(super) fn write_out(&mut self, block: Block) -> Result<(), FileError> {
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
    pub(super) fn each(
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
    pub(super) fn sync_all(&self) -> Result<(), FileError> {
        let dir = File::open(&self.stage).map_err(FileError::io(&self.stage, "open it"))?;
        syncfs(dir.as_fd()).map_err(|e| FileError::io(&self.stage, "wait for the disk")(e.into()))
    }
}
