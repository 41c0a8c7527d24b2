//! Generator and receiver as processes of their own: the harness starts itself twice more, once for each end.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::child::Process;
use crate::cpu;
use crate::drive::Figures;
use crate::frames::Frames;
use crate::job::{Job, Pattern, Size};
use crate::noise::cpu_seconds;
use crate::peer::{Running, Trouble, Wire};
use crate::wires::Endpoint;

/// The word that makes the harness an end; its argument is an [`End`] as JSON.
pub const WORD: &str = "end";
/// Ends are measured after so long.
const WARM_UP: Duration = Duration::from_millis(60);
const ALL: u32 = 1024;

/// What an end does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    endpoint: Endpoint,
    sends: bool,
    burst: u32,
    size: usize,
    ms: u64,
    cpu: Option<usize>,
    sleeping: bool,
}

/// One run: a receiver, then a generator.
pub fn run(
    job: &Job,
    pinned: bool,
    sleeping: bool,
    running: &dyn Running,
    folder: &std::path::Path,
    time: Duration,
) -> Result<Figures, Trouble> {
    let ends = running.endpoints();
    let [from, to, ..] = &ends[..] else { return Err("its ports cannot be had by other processes".into()) };
    let Size::Fixed(size) = job.size else { return Err("no such size for this job".into()) };
    let end = |endpoint: &Endpoint, sends| End {
        endpoint: endpoint.clone(),
        sends,
        burst: job.burst(),
        size,
        ms: time.as_millis() as u64,
        cpu: pinned.then_some(cpu::CLIENT),
        sleeping,
    };
    let before: f64 = running.pids().iter().map(|p| cpu_seconds(*p)).sum();
    let begin = Instant::now();
    let mut receiver = spawn(&end(to, false), &folder.join("receiver.log"))?;
    receiver.wait_for("ready", Duration::from_secs(10))?;
    let mut sender = spawn(&end(from, true), &folder.join("sender.log"))?;
    sender.wait_for("ready", Duration::from_secs(10))?;
    receiver.wait(time + Duration::from_secs(10))?;
    let after: f64 = running.pids().iter().map(|p| cpu_seconds(*p)).sum();
    let said = receiver.said();
    let line =
        said.lines().find(|l| l.starts_with('{')).ok_or_else(|| format!("the receiver said: {said}"))?;
    let figures: serde_json::Value = serde_json::from_str(line)?;
    let get = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN);
    Ok(Figures::from([
        ("value", get("mpps")),
        ("frames", get("frames")),
        ("switch_cpu", (after - before) / begin.elapsed().as_secs_f64()),
    ]))
}

fn spawn(end: &End, log: &std::path::Path) -> Result<Process, Trouble> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(WORD).arg(serde_json::to_string(end)?);
    Process::spawn(command, log)
}

/// What such a process does.
pub fn be(json: &str) -> Result<(), Trouble> {
    let end: End = serde_json::from_str(json)?;
    if let Some(cpu) = end.cpu {
        cpu::pin(cpu);
    }
    let mut wire = end.endpoint.open()?;
    let one = Pattern::Unicast { macs: 1 };
    if end.sends {
        wire.load(&Frames::new(one, Size::Fixed(end.size), 0, 1))?;
        say("ready")?;
        send(&end, wire.as_mut());
        return Ok(());
    }
    // A switch that has just started may not forward yet: the address is told more than once.
    wire.load(&Frames { list: Frames::hello(1, 0, 1), headers: vec![] })?;
    for _ in 0..3 {
        wire.send(1);
        std::thread::sleep(Duration::from_millis(5));
    }
    say("ready")?;
    let (frames, seconds) = receive(&end, wire.as_mut())?;
    say(&serde_json::json!({ "frames": frames, "mpps": frames as f64 / seconds / 1e6 }).to_string())
}

fn say(word: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout();
    writeln!(out, "{word}")?;
    Ok(out.flush()?)
}

/// How often a process that is to sleep gives its core away before it does: whoever shares the core may have what it waits for.
const YIELDS: u32 = 32;

/// What `step` moves; as long as that is nothing, others get the core and it is tried again.
fn patiently(end: &End, mut step: impl FnMut() -> u32) -> u32 {
    let yields = if end.sleeping { YIELDS } else { 0 };
    for _ in 0..yields {
        let n = step();
        if n > 0 {
            return n;
        }
        std::thread::yield_now();
    }
    step()
}

/// Until the harness ends this process, or long after the receiver must have ended.
fn send(end: &End, wire: &mut dyn Wire) {
    let (begin, most) = (Instant::now(), Duration::from_millis(end.ms) + Duration::from_secs(12));
    while begin.elapsed() < most {
        for _ in 0..16 {
            if patiently(end, || wire.send(end.burst)) == 0 && end.sleeping {
                wire.wait_send(Duration::from_millis(100));
            }
        }
    }
}

fn receive(end: &End, wire: &mut dyn Wire) -> Result<(u64, f64), Trouble> {
    let started = Instant::now();
    let mut frames = 0u64;
    // The first frame starts the warm-up, its end the measurement.
    let (mut first, mut begin) = (None::<Instant>, None::<Instant>);
    let time = Duration::from_millis(end.ms);
    loop {
        for _ in 0..16 {
            let n = patiently(end, || wire.recv(ALL));
            if n == 0 && end.sleeping {
                wire.wait_recv(end.burst, Duration::from_millis(100));
            }
            frames += u64::from(n);
        }
        match (first, begin) {
            (None, _) if frames > 0 => first = Some(Instant::now()),
            (None, _) if started.elapsed() > Duration::from_secs(9) => return Err("nothing arrived".into()),
            (Some(f), None) if f.elapsed() >= WARM_UP => (begin, frames) = (Some(Instant::now()), 0),
            (_, Some(b)) if b.elapsed() >= time => return Ok((frames, b.elapsed().as_secs_f64())),
            _ => {}
        }
    }
}
