//! When to answer a poll.

use std::ops::Range;

use rand_chacha::rand_core::Rng;

use crate::traffic::rng::unit;

/// An answer that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// On the receiver's steady clock.
    pub due: u64,
    pub round: u32,
    /// Which chunks it is about.
    pub about: Range<u64>,
    /// Only if something is lacking, and not if that is coming anyway.
    pub is_lack: bool,
}

/// Nanoseconds to wait for an answer to a poll with that spread in microseconds, if so many may answer. Evenly if all
/// must; if one answer may make the others needless, late for nearly all (RFC 5401, section 5.2).
pub fn delay(rng: &mut impl Rng, spread: u32, group: u32, all: bool) -> u64 {
    let most = f64::from(spread) * 1000.0;
    let u = unit(rng);
    let part = if all {
        u
    } else {
        let lambda = f64::from(group.max(1)).ln() + 1.0;
        (u * lambda.exp_m1()).ln_1p() / lambda
    };
    (part.clamp(0.0, 1.0) * most) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn of_a_thousand_few_are_early() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut early = 0;
        for _ in 0..100 {
            early += (0..1000).filter(|_| delay(&mut rng, 1000, 1000, false) < 250_000).count();
        }
        // (e^(λ/4) - 1) / (e^λ - 1) of them, λ = ln 1000 + 1: 2.3 in each thousand.
        assert!((150..350).contains(&early), "{early}");
        assert!((0..1000).all(|_| delay(&mut rng, 7, 0, true) <= 7000));
    }
}
