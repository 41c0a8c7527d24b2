//! What a process uses.

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Processor time of all its threads so far, in seconds; none once it has ended.
pub fn cpu_seconds(pid: Pid) -> Option<f64> {
    let clock = ClockId::pid_cpu_clock_id(pid).ok()?;
    let time = clock_gettime(clock).ok()?;
    Some(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// The most memory that it ever had, in MiB.
pub fn peak_mib(pid: Pid) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let me = nix::unistd::getpid();
        assert!(cpu_seconds(me).unwrap() > 0.0);
        assert!(peak_mib(me).unwrap() > 1.0);
    }
}
