//! What the store asks of the file system.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::transport::files::{FileError, open_own};

/// A directory that nobody else may use, if it is not there.
pub(super) fn private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::io(path, "make the directory"))
}

pub(super) fn mode(path: &Path, bits: u32) -> Result<(), FileError> {
    fs::set_permissions(path, Permissions::from_mode(bits)).map_err(FileError::io(path, "set its mode"))
}

pub(super) fn open_file(path: &Path) -> Result<File, FileError> {
    open_own(path).map_err(FileError::io(path, "open it"))
}

/// Room on the disk, or at least the length where file systems cannot promise room.
pub(super) fn allocate(file: &File, size: u64) -> io::Result<()> {
    let len = i64::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    file.set_len(0)?;
    if len > 0 {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(()),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
            Err(e) => return Err(e.into()),
        }
    }
    file.set_len(size)
}

pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    let gone = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    gone.map_err(FileError::io(path, "remove it"))
}
