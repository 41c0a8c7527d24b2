//! Random addresses and sizes: small, fast, and the same for the same seed.

/// A SplitMix64 generator: good enough to spread addresses, not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that always gives the same numbers for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `lo` to `hi`, both included.
    #[inline]
    pub fn between(&mut self, lo: usize, hi: usize) -> usize {
        let span = hi.saturating_sub(lo) as u64 + 1;
        lo + ((u128::from(self.next_u64()) * u128::from(span)) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_between_and_reaches_both_ends() {
        let mut r = Rng::new(1);
        let seen: Vec<usize> = (0..1000).map(|_| r.between(60, 63)).collect();
        assert!(seen.iter().all(|n| (60..=63).contains(n)));
        assert!((60..=63).all(|n| seen.contains(&n)));
        assert_eq!(Rng::new(7).next_u64(), Rng::new(7).next_u64());
    }
}
