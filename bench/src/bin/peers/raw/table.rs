//! The least that a learning bridge needs: addresses to ports, in a hash table that is never full.

const SLOTS: usize = 1 << 16;

/// Address (48 bits, port above them) by hash.
pub struct Table {
    slots: Vec<u64>,
}

const ADDRESS: u64 = (1 << 48) - 1;

#[inline(always)]
fn hash(address: u64) -> usize {
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
}

impl Table {
    /// Empty: no address is 0.
    pub fn new() -> Self {
        Self { slots: vec![0; SLOTS] }
    }

    /// Where an address was last seen.
    #[inline(always)]
    pub fn look_up(&self, address: u64) -> Option<usize> {
        let mut i = hash(address);
        loop {
            let e = self.slots[i & (SLOTS - 1)];
            if e & ADDRESS == address {
                return Some((e >> 48) as usize);
            }
            if e == 0 {
                return None;
            }
            i += 1;
        }
    }

    /// Sees an address at a port.
    #[inline(always)]
    pub fn learn(&mut self, address: u64, port: usize) {
        let entry = address | (port as u64) << 48;
        let mut i = hash(address);
        loop {
            let e = self.slots[i & (SLOTS - 1)];
            if e == entry {
                return;
            }
            if e == 0 || e & ADDRESS == address {
                self.slots[i & (SLOTS - 1)] = entry;
                return;
            }
            i += 1;
        }
    }
}

/// Destination and source out of a frame's first words.
#[inline(always)]
pub fn addresses(words: [u64; 3]) -> (u64, u64) {
    (words[0] & ADDRESS, words[0] >> 48 | (words[1] & 0xffff_ffff) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_and_moves() {
        let mut t = Table::new();
        assert_eq!(t.look_up(7), None);
        for i in 1..20_000 {
            t.learn(i, (i % 5) as usize);
        }
        assert!((1..20_000).all(|i| t.look_up(i) == Some((i % 5) as usize)));
        t.learn(7, 1);
        assert_eq!(t.look_up(7), Some(1));
    }

    #[test]
    fn reads_addresses() {
        let frame: Vec<u8> = (1..=24).collect();
        let mut words = [0; 3];
        for (w, b) in words.iter_mut().zip(frame.chunks(8)) {
            *w = u64::from_le_bytes(b.try_into().unwrap());
        }
        assert_eq!(addresses(words), (0x0605_0403_0201, 0x0c0b_0a09_0807));
    }
}
