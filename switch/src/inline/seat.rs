//! What an inline sender and the control side share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use valecast_ring::quiesce::Turns;

/// Looks after which a wait for a turn's end goes on asleep. A turn takes microseconds, unless its thread lost its core.
const LOOKS: u32 = 64;
const NAP: Duration = Duration::from_micros(50);

/// One sender's place.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Odd while the sender forwards.
    pub turns: Turns,
    /// The port was detached.
    over: AtomicBool,
    /// The sender was dropped.
    left: AtomicBool,
    /// Rung when what the sender waits for may not hold any more.
    pub bell: EventFd,
}

impl Seat {
    pub fn new() -> nix::Result<Self> {
        Ok(Self {
            turns: Turns::default(),
            over: AtomicBool::new(false),
            left: AtomicBool::new(false),
            bell: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// The port is detached: turns that begin after the next [`Seat::pass`] are for nothing.
    pub fn end(&self) {
        // ORDERING: Relaxed: the fences of `turns` order it.
        self.over.store(true, Ordering::Relaxed);
    }

    /// Sender, in a turn: whether the port is gone.
    #[inline]
    pub fn is_over(&self) -> bool {
        // ORDERING: Relaxed, as in `end`.
        self.over.load(Ordering::Relaxed)
    }

    /// Waits until the sender uses nothing that was replaced before; one that sleeps looks again.
    pub fn pass(&self) {
        let mut looks = 0;
        self.turns.wait(|| {
            looks += 1;
            if looks < LOOKS { std::thread::yield_now() } else { std::thread::sleep(NAP) }
        });
        let _ = self.bell.write(1);
    }

    /// Sender: does not forward any more.
    pub fn leave(&self) {
        // ORDERING: Release pairs with `is_free`: the next sender of the same number goes on with what was counted.
        self.left.store(true, Ordering::Release);
    }

    /// Whether another sender may have the place.
    pub fn is_free(&self) -> bool {
        // ORDERING: Acquire, see `leave`.
        self.left.load(Ordering::Acquire)
    }
}
