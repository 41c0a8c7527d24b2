//! How far apart the two cores are at the moment.
//!
//! A virtual machine's processors are threads of the host, which the host moves: onto two threads of one core, onto
//! two cores with a cache in common, or onto cores without one. A cache line then takes 20, 55 or 270 ns from one to
//! the other, and every figure of this harness changes by a factor of up to four. So the way of a cache line is
//! measured before and after each run, a run counts only if both agree, and only runs of the same class are compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::cpu;

/// Where the two cores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Two threads of one core.
    Near,
    /// Two cores with a last-level cache in common: the ordinary case.
    SameL3,
    /// Cores that share no cache.
    Far,
}

/// Below this many ns one way, cores are [`Class::Near`].
const NEAR: f64 = 35.0;
/// Above this many, they are [`Class::Far`].
const FAR: f64 = 110.0;

impl Class {
    /// Of a cache line's one way in ns.
    pub fn of(ns: f64) -> Self {
        match ns {
            n if n < NEAR => Class::Near,
            n if n <= FAR => Class::SameL3,
            _ => Class::Far,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Class::Near => "near (threads of one core)",
            Class::SameL3 => "same L3",
            Class::Far => "far (no common cache)",
        }
    }
}

#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU32);

#[derive(Default)]
struct Ball {
    there: Line,
    back: Line,
    /// The other side plays; otherwise it sleeps, so as not to disturb runs.
    on: AtomicBool,
    over: AtomicBool,
}

/// A cache line thrown between core 0 (the caller) and core 1.
pub struct Probe {
    ball: Arc<Ball>,
    other: std::thread::JoinHandle<()>,
    turn: u32,
}

/// So many throws make one chunk.
const THROWS: u32 = 500;
/// So many chunks; their median counts, which one interruption does not move.
const CHUNKS: usize = 9;

impl Probe {
    /// Starts the other side, asleep.
    pub fn new() -> Self {
        let ball = Arc::new(Ball::default());
        let theirs = ball.clone();
        let other = std::thread::spawn(move || {
            cpu::pin(1);
            let mut turn = 0u32;
            while !theirs.over.load(Ordering::Relaxed) {
                if !theirs.on.load(Ordering::Acquire) {
                    std::thread::park();
                    continue;
                }
                let there = theirs.there.0.load(Ordering::Acquire);
                if there != turn {
                    turn = there;
                    theirs.back.0.store(turn, Ordering::Release);
                }
            }
        });
        Self { ball, other, turn: 0 }
    }

    /// One way in ns, now. The caller must be on core 0 and core 1 otherwise free.
    pub fn measure(&mut self) -> f64 {
        self.ball.on.store(true, Ordering::Release);
        self.other.thread().unpark();
        // Until the other side is awake.
        self.throw(50);
        let mut chunks: Vec<f64> = (0..CHUNKS).map(|_| self.throw(THROWS)).collect();
        self.ball.on.store(false, Ordering::Release);
        chunks.sort_by(f64::total_cmp);
        chunks[CHUNKS / 2]
    }

    fn throw(&mut self, times: u32) -> f64 {
        let begin = Instant::now();
        for _ in 0..times {
            self.turn = self.turn.wrapping_add(1);
            self.ball.there.0.store(self.turn, Ordering::Release);
            while self.ball.back.0.load(Ordering::Acquire) != self.turn {
                std::hint::spin_loop();
            }
        }
        begin.elapsed().as_nanos() as f64 / f64::from(times) / 2.0
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.ball.over.store(true, Ordering::Relaxed);
        self.other.thread().unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        assert_eq!(Class::of(20.0), Class::Near);
        assert_eq!(Class::of(34.9), Class::Near);
        assert_eq!(Class::of(35.0), Class::SameL3);
        assert_eq!(Class::of(110.0), Class::SameL3);
        assert_eq!(Class::of(258.0), Class::Far);
    }

    #[test]
    fn the_ball_comes_back() {
        let mut probe = Probe::new();
        assert!(probe.measure() > 0.0);
        assert!(probe.measure() > 0.0);
    }
}
