//! Locks that are sound where this library runs: in signal handlers (they never wait for themselves), after fork
//! (whoever held one may not exist in the child), and between processes (a holder may die).

use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc;

/// This process. Zero: not asked yet. Forgotten in children.
static PID: AtomicU32 = AtomicU32::new(0);
/// The inode of this process's pid namespace.
static NAMESPACE: AtomicU32 = AtomicU32::new(0);

/// This process's number.
#[inline]
pub fn pid() -> u32 {
    match PID.load(Ordering::Relaxed) {
        0 => learn(),
        n => n,
    }
}

#[cold]
fn learn() -> u32 {
    if NAMESPACE.load(Ordering::Relaxed) == 0 {
        let ns =
            std::fs::metadata("/proc/self/ns/pid").map_or(1, |m| std::os::unix::fs::MetadataExt::ino(&m));
        NAMESPACE.store((ns as u32).max(1), Ordering::Relaxed);
    }
    let pid = std::process::id();
    PID.store(pid, Ordering::Relaxed);
    pid
}

/// In a child: it is another process.
pub fn forget_pid() {
    PID.store(0, Ordering::Relaxed);
}

/// Takes a lock that lies in shared memory, if nobody has it; `false` if somebody does. That of a process that
/// has died is taken over: what it guards is advanced by single stores in an order that is sound at any point.
#[inline]
pub fn try_shared(word: &AtomicU32, namespace: &AtomicU32) -> bool {
    let me = pid();
    // ORDERING: Acquire pairs with the Release of `release_shared`.
    match word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => {
            namespace.store(NAMESPACE.load(Ordering::Relaxed), Ordering::Relaxed);
            true
        }
        Err(holder) => holder != me && take_over(word, namespace, holder, me),
    }
}

#[cold]
fn take_over(word: &AtomicU32, namespace: &AtomicU32, holder: u32, me: u32) -> bool {
    if namespace.load(Ordering::Relaxed) != NAMESPACE.load(Ordering::Relaxed) {
        // Its number means nothing here.
        return false;
    }
    // SAFETY: signal 0 only asks whether the process is there.
    let gone =
        unsafe { libc::kill(holder as libc::pid_t, 0) } == -1 && nix::errno::Errno::last_raw() == libc::ESRCH;
    gone && word.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Gives it back.
#[inline]
pub fn release_shared(word: &AtomicU32) {
    // ORDERING: Release: what was done under it is seen by the next holder.
    word.store(0, Ordering::Release);
}

/// A short lock within this process, for what is never touched by signal handlers.
pub struct Short(AtomicU32);

impl Short {
    /// Free.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Does `f` alone.
    pub fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        let me = pid();
        let mut tries = 0u32;
        loop {
            match self.0.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                // Taken before a fork, by a thread that this process does not have.
                Err(holder) if holder != me => {
                    let _ = self.0.compare_exchange(holder, 0, Ordering::Relaxed, Ordering::Relaxed);
                }
                Err(_) => {
                    tries += 1;
                    if tries.is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                    std::hint::spin_loop();
                }
            }
        }
        let result = f();
        self.0.store(0, Ordering::Release);
        result
    }
}
