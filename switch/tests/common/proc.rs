//! What this process uses, and tests that must not run beside each other because they look at that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static ALONE: Mutex<()> = Mutex::new(());

/// Held by tests of one file that count descriptors or load the machine.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Open descriptors.
pub fn fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident kilobytes.
pub fn rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits until `what` holds.
pub fn soon(limit: Duration, why: &str, mut what: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !what() {
        assert!(Instant::now() < end, "within {limit:?}: {why}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until no more than `baseline` descriptors are open.
pub fn fds_back_to(baseline: usize, limit: Duration) {
    let end = Instant::now() + limit;
    loop {
        let now = fds();
        if now <= baseline {
            return;
        }
        assert!(Instant::now() < end, "{now} descriptors are open, {baseline} were before");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// CPU time of this process so far.
pub fn cpu() -> Duration {
    let u = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let all = u.user_time() + u.system_time();
    Duration::new(all.tv_sec() as u64, all.tv_usec() as u32 * 1000)
}
