//! Time for the transport, and numbers at random.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Nanoseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    /// Now.
    pub fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long it is until `at`.
    pub fn until(self, at: u64) -> Duration {
        Duration::from_nanos(at.saturating_sub(self.now()))
    }
}

/// A number of 53 bits, which every JSON reader takes, other than 0.
///
/// # Errors
///
/// The system has none.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok((u64::from_ne_bytes(bytes) >> 11).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_and_differ() {
        let some: std::collections::BTreeSet<u64> = (0..32).map(|_| random().unwrap()).collect();
        assert!(some.len() == 32 && some.iter().all(|n| *n > 0 && *n < 1 << 53));
    }
}
