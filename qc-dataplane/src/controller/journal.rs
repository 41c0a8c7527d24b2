//! The controller's state on disk: lines of JSON, each with a checksum in front, appended and now and then rewritten.
//!
//! ```text
//! 0f2a3d7c [{"run":1}]
//! ```
//!
//! A line is one change: all of its records or none. Whoever was told of a change finds it after a crash, since it is on
//! the disk before anybody hears of it ([`Writer`]). A crash may leave a torn line at the end, which nobody heard of; it
//! is cut off, and kept beside the journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::sync::watch;

use super::core::record::{Record, Saved};

const FILE: &str = "journal";
const NEW: &str = "journal.new";
const TORN: &str = "journal.torn";
const LOCK: &str = "lock";
/// A journal shorter than this is not rewritten.
const SHORT: u64 = 1 << 20;
/// It is rewritten when it is so many times longer than after the last time.
const GROWN: u64 = 4;
/// How long until a disk that took nothing is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refuses something.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Another controller has the directory.
    #[error("{}: another controller uses this `state_dir`: stop it, or give this one another", .0.display())]
    Locked(PathBuf),
}

/// A journal that is open.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    /// Bytes that are known to be whole.
    length: u64,
    /// Whether there may be others after them.
    torn: bool,
    /// Bytes after it was rewritten last.
    base: u64,
    mirror: Saved,
    _lock: Flock<File>,
}

/// What was found in a journal's directory.
#[derive(Debug)]
pub struct Found {
    /// The journal, to go on with.
    pub journal: Journal,
    /// The state that it leads to.
    pub saved: Saved,
    /// Bytes at its end that made no sense and were put aside.
    pub torn: u64,
}

/// Writes a change as a line.
fn line(records: &[Record]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(records)?;
    let mut line = format!("{:08x} ", crc32c::crc32c(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// Reads a line without its end.
fn records(line: &[u8]) -> Option<Vec<Record>> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    if crc32c::crc32c(json) != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// The state that whole lines lead to, and how many bytes they are. What follows the first line that is not whole was
/// never on the disk for sure.
#[must_use]
pub fn replay(bytes: &[u8]) -> (Saved, usize) {
    let (mut saved, mut at) = (Saved::default(), 0);
    while let Some(end) = bytes[at..].iter().position(|b| *b == b'\n') {
        let Some(records) = records(&bytes[at..at + end]) else { break };
        records.into_iter().for_each(|r| saved.apply(r));
        at += end + 1;
    }
    (saved, at)
}

impl Journal {
    /// Opens the journal in a directory, which is made if need be.
    ///
    /// # Errors
    /// When another controller has it, or the system refuses something.
    pub fn open(dir: &Path) -> Result<Found, JournalError> {
        let fail = |path: PathBuf, what| move |source| JournalError::Io { path, what, source };
        std::fs::create_dir_all(dir).map_err(fail(dir.to_owned(), "cannot make the directory"))?;
        let at = dir.join(LOCK);
        let lock = OpenOptions::new().create(true).append(true).open(&at);
        let lock = lock.map_err(fail(at, "cannot open"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| JournalError::Locked(dir.to_owned()))?;
        // What a rewrite that did not come to its end has left.
        let _ = std::fs::remove_file(dir.join(NEW));
        let path = dir.join(FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            // The key of links is in it.
            .mode(0o600)
            .open(&path)
            .map_err(fail(path.clone(), "cannot open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail(path.clone(), "cannot read"))?;
        let (saved, whole) = replay(&bytes);
        let torn = (bytes.len() - whole) as u64;
        if torn > 0 {
            let aside = dir.join(TORN);
            std::fs::write(&aside, &bytes[whole..]).map_err(fail(aside, "cannot write"))?;
        }
        file.set_len(whole as u64).map_err(fail(path.clone(), "cannot shorten"))?;
        file.seek(SeekFrom::End(0)).map_err(fail(path.clone(), "cannot seek"))?;
        file.sync_all().map_err(fail(path, "cannot sync"))?;
        let (length, mirror) = (whole as u64, saved.clone());
        let journal =
            Self { dir: dir.to_owned(), file, length, torn: false, base: length, mirror, _lock: lock };
        Ok(Found { journal, saved, torn })
    }

    /// Puts changes on the disk: when this returns, they are there.
    ///
    /// # Errors
    /// When the disk does not take them. None of them counts then, and it can be tried again.
    pub fn append(&mut self, changes: &[Vec<Record>]) -> io::Result<()> {
        let mut text = Vec::new();
        for records in changes {
            text.extend(line(records)?);
        }
        if self.torn {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::End(0))?;
        }
        self.torn = true;
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.torn = false;
        self.length += text.len() as u64;
        changes.iter().flatten().cloned().for_each(|r| self.mirror.apply(r));
        if self.length > SHORT.max(self.base * GROWN) {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Writes the journal anew, as short as can be. A crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When the disk does not take it; the old one stays.
    pub fn rewrite(&mut self) -> io::Result<()> {
        let path = self.dir.join(NEW);
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).read(true).mode(0o600).open(&path)?;
        let mut length = 0;
        let records = self.mirror.records();
        for some in records.chunks(256) {
            let text = line(some)?;
            file.write_all(&text)?;
            length += text.len() as u64;
        }
        file.sync_all()?;
        std::fs::rename(&path, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()?;
        (self.file, self.length, self.base) = (file, length, length);
        Ok(())
    }
}

/// How far the writing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Changes that are on the disk.
    pub changes: u64,
    /// Why the next ones are not.
    pub failed: Option<String>,
}

/// Writes changes in a thread of its own, those that came meanwhile together.
#[derive(Debug)]
pub struct Writer {
    send: Option<Sender<Vec<Record>>>,
    sent: u64,
    written: watch::Receiver<Written>,
    /// Nobody waits any more for what the disk does not take.
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none.
    pub fn start(journal: Journal) -> io::Result<Self> {
        let (send, receive) = channel();
        let (tell, written) = watch::channel(Written::default());
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        let thread = std::thread::Builder::new()
            .name("qc-journal".into())
            .spawn(move || write(journal, &receive, &tell, &told))?;
        Ok(Self { send: Some(send), sent: 0, written, ends, thread: Some(thread) })
    }

    /// Hands a change over; the number of changes that were handed over so far.
    pub fn send(&mut self, records: Vec<Record>) -> u64 {
        if !records.is_empty()
            && let Some(send) = &self.send
            && send.send(records).is_ok()
        {
            self.sent += 1;
        }
        self.sent
    }

    /// How far the writing is, to be waited for.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<Written> {
        self.written.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.send = None;
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

fn write(
    mut journal: Journal,
    receive: &Receiver<Vec<Record>>,
    tell: &watch::Sender<Written>,
    ends: &AtomicBool,
) {
    let mut changes = 0;
    while let Ok(first) = receive.recv() {
        let mut batch = vec![first];
        batch.extend(receive.try_iter().take(4096));
        while let Err(e) = journal.append(&batch) {
            let failed = format!("the journal in {} cannot be written: {e}", journal.dir.display());
            if tell.borrow().failed.is_none() {
                tracing::error!("{failed}");
            }
            tell.send_replace(Written { changes, failed: Some(failed) });
            if ends.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(AGAIN);
        }
        changes += batch.len() as u64;
        tell.send_replace(Written { changes, failed: None });
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
