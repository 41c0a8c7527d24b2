//! Whether somebody else wants the core of a worker that has nothing to do.
//!
//! Where there are fewer cores than workers and clients, the scheduler may put a client on the core of the worker that serves it. While
//! the worker polls for its spin time, that client cannot send what the worker waits for. So a worker without work offers its core
//! now and then, and sees by the time until it has it back whether anybody took it. As long as those who do give it back soon,
//! as clients do that wait for the switch, it is offered as soon as there is nothing to do.

/// How long (ns) without work before the core is offered, while nobody wanted it.
const ALONE: u64 = 20_000;
/// As long passes until the next offer, and twice as long after each further one that nobody took, up to this: a call of the kernel
/// makes the frame that comes next a little slower.
const ALONE_LONGEST: u64 = 1_280_000;
/// How long without work, while somebody does.
const SHARED: u64 = 1_000;
/// An offer that took less was taken by nobody.
const NOBODY: u64 = 3_000;
/// One that took as long or longer was taken by somebody who does not wait for the switch.
const STRANGER: u64 = 500_000;
/// It is then kept for so many times as long, and for twice as many after each further stranger in a row.
const KEEP: u64 = 8;
/// As many at the most: a thousandth is what offers to who always takes long may cost.
const KEEP_LONGEST: u64 = 1024;

/// What the last offers came to.
#[derive(Debug)]
pub(super) struct Yielding {
    shared: bool,
    /// Not to be offered before this (ns).
    not_before: u64,
    /// How long it is not offered after the next offer that nobody takes.
    alone: u64,
    /// For how many times as long as the next stranger takes it is kept.
    keep: u64,
}

impl Default for Yielding {
    fn default() -> Self {
        Self { shared: false, not_before: 0, alone: ALONE, keep: KEEP }
    }
}

impl Yielding {
    /// Whether to offer the core, after so long (ns) without work.
    #[inline]
    pub fn due(&self, now: u64, idle: u64) -> bool {
        let after = if self.shared { SHARED } else { ALONE };
        idle >= after && now >= self.not_before
    }

    /// The core was offered at `from`, and was there again at `until`.
    pub fn offered(&mut self, from: u64, until: u64) {
        let took = until.saturating_sub(from);
        let Self { alone, keep, .. } = *self;
        let pause;
        (self.shared, pause, self.alone, self.keep) = match took {
            ..NOBODY => (false, alone, (2 * alone).min(ALONE_LONGEST), KEEP),
            NOBODY..STRANGER => (true, 0, ALONE, KEEP),
            STRANGER.. => (false, took.saturating_mul(keep), ALONE, (2 * keep).min(KEEP_LONGEST)),
        };
        self.not_before = until.saturating_add(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_nobody_wants_is_offered_rarely() {
        let mut y = Yielding::default();
        assert!(!y.due(0, ALONE - 1));
        let (mut now, short) = (50_000, NOBODY - 1);
        for pause in [20, 40, 80, 160, 320, 640, 1280, 1280, 1280].map(|us| us * 1000) {
            assert!(y.due(now, ALONE));
            y.offered(now, now + short);
            now += short + pause;
            assert!(!y.due(now - 1, u64::MAX), "after {pause}");
        }
        // Somebody did.
        y.offered(now, now + NOBODY);
        y.offered(now, now + short);
        assert!(y.due(now + short + ALONE, ALONE));
    }

    #[test]
    fn whoever_gives_it_back_soon_gets_it_as_soon_as_there_is_no_work() {
        let mut y = Yielding::default();
        y.offered(0, NOBODY);
        assert!(!y.due(NOBODY, SHARED - 1));
        assert!(y.due(NOBODY, SHARED));
        y.offered(10_000, 10_000 + STRANGER - 1);
        assert!(y.due(10_000 + STRANGER, SHARED));
        // Until it is wanted no more.
        y.offered(600_000, 600_500);
        assert!(!y.due(700_000, ALONE - 1));
        assert!(y.due(700_000, ALONE));
    }

    #[test]
    fn strangers_in_a_row_get_it_less_and_less() {
        let mut y = Yielding::default();
        let (mut now, took) = (0, 2_800_000);
        for keep in [8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024] {
            y.offered(now, now + took);
            now += took + took * keep;
            assert!(!y.due(now - 1, u64::MAX), "after {keep} times as long");
            assert!(!y.due(now, ALONE - 1) && y.due(now, ALONE));
        }
        // One who does not keep it ends the row.
        y.offered(now, now + 1);
        y.offered(now, now + took);
        assert!(y.due(now + took + took * KEEP, ALONE));
        y.offered(0, u64::MAX);
        assert!(!y.due(u64::MAX - 1, u64::MAX));
    }
}
