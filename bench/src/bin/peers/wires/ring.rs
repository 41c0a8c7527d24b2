//! Valecast's rings, by the client library.

use std::path::Path;
use std::time::{Duration, Instant};

use valecast_bench::ends::{self, AHEAD};
use valecast_ring::SlotFlags;
use valecast_ring::client::{AttachOptions, Link, Port, RxRing, TxRing};

use super::Stamped;
use crate::frames::{Frames, Headers, STAMP_AT};
use crate::peer::{Trouble, Wire};

/// One attached port.
pub struct RingWire {
    _link: Link,
    tx: TxRing,
    rx: RxRing,
    lens: Vec<u16>,
    headers: Headers,
    stamped: Stamped,
}

impl RingWire {
    /// Attaches to `port`.
    pub fn open(socket: &Path, port: &str) -> Result<Self, Trouble> {
        let (link, tx, rx) = Port::attach(socket, port, &AttachOptions::default())?.split();
        let (Some(tx), Some(rx)) = (tx.into_iter().next(), rx.into_iter().next()) else {
            return Err(format!("port {port} has no rings").into());
        };
        Ok(Self {
            _link: link,
            tx,
            rx,
            lens: vec![],
            headers: Headers::default(),
            stamped: Stamped::default(),
        })
    }

    fn fill(&mut self, frames: &Frames, from: u32, to: u32) {
        for i in from..to {
            let slot = self.tx.slot_number(i) as usize;
            let frame = &frames.list[slot % frames.list.len()];
            self.tx.buffer(i)[..frame.len()].copy_from_slice(frame);
        }
    }

    /// Takes stamps out of the next `n` slots. Apart, as the next one is, since most jobs need neither.
    #[cold]
    #[inline(never)]
    fn wipe(&mut self, n: u32) {
        let (first, mask, tx) = (self.tx.slot_number(0), self.tx.slots() - 1, &mut self.tx);
        self.stamped.clean(first, n, mask, |slot| {
            tx.buffer(slot.wrapping_sub(first) & mask)[STAMP_AT..STAMP_AT + 8].fill(0);
        });
    }

    /// Writes headers into the next `n` slots.
    #[inline(never)]
    fn address(&mut self, n: u32) {
        for i in 0..n {
            self.tx.prefetch(i + AHEAD);
            self.tx.buffer(i)[..12].copy_from_slice(self.headers.next());
        }
    }

    fn all_free(&mut self) -> Result<(), Trouble> {
        let (begin, free) = (Instant::now(), self.tx.slots() - 1);
        while self.tx.room() < free {
            if begin.elapsed() > Duration::from_secs(2) {
                return Err("the switch does not take what is in the ring".into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Wire for RingWire {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        self.headers = Headers::new(frames);
        self.stamped = Stamped::default();
        let slots = self.tx.slots();
        self.lens = (0..slots as usize).map(|s| frames.list[s % frames.list.len()].len() as u16).collect();
        self.all_free()?;
        self.fill(frames, 0, slots - 1);
        // One slot of a ring is never free; it gets its frame once another has taken its place.
        self.send(1);
        self.all_free()?;
        self.fill(frames, slots - 2, slots - 1);
        Ok(())
    }

    #[inline]
    fn send(&mut self, n: u32) -> u32 {
        let n = self.tx.room_for(n).min(n);
        if n == 0 {
            return 0;
        }
        if self.stamped.any() {
            self.wipe(n);
        }
        if self.headers.needed() {
            self.address(n);
        }
        ends::hand_over(&mut self.tx, n, &self.lens);
        n
    }

    #[inline]
    fn recv(&mut self, max: u32) -> u32 {
        ends::recv(&mut self.rx, max)
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        if self.tx.room_for(1) == 0 {
            return false;
        }
        let slot = self.tx.slot_number(0);
        self.tx.buffer(0)[STAMP_AT..STAMP_AT + 8].copy_from_slice(&stamp.to_le_bytes());
        self.stamped.note(slot);
        self.tx.set(0, usize::from(self.lens[slot as usize]), SlotFlags::empty());
        self.tx.advance(1);
        self.tx.publish();
        true
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        let n = self.rx.pending().min(max);
        (0..n.min(AHEAD)).for_each(|i| self.rx.prefetch(i));
        for i in 0..n {
            self.rx.prefetch(i + AHEAD);
            let data = self.rx.frame(i).data;
            if let Some(Ok(bytes)) = data.get(STAMP_AT..STAMP_AT + 8).map(<[u8; 8]>::try_from)
                && bytes != [0; 8]
            {
                found(u64::from_le_bytes(bytes));
            }
        }
        self.rx.advance(n);
        self.rx.release();
        n
    }

    fn wait_recv(&mut self, many: u32, timeout: Duration) {
        let _ = self.rx.wait(many.min(self.rx.slots() / 2), Some(timeout));
    }

    fn wait_send(&mut self, timeout: Duration) {
        // As many as make waking up worth while.
        let _ = self.tx.wait(self.tx.slots() / 2, Some(timeout));
    }
}
