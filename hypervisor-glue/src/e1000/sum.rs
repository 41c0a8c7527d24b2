//! Ones' complement sums (RFC 1071).

/// Adds the big-endian words of `b`; `odd`: its first byte is the low half of a word.
pub fn add(mut sum: u64, b: &[u8], odd: bool) -> u64 {
    let b = match b.split_first() {
        Some((first, rest)) if odd => {
            sum += u64::from(*first);
            rest
        }
        _ => b,
    };
    let mut words = b.chunks_exact(2);
    for w in &mut words {
        sum += u64::from(u16::from_be_bytes([w[0], w[1]]));
    }
    sum + words.remainder().first().map_or(0, |last| u64::from(*last) << 8)
}

/// Folds to 16 bits, without the complement.
pub fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_and_any_cut_of_it() {
        let b = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(add(0, &b, false)), 0xddf2);
        for cut in 0..=b.len() {
            let s = add(add(0, &b[..cut], false), &b[cut..], cut % 2 == 1);
            assert_eq!(fold(s), 0xddf2, "cut at {cut}");
        }
        assert_eq!(fold(add(0, &[0x12], false)), 0x1200);
    }
}
