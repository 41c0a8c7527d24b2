//! The contenders: one file each.

mod rsync;
mod udpcast;
mod uftp;
mod valecast;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use valecast_bench::child::{Trouble, run};
use valecast_bench::run::StopFlag;
use valecast_qc_dataplane::graph::Node;

use crate::net::Net;
use crate::plan::Planned;

pub use valecast::Valecast;

/// One file to some sites.
pub struct Job<'a> {
    /// The network.
    pub net: &'a Net,
    /// The sender.
    pub from: Node,
    /// The receivers.
    pub to: &'a [Node],
    /// The file.
    pub file: &'a Path,
    /// Its bytes.
    pub bytes: u64,
    /// A folder for this run.
    pub work: &'a Path,
    /// How long anything may take.
    pub patience: Duration,
    /// Ctrl-C.
    pub stop: &'a StopFlag,
}

impl Job<'_> {
    /// A site's folder, made.
    pub fn folder(&self, node: Node) -> std::io::Result<PathBuf> {
        let folder = self.work.join(self.net.graph.name(node));
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A site's log.
    pub fn log(&self, node: Node, what: &str) -> PathBuf {
        self.work.join(format!("{}.{what}.log", self.net.graph.name(node)))
    }
}

/// What came of one turn.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// From the sender's start until each receiver had the file.
    pub seconds: BTreeMap<String, f64>,
    /// Bytes on each link that is used, by `from>to`.
    pub links: BTreeMap<String, u64>,
    /// Frames that shapers dropped.
    pub dropped: u64,
    /// What the plan says, of those who have one.
    pub planned: Option<Planned>,
}

/// A way to send a file.
pub trait Contender {
    /// Its name in tables.
    fn name(&self) -> &'static str;
    /// What it is, and how it is configured.
    fn about(&self) -> &'static str;
    /// Its version, or why it cannot be measured.
    fn version(&self) -> Result<String, String>;
    /// One turn; afterwards all is as before.
    fn run(&self, job: &Job<'_>) -> Result<Run, Trouble>;
}

/// All, in the tables' order.
pub fn all(release: &Path) -> Vec<Box<dyn Contender>> {
    let ours = Valecast::SCHEMES.iter().map(|s| Box::new(Valecast::new(s, release)) as Box<dyn Contender>);
    let others: [Box<dyn Contender>; 3] =
        [Box::new(uftp::Uftp), Box::new(udpcast::Udpcast), Box::new(rsync::Rsync)];
    ours.chain(others).collect()
}

/// A Debian package's version, if its program is there.
fn debian(program: &str, package: &str) -> Result<String, String> {
    run("sh", &["-c", &format!("command -v {program}")])
        .map_err(|_| format!("{program} is not installed"))?;
    Ok(run("dpkg-query", &["-W", "-f", "${Package} ${Version}", package])
        .unwrap_or_else(|_| program.to_owned()))
}

/// Waits until `done` says so for each of `open`; notes when.
fn wait_each(
    job: &Job<'_>,
    began: Instant,
    mut open: Vec<Node>,
    mut done: impl FnMut(Node) -> Result<bool, Trouble>,
) -> Result<BTreeMap<String, f64>, Trouble> {
    let mut seconds = BTreeMap::new();
    while !open.is_empty() {
        let mut still = Vec::new();
        for node in open {
            if done(node)? {
                seconds.insert(job.net.graph.name(node).to_owned(), began.elapsed().as_secs_f64());
            } else {
                still.push(node);
            }
        }
        open = still;
        let names = || open.iter().map(|n| job.net.graph.name(*n)).collect::<Vec<_>>().join(", ");
        if began.elapsed() > job.patience {
            return Err(format!("{} did not have it after {:?}", names(), job.patience).into());
        }
        if job.stop.is_set() {
            return Err("interrupted".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(seconds)
}

/// What links carried between two readings, those that carried something.
fn carried(net: &Net, before: &[u64], after: &[u64]) -> BTreeMap<String, u64> {
    let links = net.graph.links().iter().zip(before.iter().zip(after));
    let used = links.filter(|(_, (b, a))| a > b);
    used.map(|(l, (b, a))| (format!("{}>{}", net.graph.name(l.from), net.graph.name(l.to)), a - b)).collect()
}

/// Fails unless two files hold the same bytes.
pub fn same(a: &Path, b: &Path) -> Result<(), Trouble> {
    let open = |p: &Path| File::open(p).map_err(|e| format!("{}: {e}", p.display()));
    let (mut x, mut y) =
        (BufReader::with_capacity(1 << 20, open(a)?), BufReader::with_capacity(1 << 20, open(b)?));
    let (mut p, mut q) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0u64;
    loop {
        let (n, m) = (fill(&mut x, &mut p)?, fill(&mut y, &mut q)?);
        if p[..n] != q[..m] {
            return Err(format!("{} is not what was sent: differs after byte {at}", b.display()).into());
        }
        if n == 0 {
            return Ok(());
        }
        at += n as u64;
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let long = vec![7; 3 << 20];
        let (a, b) = (file("a", &long), file("b", &long));
        same(&a, &b).unwrap();
        let mut other = long.clone();
        other[(2 << 20) + 5] = 8;
        for wrong in [&other[..], &long[1..], &[]] {
            assert!(same(&a, &file("c", wrong)).is_err());
        }
    }
}
