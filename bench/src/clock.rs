//! The one clock of all measurements: `CLOCK_MONOTONIC` in nanoseconds, the same for every process of a
//! host, so that a receiver can subtract a sender's stamp.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Waits shorter than this are spun, in ns: falling asleep and waking up costs about as much.
const SPIN_NS: u64 = 40_000;
/// Spun waits longer than this give the core away between looks, in ns.
const YIELD_NS: u64 = 5_000;
/// No sleep is longer than this, in ns, so that a stop is noticed.
const LONGEST_NS: u64 = 100_000_000;

/// Now, in ns since an unspecified start common to all processes of this host.
#[inline]
pub fn now_ns() -> u64 {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(t) => (t.tv_sec() as u64).wrapping_mul(SECOND).wrapping_add(t.tv_nsec() as u64),
        // Linux has had this clock since 2.6; without one nothing here could mean anything.
        Err(_) => 0,
    }
}

/// Makes sleeps of this thread (and of threads it starts later) end when they should: Linux otherwise
/// rounds them up by 50 µs.
pub fn sharpen_sleep() {
    // Failing only leaves the pacing coarser.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Waits until `at` (ns, see [`now_ns`]), but at most 100 ms, and returns the time afterwards in ns. Long
/// waits sleep, the last few tens of µs are spun; a signal may end it early.
pub fn wait_until(at: u64) -> u64 {
    let mut now = now_ns();
    let at = at.min(now.saturating_add(LONGEST_NS));
    if at.saturating_sub(now) > SPIN_NS {
        let till = Duration::from_nanos(at - SPIN_NS / 2);
        let flags = ClockNanosleepFlags::TIMER_ABSTIME;
        let slept = clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &TimeSpec::from_duration(till));
        now = now_ns();
        if slept == Err(Errno::EINTR) {
            return now;
        }
    }
    while now < at {
        if at - now > YIELD_NS {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
        now = now_ns();
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_returns_before_its_time() {
        for gap in [0, 3_000, 30_000, 2_000_000] {
            let at = now_ns() + gap;
            assert!(wait_until(at) >= at);
            assert!(now_ns() >= at);
        }
    }

    #[test]
    fn long_waits_come_back_to_look_around() {
        let start = now_ns();
        let back = wait_until(start + 60 * SECOND);
        assert!(back - start < 5 * SECOND);
    }
}
