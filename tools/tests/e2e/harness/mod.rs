//! What the end-to-end tests share: network namespaces, a running daemon, and the tools that load them.
//!
//! Nothing here decides by the clock: waiting is always for something to be seen, with a deadline far beyond
//! any machine's slowness, and reaching the deadline is a failure that says what was waited for.

// The benchmark of guests compiles its own copy and uses a part of it.
#![allow(dead_code, unused_imports)]

mod daemon;
pub mod forge;
pub mod guests;
mod load;
mod netns;
pub mod process;
pub mod qc;
pub mod transfer;

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

pub use daemon::{Daemon, assert_books, drops, port_count, settle};
pub use load::{
    Iperf, Ping, PingRun, iperf3_server, iperf3_tcp, iperf3_udp, ping, ping_exact, ping_start,
    udp_without_loss,
};
pub use netns::{Background, Netns, ip, veth};

/// Far longer than anything here takes on the slowest machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Whether this process has root's rights; if not, the test must return at once. A test nobody sees being skipped
/// is a defect, so without `VALECAST_ALLOW_SKIP` lack of rights is a failure, and with it the skip is said aloud.
#[must_use = "return from the test when this is false"]
pub fn need_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    skip(test, "needs root (network namespaces and TAP devices)")
}

/// Root's rights and these commands.
#[must_use = "return from the test when this is false"]
pub fn need(test: &str, commands: &[&str]) -> bool {
    if !need_root(test) {
        return false;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |command: &str| std::env::split_paths(&path).any(|dir| dir.join(command).is_file());
    match commands.iter().find(|command| !there(command)) {
        None => true,
        Some(missing) => skip(test, &format!("needs the command `{missing}`")),
    }
}

/// Skips a test, aloud: past the test runner's capture, and into the file that the summary is made of.
fn skip(test: &str, why: &str) -> bool {
    assert!(
        std::env::var_os("VALECAST_ALLOW_SKIP").is_some(),
        "{test} {why}; set VALECAST_ALLOW_SKIP=1 to go on without it"
    );
    skip_aloud(test, why)
}

/// Skips a test for want of something that a machine has or has not, such as KVM.
pub fn skip_aloud(test: &str, why: &str) -> bool {
    let _ = writeln!(std::io::stderr(), "\n**** NOT RUN: {test}: {why}");
    if let Some(log) = std::env::var_os("VALECAST_SKIP_LOG") {
        let log = OpenOptions::new().append(true).create(true).open(log);
        log.and_then(|mut log| writeln!(log, "{test}\t{why}")).expect("write VALECAST_SKIP_LOG");
    }
    false
}

/// Looks again and again until `look` sees something.
#[track_caller]
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_long(what, DEADLINE, look)
}

/// The same, for what takes its time on any machine.
#[track_caller]
pub fn wait_long<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
