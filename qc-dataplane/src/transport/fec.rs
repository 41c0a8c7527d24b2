//! Parity of blocks: any `k` of a block's `k` chunks and its parity shards give all of it (Reed–Solomon over GF(2^16)).
//! One shard repairs a different chunk at each receiver, which is why it serves a tree.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// All parity shards of a block. `chunks` are of one length, a multiple of 64; the last is filled up with zeros.
/// Nothing for sizes that a [`super::wire::Shape`] does not have.
pub fn parity(chunks: &[Vec<u8>], shards: usize) -> Vec<Vec<u8>> {
    let Some(len) = chunks.first().map(Vec::len) else { return Vec::new() };
    let made = ReedSolomonEncoder::new(chunks.len(), shards, len).and_then(|mut encoder| {
        chunks.iter().try_for_each(|c| encoder.add_original_shard(c))?;
        Ok(encoder.encode()?.recovery_iter().map(<[u8]>::to_vec).collect())
    });
    made.unwrap_or_default()
}

/// The chunks that a block of `k` lacks, from those that are here and parity shards; numbers within the block. Nothing
/// if together they are too few.
pub fn recover(
    k: usize,
    shards: usize,
    len: usize,
    here: &[(usize, Vec<u8>)],
    parity: &[(u16, Vec<u8>)],
) -> Vec<(usize, Vec<u8>)> {
    let found = ReedSolomonDecoder::new(k, shards, len).and_then(|mut decoder| {
        here.iter().try_for_each(|(i, c)| decoder.add_original_shard(*i, c))?;
        parity.iter().try_for_each(|(i, p)| decoder.add_recovery_shard((*i).into(), p))?;
        Ok(decoder.decode()?.restored_original_iter().map(|(i, c)| (i, c.to_vec())).collect())
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_k_of_a_block_give_all_of_it() {
        let chunks: Vec<Vec<u8>> = (0..10u8).map(|i| (0..128).map(|j| i.wrapping_mul(j)).collect()).collect();
        let parity = parity(&chunks, 4);
        assert_eq!(parity.len(), 4);
        let here: Vec<_> =
            chunks.iter().cloned().enumerate().filter(|(i, _)| ![0, 3, 9].contains(i)).collect();
        let shards: Vec<_> = [3u16, 0, 2].map(|i| (i, parity[usize::from(i)].clone())).to_vec();
        let mut found = recover(10, 4, 128, &here, &shards);
        found.sort();
        assert_eq!(found, [0, 3, 9].map(|i| (i, chunks[i].clone())));
        assert!(recover(10, 4, 128, &here, &shards[..2]).is_empty(), "too few");
        assert!(recover(10, 4, 128, &here, &[(9, vec![0; 128])]).is_empty(), "no such shard");
    }
}
