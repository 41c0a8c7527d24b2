//! What is sent: a file, or a directory with all that is below it, read as one content.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::FileError;
use super::manifest::{BadManifest, Entry, Kind, Manifest};
use crate::transport::wire::Shape;

/// Bytes that are read ahead at once.
const AHEAD: usize = 1 << 20;
/// Most directories in one another.
const MAX_DEPTH: usize = 128;

struct Piece {
    path: PathBuf,
    start: u64,
    size: u64,
    modified: i64,
}

/// Files as one content, in the order of the manifest.
pub struct Source {
    pieces: Vec<Piece>,
    shape: Shape,
    name: OsString,
    manifest: Vec<u8>,
    manifest_hash: [u8; 32],
    open: Option<(usize, File)>,
    // One stretch, so that chunks in a row cost one read in many.
    ahead: Vec<u8>,
    ahead_at: u64,
    hasher: blake3::Hasher,
    hashed: u64,
    /// Whether the hash is wanted.
    hashes: bool,
}

impl Source {
    /// Lists a file or directory, to be cut into chunks of `chunk` bytes, with parity of `fec` (chunks, shards) if given.
    ///
    /// # Errors
    ///
    /// It cannot be read, holds what is neither file, directory nor link, or holds too much.
    pub fn open(path: &Path, chunk: u16, fec: Option<(u16, u16)>) -> Result<Self, FileError> {
        // `.` and `a/..` have no name of their own.
        let real = fs::canonicalize(path).map_err(FileError::io(path, "find it"))?;
        let name = real.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
        let mut entries = Vec::new();
        let mut pieces = Vec::new();
        walk(&real, &name, 0, &mut entries, &mut pieces)?;
        let manifest = Manifest::new(entries)?;
        let total = manifest.total();
        let bytes = manifest.bytes()?;
        let (k, m) = fec.unwrap_or_default();
        let shape = Shape::new(total, bytes.len() as u32, chunk, k, m).map_err(FileError::Shape)?;
        Ok(Self {
            pieces,
            shape,
            name: manifest.root().as_os_str().to_owned(),
            manifest_hash: blake3::hash(&bytes).into(),
            manifest: bytes,
            open: None,
            ahead: Vec::new(),
            ahead_at: 0,
            hasher: blake3::Hasher::new(),
            hashed: 0,
            hashes: true,
        })
    }

    /// How it is cut.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The name under which it appears at receivers.
    pub fn name(&self) -> &std::ffi::OsStr {
        &self.name
    }

    /// The list, as sent.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// BLAKE3 of the list.
    pub fn manifest_hash(&self) -> [u8; 32] {
        self.manifest_hash
    }

    /// A chunk; empty if there is none.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or is not as it was.
    pub fn chunk(&mut self, n: u64) -> Result<&[u8], FileError> {
        let (start, len) = (n.saturating_mul(self.shape.chunk() as u64), self.shape.len_of(n));
        let end = start + len as u64;
        if start < self.ahead_at || end > self.ahead_at + self.ahead.len() as u64 {
            // A lone repair is read alone; the second in a row brings those after it.
            let row = start == self.ahead_at + self.ahead.len() as u64 || start == 0;
            // Whole chunks: one that lies across the end of a stretch would be read by itself.
            let want = if row { AHEAD.max(len) / len.max(1) * len } else { len };
            let want = (self.shape.total() - start.min(self.shape.total())).min(want as u64) as usize;
            let mut buffer = std::mem::take(&mut self.ahead);
            buffer.resize(want, 0);
            let read = self.read(start, &mut buffer);
            if read.is_err() {
                buffer.clear();
            }
            (self.ahead, self.ahead_at) = (buffer, start);
            read?;
            if start == self.hashed && self.hashes {
                // What is sent in order need not be read again for that.
                self.hasher.update(&self.ahead);
                self.hashed += self.ahead.len() as u64;
            }
        }
        let at = (start - self.ahead_at) as usize;
        Ok(self.ahead.get(at..at + len).unwrap_or_default())
    }

