//! Part `copies`: one file through two switches to 1 to 32 receivers. The first switch has the sender, the second copies.
//!
//! Without limits, to few: how fast a file goes. Over links that are slow enough for all receivers on one machine: what the sender
//! uses, which should not depend on how many receive.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_bench::run::StopFlag;
use valecast_bench::stats::Summary;
use valecast_qc_dataplane::graph::Node;

use crate::contenders::same;
use crate::net::Net;
use crate::rig::{Links, Rig, Settings};
use crate::rounds::random_file;
use crate::usage::cpu_seconds;

/// Receivers of a cell, and what its links carry in Gbit/s; none: as much as comes.
const CELLS: [(usize, Option<f64>); 9] = [
    (1, None),
    (2, None),
    (4, None),
    (1, Some(SLOW)),
    (2, Some(SLOW)),
    (4, Some(SLOW)),
    (8, Some(SLOW)),
    (16, Some(SLOW)),
    (32, Some(SLOW)),
];
const SLOW: f64 = 0.064;
/// Over slow links goes this part of the file.
const PART: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(300);

/// Medians of the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How many receive.
    pub receivers: usize,
    /// What the links carry, in Gbit/s, if they have a limit.
    pub links: Option<f64>,
    /// Until the last has the file, its hash checked, in Gbit/s of the file.
    pub gbits: Summary,
    /// Processor time of the sender, in seconds for a GB.
    pub sender: Summary,
    /// The same of the daemon with the switches.
    pub switches: Summary,
}

/// Measures all cells, in rounds.
pub fn all(
    bytes: u64,
    rounds: usize,
    release: &Path,
    work: &Path,
    stop: &StopFlag,
) -> Result<Vec<Row>, Trouble> {
    let (file, part) = (work.join("data"), work.join("part"));
    random_file(&file, bytes)?;
    random_file(&part, bytes / PART)?;
    let mut samples = vec![Vec::new(); CELLS.len()];
    for round in 0..rounds {
        for ((receivers, links), samples) in CELLS.iter().zip(&mut samples) {
            let folder = work.join(format!("copies-{round}-{receivers}"));
            let file = if links.is_some() { &part } else { &file };
            let one = run(*receivers, *links, file, &folder.join("in"), release, &folder, stop)?;
            eprintln!("round {round}: {receivers} receivers, links {links:?}: {one:?}");
            samples.push(one);
            std::fs::remove_dir_all(&folder)?;
        }
    }
    let rows = CELLS.iter().zip(samples).filter_map(|(&(receivers, links), samples)| {
        let of = |i: usize| Summary::of(samples.iter().map(|s| s[i]));
        Some(Row { receivers, links, gbits: of(0)?, sender: of(1)?, switches: of(2)? })
    });
    Ok(rows.collect())
}

/// One cell once: Gbit/s, and seconds for a GB of the sender and of the switches. Files go to folders in `into`, all else to
/// `work`.
pub fn run(
    receivers: usize,
    links: Option<f64>,
    file: &Path,
    into: &Path,
    release: &Path,
    work: &Path,
    stop: &StopFlag,
) -> Result<[f64; 3], Trouble> {
    let net = Net::star(receivers, links.unwrap_or(100.0))?;
    let bytes = std::fs::metadata(file)?.len();
    let settings = Settings { tables: (1024, 64), ..Settings::default() };
    let kind = if links.is_some() { Links::Patch } else { Links::Unshaped };
    let rig = Rig::start(&net, kind, &settings, release, work)?;
    let mut open = Vec::new();
    let mut processes = Vec::new();
    for node in 2..2 + receivers as Node {
        let folder = into.join(net.graph.name(node));
        std::fs::create_dir_all(&folder)?;
        processes.push(rig.endpoint(
            node,
            &["recv", "--dir", &folder.display().to_string()],
            &format!("recv-{node}.log"),
        )?);
        open.push(folder.join(file.file_name().unwrap_or_default()));
    }
    rig.wait_receivers(receivers)?;
    let places = open.clone();
    let daemon = rig.daemons.first().map(valecast_bench::child::Process::pid).ok_or("no daemon")?;
    let before = cpu_seconds(daemon).ok_or("the daemon ended")?;
    let to = (2..2 + receivers as Node).map(|n| net.graph.name(n)).collect::<Vec<_>>().join(",");
    let words = ["send", &file.display().to_string(), "--to", &to, "--scheme", "single", "--wait"];
    let began = Instant::now();
    let mut sender = rig.endpoint(0, &words, "send.log")?;
    let mut used = 0.0;
    let mut last = 0.0;
    loop {
        used = cpu_seconds(sender.pid()).map_or(used, |s: f64| s.max(used));
        open.retain(|p| !p.exists());
        if open.is_empty() && last == 0.0 {
            last = began.elapsed().as_secs_f64();
        }
        if sender.ended()? {
            break;
        }
        if stop.is_set() || began.elapsed() > PATIENCE {
            return Err("interrupted, or not done in time".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if last == 0.0 {
        return Err(format!("the sender ended, and {} receivers have no file", open.len()).into());
    }
    let switches = cpu_seconds(daemon).ok_or("the daemon ended")? - before;
    for place in &places {
        same(file, place)?;
    }
    let gb = bytes as f64 / 1e9;
    Ok([gb * 8.0 / last, used / gb, switches / gb])
}

/// What reading and writing the same file takes here at best: Gbit/s of a copy from memory to memory by one thread.
pub fn copy_limit(bytes: u64, work: &Path) -> Result<f64, Trouble> {
    let (from, to) = (work.join("data"), work.join("copy"));
    let began = Instant::now();
    std::fs::copy(&from, &to)?;
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_file(&to)?;
    Ok(bytes as f64 * 8.0 / 1e9 / seconds)
}

/// The table.
pub fn text(rows: &[Row], limit: f64) -> String {
    let mut text = format!("a copy by one thread, for comparison: {limit:.1} Gbit/s\n\n");
    text += "| receivers | links | file, Gbit/s | sender, CPU s per GB | switches, CPU s per GB |\n|--:|---|--:|--:|--:|\n";
    for r in rows {
        let cell = |s: &Summary| format!("{:.3} ({:.3}-{:.3})", s.median, s.min, s.max);
        let links = r.links.map_or_else(|| "no limit".to_owned(), |l| format!("{:.0} Mbit/s", l * 1e3));
        text += &format!(
            "| {} | {links} | {} | {} | {} |\n",
            r.receivers,
            cell(&r.gbits),
            cell(&r.sender),
            cell(&r.switches)
        );
    }
    text
}
