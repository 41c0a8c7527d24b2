//! The clock of a line: frames go one after another, each as long as its bytes take.
//!
//! It goes by the times at which frames came, not by those at which somebody looks: whoever looks late finds that
//! several have left meanwhile, and none of the line's capacity is lost.

/// Fraction bits of a ns.
const FRAC: u32 = 30;

/// A line of some rate.
#[derive(Debug)]
pub struct Pacer {
    /// Time that a byte takes, in 2⁻³⁰ ns.
    price: u64,
    /// When the last frame was through, in 2⁻³⁰ ns.
    free_at: u128,
}

impl Pacer {
    /// `rate` in bit/s, at least 1.
    pub fn new(rate: u64) -> Self {
        Self { price: price(rate), free_at: 0 }
    }

    /// Another rate, from the next frame on.
    pub fn set_rate(&mut self, rate: u64) {
        self.price = price(rate);
    }

    /// A frame of `bytes` bytes that came at `came` (ns) is next: when its last bit has left. `Err`: that is after `now`,
    /// and nothing was booked.
    pub fn leave(&mut self, bytes: usize, came: u64, now: u64) -> Result<u64, u64> {
        let begin = self.free_at.max(u128::from(came) << FRAC);
        let end = begin + u128::from(self.price) * bytes as u128;
        let at = u64::try_from(end.div_ceil(1 << FRAC)).unwrap_or(u64::MAX);
        if at > now {
            return Err(at);
        }
        self.free_at = end;
        Ok(at)
    }
}

fn price(rate: u64) -> u64 {
    let price = (8_000_000_000u128 << FRAC).div_ceil(u128::from(rate.max(1)));
    u64::try_from(price).unwrap_or(u64::MAX)
}
