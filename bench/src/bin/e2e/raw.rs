//! The limit of the memory: frames are generated, copied once, and sunk, with nothing else done. Generating
//! and sinking on one core, copying on the other, over the same buffers and slots as the switch's rings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::pin;
use valecast_ring::SlotFlags;
use valecast_ring::client::Port;
use valecast_ring::host::{Endpoint, Source};
use valecast_ring::layout::{Layout, RingParams};

/// Frames that are asked for together.
const BLOCK: u32 = 64;
/// Bytes that are copied by themselves, as a switch does that looks at them.
const HEAD: usize = 16;

/// Frames per second for frames of `size` bytes.
pub fn run(size: usize, time: Duration) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let Ok(layout) = Layout::try_from(RingParams::default()) else { return f64::NAN };
    let (Ok(mut from), Ok(mut to)) = (Endpoint::new(layout, "from", true), Endpoint::new(layout, "to", true))
    else {
        return f64::NAN;
    };
    let local = |e: &mut Endpoint| {
        let null = std::fs::File::open("/dev/null").ok()?;
        let bells = std::mem::take(&mut e.bells);
        Some(Port::local(&e.region, bells, null.into()).split())
    };
    let (Some((_l, mut tx, _)), Some((_k, _, mut rx))) = (local(&mut from), local(&mut to)) else {
        return f64::NAN;
    };
    let (Some(mut q), Some(out)) = (from.tx.pop(), to.rx.pop()) else { return f64::NAN };
    let stopped = stop.clone();
    let copier = std::thread::spawn(move || {
        pin(1);
        while !stopped.load(Ordering::Relaxed) {
            let n = out.claim(q.pending().min(256));
            let start = out.reserve(n);
            let (slots, w) = (q.slots(), out.writer());
            let mut i = 0;
            while i < n {
                let block = (n - i).min(BLOCK);
                slots.prefetch_descs(i, block);
                let plain = slots.plain(i, block, HEAD as u32, SlotFlags::empty());
                // Both rings have as many slots and go on alike, so they end at the same frame.
                (0..block).filter_map(&plain).for_each(|(data, _)| valecast_ring::prefetch(data.as_ptr()));
                let sources = (0..block).map_while(plain).map(|(data, len)| {
                    let head = data.as_ptr().cast_const();
                    let (tail, tail_len) = (head.wrapping_add(HEAD), len as usize - HEAD);
                    Source { head, head_len: HEAD, tail, tail_len }
                });
                // SAFETY: slots are readable while the queue lives, `n` positions are reserved, and `size` is below the
                // buffers' length.
                i += unsafe { w.write(start + u64::from(i), block, SlotFlags::empty(), sources) }.0;
            }
            if n > 0 {
                out.commit(start, n);
                q.complete(n);
                q.publish();
            }
        }
    });
    pin(0);
    let (tx, rx) = (&mut tx[0], &mut rx[0]);
    let (begin, mut got) = (Instant::now(), 0u64);
    while begin.elapsed() < time {
        for _ in 0..16 {
            let n = tx.room().min(256);
            for i in 0..n {
                tx.set(i, size, SlotFlags::empty());
            }
            tx.advance(n);
            tx.publish();
            let n = rx.pending();
            got += crate::jobs::touch(rx, n);
            rx.advance(n);
            rx.release();
        }
    }
    let pps = got as f64 / begin.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let _ = copier.join();
    pps
}
