//! Sleep without losing a wake-up: the CSB protocol, for every pairing of this project.
//!
//! One side (the *sleeper*) has a flag that the other (the *waker*) reads after it publishes:
//!
//! ```text
//! sleeper                         waker
//! flag = 1                        publish
//! full fence                      full fence
//! look again: anything? stay      flag == 1? flag = 0 and kick
//! else sleep until kicked
//! ```
//! Whichever fence comes first in the single order of fences, one of the two looks sees the other
//! side's store: either the sleeper finds the work, or the waker finds the flag. Clearing the flag makes
//! a kick one-shot, so that a waker does not pay one system call per burst while the sleeper's core
//! is busy with somebody else. Every clearing is followed by a kick, and kicks stay readable until the
//! sleeper takes them (which it does *before* it sets the flag), so a late clearing loses nothing.
//! `tests::loom_*` below check this with loom.
//!
//! A full fence waits for all stores before it, a cache line's way from another core each, so the side that
//! publishes small bursts would spend most of its time in fences. There are two ways around it:
//!
//! - A **waker that goes on publishing** (a worker) looks at the flag without a fence, which may miss it
//!   ([`noticed_if`]), and makes one fence for all flags before it stops, and every few turns ([`settle`]).
//! - A **sleeper that can reach the waker's core** makes the waker's fence for it, by membarrier(2)
//!   ([`Pairing::Asymmetric`]): rare and slow there, free for the waker. Both sides must know; clients and
//!   switch agree on it when they attach. A client that lies about it only misses its own wake-ups. So does, now and
//!   then, an honest one: Linux (to 6.18 at least) keeps by CPU whether the barrier goes there, and does not
//!   correct that where a process's thread comes back from idling after another of its threads has registered. The
//!   sleeper therefore looks once more [`DOUBT`] later, long after the waker's store has left its core.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

use nix::libc;

use crate::sync::fence;

/// A flag word that both sides reach: an [`AtomicU32`], in a model loom's.
pub trait Flag {
    /// Read, with no ordering of its own.
    fn get(&self) -> u32;
    /// Write, with no ordering of its own.
    fn put(&self, v: u32);
}

impl Flag for AtomicU32 {
    #[inline]
    fn get(&self) -> u32 {
        // ORDERING: Relaxed; the fences of `arm` and `wanted` do the ordering.
        self.load(Ordering::Relaxed)
    }
    #[inline]
    fn put(&self, v: u32) {
        // ORDERING: Relaxed; as above.
        self.store(v, Ordering::Relaxed);
    }
}

/// How the fences of a waker and a sleeper meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pairing {
    /// Each side makes its own.
    #[default]
    Fences,
    /// The sleeper makes both, by membarrier(2). The waker's process has called [`allow_barriers`].
    Asymmetric,
}

/// How long (ns) after it went to sleep a sleeper of [`Pairing::Asymmetric`] looks once more.
pub const DOUBT: u64 = 1_000_000;

/// `MEMBARRIER_CMD_GLOBAL_EXPEDITED` and its registration, from `linux/membarrier.h`.
const BARRIER: libc::c_int = 1 << 1;
const REGISTER: libc::c_int = 1 << 2;

fn membarrier(cmd: libc::c_int) -> libc::c_long {
    // SAFETY: the call takes numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, cmd, 0, 0) }
}

/// Whether this process may make [`Pairing::Asymmetric`] sleepers wait on others.
pub fn has_barriers() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let known = membarrier(0);
        known >= 0 && known & libc::c_long::from(BARRIER | REGISTER) == libc::c_long::from(BARRIER | REGISTER)
    })
}

/// Lets others' membarrier(2) reach this process; whether that is possible here.
pub fn allow_barriers() -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| has_barriers() && membarrier(REGISTER) == 0)
}

/// The sleeper's fence.
#[inline]
fn sleepers_fence(pairing: Pairing) {
    // ORDERING: SeqCst fence pairs with the waker's; where it makes none, the barrier is one on both sides.
    fence(Ordering::SeqCst);
    if pairing == Pairing::Asymmetric {
        // Support was checked when the pairing was agreed on.
        membarrier(BARRIER);
    }
}

/// Sleeper: raises the flag and looks again. `true` means it may sleep now; on `false` the flag is
/// down again and there is work.
#[inline]
pub fn arm(flag: &impl Flag, pairing: Pairing, work: impl FnOnce() -> bool) -> bool {
    flag.put(1);
    sleepers_fence(pairing);
    if work() {
        flag.put(0);
        return false;
    }
    true
}

/// Sleeper, where several share one flag and all hear the doorbell: like [`arm`], but a flag once raised is
/// left up, since another sleeper may count on it. The price is one kick too many now and then.
#[inline]
pub fn arm_shared(flag: &impl Flag, pairing: Pairing, work: impl FnOnce() -> bool) -> bool {
    flag.put(1);
    sleepers_fence(pairing);
    !work()
}

/// Sleeper: awake again, no kick is wanted any more.
#[inline]
pub fn disarm(flag: &impl Flag) {
    flag.put(0);
}

/// Waker: call after publishing. `true` means the other side sleeps (or is about to) and must be kicked;
/// the flag is down then, so the kick may not be skipped.
#[inline]
pub fn wanted(flag: &impl Flag, pairing: Pairing) -> bool {
    match pairing {
        // ORDERING: SeqCst fence pairs with the sleeper's.
        Pairing::Fences => fence(Ordering::SeqCst),
        // ORDERING: the sleeper's barrier orders this core's store and load; the compiler must keep them so.
        Pairing::Asymmetric => compiler_fence(Ordering::SeqCst),
    }
    noticed_if(flag, || true)
}

