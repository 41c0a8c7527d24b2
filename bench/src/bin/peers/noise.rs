//! Whether a run was disturbed: by other processes, by the hypervisor, or by the host moving our cores about.
//!
//! [`Reading`] is what the system counts at one moment; two of them and the time between make a [`Noise`], and the
//! decision is a pure function of it.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

/// Share of the machine that others may use; the kernel counts in ticks of up to 10 ms, so less says little.
const OTHERS: f64 = 0.12;
/// Share of the machine's time that the hypervisor may keep.
const STEAL: f64 = 0.02;
/// A tick more or less proves nothing.
const TICKS: f64 = 2.0;

/// Counters at one moment, in seconds since some start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// User, nice and system time of the whole machine. Time in interrupts is left out: the kernel's own
    /// forwarding runs there, on behalf of whoever sends.
    pub busy: f64,
    /// Time that the hypervisor gave to somebody else.
    pub steal: f64,
    /// Time of this process and of the processes under test.
    pub ours: f64,
}

impl Reading {
    /// Now; `pids` are the processes under test.
    pub fn take(pids: &[Pid]) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (busy, steal) = parse_stat(&stat).unwrap_or_default();
        // Helpers that have ended by the second reading count as children.
        let own =
            [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].iter().filter_map(|w| getrusage(*w).ok());
        let times = own.flat_map(|u| [u.user_time(), u.system_time()]);
        let own: f64 = times.map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum();
        Self { busy, steal, ours: own + pids.iter().map(|p| cpu_seconds(*p)).sum::<f64>() }
    }
}

/// Processor time of all threads of a process so far.
pub fn cpu_seconds(pid: Pid) -> f64 {
    let time = ClockId::pid_cpu_clock_id(pid).and_then(clock_gettime);
    time.map_or(0.0, |t| Duration::from(t).as_secs_f64())
}

/// Busy and steal seconds out of /proc/stat, whose unit is 1/100 s on every Linux machine that matters.
fn parse_stat(text: &str) -> Option<(f64, f64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let v: Vec<f64> = line.split_whitespace().filter_map(|x| x.parse().ok()).collect();
    Some(((v.first()? + v.get(1)? + v.get(2)?) / 100.0, v.get(7)? / 100.0))
}

/// What disturbed a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Noise {
    /// Share of the machine that others used.
    pub others: f64,
    /// Share of the machine that the hypervisor kept.
    pub steal: f64,
}

impl Noise {
    /// Between two readings `seconds` apart on `cores`.
    pub fn between(before: Reading, after: Reading, seconds: f64, cores: usize) -> Self {
        let all = seconds * cores as f64;
        if all <= 0.0 {
            return Self::default();
        }
        let slack = TICKS / 100.0;
        let part = |x: f64| ((x - slack) / all).max(0.0);
        let busy = after.busy - before.busy;
        Self { others: part(busy - (after.ours - before.ours)), steal: part(after.steal - before.steal) }
    }

    /// Whether the run is to be repeated.
    pub fn is_noisy(self) -> bool {
        self.others > OTHERS || self.steal > STEAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_line() {
        let text = "cpu  100 1 50 9 9 9 9 7 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(parse_stat(text), Some((1.51, 0.07)));
        assert_eq!(parse_stat("intr 1"), None);
    }

    #[test]
    fn others_are_what_is_not_ours() {
        let before = Reading::default();
        let after = Reading { busy: 0.42, steal: 0.0, ours: 0.40 };
        assert!(!Noise::between(before, after, 0.2, 2).is_noisy(), "within the ticks");
        let after = Reading { busy: 0.40, steal: 0.0, ours: 0.30 };
        let n = Noise::between(before, after, 0.2, 2);
        assert!(n.is_noisy() && (n.others - 0.2).abs() < 1e-9);
    }

    #[test]
    fn steal_counts() {
        let after = Reading { steal: 0.05, ..Reading::default() };
        assert!(Noise::between(Reading::default(), after, 0.2, 2).is_noisy());
        assert!(!Noise::between(Reading::default(), after, 0.0, 2).is_noisy());
    }
}
