//! How the control side waits until a thread that forwards now and then uses nothing of before any more.
//!
//! Workers are told to pass a point and say so when they have. A thread of the user's own that forwards when it
//! pleases cannot be told: it may not come back for an hour. So it leaves a mark of being inside, and the control side,
//! which has already put the new in the old one's place, looks at the mark:
//!
//! ```text
//! thread                          control side
//! turn = odd                      new for old
//! full fence                      full fence
//! look at what there is, work     turn even? nobody uses the old
//! turn = even                     else wait until it is another
//! ```
//! Whichever fence comes first in the single order of fences: either the thread sees what is new, or the control side
//! sees it inside and waits. A turn that is another by then is over, and what came after it saw the new. Nobody waits
//! for the control side. `tests::loom_*` below check this with loom.

use std::sync::atomic::Ordering;

use crate::sync::{AtomicU64, fence};

/// One thread's mark: odd while it is inside.
#[derive(Debug, Default)]
pub struct Turns(AtomicU64);

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Inside<'t> {
    turns: &'t Turns,
    turn: u64,
}

impl Turns {
    /// Begins a turn. One thread at a time may, and looks at what the control side replaces only until the turn is over.
    #[inline]
    pub fn enter(&self) -> Inside<'_> {
        // ORDERING: Relaxed: this thread alone writes the word.
        let turn = self.0.load(Ordering::Relaxed).wrapping_add(1);
        // ORDERING: Release: whoever sees this turn begun sees the ones before it done.
        self.0.store(turn, Ordering::Release);
        // ORDERING: SeqCst fence pairs with the one in `wait`: see above.
        fence(Ordering::SeqCst);
        Inside { turns: self, turn }
    }

    /// Waits until no turn goes on that began before the call: what was replaced before it is in use no more, and all
    /// that was done in these turns is seen. Calls `pause` before each further look.
    pub fn wait(&self, mut pause: impl FnMut()) {
        // ORDERING: SeqCst fence pairs with the one in `enter`.
        fence(Ordering::SeqCst);
        // ORDERING: Acquire pairs with the Release of the turn's end, or of the beginning of a later one.
        let turn = self.0.load(Ordering::Acquire);
        while turn % 2 == 1 && self.0.load(Ordering::Acquire) == turn {
            pause();
        }
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: Release: all that was done in the turn is done before it is seen to be over.
        self.turns.0.store(self.turn.wrapping_add(1), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn waits_for_who_is_inside_and_for_nobody_else() {
        let turns = Turns::default();
        turns.wait(|| panic!("nobody is inside"));
        let mut inside = Some(turns.enter());
        let mut looks = 0;
        turns.wait(|| {
            looks += 1;
            if looks == 3 {
                inside = None;
            }
        });
        assert_eq!(looks, 3);
        // The next turn is not waited for.
        let mut inside = Some(turns.enter());
        let mut again = None;
        turns.wait(|| {
            inside = None;
            again = Some(turns.enter());
        });
        assert!(inside.is_none() && again.is_some());
    }

    #[test]
    fn a_turn_that_panics_is_over() {
        let turns = Turns::default();
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _inside = turns.enter();
            std::panic::resume_unwind(Box::new(()));
        }));
        turns.wait(|| panic!("nobody is inside"));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct World {
        turns: Turns,
        /// Which of the two is to be used.
        current: AtomicU64,
        things: [UnsafeCell<u64>; 2],
    }

    fn model(f: impl Fn() + Sync + Send + 'static) {
        let mut b = loom::model::Builder::new();
        b.preemption_bound = Some(3);
        b.check(f);
    }

    /// The control side replaces a thing, waits, and takes the old one apart; a thread uses whichever is current, turn
    /// after turn. Loom reports a use of what is being taken apart, and a use that is not seen by who takes it apart.
    #[test]
    fn loom_nothing_is_used_that_was_replaced() {
        model(|| {
            let w = Arc::new(World {
                turns: Turns::default(),
                current: AtomicU64::new(0),
                things: [UnsafeCell::new(0), UnsafeCell::new(0)],
            });
            let v = w.clone();
            let user = loom::thread::spawn(move || {
                for _ in 0..2 {
                    let _inside = v.turns.enter();
                    let at = v.current.load(Ordering::Acquire) as usize;
                    // SAFETY: nobody else writes it while it is used: that is what is checked here.
                    v.things[at].with_mut(|n| unsafe { *n += 1 });
                }
            });
            w.current.store(1, Ordering::Release);
            w.turns.wait(loom::thread::yield_now);
            // SAFETY: as above.
            let uses = w.things[0].with_mut(|n| unsafe { std::mem::replace(&mut *n, 100) });
            assert!(uses <= 2);
            user.join().unwrap();
            // SAFETY: the user has ended.
            let (old, new) = (w.things[0].with(|n| unsafe { *n }), w.things[1].with(|n| unsafe { *n }));
            assert_eq!((old, uses + new), (100, 2));
        });
    }

    /// A flag that says that it is over is seen by each turn that begins after the wait.
    #[test]
    fn loom_who_was_sent_away_does_not_come_in() {
        model(|| {
            let w = Arc::new((Turns::default(), AtomicU64::new(0), UnsafeCell::new(0u64)));
            let v = w.clone();
            let user = loom::thread::spawn(move || {
                for _ in 0..2 {
                    let _inside = v.0.enter();
                    if v.1.load(Ordering::Relaxed) != 0 {
                        return;
                    }
                    // SAFETY: nobody else writes it until this one was sent away.
                    v.2.with_mut(|n| unsafe { *n += 1 });
                }
            });
            w.1.store(1, Ordering::Relaxed);
            w.0.wait(loom::thread::yield_now);
            // SAFETY: as above.
            w.2.with_mut(|n| unsafe { *n += 10 });
            user.join().unwrap();
        });
    }
}
