//! Several workers deliver into one ring and an honest client reads it: whatever the interleaving, the switch
//! never takes the client's head for a wild one, and never overwrites what is unread.
#![allow(missing_docs)]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use valecast_ring::SlotFlags;
use valecast_ring::client::Port;
use valecast_ring::host::{Endpoint, RxQueue, Source};
use valecast_ring::layout::{Layout, RingParams};

fn deliver(q: &RxQueue, next: &AtomicU64, stop: &AtomicBool, worker: u64) {
    let mut seq = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let got = q.claim(3);
        if got == 0 {
            continue;
        }
        let start = q.reserve(got);
        for i in 0..u64::from(got) {
            let mut f = [0u8; 24];
            f[..8].copy_from_slice(&worker.to_ne_bytes());
            f[8..16].copy_from_slice(&seq.to_ne_bytes());
            seq += 1;
            let f = Source { head: f.as_ptr(), head_len: 16, tail: f[16..].as_ptr(), tail_len: 8 };
            // SAFETY: 24 readable bytes for a position that was reserved just above.
            unsafe { q.writer().write(start + i, 1, SlotFlags::empty(), [f].into_iter()) };
        }
        q.commit(start, got);
    }
    next.store(seq, Ordering::Release);
}

#[test]
fn three_workers_and_an_honest_reader() {
    let params = RingParams { slots: 16, buf_size: 64, ..RingParams::default() };
    let mut end = Endpoint::new(Layout::try_from(params).unwrap(), "r", false).unwrap();
    let q = end.rx.remove(0);
    let lifeline: OwnedFd = nix::unistd::pipe().unwrap().0;
    let resets: Arc<AtomicU64> = end.resets.clone();
    let (_link, _tx, mut rx) = Port::local(&end.region, std::mem::take(&mut end.bells), lifeline).split();
    let rx = &mut rx[0];
    let (stop, totals) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    let mut next = [0u64; 3];
    let mut wrong: Option<String> = None;
    std::thread::scope(|s| {
        for (w, total) in totals.iter().enumerate() {
            let (q, stop) = (&q, &stop);
            s.spawn(move || deliver(q, total, stop, w as u64));
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(4);
        while std::time::Instant::now() < end && wrong.is_none() {
            let n = rx.pending().min(5);
            for i in 0..n {
                let d = rx.frame(i).data;
                let word = |at: usize| u64::from_ne_bytes(d[at..at + 8].try_into().unwrap());
                let (w, seq) = (word(0) as usize, word(8));
                if seq != next[w] {
                    wrong.get_or_insert(format!("worker {w}: {seq} where {} was next", next[w]));
                }
                next[w] = seq + 1;
            }
            rx.advance(n);
            rx.release();
            if n == 0 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let resets = resets.load(Ordering::Relaxed);
    assert!(wrong.is_none() && resets == 0, "{resets} resets of an honest ring; {wrong:?}");
}
