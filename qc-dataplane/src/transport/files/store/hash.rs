//! The hash of what is here.

use std::os::unix::fs::FileExt;

use super::Store;
use crate::transport::files::FileError;

/// Bytes that are hashed between two reads.
const STEP: usize = 1 << 20;

impl Store {
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
}
