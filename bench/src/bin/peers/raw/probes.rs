//! Probes that are no contenders: they have no switch to send through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use valecast_bench::clock::now_ns;

use super::ring::{SLOTS, pair};
use crate::cpu;
use crate::drive::Figures;
use crate::job::{Job, Kind, Pattern, Size};
use crate::latency::{percentiles, times};
use crate::peer::Trouble;

/// A probe's name, what it is, whether it goes with a job, and its run.
pub struct Probe {
    /// In tables.
    pub name: &'static str,
    /// In a sentence.
    pub about: &'static str,
    /// Whether it says something about a job.
    pub fits: fn(&Job) -> bool,
    /// One run.
    pub run: fn(&Job, Duration) -> Result<Figures, Trouble>,
}

/// All of them.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "raw-ring",
        about: "a copying ring between two threads: core 0 writes headers and descriptors, core 1 copies every frame out",
        fits: plain,
        run: copying_ring,
    },
    Probe {
        name: "raw-core",
        about: "one core alone: write a header and a descriptor, copy the frame to another buffer, read its first bytes",
        fits: plain,
        run: one_core,
    },
    Probe {
        name: "raw-wakeups",
        about: "two eventfd wake-ups: a thread on core 0 wakes one on core 1, which wakes it",
        fits: |job| job.kind == Kind::WakeUp,
        run: |_, time| two_wake_ups(time),
    },
];

/// What the probes write into every frame.
const HEADER: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0x88, 0xb5];

fn plain(job: &Job) -> bool {
    let one = job.pattern == Pattern::Unicast { macs: 1 } && job.setup.idle_ports == 0;
    job.kind == Kind::Rate && one && matches!(job.size, Size::Fixed(_))
}

fn bytes(job: &Job) -> usize {
    match job.size {
        Size::Fixed(n) => n,
        Size::Imix => 64,
    }
}

fn mpps(frames: u64, begin: Instant) -> Figures {
    Figures::from([("value", frames as f64 / begin.elapsed().as_secs_f64() / 1e6), ("frames", frames as f64)])
}

fn copying_ring(job: &Job, time: Duration) -> Result<Figures, Trouble> {
    let (mut tx, mut rx) = pair();
    let (size, burst) = (bytes(job), job.burst());
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let copier = std::thread::spawn(move || {
        cpu::pin(cpu::SWITCH);
        let (mut sink, _keep) = pair();
        let mut got = 0u64;
        while !stop.load(Ordering::Relaxed) {
            let n = rx.pending().min(burst);
            for i in 0..n {
                rx.prefetch(i + 8);
                // Into the same few buffers, as a program does that works on a frame and forgets it.
                rx.copy(i, &mut sink, i & 63);
            }
            rx.release(n);
            got += u64::from(n);
        }
        got
    });
    for i in 0..SLOTS {
        tx.buffer(i)[..size].fill(i as u8);
    }
    let begin = Instant::now();
    while begin.elapsed() < time {
        for _ in 0..64 {
            let n = tx.room(burst).min(burst);
            for i in 0..n {
                tx.prefetch(i + 8);
                tx.buffer(i)[..14].copy_from_slice(&HEADER);
                tx.set(i, size as u64);
            }
            tx.publish(n);
        }
    }
    over.store(true, Ordering::Relaxed);
    let got = copier.join().map_err(|_| "the copying thread panicked")?;
    Ok(mpps(got, begin))
}

fn one_core(job: &Job, time: Duration) -> Result<Figures, Trouble> {
    let ((mut tx, mut rx), (mut out, mut sink)) = (pair(), pair());
    let (size, burst) = (bytes(job), job.burst());
    for i in 0..SLOTS {
        tx.buffer(i)[..size].fill(i as u8);
    }
    let (mut got, begin) = (0u64, Instant::now());
    while begin.elapsed() < time {
        for _ in 0..64 {
            let n = tx.room(burst).min(burst);
            for i in 0..n {
                tx.buffer(i)[..14].copy_from_slice(&HEADER);
                tx.set(i, size as u64);
            }
            tx.publish(n);
            let n = rx.pending().min(out.room(burst));
            for i in 0..n {
                rx.copy(i, &mut out, i);
            }
            out.publish(n);
            rx.release(n);
            let (n, mut sum) = (sink.pending(), 0);
            for i in 0..n {
                sum ^= sink.words(i)[0];
            }
            std::hint::black_box(sum);
            sink.release(n);
            got += u64::from(n);
        }
    }
    Ok(mpps(got, begin))
}

fn two_wake_ups(time: Duration) -> Result<Figures, Trouble> {
    let (there, back) = (Arc::new(EventFd::new()?), Arc::new(EventFd::new()?));
    let over = Arc::new(AtomicBool::new(false));
    let (theirs, ours, stop) = (there.clone(), back.clone(), over.clone());
    let other = std::thread::spawn(move || {
        cpu::pin(cpu::SWITCH);
        while theirs.read().is_ok() && !stop.load(Ordering::Relaxed) {
            let _ = ours.write(1);
        }
    });
    let mut hist = times()?;
    let end = now_ns() + time.as_nanos() as u64;
    while now_ns() < end {
        std::thread::sleep(Duration::from_micros(200));
        let begin = now_ns();
        there.write(1)?;
        back.read()?;
        hist.saturating_record(now_ns() - begin);
    }
    over.store(true, Ordering::Relaxed);
    there.write(1)?;
    let _ = other.join();
    Ok(percentiles(&hist))
}