/// Waker that goes on publishing: one fence for all flags that [`noticed_if`] looks at afterwards.
#[inline]
pub fn settle() {
    // ORDERING: SeqCst fence pairs with the sleeper's.
    fence(Ordering::SeqCst);
}

/// Waker: whether the flag is seen up, and `enough` holds; else it is left up. A flag may be missed unless
/// [`settle`] came between publishing and this, which must happen before the waker stops.
#[inline]
pub fn noticed_if(flag: &impl Flag, enough: impl FnOnce() -> bool) -> bool {
    if flag.get() == 0 || !enough() {
        return false;
    }
    flag.put(0);
    true
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::sync::atomic::AtomicU32 as LoomU32;
    use loom::sync::{Arc, Condvar, Mutex};

    impl Flag for LoomU32 {
        fn get(&self) -> u32 {
            self.load(Ordering::Relaxed)
        }
        fn put(&self, v: u32) {
            self.store(v, Ordering::Relaxed);
        }
    }

    /// Three preemptions per run, as the ledger's model: unbounded, these take hours.
    fn model(f: impl Fn() + Sync + Send + 'static) {
        let mut b = loom::model::Builder::new();
        b.preemption_bound = Some(3);
        b.check(f);
    }

    /// A doorbell that remembers a kick until it is taken, like an eventfd.
    #[derive(Default)]
    struct Bell(Mutex<bool>, Condvar);

    impl Bell {
        fn kick(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
        fn sleep(&self) {
            let mut rung = self.0.lock().unwrap();
            while !*rung {
                // A lost wake-up is a deadlock here, which loom reports.
                rung = self.1.wait(rung).unwrap();
            }
            *rung = false;
        }
        fn drain(&self) {
            *self.0.lock().unwrap() = false;
        }
    }

    struct Pair {
        flag: LoomU32,
        published: LoomU32,
        bell: Bell,
    }

    fn consume(p: &Pair, want: u32) {
        while p.published.load(Ordering::Acquire) < want {
            p.bell.drain();
            if arm(&p.flag, Pairing::Fences, || p.published.load(Ordering::Acquire) >= want) {
                p.bell.sleep();
                disarm(&p.flag);
            }
        }
    }

    /// Client publishes, switch sleeps; the same code serves TX room, RX frames and RX room.
    #[test]
    fn loom_no_wakeup_is_lost() {
        model(|| {
            let p =
                Arc::new(Pair { flag: LoomU32::new(0), published: LoomU32::new(0), bell: Bell::default() });
            let q = p.clone();
            let waker = loom::thread::spawn(move || {
                for i in 1..=2 {
                    q.published.store(i, Ordering::Release);
                    if wanted(&q.flag, Pairing::Fences) {
                        q.bell.kick();
                    }
                }
            });
            consume(&p, 1);
            consume(&p, 2);
            waker.join().unwrap();
        });
    }

    /// Two workers publish into one ring whose client sleeps.
    #[test]
    fn loom_two_wakers() {
        model(|| {
            let p =
                Arc::new(Pair { flag: LoomU32::new(0), published: LoomU32::new(0), bell: Bell::default() });
            let wakers: Vec<_> = (0..2)
                .map(|_| {
                    let q = p.clone();
                    loom::thread::spawn(move || {
                        q.published.fetch_add(1, Ordering::AcqRel);
                        if wanted(&q.flag, Pairing::Fences) {
                            q.bell.kick();
                        }
                    })
                })
                .collect();
            consume(&p, 2);
            for w in wakers {
                w.join().unwrap();
            }
        });
    }

    /// Two workers wait for room in one ring; its client makes some, in two steps.
    #[test]
    fn loom_two_sleepers_share_a_flag() {
        model(|| {
            let flag = Arc::new(LoomU32::new(0));
            let published = Arc::new(LoomU32::new(0));
            let bells = Arc::new([Bell::default(), Bell::default()]);
            let sleepers: Vec<_> = (0..2usize)
                .map(|i| {
                    let (flag, published, bells) = (flag.clone(), published.clone(), bells.clone());
                    loom::thread::spawn(move || {
                        let want = i as u32 + 1;
                        while published.load(Ordering::Acquire) < want {
                            bells[i].drain();
                            if arm_shared(&*flag, Pairing::Fences, || {
                                published.load(Ordering::Acquire) >= want
                            }) {
                                bells[i].sleep();
                            }
                        }
                    })
                })
                .collect();
            for n in 1..=2 {
                published.store(n, Ordering::Release);
                if wanted(&*flag, Pairing::Fences) {
                    bells.iter().for_each(Bell::kick);
                }
            }
            for s in sleepers {
                s.join().unwrap();
            }
        });
    }

    /// A waker that looks without a fence, wants enough to be there, and settles when it runs dry.
    #[test]
    fn loom_late_waker_settles() {
        model(|| {
            let p =
                Arc::new(Pair { flag: LoomU32::new(0), published: LoomU32::new(0), bell: Bell::default() });
            let q = p.clone();
            let waker = loom::thread::spawn(move || {
                for i in 1..=2 {
                    q.published.store(i, Ordering::Release);
                    if noticed_if(&q.flag, || i >= 2) {
                        q.bell.kick();
                    }
                }
                settle();
                if noticed_if(&q.flag, || true) {
                    q.bell.kick();
                }
            });
            consume(&p, 1);
            waker.join().unwrap();
        });
    }
}
