//! What goes wrong with each frame. Chance is drawn from a seed, frame by frame: the same seed and the same frames have
//! the same fate, whenever they come.

use valecast_config::Faults;

/// Most frames that overtake one.
const OVERTAKE: u64 = 8;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// It does not arrive.
    pub lost: bool,
    /// It arrives twice.
    pub twice: bool,
    /// How many frames overtake it; 0 for none.
    pub overtaken: u32,
    /// The bit that is flipped, counted from byte 14 on.
    pub flipped: Option<u64>,
}

/// A share of all frames, in 2⁻⁶⁴.
#[derive(Clone, Copy, Debug)]
struct Share(u128);

impl Share {
    fn of(share: f64) -> Self {
        // A cast from above the range gives its end, from a NaN 0.
        Self((share * 2f64.powi(64)) as u128)
    }
}

/// The fates of one port's frames.
#[derive(Debug)]
pub struct Fates {
    /// Chance that losses begin, and that they go on (Gilbert's model).
    begin: Share,
    go_on: Share,
    losing: bool,
    twice: Share,
    overtaken: Share,
    flipped: Share,
    state: u64,
}

impl Fates {
    /// As configured.
    pub fn new(f: &Faults) -> Self {
        let (begin, go_on) = match f.burst {
            _ if f.loss >= 1.0 => (1.0, 1.0),
            None => (f.loss, f.loss),
            // Of all frames `loss` are lost, `burst` of them in a row: so many begin a row.
            Some(burst) => (f.loss / (burst * (1.0 - f.loss)), 1.0 - 1.0 / burst),
        };
        Self {
            begin: Share::of(begin),
            go_on: Share::of(go_on),
            losing: false,
            twice: Share::of(f.duplicate),
            overtaken: Share::of(f.reorder),
            flipped: Share::of(f.corrupt),
            state: f.seed,
        }
    }

    /// That of the next frame, which has `len` bytes.
    pub fn next(&mut self, len: usize) -> Fate {
        self.losing = self.happens(if self.losing { self.go_on } else { self.begin });
        // All are drawn for each frame, so that one setting does not change what the others do.
        let (twice, overtaken, flipped) =
            (self.happens(self.twice), self.happens(self.overtaken), self.happens(self.flipped));
        let (by, bit) = (self.draw(), self.draw());
        let bits = 8 * len.saturating_sub(14) as u64;
        Fate {
            lost: self.losing,
            twice,
            overtaken: if overtaken { 1 + (by % OVERTAKE) as u32 } else { 0 },
            flipped: (flipped && bits > 0).then(|| bit % bits.max(1)),
        }
    }

    fn happens(&mut self, share: Share) -> bool {
        u128::from(self.draw()) < share.0
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
