//! What the fuzz targets of `valecast-ring` do with a case. Also compiled into `tests/fuzz.rs`, which feeds it
//! seeded cases on a stable compiler.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use valecast_ring::SlotFlags;
use valecast_ring::attach::{Reply, Request};
use valecast_ring::host::{Endpoint, RxQueue, Source, TxQueue};
use valecast_ring::layout::{Layout, RingParams};
use zerocopy::IntoBytes;

/// A case's bytes, taken from the front; zeros when they run out.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    /// 0 to `n`, `n` included.
    pub fn upto(&mut self, n: u32) -> u32 {
        u32::from(self.u16()) % (n + 1)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Messages from anybody: parsed or refused; what is parsed is possible and survives another trip.
pub fn attach_request(data: &[u8]) {
    if let Ok(r) = Request::parse(data) {
        let p = r.over(RingParams::default());
        assert!(Layout::try_from(p).is_ok(), "{r:?}");
        let wire = r.to_wire().expect("what was parsed can be sent");
        assert_eq!(Request::parse(wire.as_bytes()), Ok(r));
    }
    if let Ok(r) = Reply::parse(data) {
        let again = Reply::parse(r.to_wire().as_bytes()).expect("what was parsed can be sent");
        match (&r, &again) {
            (Reply::Refused(a, _), Reply::Refused(b, _)) => assert_eq!(a, b),
            _ => assert_eq!(r, again),
        }
    }
}

/// The client's view of a region: any byte of it may change at any time.
struct Mapping(MmapRaw, usize);

impl Mapping {
    fn put(&self, at: usize, v: u32) {
        let at = at % (self.1 - 3) / 4 * 4;
        // SAFETY: inside the mapping and aligned; shared memory is only touched as atomics.
        unsafe { &*self.0.as_mut_ptr().add(at).cast::<AtomicU32>() }.store(v, Ordering::Relaxed);
    }
}

/// The switch's work in any order, over memory that somebody else writes to.
pub fn ring_view(data: &[u8]) {
    let b = &mut Bytes(data);
    let shape = b.u8();
    let p = RingParams {
        tx_rings: 1 + u16::from(shape & 1),
        rx_rings: 1 + u16::from(shape >> 1 & 1),
        slots: 16 << (shape >> 2 & 1),
        buf_size: [64, 128, 2048, 65536][usize::from(shape >> 3 & 3)].min(4096),
    };
    let exclusive = shape >> 5 & 1 != 0;
    let layout = Layout::try_from(p).expect("within the limits");
    let mut end = Endpoint::new(layout, "fuzz", exclusive).expect("memory");
    let map = MmapOptions::new().len(layout.total()).map_raw(&end.region.fd());
    let map = Mapping(map.expect("mmap"), layout.total());
    let mut tx = std::mem::take(&mut end.tx);
    let mut held: Vec<Held> = end.rx.drain(..).map(|q| Held { q, claimed: 0, ranges: Vec::new() }).collect();
    while !b.is_empty() {
        let ring = usize::from(b.u8());
        match b.u8() % 8 {
            0 => map.put(b.u32() as usize, b.u32()),
            // Somewhere in the CSB pages or the headers.
            1 => map.put(usize::from(b.u16()), b.u32()),
            2 => map.put(64 * (ring % layout.rings_total()), b.upto(p.slots)),
            3 | 4 => {
                let n = tx.len();
                transmit(&mut tx[ring % n], b, &layout);
            }
            _ => {
                let n = held.len();
                receive(&mut held[ring % n], b, p.slots, exclusive);
            }
        }
    }
}

fn transmit(q: &mut TxQueue, b: &mut Bytes<'_>, layout: &Layout) {
    let pending = q.pending();
    assert!(pending < layout.params().slots);
    for i in 0..pending {
        q.slots().prefetch_descs(i, 1);
        if let Ok(f) = q.slots().frame(i) {
            assert!(f.len as usize <= layout.stride());
            for at in [0, f.len.saturating_sub(1)] {
                if at < f.len {
                    // SAFETY: inside the slot's bytes, which the queue vouches for.
                    unsafe { &*f.data.as_ptr().add(at as usize).cast::<AtomicU8>() }.load(Ordering::Relaxed);
                }
            }
        }
    }
    q.complete(b.upto(pending));
    match b.u8() % 4 {
        0 => q.publish(),
        1 => q.wake(),
        2 => drop(q.arm()),
        _ => q.disarm(),
    }
}

/// A receive ring with what was claimed and reserved in it.
struct Held {
    q: RxQueue,
    claimed: u32,
    ranges: Vec<(u64, u32)>,
}

fn receive(h: &mut Held, b: &mut Bytes<'_>, slots: u32, exclusive: bool) {
    let reserved = |h: &Held| h.ranges.iter().map(|r| r.1).sum::<u32>();
    match b.u8() % 8 {
        0 | 1 => {
            let want = b.upto(slots);
            let got = h.q.claim(want);
            assert!(got <= want);
            h.claimed += got;
            assert!(h.claimed + reserved(h) < slots, "more room than the ring has");
        }
        2 => {
            let n = b.upto(h.claimed);
            h.q.unclaim(n);
            h.claimed -= n;
        }
        3 | 4 if h.claimed > 0 => {
            let n = 1 + b.upto(h.claimed - 1);
            let start = h.q.reserve(n);
            let head = [b.u8(); 16];
            let longest = h.q.max_len() as u32 - 16;
            let tails: Vec<_> = (0..n).map(|_| vec![b.u8(); b.upto(longest) as usize]).collect();
            let (flags, writer) = (SlotFlags::from_bits_retain(b.u16()), h.q.writer());
            let mut done = 0;
            while done < n {
                let pos = start + u64::from(done);
                let source = |t: &Vec<u8>| Source {
                    head: head.as_ptr(),
                    head_len: 16,
                    tail: t.as_ptr(),
                    tail_len: t.len(),
                };
                let sources = tails[done as usize..].iter().map(source);
                // SAFETY: both sources are as long as told, at most `max_len` together, and the positions are
                // reserved and not committed.
                done += unsafe { writer.write(pos, n - done, flags, sources) }.0;
            }
            h.claimed -= n;
            h.ranges.push((start, n));
            if exclusive {
                // One worker commits what it reserved before it reserves again.
                h.ranges.drain(..).for_each(|(s, n)| h.q.commit(s, n));
            }
        }
        5 | 6 if !h.ranges.is_empty() => {
            let i = b.upto(h.ranges.len() as u32 - 1) as usize;
            let (start, n) = h.ranges.swap_remove(i);
            h.q.commit(start, n);
        }
        _ => {
            assert!(h.q.unread() < u64::from(slots), "more unread than the ring has");
            h.q.wake_patient();
            h.q.arm(b.upto(slots));
        }
    }
}
