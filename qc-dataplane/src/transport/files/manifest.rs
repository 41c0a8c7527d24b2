//! Names, sizes and modes of what is sent: one file, or one directory with all that is below it.
//!
//! A receiver writes where the manifest says, so a manifest is hostile until [`Manifest::parse`] has taken it. Paths are
//! relative, without `.` and `..`; each but the first lies in a directory that came before; a link has its `..` only in
//! front and does not climb out of the first entry. (`..` after a name would climb from wherever a link of that
//! name leads.) Links are made last, so nothing is ever written through one.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::network_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::transport::wire::shape::{MAX_MANIFEST, MAX_TOTAL};

/// First bytes of a manifest, with its version.
const MAGIC: [u8; 4] = *b"VQM1";
/// Where receivers keep what is not complete.
pub const KEPT: &str = ".valecast";
/// Most bytes of a path or of a link's target.
const MAX_PATH: usize = 4095;
/// Most bytes between two slashes.
const MAX_NAME: usize = 255;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EntryHead {
    kind: u8,
    reserved: u8,
    mode: U16,
    size: U64,
    modified: I64,
    path: U16,
    target: U16,
}
const _: () = assert!(size_of::<EntryHead>() == 24);

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link, and to where.
    Link(Vec<u8>),
}

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the directory that the transfer goes to.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, without set-user-ID and its kin.
    pub mode: u16,
    /// When it was changed: nanoseconds since 1970.
    pub modified: i64,
}

impl Entry {
    /// Its path.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Ends too early, or is of another version.
    #[error("manifest: {0}")]
    Form(&'static str),
    /// An entry that must not be.
    #[error("manifest: {path:?}: {why}")]
    Entry {
        /// Which.
        path: String,
        /// Why not.
        why: &'static str,
    },
}

/// A list that may be made on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    total: u64,
}

impl Manifest {
    /// Entries in an order in which directories come before what is in them. The first holds all others.
    ///
    /// # Errors
    ///
    /// The entry that must not be, see the module.
    pub fn new(entries: Vec<Entry>) -> Result<Self, BadManifest> {
        let Some(first) = entries.first() else { return Err(BadManifest::Form("names nothing")) };
        if first.path.contains(&b'/') {
            return Err(bad(first, "the first entry is not a plain name"));
        }
        if first.path == KEPT.as_bytes() {
            return Err(bad(first, "receivers keep what is not complete under this name"));
        }
        if matches!(first.kind, Kind::Link(_)) {
            return Err(bad(first, "the first entry is a link"));
        }
        // Value: whether it is a directory.
        let mut seen: HashMap<&[u8], bool> = HashMap::with_capacity(entries.len());
        let mut total = 0u64;
        for entry in &entries {
            let depth = names(&entry.path).map_err(|why| bad(entry, why))?;
            if entry.mode & !0o777 != 0 {
                return Err(bad(entry, "mode has bits beyond permissions"));
            }
            if depth > 1 {
                let parent = entry.path.iter().rposition(|b| *b == b'/').map_or(0, |at| at);
                if seen.get(&entry.path[..parent]) != Some(&true) {
                    return Err(bad(entry, "is not in a directory that was listed before"));
                }
            } else if !seen.is_empty() {
                return Err(bad(entry, "is not below the first entry"));
            }
            match &entry.kind {
                Kind::File(size) => {
                    total = total
                        .checked_add(*size)
                        .filter(|t| *t <= MAX_TOTAL)
                        .ok_or_else(|| bad(entry, "all together are above 2^56 bytes"))?;
                }
                Kind::Directory => {}
                Kind::Link(target) => link(target, depth).map_err(|why| bad(entry, why))?,
            }
            if seen.insert(&entry.path, entry.kind == Kind::Directory).is_some() {
                return Err(bad(entry, "is listed twice"));
            }
        }
        Ok(Self { entries, total })
    }

