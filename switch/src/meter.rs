//! The token bucket, in the form of a virtual clock (GCRA): integer arithmetic, time as an argument, one
//! atomic exchange per burst, shared by any number of workers.
//!
//! The state is the time at which the bucket would be full again. A frame conforms if paying for it
//! leaves that time at most `burst` ahead of now.

use std::sync::atomic::{AtomicU64, Ordering};

use valecast_config::MeterMode;

/// Time in units of 2⁻¹⁰ ns: 208 days in 64 bits, compared wrapping.
const SUB: u32 = 10;
/// Fraction bits of the price of a byte.
const FRAC: u32 = 20;

/// How long (ns) frames over the rate wait at the least, if the bucket is deep enough.
const TOGETHER: u64 = 250_000;

/// A rate limit.
#[derive(Debug)]
pub struct Meter {
    /// Price of a byte, in 2⁻³⁰ ns.
    price: u64,
    /// Depth of the bucket, in 2⁻¹⁰ ns.
    depth: u64,
    /// What happens to frames over the rate.
    pub mode: MeterMode,
    full_at: AtomicU64,
}

/// A meter's state during one burst of one worker.
#[derive(Debug)]
pub struct Turn {
    start: u64,
    at: u64,
    now: u64,
}

impl Meter {
    /// `rate` in bit/s, `burst` in bytes. Both are at least 1.
    pub fn new(rate: u64, burst: u64, mode: MeterMode) -> Self {
        let price = ((8_000_000_000u128 << (SUB + FRAC)) / u128::from(rate.max(1))).min(u128::from(u64::MAX));
        let price = (price as u64).max(1);
        let depth = ((u128::from(price) * u128::from(burst.max(1))) >> FRAC).min(1 << 62) as u64;
        Self { price, depth, mode, full_at: AtomicU64::new(0) }
    }

    /// Goes on where `old` is at `now_ns`: what was sent on its credit is owed to this one, so that a rate which is changed
    /// often still holds.
    #[must_use]
    pub fn after(self, old: &Self, now_ns: u64) -> Self {
        let now = now_ns << SUB;
        // ORDERING: Relaxed: as in `begin`; a burst that ends meanwhile pays to `old` and is forgiven.
        let ahead = later(old.full_at.load(Ordering::Relaxed), now).wrapping_sub(now);
        let owed = (u128::from(ahead) * u128::from(self.price) / u128::from(old.price.max(1))) as u64;
        self.full_at.store(now.wrapping_add(owed.min(self.depth)), Ordering::Relaxed);
        self
    }

    fn cost(&self, bytes: usize) -> u64 {
        ((u128::from(self.price) * bytes as u128) >> FRAC) as u64
    }

    /// Begins a burst at `now_ns`.
    pub fn begin(&self, now_ns: u64) -> Turn {
        let now = now_ns << SUB;
        // ORDERING: Relaxed: the word stands for itself.
        let start = self.full_at.load(Ordering::Relaxed);
        Turn { start, at: later(start, now), now }
    }

    /// Pays for a frame. `Err`: it does not conform before that time (ns), and it is worth waiting until then: of a
    /// deep bucket several frames go together, as a wake-up for each would cost more than they do. A frame deeper than
    /// the bucket conforms when the bucket is full, else it never would.
    pub fn pay(&self, t: &mut Turn, bytes: usize) -> Result<(), u64> {
        let cost = self.cost(bytes);
        let ahead = t.at.wrapping_sub(t.now);
        if ahead == 0 || ahead.saturating_add(cost) <= self.depth {
            t.at = t.at.wrapping_add(cost);
            return Ok(());
        }
        let wait = ahead.saturating_add(cost).saturating_sub(self.depth).min(ahead);
        // Far from a full bucket, so that nothing of the rate is lost.
        let wait = wait.max((self.depth / 8).min(TOGETHER << SUB)).min(ahead);
        Err((t.now.wrapping_add(wait) >> SUB) + 1)
    }

