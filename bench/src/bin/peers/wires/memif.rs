//! A memif as a wire.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Stamped;
use crate::frames::{Frames, Headers, STAMP_AT};
use crate::memif::link::{Introduced, Link, join};
use crate::peer::{Trouble, Wire};

/// Fetched so many frames ahead.
const AHEAD: u32 = 8;

/// One connected memif.
pub struct MemifWire {
    link: Link,
    /// What each slot sends. Where the switch owns the buffers they are copied in for every frame.
    frames: Vec<Vec<u8>>,
    lens: Vec<u32>,
    headers: Headers,
    stamped: Stamped,
}

impl MemifWire {
    /// Connects to a switch that listens.
    pub fn open(path: &Path, id: u32, queue: u16) -> Result<Self, Trouble> {
        Ok(Self::over(join(path, id, queue)?))
    }

    /// Takes a switch that has connected.
    pub fn welcome(switch: Introduced) -> Result<Self, Trouble> {
        Ok(Self::over(switch.welcome()?))
    }

    fn over(link: Link) -> Self {
        Self { link, frames: vec![], lens: vec![], headers: Headers::default(), stamped: Stamped::default() }
    }

    /// Takes stamps out of the next `n` slots. Apart, since most jobs need it not.
    #[cold]
    #[inline(never)]
    fn wipe(&mut self, n: u32) {
        let (first, mask) = (self.link.rings.slot(0), self.link.rings.mask());
        let rings = &mut self.link.rings;
        self.stamped.clean(first, n, mask, |slot| rings.patch(slot, STAMP_AT, &[0; 8]));
    }

    #[inline]
    fn write(&mut self, i: u32) {
        let slot = self.link.rings.slot(i);
        if self.link.rings.keeps() {
            self.link.rings.set(i, self.lens[slot as usize]);
        } else {
            let n = self.frames.len();
            self.link.rings.put(i, &self.frames[slot as usize % n]);
        }
        if self.headers.needed() {
            self.link.rings.patch(slot, 0, self.headers.next());
        }
    }

    /// Apart, since most looks of a client that sends frame by frame find nothing, and need no registers.
    #[inline(never)]
    fn take(&mut self, n: u32) {
        let rings = &mut self.link.rings;
        let mut sum = 0u8;
        (0..n.min(AHEAD)).for_each(|i| rings.prefetch(i));
        for i in 0..n {
            rings.prefetch((i + AHEAD).min(n - 1));
            sum ^= rings.frame(i).first().copied().unwrap_or(0);
        }
        std::hint::black_box(sum);
        rings.release(n);
    }
}

impl Wire for MemifWire {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        let slots = self.link.rings.mask() + 1;
        self.headers = Headers::new(frames);
        self.stamped = Stamped::default();
        self.frames.clone_from(&frames.list);
        let of = |slot: u32| &frames.list[slot as usize % frames.list.len()];
        self.lens = (0..slots).map(|s| of(s).len() as u32).collect();
        if self.link.rings.keeps() {
            let begin = Instant::now();
            while self.link.rings.room() < slots {
                if begin.elapsed() > Duration::from_secs(2) {
                    return Err("the switch does not take what is in the ring".into());
                }
                std::thread::yield_now();
            }
            for i in 0..slots {
                let frame = of(self.link.rings.slot(i));
                self.link.rings.put(i, frame);
            }
        }
        Ok(())
    }

    #[inline]
    fn send(&mut self, n: u32) -> u32 {
        let n = self.link.rings.room_for(n).min(n);
        if n == 0 {
            return 0;
        }
        if self.stamped.any() {
            self.wipe(n);
        }
        let writes = self.headers.needed() || !self.link.rings.keeps();
        for i in 0..n {
            if writes && i + AHEAD < n {
                self.link.rings.prefetch_free(i + AHEAD);
            }
            self.write(i);
        }
        self.link.rings.publish(n);
        n
    }

    #[inline]
    fn recv(&mut self, max: u32) -> u32 {
        let n = self.link.rings.pending().min(max);
        if n > 0 {
            self.take(n);
        }
        n
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        if self.link.rings.room_for(1) == 0 {
            return false;
        }
        let slot = self.link.rings.slot(0);
        self.write(0);
        self.link.rings.patch(slot, STAMP_AT, &stamp.to_le_bytes());
        if self.link.rings.keeps() {
            self.stamped.note(slot);
        }
        self.link.rings.publish(1);
        true
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        let rings = &mut self.link.rings;
        let n = rings.pending().min(max);
        (0..n.min(AHEAD)).for_each(|i| rings.prefetch(i));
        for i in 0..n {
            rings.prefetch((i + AHEAD).min(n - 1));
            if let Some(Ok(bytes)) = rings.frame(i).get(STAMP_AT..STAMP_AT + 8).map(<[u8; 8]>::try_from)
                && bytes != [0; 8]
            {
                found(u64::from_le_bytes(bytes));
            }
        }
        if n > 0 {
            rings.release(n);
        }
        n
    }

    fn wait_recv(&mut self, _: u32, timeout: Duration) {
        self.link.rings.ask_for_bells(true);
        if self.link.rings.pending() == 0 {
            // A sender looks at the flag without a fence, so a bell may be missed: look again before long.
            self.link.sleep(timeout.min(Duration::from_millis(1)));
        }
        self.link.rings.ask_for_bells(false);
    }

    fn wait_send(&mut self, _: Duration) {
        // Nothing in memif tells a sender of room; it can only let others run.
        std::thread::yield_now();
    }
}
