//! Doorbells inside the daemon: from the thread that serves a guest's accesses to workers that sleep.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;

use valecast_ring::doorbell::Kick;
use valecast_ring::notify::{self, Pairing};

/// A flag that sleepers raise, and a descriptor that wakes them ([`valecast_ring::notify`]).
pub struct Bell {
    asleep: AtomicU32,
    kick: Kick,
}

impl Bell {
    /// A new one.
    ///
    /// # Errors
    /// No descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { asleep: AtomicU32::new(0), kick: Kick::new()? })
    }

    /// The only sleeper: `true`, it may sleep; `false`, there is `work`.
    pub fn arm(&self, work: impl FnOnce() -> bool) -> bool {
        notify::arm(&self.asleep, Pairing::Fences, work)
    }

    /// One of several sleepers.
    pub fn arm_shared(&self, work: impl FnOnce() -> bool) -> bool {
        notify::arm_shared(&self.asleep, Pairing::Fences, work)
    }

    /// The only sleeper is awake.
    pub fn disarm(&self) {
        notify::disarm(&self.asleep);
    }

    /// There is news, which was stored before: whether somebody sleeps, who must be rung for then.
    #[must_use]
    pub fn wanted(&self) -> bool {
        notify::wanted(&self.asleep, Pairing::Fences)
    }

    /// Wakes all sleepers.
    pub fn ring(&self) {
        self.kick.ring();
    }

    /// What wakes them, to be watched edge-triggered.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.kick.fd()
    }
}
