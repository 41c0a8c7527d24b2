//! Forwards a known number of frames in one thread, to be counted by callgrind:
//!
//! `valgrind --tool=callgrind --toggle-collect='*Rig*forward*' target/release/counts JOB`
//!
//! Prints how many frames it forwarded. `cargo xtask counts` runs every job and compares the instructions per
//! frame with what `bench/counts.toml` allows.
//!
//! `target/release/counts JOB --time` prints how long the forwarding of a frame took instead: with everything in one
//! core's cache, so that it is the core's own work, without the waiting for lines from other cores.

use std::time::Instant;

use valecast_bench::rig::{ADDRESSES, GROUP, Rig, mac};

/// What is forwarded.
struct Job {
    name: &'static str,
    receivers: u16,
    burst: u32,
    size: usize,
    dst: fn(u32, u32) -> [u8; 6],
}

const JOBS: &[Job] = &[
    Job { name: "unicast-64-burst-256", receivers: 1, burst: 256, size: 64, dst: |_, _| mac(0) },
    Job { name: "unicast-64-burst-32", receivers: 1, burst: 32, size: 64, dst: |_, _| mac(0) },
    Job { name: "unicast-64-burst-1", receivers: 1, burst: 1, size: 64, dst: |_, _| mac(0) },
    Job { name: "unicast-1500-burst-256", receivers: 1, burst: 256, size: 1500, dst: |_, _| mac(0) },
    Job { name: "unicast-64-10000-macs", receivers: 1, burst: 256, size: 64, dst: spread },
    Job { name: "broadcast-64-to-4", receivers: 4, burst: 256, size: 64, dst: |_, _| [0xff; 6] },
    Job { name: "group-64-to-16", receivers: 16, burst: 256, size: 64, dst: |_, _| GROUP },
];

/// Frames of a job.
const FRAMES: u32 = 65_536;

/// Walks over all addresses, far from one to the next.
fn spread(round: u32, i: u32) -> [u8; 6] {
    mac((round * 256 + i) as usize * 7919 % ADDRESSES)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (asked, option) = (args.next(), args.next());
    let Some(job) = JOBS.iter().find(|j| Some(j.name) == asked.as_deref()) else {
        let names: Vec<_> = JOBS.iter().map(|j| j.name).collect();
        println!("{}", names.join("\n"));
        if asked.is_some_and(|a| a != "--list") {
            eprintln!("no such job; there are those above");
            std::process::exit(2);
        }
        return;
    };
    let said = match option.as_deref() {
        None => run(job, FRAMES).map(|r| r.frames.to_string()),
        Some("--time") => run(job, 32 * FRAMES).map(|r| r.times()),
        Some(other) => Err(format!("`{other}`: only --time may follow the job").into()),
    };
    match said {
        Ok(said) => println!("{said}"),
        Err(e) => {
            eprintln!("{}: {e}", job.name);
            std::process::exit(1);
        }
    }
}

/// What forwarding came to.
struct Run {
    frames: u64,
    /// ns a frame, burst by burst.
    ns: Vec<f64>,
}

impl Run {
    /// Percentiles, for people.
    fn times(mut self) -> String {
        self.ns.sort_by(f64::total_cmp);
        let at = |percent: usize| self.ns.get((self.ns.len() * percent / 100).min(self.ns.len() - 1));
        let figures = [10, 50, 90].map(|p| at(p).map_or(String::new(), |ns| format!("p{p} {ns:.2}")));
        format!("{} ns per frame", figures.join(", "))
    }
}

fn run(job: &Job, all_frames: u32) -> Result<Run, Box<dyn std::error::Error>> {
    let mut rig = Rig::new(job.receivers)?;
    let (mut frames, mut copies) = (0u64, 0u64);
    let mut ns = Vec::with_capacity((all_frames / job.burst) as usize);
    for round in 0..all_frames / job.burst {
        let sent = rig.send(job.burst, job.size, |i| (job.dst)(round, i));
        let begin = Instant::now();
        let done = rig.forward(job.burst as usize);
        ns.push(begin.elapsed().as_nanos() as f64 / f64::from(sent.max(1)));
        if done != sent as usize {
            return Err(format!("{sent} frames sent, {done} forwarded").into());
        }
        frames += done as u64;
        copies += rig.receive();
    }
    let all = [GROUP, [0xff; 6]].contains(&(job.dst)(0, 0));
    let want = frames * if all { u64::from(job.receivers) } else { 1 };
    if copies != want {
        return Err(format!("{copies} copies arrived of {want}").into());
    }
    Ok(Run { frames, ns })
}