    /// The entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The name of the first entry, which is what appears at the receiver.
    pub fn root(&self) -> &Path {
        self.entries.first().map_or(Path::new(""), Entry::path)
    }

    /// Bytes of all files.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// As bytes.
    ///
    /// # Errors
    ///
    /// It is longer than receivers take.
    pub fn bytes(&self) -> Result<Vec<u8>, BadManifest> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(U32::new(self.entries.len() as u32).as_bytes());
        for entry in &self.entries {
            let (kind, size, target): (_, _, &[u8]) = match &entry.kind {
                Kind::File(size) => (0, *size, &[]),
                Kind::Directory => (1, 0, &[]),
                Kind::Link(target) => (2, 0, target),
            };
            let head = EntryHead {
                kind,
                reserved: 0,
                mode: entry.mode.into(),
                size: size.into(),
                modified: entry.modified.into(),
                path: U16::new(entry.path.len() as u16),
                target: U16::new(target.len() as u16),
            };
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(&entry.path);
            out.extend_from_slice(target);
            if out.len() > MAX_MANIFEST as usize {
                return Err(bad(
                    entry,
                    "list longer than 16 MiB; send parts of the directory, or an archive",
                ));
            }
        }
        Ok(out)
    }

    /// Reads what [`Self::bytes`] wrote, or what a stranger did.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        const SHORT: BadManifest = BadManifest::Form("ends too early");
        let rest = bytes.strip_prefix(&MAGIC).ok_or(BadManifest::Form("not of this version"))?;
        let (n, mut rest) = U32::ref_from_prefix(rest).map_err(|_| SHORT)?;
        let n = n.get() as usize;
        if n > rest.len() / size_of::<EntryHead>() {
            return Err(SHORT);
        }
        let mut entries = Vec::with_capacity(n);
        for _ in 0..n {
            let (head, after) = EntryHead::ref_from_prefix(rest).map_err(|_| SHORT)?;
            let (path, after) = after.split_at_checked(head.path.get().into()).ok_or(SHORT)?;
            let (target, after) = after.split_at_checked(head.target.get().into()).ok_or(SHORT)?;
            rest = after;
            let kind = match head.kind {
                0 => Kind::File(head.size.get()),
                1 => Kind::Directory,
                2 => Kind::Link(target.to_vec()),
                _ => return Err(BadManifest::Form("neither file nor directory nor link")),
            };
            entries.push(Entry {
                path: path.to_vec(),
                kind,
                mode: head.mode.get(),
                modified: head.modified.get(),
            });
        }
        if !rest.is_empty() {
            return Err(BadManifest::Form("goes on after its end"));
        }
        Self::new(entries)
    }
}

fn bad(entry: &Entry, why: &'static str) -> BadManifest {
    BadManifest::Entry { path: String::from_utf8_lossy(&entry.path).into_owned(), why }
}

/// How many names a right path has.
fn names(path: &[u8]) -> Result<usize, &'static str> {
    if path.len() > MAX_PATH {
        return Err("path longer than 4095 bytes");
    }
    if path.contains(&0) {
        return Err("zero byte in the path");
    }
    let mut depth = 0;
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" => return Err("absolute path, or empty name"),
            b"." | b".." => return Err("`.` or `..` in the path"),
            _ if name.len() > MAX_NAME => return Err("name longer than 255 bytes"),
            _ => depth += 1,
        }
    }
    Ok(depth)
}

/// Whether a link at that depth stays below the first entry.
fn link(target: &[u8], depth: usize) -> Result<(), &'static str> {
    if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
        return Err("link to nowhere");
    }
    if target.first() == Some(&b'/') {
        return Err("link to an absolute path");
    }
    let mut up = 0;
    let mut down = false;
    for name in target.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." if down => return Err("link with `..` after a name"),
            b".." => up += 1,
            _ => down = true,
        }
    }
    // An entry at depth 2 lies in the first one itself.
    if up + 2 > depth { Err("link out of what is sent") } else { Ok(()) }
}
