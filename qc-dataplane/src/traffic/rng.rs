//! Draws by name: ChaCha with 8 rounds, and own transformations, so that a seed means the same transfers as long
//! as this file stays. Library distributions may change theirs between versions.

use rand_chacha::rand_core::Rng;

/// Evenly from (0, 1]: never 0, so its logarithm is a number.
pub fn unit(rng: &mut impl Rng) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Exponential with mean 1.
pub fn exponential(rng: &mut impl Rng) -> f64 {
    -unit(rng).ln()
}

/// Evenly from 0 to below `n`, which must not be 0. The bias is below `n` in 2^64.
pub fn below(rng: &mut impl Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Puts an even draw of `first` items without repetition to the front of `items` (Fisher and Yates).
pub fn shuffle<T>(rng: &mut impl Rng, items: &mut [T], first: usize) {
    for i in 0..first.min(items.len()) {
        let other = i + below(rng, items.len() - i);
        items.swap(i, other);
    }
}
