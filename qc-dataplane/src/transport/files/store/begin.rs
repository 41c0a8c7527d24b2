//! The beginning of a transfer, and of each further process that receives it.

use super::disk::{allocate, mode, open_file, private_dir, remove};
use super::{OPEN, Piece, Store, StoreOptions, left, stage_of};
use crate::transport::files::FileError;
use crate::transport::files::blocks::Blocks;
use crate::transport::files::journal::{Journal, SEGMENT, Stage};
use crate::transport::files::manifest::{Kind, Manifest};
use crate::transport::files::written::Written;
use crate::transport::wire::Shape;

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
        if self.pieces.len() > OPEN {
            self.sync_all()?;
        } else {
            // Others' writes are not waited for.
            for piece in &self.pieces {
                let file = open_file(&piece.path)?;
                file.sync_data().map_err(FileError::io(&piece.path, "wait for the disk"))?;
            }
        }
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
}
