//! The statistics registers: counters that a read clears, and that stay at their end instead of wrapping.
//!
//! Manual, section 13.7. Octets count from the destination address to the FCS.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::regs::STATS;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $at:expr;)*) => {
        /// Registers of 32 bits, by offset from the first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Word { $($(#[$doc])* $name = $at,)* }
    };
}

words! {
    /// Missed: no room.
    Mpc = 0x10;
    /// Received with 64 bytes; longer classes follow, one word each.
    Prc64 = 0x5c;
    /// Received well.
    Gprc = 0x74;
    /// Received broadcasts.
    Bprc = 0x78;
    /// Received multicasts.
    Mprc = 0x7c;
    /// Sent well.
    Gptc = 0x80;
    /// Received when there were no buffers.
    Rnbc = 0xa0;
    /// Too short.
    Ruc = 0xa4;
    /// Too long.
    Roc = 0xac;
    /// Received in all.
    Tpr = 0xd0;
    /// Sent in all.
    Tpt = 0xd4;
    /// Sent with 64 bytes; longer classes follow.
    Ptc64 = 0xd8;
    /// Sent multicasts.
    Mptc = 0xf0;
    /// Sent broadcasts.
    Bptc = 0xf4;
    /// Segmentations.
    Tsctc = 0xf8;
    /// Segmentations that failed.
    Tsctfc = 0xfc;
}

/// Registers of 64 bits (low half first; reading the high half clears both).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Octets {
    /// Received well.
    Gorc = 0x88,
    /// Sent well.
    Gotc = 0x90,
    /// Received in all.
    Tor = 0xc0,
    /// Sent in all.
    Tot = 0xc8,
}

const LONG: [Octets; 4] = [Octets::Gorc, Octets::Gotc, Octets::Tor, Octets::Tot];

/// Bytes of the FCS, which is counted and never seen.
const FCS: u64 = 4;

/// What one burst adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch {
    frames: u32,
    octets: u64,
    broadcasts: u32,
    multicasts: u32,
    sizes: [u32; 6],
}

impl Batch {
    /// `n` frames of `len` bytes (without FCS) to `to`.
    pub fn add(&mut self, to: &[u8; 6], len: usize, n: u32) {
        let octets = len.max(60) as u64 + FCS;
        self.frames = self.frames.saturating_add(n);
        self.octets = self.octets.saturating_add(octets * u64::from(n));
        let class = [64, 127, 255, 511, 1023].iter().take_while(|most| octets > **most).count();
        self.sizes[class] = self.sizes[class].saturating_add(n);
        if *to == [0xff; 6] {
            self.broadcasts = self.broadcasts.saturating_add(n);
        } else if to[0] & 1 != 0 {
            self.multicasts = self.multicasts.saturating_add(n);
        }
    }

    /// Frames in it.
    pub fn frames(&self) -> u32 {
        self.frames
    }
}

/// The registers.
#[derive(Debug)]
pub struct Stats {
    words: [AtomicU32; 64],
    long: [AtomicU64; 4],
}

impl Default for Stats {
    fn default() -> Self {
        Self { words: [const { AtomicU32::new(0) }; 64], long: [const { AtomicU64::new(0) }; 4] }
    }
}

// ORDERING: Relaxed throughout; counters order nothing.
impl Stats {
    fn add_at(&self, at: u32, n: u32) {
        if n != 0 {
            let w = &self.words[at as usize / 4 % 64];
            let add = |v: u32| Some(v.saturating_add(n));
            let _ = w.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Adds to a counter.
    pub fn add(&self, w: Word, n: u32) {
        self.add_at(w as u32, n);
    }

    fn add_octets(&self, o: Octets, n: u64) {
        if let Some(i) = LONG.iter().position(|l| *l == o) {
            let add = |v: u64| Some(v.saturating_add(n));
            let _ = self.long[i].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Frames that were received.
    pub fn received(&self, b: &Batch) {
        self.batch(b, [Word::Gprc, Word::Tpr, Word::Bprc, Word::Mprc, Word::Prc64]);
        self.add_octets(Octets::Gorc, b.octets);
        self.add_octets(Octets::Tor, b.octets);
    }

    /// Frames that were sent.
    pub fn sent(&self, b: &Batch) {
        self.batch(b, [Word::Gptc, Word::Tpt, Word::Bptc, Word::Mptc, Word::Ptc64]);
        self.add_octets(Octets::Gotc, b.octets);
        self.add_octets(Octets::Tot, b.octets);
    }

    fn batch(&self, b: &Batch, [good, total, broadcast, multicast, sizes]: [Word; 5]) {
        self.add(good, b.frames);
        self.add(total, b.frames);
        self.add(broadcast, b.broadcasts);
        self.add(multicast, b.multicasts);
        for (class, n) in (0u32..).zip(b.sizes) {
            self.add_at(sizes as u32 + 4 * class, n);
        }
    }

    /// A guest's read of the register at `at`, an offset in BAR 0.
    pub fn read(&self, at: u32) -> u32 {
        let at = at - STATS;
        match LONG.iter().position(|l| at & !7 == *l as u32) {
            Some(i) if at & 4 == 0 => self.long[i].load(Ordering::Relaxed) as u32,
            Some(i) => (self.long[i].swap(0, Ordering::Relaxed) >> 32) as u32,
            None => self.words[at as usize / 4 % 64].swap(0, Ordering::Relaxed),
        }
    }

    /// As after power on.
    pub fn reset(&self) {
        self.words.iter().for_each(|w| w.store(0, Ordering::Relaxed));
        self.long.iter().for_each(|w| w.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_clear_and_counts_stay_at_their_end() {
        let s = Stats::default();
        let mut b = Batch::default();
        b.add(&[0xff; 6], 60, 3);
        b.add(&[1, 0, 0x5e, 0, 0, 1], 124, 2);
        b.add(&[2, 0, 0, 0, 0, 1], 1514, 1);
        assert_eq!(b.frames(), 6);
        s.sent(&b);
        let read = |w: u32| s.read(STATS + w);
        assert_eq!((read(Word::Gptc as u32), read(Word::Gptc as u32)), (6, 0));
        assert_eq!((read(Word::Bptc as u32), read(Word::Mptc as u32)), (3, 2));
        assert_eq!([read(0xd8), read(0xdc), read(0xe0), read(0xec)], [3, 0, 2, 1]);
        assert_eq!(read(0x90), 3 * 64 + 2 * 128 + 1518);
        assert_eq!(read(0x90), 3 * 64 + 2 * 128 + 1518, "the low half stays until the high half is read");
        assert_eq!((read(0x94), read(0x90)), (0, 0));
        s.add(Word::Mpc, u32::MAX);
        s.add(Word::Mpc, 7);
        assert_eq!(read(Word::Mpc as u32), u32::MAX);
        s.received(&b);
        s.reset();
        assert_eq!((read(0x74), read(0x88)), (0, 0));
    }
}
