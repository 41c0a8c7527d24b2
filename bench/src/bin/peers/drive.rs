//! The one load driver: it drives the wires of every contender the same way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::frames::Frames;
use crate::job::{Job, Kind, Pattern};
use crate::peer::{Trouble, Wire};

/// What one run came to: the job's figure under `value`, others under names of their own.
pub type Figures = BTreeMap<&'static str, f64>;

/// Looks at the clock once in so many turns: with bursts of one frame a look, which waits for all that is on its way, costs as much
/// as five of them.
const TURNS: u32 = 256;
/// Most frames a receiver takes in one go: a ring full.
const ALL: u32 = 1024;

/// Ports that send in this job, and whom to.
fn senders(job: &Job) -> &'static [(usize, usize)] {
    match job.kind {
        Kind::BothWays | Kind::Rtt { .. } | Kind::WakeUp => &[(0, 1), (1, 0)],
        Kind::Scale { flows: 1 } => &[(0, 2)],
        Kind::Scale { .. } => &[(0, 2), (1, 3)],
        _ => &[(0, 1)],
    }
}

/// Lets every end say where it is, and puts the job's frames into the senders' buffers.
pub fn prepare<W: Wire + ?Sized>(job: &Job, wires: &mut [Box<W>]) -> Result<(), Trouble> {
    drain(wires, Duration::from_millis(2));
    let macs = match job.pattern {
        Pattern::Unicast { macs } => macs,
        _ => 1,
    };
    for (from, to) in senders(job) {
        for (port, other) in [(*to, *from), (*from, *to)] {
            let hello = Frames::hello(port, other, macs);
            say(wires, port, &hello)?;
        }
    }
    for (from, to) in senders(job) {
        wires[*from].load(&Frames::new(job.pattern, job.size, *from, *to))?;
    }
    drain(wires, Duration::from_millis(5));
    Ok(())
}

/// Sends `frames` once each from one port, slowly enough for everybody to learn them all.
fn say<W: Wire + ?Sized>(wires: &mut [Box<W>], port: usize, frames: &[Vec<u8>]) -> Result<(), Trouble> {
    // A ring's slots begin anywhere, so a part is repeated until each of its frames went at least once.
    for part in frames.chunks(512) {
        let list: Vec<Vec<u8>> = part.iter().cycle().take(part.len().next_power_of_two()).cloned().collect();
        let (want, begin) = (list.len() as u32, Instant::now());
        wires[port].load(&Frames { list, headers: vec![] })?;
        let mut sent = 0;
        while sent < want {
            sent += wires[port].send((want - sent).min(32));
            drain(wires, Duration::from_micros(20));
            if begin.elapsed() > Duration::from_secs(3) {
                return Err("the switch takes no frames".into());
            }
        }
    }
    Ok(())
}

/// Takes whatever still arrives until nothing has for `quiet`.
pub fn drain<W: Wire + ?Sized>(wires: &mut [Box<W>], quiet: Duration) {
    let (mut last, begin) = (Instant::now(), Instant::now());
    while last.elapsed() < quiet && begin.elapsed() < Duration::from_secs(1) {
        if wires.iter_mut().map(|w| w.recv(ALL)).sum::<u32>() > 0 {
            last = Instant::now();
        }
    }
}

/// Sends as fast as goes for `time`; returns copies received and the exact time.
pub fn load(job: &Job, wires: &mut [Box<dyn Wire>], time: Duration) -> (u64, f64) {
    let (burst, both) = (job.burst(), job.kind == Kind::BothWays);
    let (mut got, begin) = (0u64, Instant::now());
    while begin.elapsed() < time {
        for _ in 0..TURNS {
            let Some((first, rest)) = wires.split_first_mut() else { return (0, 1.0) };
            first.send(burst);
            for w in rest {
                if both {
                    w.send(burst);
                }
                got += u64::from(w.recv(ALL));
            }
            if both {
                got += u64::from(first.recv(ALL));
            }
        }
    }
    (got, begin.elapsed().as_secs_f64())
}

/// The figure of a job of [`Kind::Rate`] or [`Kind::BothWays`].
pub fn rate(job: &Job, wires: &mut [Box<dyn Wire>], time: Duration) -> Figures {
    let (got, seconds) = load(job, wires, time);
    Figures::from([("value", got as f64 / seconds / 1e6), ("frames", got as f64)])
}
