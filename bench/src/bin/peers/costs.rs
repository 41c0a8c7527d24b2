//! What a switch costs besides: processor time, memory, the time to attach, and how it grows with cores.

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use valecast_bench::clock::now_ns;

use crate::cpu;
use crate::drive::{self, Figures};
use crate::frames::Frames;
use crate::job::{Job, Setup};
use crate::noise::cpu_seconds;
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::Endpoint;
use crate::wires::ring::RingWire;

/// Most frames taken at once.
const ALL: u32 = 1024;

fn cpu_of(pids: &[Pid]) -> f64 {
    pids.iter().map(|p| cpu_seconds(*p)).sum()
}

/// Per cent of a core that the switch's process uses with nothing to do.
pub fn idle(running: &dyn Running, time: Duration) -> Figures {
    let pids = running.pids();
    // What the last job left behind is none of it.
    std::thread::sleep(Duration::from_millis(100));
    let (before, begin) = (cpu_of(&pids), Instant::now());
    std::thread::sleep(time);
    Figures::from([("value", 100.0 * (cpu_of(&pids) - before) / begin.elapsed().as_secs_f64())])
}

/// Milliseconds of processor time of the switch's process per million frames, which come singly and evenly.
pub fn steady(
    pps: u32,
    running: &dyn Running,
    wires: &mut [Box<dyn Wire>],
    time: Duration,
) -> Result<Figures, Trouble> {
    let [a, b, ..] = wires else { return Err("this takes two ports".into()) };
    let (pids, begin) = (running.pids(), now_ns());
    let before = cpu_of(&pids);
    let (mut sent, mut got) = (0u64, 0u64);
    loop {
        let past = now_ns() - begin;
        if past > time.as_nanos() as u64 {
            break;
        }
        let due = past * u64::from(pps) / 1_000_000_000;
        if due > sent {
            sent += u64::from(a.send((due - sent).min(32) as u32));
        }
        got += u64::from(b.recv(ALL));
    }
    let used = cpu_of(&pids) - before;
    let figures = [("value", used * 1e9 / got.max(1) as f64), ("frames", got as f64), ("sent", sent as f64)];
    Ok(Figures::from(figures))
}

/// Milliseconds until a client has a port that the switch has.
pub fn attach(running: &dyn Running) -> Result<Figures, Trouble> {
    let ends = running.endpoints();
    let end = ends.first().ok_or("its ports cannot be attached to later")?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let wire = end.open()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        drop(wire);
        // The switch must have seen that the port is free again.
        std::thread::sleep(Duration::from_millis(60));
    }
    times.sort_by(f64::total_cmp);
    Ok(Figures::from([("value", times[times.len() / 2])]))
}

/// KiB that each attached port adds to the switch's processes and to this one, its transmit buffers filled.
pub fn memory(peer: &dyn Peer, setup: &Setup, job: &Job) -> Result<Figures, Trouble> {
    let of = |ports: usize| -> Result<f64, Trouble> {
        let mut running = peer.start(&Setup { ports, ..*setup })?;
        let before = pss(Pid::this());
        let mut wires = running.wires()?;
        for (i, wire) in wires.iter_mut().enumerate() {
            wire.load(&Frames::new(job.pattern, job.size, i, (i + 1) % ports))?;
        }
        drive::drain(&mut wires, Duration::from_millis(20));
        Ok(running.pids().iter().map(|p| pss(*p)).sum::<f64>() + pss(Pid::this()) - before)
    };
    let few = 2;
    let (less, more) = (of(few)?, of(setup.ports)?);
    Ok(Figures::from([("value", (more - less) / (setup.ports - few) as f64), ("with_two_kib", less)]))
}

/// A process's share of the memory it has mapped, in KiB, huge pages included.
fn pss(pid: Pid) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    kib(&text, &["Pss:", "Private_Hugetlb:", "Shared_Hugetlb:"])
}

/// The sum of some lines of a /proc file.
fn kib(text: &str, names: &[&str]) -> f64 {
    let lines = text.lines().filter_map(|l| l.split_once(char::is_whitespace));
    let wanted = lines.filter(|(name, _)| names.contains(name));
    wanted.filter_map(|(_, v)| v.trim().trim_end_matches(" kB").parse::<f64>().ok()).sum()
}

/// Copies per second of `flows` flows, each with its client and its worker on one core.
pub fn scale(job: &Job, flows: usize, running: &dyn Running, time: Duration) -> Result<Figures, Trouble> {
    // Sources go to workers in turn, as they are attached.
    let mut wires = Vec::new();
    for end in running.endpoints() {
        let Endpoint::Ring { socket, port } = end else { return Err("this takes rings".into()) };
        wires.push(Box::new(RingWire::open(&socket, &port)?));
    }
    drive::prepare(job, &mut wires)?;
    let mut ends: Vec<Option<Box<RingWire>>> = wires.into_iter().map(Some).collect();
    let mut pairs = Vec::new();
    for flow in 0..flows {
        let mut take = |i: usize| ends.get_mut(i).and_then(Option::take).ok_or("too few ports");
        // One worker is on core 1; of several, worker n serves what port n sends, on core n.
        let core = if flows == 1 { cpu::SWITCH } else { flow };
        pairs.push((core, take(flow)?, take(flow + 2)?));
    }
    let burst = job.burst();
    let one = |(core, mut from, mut to): (usize, Box<RingWire>, Box<RingWire>)| {
        cpu::pin(core);
        let (mut got, mut begin, mut warm) = (0u64, Instant::now(), false);
        loop {
            for _ in 0..16 {
                let sent = from.send(burst);
                let n = to.recv(ALL);
                if sent == 0 && n == 0 {
                    to.wait_recv(burst, Duration::from_millis(10));
                }
                got += u64::from(n);
            }
            if !warm && begin.elapsed() > time / 4 {
                (got, begin, warm) = (0, Instant::now(), true);
            } else if warm && begin.elapsed() > time {
                return got as f64 / begin.elapsed().as_secs_f64();
            }
        }
    };
    let rates = std::thread::scope(|scope| {
        let threads: Vec<_> = pairs.into_iter().map(|p| scope.spawn(|| one(p))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or(f64::NAN)).collect::<Vec<f64>>()
    });
    Ok(Figures::from([("value", rates.iter().sum::<f64>() / 1e6), ("flows", flows as f64)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_lines() {
        let text = "00-ff ---p 0 00:00 0 [rollup]\nRss:  10 kB\nPss:   4 kB\nPss_Anon:  3 kB\nShared_Hugetlb:  2048 kB\n";
        assert_eq!(kib(text, &["Pss:", "Shared_Hugetlb:"]), 2052.0);
        assert!(pss(Pid::this()) > 0.0);
    }
}
