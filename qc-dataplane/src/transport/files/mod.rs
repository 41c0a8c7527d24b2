//! The disk: what is sent, and where what arrives is kept until it is whole.
//!
//! - [`manifest`]: names, sizes and modes, checked before anything is made of them;
//! - [`source`]: a file or directory, read as one content;
//! - [`journal`]: which chunks are on the disk, in a file that survives a crash;
//! - `written`: which were handed to the system, in a file that survives a kill;
//! - [`blocks`]: chunks gathered to large aligned writes;
//! - [`store`]: all of it for one transfer at a receiver, up to the rename at the end.

pub mod blocks;
pub mod journal;
pub mod manifest;
pub mod source;
pub mod store;
mod written;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NOFOLLOW;

use super::wire::Cause;

/// Opens a file that only this user reads and writes, as it is or new, but not where a link leads.
fn open_own(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(path)
}

/// Why files could not be read, written, or accepted.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{path}: cannot {what}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Doing what.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something of that name is there.
    #[error("{0}: is there already; move it away, or allow it to be replaced")]
    Exists(String),
    /// The manifest names what it must not, or the files cannot be put into one.
    #[error("{0}")]
    Manifest(#[from] manifest::BadManifest),
    /// A file is not as it was when it was listed.
    #[error("{0}: changed while it was being sent")]
    Changed(String),
    /// The transfer cannot be cut up so.
    #[error("{0}")]
    Shape(&'static str),
    /// A journal of another program.
    #[error("{0}: not a journal of this version; remove its directory to begin anew")]
    Journal(String),
}

impl FileError {
    pub(super) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { path, what, source }
    }

    /// In one word, for the sender.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    Cause::DiskFull
                }
                io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => Cause::Exists,
                _ => Cause::Io,
            },
            Self::Exists(_) => Cause::Exists,
            Self::Manifest(_) | Self::Shape(_) => Cause::Manifest,
            Self::Changed(_) | Self::Journal(_) => Cause::Io,
        }
    }
}
