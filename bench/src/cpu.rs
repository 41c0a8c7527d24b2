//! Cores and limits of this process.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// The core of generator and sink.
pub const CLIENT: usize = 0;
/// The core of the switch.
pub const SWITCH: usize = 1;

/// Ties the calling thread to a core; on a machine without that core it runs unpinned.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(e) = pinned {
        eprintln!("running unpinned: core {cpu}: {e}");
    }
}

/// Lets the calling thread run on all cores; says where it could run before.
pub fn unpin() -> Option<CpuSet> {
    let before = sched_getaffinity(Pid::from_raw(0)).ok();
    let mut set = CpuSet::new();
    for cpu in 0..cores() {
        let _ = set.set(cpu);
    }
    let _ = sched_setaffinity(Pid::from_raw(0), &set);
    before
}

/// Ties the calling thread to where it could run before [`unpin`].
pub fn tie(before: Option<CpuSet>) {
    if let Some(set) = before {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// How many cores this process may use.
pub fn usable() -> usize {
    let set = sched_getaffinity(Pid::from_raw(0));
    set.map_or(1, |s| (0..CpuSet::count()).filter(|i| s.is_set(*i).unwrap_or(false)).count())
}

/// How many cores the machine has.
pub fn cores() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)
        .ok()
        .flatten()
        .map_or(1, |n| n.max(1) as usize)
}

/// As many open files as we may have: thousands of ports need several each.
pub fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