    /// Takes a payment of this turn back.
    pub fn refund(&self, t: &mut Turn, bytes: usize) {
        t.at = t.at.wrapping_sub(self.cost(bytes));
    }

    /// Ends the burst: books what was paid.
    pub fn end(&self, t: &Turn) {
        let paid = t.at.wrapping_sub(later(t.start, t.now));
        if paid == 0 {
            return;
        }
        let mut seen = t.start;
        // Another worker's payments in between stand; ours are added to them.
        loop {
            let new = later(seen, t.now).wrapping_add(paid);
            match self.full_at.compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(s) => seen = s,
            }
        }
    }
}

fn later(a: u64, b: u64) -> u64 {
    if (a.wrapping_sub(b) as i64) > 0 { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(m: &Meter, from: u64, to: u64, step: u64, len: usize) -> u64 {
        let (mut n, mut now) = (0, from);
        while now < to {
            let mut t = m.begin(now);
            while m.pay(&mut t, len).is_ok() {
                n += 1;
            }
            m.end(&t);
            now += step;
        }
        n
    }

    proptest! {
        /// Over any span: rate x time, within one bucket and one part in a thousand.
        #[test]
        fn keeps_the_rate(rate in 1_000_000u64..100_000_000_000, len in 60usize..1515, step in 1_000u64..100_000) {
            let burst = 64 * 1024u64;
            let m = Meter::new(rate, burst.max(rate / 8 * step / 1_000_000_000 * 2), MeterMode::Police);
            let span = 20_000_000;
            let depth = burst.max(rate / 8 * step / 1_000_000_000 * 2) as f64;
            let got = passed(&m, 1_000, 1_000 + span, step, len) as f64 * len as f64;
            let want = rate as f64 / 8.0 * span as f64 / 1e9;
            prop_assert!(got <= (want + depth) * 1.001 + len as f64, "{got} {want}");
            prop_assert!(got >= want * 0.999 - 2.0 * len as f64 - rate as f64 / 8.0 * step as f64 / 1e9, "{got} {want}");
        }
    }

    #[test]
    fn says_when_the_next_conforms() {
        let m = Meter::new(8_000_000, 1000, MeterMode::Shape); // 1 byte per us
        let mut t = m.begin(0);
        assert_eq!(m.pay(&mut t, 1000), Ok(()));
        let at = m.pay(&mut t, 500).unwrap_err();
        assert!((500_000..500_100).contains(&at), "{at}");
        m.end(&t);
        let mut t = m.begin(at);
        assert_eq!(m.pay(&mut t, 500), Ok(()));
        m.refund(&mut t, 500);
        assert_eq!(m.pay(&mut t, 500), Ok(()));
        assert!(m.pay(&mut t, 1).is_err());
    }

    #[test]
    fn a_change_of_rate_forgives_nothing() {
        let old = Meter::new(8_000_000, 1000, MeterMode::Shape); // 1 byte per us
        let mut t = old.begin(0);
        assert_eq!(old.pay(&mut t, 1000), Ok(()));
        old.end(&t);
        // Half is paid after 500 us; the other 500 bytes take 250 us at twice the rate.
        let new = Meter::new(16_000_000, 1000, MeterMode::Shape).after(&old, 500_000);
        let mut t = new.begin(500_000);
        assert_eq!(new.pay(&mut t, 500), Ok(()));
        let at = new.pay(&mut t, 500).unwrap_err();
        assert!((750_000..750_100).contains(&at), "{at}");
        // Long after, the bucket is full.
        let late = Meter::new(16_000_000, 1000, MeterMode::Shape).after(&old, 10_000_000);
        assert_eq!(late.pay(&mut late.begin(10_000_000), 1000), Ok(()));
    }

    #[test]
    fn a_frame_deeper_than_the_bucket_still_passes() {
        let m = Meter::new(8_000_000, 100, MeterMode::Shape);
        let mut t = m.begin(5);
        assert_eq!(m.pay(&mut t, 1500), Ok(()));
        assert!(m.pay(&mut t, 1500).is_err());
    }
}
