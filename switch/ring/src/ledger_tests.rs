//! Tests of the ledger: a sequential model by proptest, the interleavings by loom.

#[cfg(not(loom))]
mod sequential {
    use super::super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Deliver { want: u32, back: u32 },
        Read(u32),
        Scribble(u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (1u32..40, 0u32..10).prop_map(|(want, back)| Op::Deliver { want, back }),
            (1u32..40).prop_map(Op::Read),
            any::<u32>().prop_map(Op::Scribble),
        ]
    }

    proptest! {
        /// Whatever the receiver writes into its head, no unread slot is given out twice and the tail
        /// never passes the room.
        #[test]
        fn never_overruns(exclusive in any::<bool>(), ops in proptest::collection::vec(op(), 1..200)) {
            let l = Ledger::new(16, exclusive);
            let tail = std::cell::Cell::new(0u32);
            let (mut written, mut read) = (0u64, 0u64);
            for o in ops {
                match o {
                    Op::Deliver { want, back } => {
                        let got = l.claim(want);
                        prop_assert!(u64::from(got) <= 15 - (written - read));
                        let back = back.min(got);
                        l.unclaim(back);
                        if got > back {
                            let pos = l.reserve(got - back);
                            prop_assert_eq!(pos, written);
                            written += u64::from(got - back);
                            l.commit(pos, got - back, |t| tail.set(t));
                        }
                        prop_assert_eq!(tail.get(), (written & 15) as u32);
                    }
                    Op::Read(n) => {
                        read += u64::from(n).min(written - read);
                        prop_assert_eq!(l.release_to(|| (read & 15) as u32), Ok(()));
                    }
                    Op::Scribble(head) => {
                        if l.release_to(|| head).is_err() {
                            read = written;
                            prop_assert_eq!(l.reset(), (written & 15) as u32);
                        } else {
                            read += (u64::from(head).wrapping_sub(read)) & 15;
                        }
                        prop_assert!(read <= written);
                    }
                }
            }
        }
    }
}

#[cfg(loom)]
mod interleavings {
    use super::super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64 as LoomU64;

    struct Ring {
        ledger: Ledger,
        slots: Vec<LoomU64>,
        tail: LoomU64,
    }

    fn deliver(r: &Ring, who: u64) {
        let got = r.ledger.claim(2);
        if got == 0 {
            return;
        }
        let pos = r.ledger.reserve(got);
        for i in 0..u64::from(got) {
            r.slots[r.ledger.slot(pos + i) as usize].store(who * 100 + i + 1, Ordering::Relaxed);
        }
        r.ledger.commit(pos, got, |t| r.tail.store(u64::from(t), Ordering::Release));
    }

    /// Two workers deliver: all that was reserved is published once both are done, in whole ranges, and
    /// each slot below the tail has been written.
    #[test]
    fn loom_two_workers_publish_all() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let r = Arc::new(Ring {
                ledger: Ledger::new(8, false),
                slots: (0..8).map(|_| LoomU64::new(0)).collect(),
                tail: LoomU64::new(0),
            });
            let q = r.clone();
            let other = loom::thread::spawn(move || deliver(&q, 2));
            deliver(&r, 1);
            let seen = r.tail.load(Ordering::Acquire);
            for s in 0..seen {
                assert_ne!(r.slots[s as usize].load(Ordering::Relaxed), 0, "published before it was written");
            }
            other.join().unwrap();
            assert_eq!(r.tail.load(Ordering::Acquire), 4, "a range was left unpublished");
        });
    }

    /// As [`deliver`], for a ring whose room is counted elsewhere; the second position turns out not to be needed.
    fn deliver_some(r: &Ring, who: u64) {
        let start = loop {
            let at = r.ledger.reserved();
            if r.ledger.reserve_from(at, 2) {
                break at;
            }
        };
        let kept = if r.ledger.unreserve(start + 2, start + 1) { 1 } else { 2 };
        for i in 0..kept {
            r.slots[r.ledger.slot(start + i) as usize].store(who * 100 + i + 1, Ordering::Relaxed);
        }
        r.ledger.commit(start, kept as u32, |t| r.tail.store(u64::from(t), Ordering::Release));
    }

    /// What is given back is somebody else's or nobody's, and everything else gets published.
    #[test]
    fn loom_two_workers_give_back() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let r = Arc::new(Ring {
                ledger: Ledger::new(8, false),
                slots: (0..8).map(|_| LoomU64::new(0)).collect(),
                tail: LoomU64::new(0),
            });
            let q = r.clone();
            let other = loom::thread::spawn(move || deliver_some(&q, 2));
            deliver_some(&r, 1);
            other.join().unwrap();
            let tail = r.tail.load(Ordering::Acquire);
            assert_eq!(tail, r.ledger.reserved(), "a range was left unpublished");
            let written = |s: u64| r.slots[s as usize].load(Ordering::Relaxed) / 100;
            let of = |who| (0..tail).filter(|s| written(*s) == who).count();
            assert!((2..=3).contains(&tail) && of(1) + of(2) == tail as usize && of(1) > 0 && of(2) > 0);
        });
    }
}
