//! Part `disk`: one file through two switches to one receiver, from a disk and to it, beside what the disk takes by itself.
//!
//! In each round, on the same file system and for the same size: a write in order with `fsync`, a read with nothing of the
//! file in memory, both at once (a copy), and the transfer, whose sender finds nothing in memory either and whose receiver has
//! the file once it is on the disk.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_bench::run::StopFlag;
use valecast_bench::stats::Summary;

use crate::copies;
use crate::rounds::random_file;

/// Bytes of a read or a write, as large as the receiver's.
const BLOCK: usize = 1 << 20;
/// The other file system that is in memory (`linux/magic.h`).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// What was measured, in Gbit/s of the file: medians of the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The file.
    pub bytes: u64,
    /// Written in order by one thread, until `fsync` returns.
    pub write: Summary,
    /// Read in order by one thread.
    pub read: Summary,
    /// Read and written by one thread, until `fsync` returns.
    pub copy: Summary,
    /// Sent, until the receiver has it, its hash checked.
    pub transfer: Summary,
    /// Processor time of the sender, in seconds for a GB.
    pub sender: Summary,
    /// The same of the daemon with the switches.
    pub switches: Summary,
}

/// Measures in `folder`, which is on a disk; sockets and logs go to `work`.
pub fn run(
    bytes: u64,
    rounds: usize,
    folder: &Path,
    release: &Path,
    work: &Path,
    stop: &StopFlag,
) -> Result<Outcome, Trouble> {
    let named = |e: &dyn std::fmt::Display| format!("--disk {}: {e}", folder.display());
    let kind = statfs(folder).map_err(|e| named(&e))?.filesystem_type();
    if [TMPFS_MAGIC, RAMFS_MAGIC].contains(&kind) {
        return Err(named(&"this is memory; name a folder on a disk").into());
    }
    let folder =
        tempfile::Builder::new().prefix("valecast-disk-").tempdir_in(folder).map_err(|e| named(&e))?;
    let at = |name: &str| folder.path().join(name);
    let (file, other) = (at("data"), at("other"));
    random_file(&file, bytes)?;
    let mut samples = Vec::new();
    for round in 0..rounds {
        if stop.is_set() {
            break;
        }
        // What the last round left for the disk is not to be waited for in this one.
        forget(&file)?;
        nix::unistd::sync();
        let write = rate(bytes, || write(&other, bytes))?;
        std::fs::remove_file(&other)?;
        forget(&file)?;
        let read = rate(bytes, || read(&file, |_| Ok(())))?;
        forget(&file)?;
        let copy = rate(bytes, || copy(&file, &other))?;
        std::fs::remove_file(&other)?;
        forget(&file)?;
        let (into, work) = (at("in"), work.join(format!("disk-{round}")));
        let [transfer, sender, switches] = copies::run(1, None, &file, &into, release, &work, stop)?;
        std::fs::remove_dir_all(&into)?;
        let one = [write, read, copy, transfer, sender, switches];
        eprintln!("round {round}: write, read, copy, transfer, sender, switches: {one:.2?}");
        samples.push(one);
    }
    let of = |i: usize| Summary::of(samples.iter().map(|s| s[i])).ok_or("interrupted before the first round");
    Ok(Outcome {
        bytes,
        write: of(0)?,
        read: of(1)?,
        copy: of(2)?,
        transfer: of(3)?,
        sender: of(4)?,
        switches: of(5)?,
    })
}

/// Gbit/s of something that takes in so many bytes.
fn rate(bytes: u64, what: impl FnOnce() -> std::io::Result<()>) -> Result<f64, Trouble> {
    let began = Instant::now();
    what()?;
    Ok(bytes as f64 * 8.0 / 1e9 / began.elapsed().as_secs_f64())
}

/// A file of zeros would be written faster than one of other bytes where the file system leaves them out.
fn pattern() -> Vec<u8> {
    (0..BLOCK as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn write(to: &PathBuf, bytes: u64) -> std::io::Result<()> {
    let (mut file, block) = (File::create(to)?, pattern());
    let mut left = bytes;
    while left > 0 {
        let n = left.min(BLOCK as u64);
        file.write_all(&block[..n as usize])?;
        left -= n;
    }
    file.sync_all()
}

fn read(from: &PathBuf, mut with: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let (mut file, mut block) = (File::open(from)?, vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            n => with(&block[..n])?,
        }
    }
}

fn copy(from: &PathBuf, to: &PathBuf) -> std::io::Result<()> {
    let mut file = File::create(to)?;
    read(from, |bytes| file.write_all(bytes))?;
    file.sync_all()
}

/// Takes a file out of the system's memory, so that who reads it next reads the disk.
fn forget(path: &Path) -> Result<(), Trouble> {
    let file = File::open(path)?;
    // What is not on the disk yet cannot be forgotten.
    file.sync_all()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    Ok(())
}

/// The table.
pub fn text(o: &Outcome) -> String {
    let cell = |s: &Summary| format!("{:.2} ({:.2}-{:.2})", s.median, s.min, s.max);
    let mut text = format!("{:.0} MB from and to one disk, caches dropped\n\n", o.bytes as f64 / 1e6);
    text += "| what | Gbit/s |\n|---|--:|\n";
    for (what, rate) in [
        ("write in order, with fsync", &o.write),
        ("read in order", &o.read),
        ("copy by one thread, with fsync", &o.copy),
        ("sender to receiver through two switches", &o.transfer),
    ] {
        text += &format!("| {what} | {} |\n", cell(rate));
    }
    let part = o.transfer.median / o.write.median.min(o.read.median);
    text += &format!(
        "\nthe transfer is at {:.0} % of the slower of write and read, at {:.0} % of the copy; CPU s per GB: sender {}, \
         switches {}\n",
        part * 100.0,
        o.transfer.median / o.copy.median * 100.0,
        cell(&o.sender),
        cell(&o.switches)
    );
    text
}
