//! The rounds of part `wan`: each contender has its turn in each, so that a slow minute is slow for all.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_bench::rng::Rng;
use valecast_bench::run::StopFlag;
use valecast_qc_dataplane::graph::Node;

use crate::contenders::{Contender, Job, Run};
use crate::net::Net;

/// A contender's rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its version, or why it is not measured.
    pub version: Result<String, String>,
    /// What came of each turn.
    pub runs: Vec<Run>,
    /// What went wrong in others.
    pub failures: Vec<String>,
}

/// What is to be sent.
pub struct Task<'a> {
    /// The network.
    pub net: &'a Net,
    /// The sender.
    pub from: Node,
    /// The receivers.
    pub to: &'a [Node],
    /// Bytes of the file.
    pub bytes: u64,
    /// Rounds.
    pub rounds: usize,
    /// For files and sockets.
    pub work: &'a Path,
    /// Whether folders are kept.
    pub keep: bool,
}

/// Runs them all.
pub fn all(task: &Task<'_>, contenders: &[Box<dyn Contender>], stop: &StopFlag) -> Result<Vec<Row>, Trouble> {
    let file = task.work.join("data");
    random_file(&file, task.bytes)?;
    let row = |c: &dyn Contender| Row {
        name: c.name(),
        about: c.about(),
        version: c.version(),
        runs: Vec::new(),
        failures: Vec::new(),
    };
    let mut rows: Vec<Row> = contenders.iter().map(|c| row(c.as_ref())).collect();
    for row in &rows {
        match &row.version {
            Ok(v) => eprintln!("{}: {v}", row.name),
            Err(why) => eprintln!("**** NOT MEASURED: {}: {why}", row.name),
        }
    }
    // Unicast by TCP shares the slowest link; nobody should take ten times as long.
    let ideal = task.bytes as f64 * 8.0 * task.to.len() as f64 / task.net.bottleneck() as f64;
    let patience = Duration::from_secs_f64(30.0 + 10.0 * ideal);
    for round in 0..task.rounds {
        for (contender, row) in contenders.iter().zip(&mut rows).filter(|(_, r)| r.version.is_ok()) {
            let work = task.work.join(format!("{}-{round}", contender.name()));
            std::fs::create_dir_all(&work)?;
            let &Task { net, from, to, bytes, .. } = task;
            let job = Job { net, from, to, file: &file, bytes, work: &work, patience, stop };
            match contender.run(&job) {
                Ok(run) => {
                    eprintln!("round {round}: {}: {}", contender.name(), shown(&run));
                    row.runs.push(run);
                }
                Err(_) if stop.is_set() => return Ok(rows),
                Err(why) => {
                    eprintln!("**** FAILED: round {round}: {}: {why}", contender.name());
                    row.failures.push(why.to_string());
                }
            }
            if !task.keep {
                std::fs::remove_dir_all(&work)?;
            }
        }
    }
    Ok(rows)
}

fn shown(run: &Run) -> String {
    run.seconds.iter().map(|(site, s)| format!("{site} {s:.2} s")).collect::<Vec<_>>().join(", ")
}

/// A file that nobody can compress.
pub fn random_file(path: &Path, bytes: u64) -> Result<(), Trouble> {
    use std::io::Write as _;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut rng = Rng::new(bytes);
    let mut left = bytes;
    while left > 0 {
        let word = rng.next_u64().to_le_bytes();
        let n = left.min(8);
        out.write_all(&word[..n as usize])?;
        left -= n;
    }
    out.flush()?;
    Ok(())
}
