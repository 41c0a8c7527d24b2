//! What transfers have left in a directory of a receiver, for when they are over.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NOFOLLOW;

use super::disk::remove;
use super::stage_of;
use crate::transport::files::FileError;
use crate::transport::files::journal::{Stage, stage_in};
use crate::transport::files::manifest::KEPT;

/// Transfers of which something is kept below `dir`.
#[must_use]
pub fn kept(dir: &Path) -> Vec<u64> {
    let entries = fs::read_dir(dir.join(KEPT)).into_iter().flatten().flatten();
    entries.filter_map(|e| u64::from_str_radix(e.file_name().to_str()?, 16).ok()).collect()
}

/// Whether a transfer is in its place, and only says so.
#[must_use]
pub fn is_done(dir: &Path, transfer: u64) -> bool {
    stage_in(&stage_of(dir, transfer).join("journal")) == Some(Stage::Done)
}

/// Removes what is kept of a transfer, unless somebody works on it now; whether it is gone.
///
/// # Errors
///
/// The system refuses.
pub fn forget(dir: &Path, transfer: u64) -> Result<bool, FileError> {
    let stage = stage_of(dir, transfer);
    let path = stage.join("journal");
    let _held = match OpenOptions::new().read(true).write(true).custom_flags(O_NOFOLLOW).open(&path) {
        Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Some(held),
            Err(_) => return Ok(false),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(FileError::io(&path, "open it")(e)),
    };
    remove(&stage)?;
    no_empty(&dir.join(KEPT));
    Ok(true)
}

/// Removes a directory in which nothing is, and the one around it if it is the same with that.
pub(super) fn no_empty(path: &Path) {
    let around = path.parent().filter(|p| p.file_name().is_some_and(|name| name == KEPT));
    if fs::remove_dir(path).is_ok()
        && let Some(around) = around
    {
        let _ = fs::remove_dir(around);
    }
}
