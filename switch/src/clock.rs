//! The one place where the data path's time comes from: read every few turns, passed down as a value.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock that clients on this host stamp probes with.
pub fn now_ns() -> u64 {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(t) => t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64,
        // The call cannot fail for this clock; a stuck time only delays ageing.
        Err(_) => 0,
    }
}

/// Whole seconds, for ageing.
pub fn secs(now_ns: u64) -> u32 {
    (now_ns / 1_000_000_000) as u32
}