    fn read(&mut self, mut at: u64, mut out: &mut [u8]) -> Result<(), FileError> {
        let mut which = self.pieces.partition_point(|p| p.start + p.size <= at);
        while !out.is_empty() {
            let Some(piece) = self.pieces.get(which) else {
                return Err(FileError::Changed("content".into()));
            };
            if self.open.as_ref().is_none_or(|(w, _)| *w != which) {
                let file = File::open(&piece.path).map_err(FileError::io(&piece.path, "open it"))?;
                let now = file.metadata().map_err(FileError::io(&piece.path, "look at it"))?;
                if now.len() != piece.size || modified(&now) != piece.modified {
                    return Err(FileError::Changed(piece.path.display().to_string()));
                }
                self.open = Some((which, file));
            }
            let n = (piece.size - (at - piece.start)).min(out.len() as u64) as usize;
            let (now, rest) = out.split_at_mut(n);
            if let Some((_, file)) = &self.open {
                file.read_exact_at(now, at - piece.start).map_err(|e| match e.kind() {
                    std::io::ErrorKind::UnexpectedEof => FileError::Changed(piece.path.display().to_string()),
                    _ => FileError::io(&piece.path, "read it")(e),
                })?;
            }
            at += n as u64;
            out = rest;
            which += 1;
        }
        Ok(())
    }

    /// The hash is known: it need not be found here.
    pub fn hash_is_known(&mut self) {
        self.hashes = false;
    }

    /// Hashes up to byte `to` of the content in its order, at most `most` bytes now; the hash once all is read.
    ///
    /// # Errors
    ///
    /// As [`Self::chunk`]; a file that changed while it was read is found here at the latest.
    pub fn hash(&mut self, to: u64, most: usize) -> Result<Option<[u8; 32]>, FileError> {
        let end = to.min(self.shape.total()).min(self.hashed.saturating_add(most as u64));
        let mut buffer = Vec::new();
        while self.hashed < end {
            let n = (end - self.hashed).min(AHEAD as u64) as usize;
            buffer.resize(n, 0);
            self.read(self.hashed, &mut buffer)?;
            self.hasher.update(&buffer);
            self.hashed += n as u64;
        }
        if self.hashed < self.shape.total() {
            return Ok(None);
        }
        for piece in &self.pieces {
            let now = fs::metadata(&piece.path).map_err(FileError::io(&piece.path, "look at it"))?;
            if now.len() != piece.size || modified(&now) != piece.modified {
                return Err(FileError::Changed(piece.path.display().to_string()));
            }
        }
        Ok(Some(self.hasher.finalize().into()))
    }
}

fn modified(of: &Metadata) -> i64 {
    of.mtime().saturating_mul(1_000_000_000).saturating_add(of.mtime_nsec())
}

fn walk(
    at: &Path,
    name: &[u8],
    depth: usize,
    entries: &mut Vec<Entry>,
    pieces: &mut Vec<Piece>,
) -> Result<(), FileError> {
    let refuse = |why| {
        let path = at.display().to_string();
        Err(FileError::Manifest(BadManifest::Entry { path, why }))
    };
    let found = fs::symlink_metadata(at).map_err(FileError::io(at, "look at it"))?;
    let mode = (found.mode() & 0o777) as u16;
    let modified = modified(&found);
    let entry = |kind| Entry { path: name.to_vec(), kind, mode, modified };
    if found.is_file() {
        let start = pieces.last().map_or(0, |p| p.start + p.size);
        entries.push(entry(Kind::File(found.len())));
        if found.len() > 0 {
            pieces.push(Piece { path: at.to_path_buf(), start, size: found.len(), modified });
        }
    } else if found.is_symlink() {
        let target = fs::read_link(at).map_err(FileError::io(at, "read the link"))?;
        entries.push(entry(Kind::Link(target.as_os_str().as_bytes().to_vec())));
    } else if found.is_dir() {
        if depth == MAX_DEPTH {
            return refuse("more than 128 directories in one another");
        }
        entries.push(entry(Kind::Directory));
        let mut inside = Vec::new();
        for item in fs::read_dir(at).map_err(FileError::io(at, "list it"))? {
            inside.push(item.map_err(FileError::io(at, "list it"))?.file_name());
        }
        // The same list, whatever order the file system has: a sender that comes back continues its transfer.
        inside.sort();
        for item in inside {
            let mut path = name.to_vec();
            path.push(b'/');
            path.extend_from_slice(item.as_bytes());
            walk(&at.join(&item), &path, depth + 1, entries, pieces)?;
        }
    } else {
        return refuse("neither file nor directory nor link");
    }
    Ok(())
}
