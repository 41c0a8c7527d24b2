//! The end of a transfer: all in its place.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::disk::remove;
use super::{OPEN, Store};
use crate::transport::files::FileError;
use crate::transport::files::journal::Stage;
use crate::transport::files::manifest::Kind;

impl Store {
    /// Puts all in its place, with modes, times and links. To be called once the hash is right.
    ///
    /// # Errors
    ///
    /// The system refuses, or something has appeared in its place.
    pub fn place(&mut self) -> Result<(), FileError> {
        self.checkpoint()?;
        self.open.clear();
        let data = self.data();
        let many = self.manifest.entries().len() > OPEN;
        for (i, entry) in self.manifest.entries().iter().enumerate().rev() {
            let path = data.join(entry.path());
            if let Kind::Link(to) = &entry.kind {
                remove(&path)?;
                let to: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(to);
                symlink(to, &path).map_err(FileError::io(&path, "make the link"))?;
                continue;
            }
            let file = File::open(&path).map_err(FileError::io(&path, "open it"))?;
            let time = Duration::from_nanos(entry.modified.max(0).unsigned_abs());
            file.set_modified(SystemTime::UNIX_EPOCH + time).map_err(FileError::io(&path, "set its time"))?;
            // The first entry is still to be moved, which needs write permission for a directory.
            if i > 0 || entry.kind != Kind::Directory {
                file.set_permissions(Permissions::from_mode(entry.mode.into()))
                    .map_err(FileError::io(&path, "set its mode"))?;
            }
            if !many {
                file.sync_all().map_err(FileError::io(&path, "wait for the disk"))?;
            }
        }
        if many {
            self.sync_all()?;
        }
        self.journal.set_stage(Stage::Placing)?;
        self.rename()
    }

    /// Moves the first entry to its place. Can be repeated after a crash at any point.
    pub(super) fn rename(&mut self) -> Result<(), FileError> {
        let from = self.data().join(self.manifest.root());
        let to = self.target();
        if from.symlink_metadata().is_ok() {
            let result = if self.options.replace {
                // A rename replaces a file at once. A directory has to be moved away first.
                if to.is_dir() || (from.is_dir() && to.symlink_metadata().is_ok()) {
                    let old = self.stage.join("old");
                    remove(&old)?;
                    fs::rename(&to, &old).map_err(FileError::io(&to, "move it away"))?;
                }
                fs::rename(&from, &to)
            } else {
                match renameat2(AT_FDCWD, &from, AT_FDCWD, &to, RenameFlags::RENAME_NOREPLACE) {
                    // Not on this file system.
                    Err(Errno::EINVAL | Errno::ENOSYS) if to.symlink_metadata().is_err() => {
                        fs::rename(&from, &to)
                    }
                    Err(Errno::EINVAL | Errno::ENOSYS) => Err(Errno::EEXIST.into()),
                    other => other.map_err(Into::into),
                }
            };
            if let Err(e) = result {
                if e.kind() == io::ErrorKind::AlreadyExists {
                    return Err(FileError::Exists(to.display().to_string()));
                }
                return Err(FileError::io(&to, "put it there")(e));
            }
        }
        if let Some(entry) = self.manifest.entries().first().filter(|e| e.kind == Kind::Directory) {
            fs::set_permissions(&to, Permissions::from_mode(entry.mode.into()))
                .map_err(FileError::io(&to, "set its mode"))?;
        }
        File::open(&self.options.dir)
            .and_then(|d| d.sync_all())
            .map_err(FileError::io(&self.options.dir, "wait for the disk"))?;
        self.journal.set_stage(Stage::Done)?;
        remove(&self.stage.join("old"))?;
        remove(&self.data())
    }
}
