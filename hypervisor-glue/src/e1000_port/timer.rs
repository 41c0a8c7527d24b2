//! A timer that any thread may bring forward, for interrupts that are delayed or throttled.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

const NEVER: u64 = u64::MAX;

/// A descriptor that becomes readable at a moment of the data path's clock (`CLOCK_MONOTONIC`).
pub struct Timer {
    fd: TimerFd,
    /// When (ns) it will.
    due: AtomicU64,
}

impl Timer {
    /// One that is not set.
    ///
    /// # Errors
    /// No descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self { fd: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?, due: AtomicU64::new(NEVER) })
    }

    /// It is to go off at `due` at the latest. No system call if it will.
    pub fn bring_forward(&self, due: u64) {
        // ORDERING: AcqRel: what is due was stored before, and `fired` looks for it after.
        if due >= self.due.fetch_min(due, Ordering::AcqRel) {
            return;
        }
        let mut want = due;
        loop {
            // Zero would stop it.
            let at = Expiration::OneShot(TimeSpec::new(
                (want / 1_000_000_000) as i64,
                (want % 1_000_000_000).max(1) as i64,
            ));
            if let Err(e) = self.fd.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME) {
                tracing::error!("an interrupt will be late: {e}");
            }
            // Another thread may have set it meanwhile, to an earlier time or not: the last to set it looks again.
            let now = self.due.load(Ordering::Acquire);
            if now == want || now == NEVER {
                return;
            }
            want = now;
        }
    }

    /// It went off, or something else did its work. Whoever calls this looks what is due after it.
    pub fn fired(&self) {
        self.due.store(NEVER, Ordering::SeqCst);
        let mut count = [0; 8];
        // Empty if it was set anew meanwhile.
        let _ = nix::unistd::read(&self.fd, &mut count);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use valecast_switch::clock::now_ns;

    #[test]
    fn goes_off_at_the_earliest_time_asked_for() {
        let t = Timer::new().unwrap();
        let start = now_ns();
        t.bring_forward(start + 3_600_000_000_000);
        t.bring_forward(start + 2_000_000);
        t.bring_forward(start + 7_200_000_000_000);
        let mut fds = [PollFd::new(t.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(60_000u16)), Ok(1));
        assert!(now_ns() >= start + 2_000_000, "not before");
        t.fired();
        let mut fds = [PollFd::new(t.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0), "taken");
        // A time gone by is at once.
        t.bring_forward(1);
        let mut fds = [PollFd::new(t.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(60_000u16)), Ok(1));
    }
}
