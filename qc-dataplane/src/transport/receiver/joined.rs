//! What a receiver has once it knows the manifest.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::transport::fec;
use crate::transport::files::FileError;
use crate::transport::files::store::Store;
use crate::transport::wire::Shape;

/// Bytes of parity that wait for their blocks.
const PARITY: usize = 8 << 20;

/// What came of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub bytes: u64,
    pub recovered: u64,
    pub duplicate: bool,
}

/// The store, and parity of blocks that cannot be completed yet.
pub(super) struct Joined {
    pub store: Store,
    pub shape: Shape,
    parity: BTreeMap<u64, Vec<(u16, Vec<u8>)>>,
    shards: usize,
    /// Whether a step of hashing may find something to do.
    behind: bool,
}

impl Joined {
    pub fn new(store: Store, shape: Shape) -> Self {
        Self { store, shape, parity: BTreeMap::new(), shards: 0, behind: true }
    }

    pub fn data(&mut self, n: u64, bytes: &[u8]) -> Result<Taken, FileError> {
        if !self.store.put(n, bytes)? {
            return Ok(Taken { duplicate: true, ..Taken::default() });
        }
        self.behind = true;
        let mut taken = Taken { bytes: bytes.len() as u64, ..Taken::default() };
        if let Some((k, _)) = self.shape.fec()
            && self.shards > 0
            && self.parity.contains_key(&(n / k as u64))
        {
            self.recover(n / k as u64, &mut taken)?;
        }
        Ok(taken)
    }

    pub fn parity(&mut self, block: u64, shard: u16, bytes: &[u8]) -> Result<Taken, FileError> {
        let mut taken = Taken::default();
        let all = self.shape.block(block);
        let held = self.parity.entry(block).or_default();
        if self.store.missing(all.start, all.end)?.is_none() || held.iter().any(|(s, _)| *s == shard) {
            taken.duplicate = true;
            if held.is_empty() {
                self.parity.remove(&block);
            }
            return Ok(taken);
        }
        held.push((shard, bytes.to_vec()));
        self.shards += 1;
        self.recover(block, &mut taken)?;
        while self.shards * self.shape.chunk() > PARITY {
            // The lowest block is the next to be repaired.
            let Some((_, lost)) = self.parity.pop_last() else { break };
            self.shards -= lost.len();
        }
        Ok(taken)
    }

    /// Completes a block if there is enough of it.
    fn recover(&mut self, block: u64, taken: &mut Taken) -> Result<(), FileError> {
        let Some((_, m)) = self.shape.fec() else { return Ok(()) };
        let all = self.shape.block(block);
        let mut missing = 0;
        let mut at = all.start;
        while let Some(r) = self.store.missing(at, all.end)? {
            missing += (r.end - r.start) as usize;
            at = r.end;
        }
        let held = self.parity.get(&block).map_or(0, Vec::len);
        if missing > held {
            return Ok(());
        }
        let parity = self.parity.remove(&block).unwrap_or_default();
        self.shards -= parity.len();
        if missing == 0 {
            return Ok(());
        }
        let len = self.shape.chunk();
        let mut here = Vec::new();
        for n in all.clone() {
            if self.store.has(n)? {
                let mut bytes = vec![0; len];
                self.store.get(n, &mut bytes)?;
                here.push(((n - all.start) as usize, bytes));
            }
        }
        let k = (all.end - all.start) as usize;
        for (i, bytes) in fec::recover(k, m, len, &here, &parity) {
            let n = all.start + i as u64;
            if let Some(bytes) = bytes.get(..self.shape.len_of(n))
                && self.store.put(n, bytes)?
            {
                taken.bytes += bytes.len() as u64;
                taken.recovered += 1;
                self.behind = true;
            }
        }
        Ok(())
    }

    /// Runs that are missing and that no parity here stands for.
    pub fn lacks(&mut self, about: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = about.start;
        // Block, and how many of its chunks parity stands for.
        let mut stands = (u64::MAX, 0u64);
        std::iter::from_fn(move || {
            loop {
                let mut r = self.store.missing(at, about.end).ok().flatten()?;
                if let Some((k, _)) = self.shape.fec().filter(|_| self.shards > 0) {
                    let block = r.start / k as u64;
                    r.end = r.end.min(self.shape.block(block).end);
                    if stands.0 != block {
                        stands = (block, self.parity.get(&block).map_or(0, |p| p.len() as u64));
                    }
                    let less = stands.1.min(r.end - r.start);
                    stands.1 -= less;
                    at = r.end;
                    r.start += less;
                    if r.is_empty() {
                        continue;
                    }
                }
                at = r.end;
                return Some(r);
            }
        })
    }

    /// Hashes some of what is here; see [`Store::hash`].
    pub fn hash(&mut self, most: usize) -> Result<Option<[u8; 32]>, FileError> {
        if !self.behind {
            return Ok(self.store.done());
        }
        let before = self.store.hashed();
        let found = self.store.hash(most)?;
        self.behind = self.store.hashed() - before >= most as u64;
        Ok(found)
    }

    /// Whether [`Self::hash`] has work.
    pub fn can_hash(&self) -> bool {
        self.behind
    }

    /// Forgets all content.
    pub fn clear(&mut self) -> Result<(), FileError> {
        self.parity.clear();
        self.shards = 0;
        self.behind = true;
        self.store.clear()
    }
}
