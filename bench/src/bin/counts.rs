//! Forwards a known number of frames in one thread, to be counted by callgrind:
//!
//! `valgrind --tool=callgrind --toggle-collect='*Rig*forward*' target/release/counts JOB`
//!
//! Or, of the jobs named `client`, has a client send and receive them, and `--toggle-collect='*Rig*exchange*'` counts its half.
//! Prints how many frames it forwarded. `cargo xtask counts` runs every job and compares the instructions per
//! frame with what `bench/counts.toml` allows.
//!
//! `target/release/counts JOB --time` prints how long the forwarding of a frame took instead: with everything in one
//! core's cache, so that it is the core's own work, without the waiting for lines from other cores.

use std::time::Instant;

use valecast_bench::rig::{ADDRESSES, GROUP, Rig, mac};
use valecast_switch::frame::MAX_BURST;

/// What is forwarded.
struct Job {
    name: &'static str,
    receivers: u16,
    burst: u32,
    size: usize,
    dst: fn(u32, u32) -> [u8; 6],
    /// What its ends do is of interest, and not the switch.
    client: bool,
}

const fn job(
    name: &'static str,
    receivers: u16,
    burst: u32,
    size: usize,
    dst: fn(u32, u32) -> [u8; 6],
) -> Job {
    Job { name, receivers, burst, size, dst, client: false }
}

const fn client(name: &'static str, burst: u32) -> Job {
    Job { client: true, ..job(name, 1, burst, 64, |_, _| mac(0)) }
}

const JOBS: &[Job] = &[
    job("unicast-64-burst-256", 1, 256, 64, |_, _| mac(0)),
    job("unicast-64-burst-32", 1, 32, 64, |_, _| mac(0)),
    job("unicast-64-burst-1", 1, 1, 64, |_, _| mac(0)),
    job("unicast-1500-burst-256", 1, 256, 1500, |_, _| mac(0)),
    job("unicast-64-10000-macs", 1, 256, 64, spread),
    job("broadcast-64-to-4", 4, 256, 64, |_, _| [0xff; 6]),
    job("group-64-to-16", 16, 256, 64, |_, _| GROUP),
    client("client-64-burst-256", 256),
    client("client-64-burst-1", 1),
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
    if job.client {
        return run_client(&mut rig, job, all_frames);
    }
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

fn run_client(rig: &mut Rig, job: &Job, all_frames: u32) -> Result<Run, Box<dyn std::error::Error>> {
    // The ring's buffers get their frames; one slot of a ring is never free.
    let mut filled = 0;
    for _ in 0..2 {
        let n = rig.send(u32::MAX, job.size, |i| (job.dst)(0, i));
        let forwarded = (0..n).map(|_| rig.forward(MAX_BURST)).take_while(|done| *done > 0).sum::<usize>();
        filled += rig.receive();
        if forwarded != n as usize {
            return Err(format!("{n} frames sent, {forwarded} forwarded").into());
        }
    }
    let (mut sent, mut got) = (0u64, 0u64);
    let mut ns = Vec::with_capacity((all_frames / job.burst) as usize);
    for _ in 0..all_frames / job.burst {
        let begin = Instant::now();
        let (n, last) = rig.exchange(job.burst);
        ns.push(begin.elapsed().as_nanos() as f64 / f64::from(n.max(1)));
        rig.forward(MAX_BURST);
        rig.settle();
        (sent, got) = (sent + u64::from(n), got + u64::from(last));
    }
    got += rig.receive();
    if filled == 0 || sent != u64::from(all_frames) || got != sent {
        return Err(format!("{sent} of {all_frames} frames sent, {got} received").into());
    }
    Ok(Run { frames: sent, ns })
}
