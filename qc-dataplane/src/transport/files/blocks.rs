//! Chunks gathered to large aligned writes: one block is 1024 chunks in a row, a whole number of pages of the disk for any
//! chunk size, and leaves when it is full, or as the one that was used longest ago when memory is short.

use std::ops::Range;

/// Chunks of a block.
pub const BLOCK: u64 = 1024;
const WORDS: usize = BLOCK as usize / 64;

/// A block, not yet on the disk.
pub struct Block {
    number: u64,
    data: Vec<u8>,
    filled: [u64; WORDS],
    /// Chunks that are here, and those that were written before.
    count: u64,
    used: u64,
}

impl Block {
    /// Its first chunk.
    pub fn first(&self) -> u64 {
        self.number * BLOCK
    }

    /// Runs of chunks that are here, with their bytes.
    pub fn runs(&self, chunk: usize) -> impl Iterator<Item = (Range<u64>, &[u8])> {
        let base = self.number * BLOCK;
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < BLOCK && !self.has(at) {
                at += 1;
            }
            let start = at;
            while at < BLOCK && self.has(at) {
                at += 1;
            }
            let bytes = self.data.get(start as usize * chunk..at as usize * chunk)?;
            (start < at).then_some((base + start..base + at, bytes))
        })
    }

    fn has(&self, i: u64) -> bool {
        self.filled[(i / 64) as usize] >> (i % 64) & 1 != 0
    }
}

/// The blocks in memory.
pub struct Blocks {
    chunk: usize,
    chunks: u64,
    most: usize,
    blocks: Vec<Block>,
    last: usize,
    tick: u64,
    spare: Vec<Vec<u8>>,
}

impl Blocks {
    /// Blocks of chunks of so many bytes, `chunks` in all, in at most `memory` bytes but at least two blocks.
    pub fn new(chunk: usize, chunks: u64, memory: usize) -> Self {
        let most = (memory / (chunk * BLOCK as usize)).max(2);
        Self { chunk, chunks, most, blocks: Vec::new(), last: 0, tick: 0, spare: Vec::new() }
    }

    /// Takes a chunk. Returns a block that is to be written now, if there is one. `written` is asked how many chunks of
    /// its block were written before, if the block is not here: with those it is full.
    ///
    /// # Errors
    ///
    /// Those of `written`; nothing is taken then.
    pub fn put<E>(
        &mut self,
        chunk: u64,
        bytes: &[u8],
        written: impl FnOnce() -> Result<u64, E>,
    ) -> Result<Option<Block>, E> {
        let number = chunk / BLOCK;
        self.tick += 1;
        let mut out = None;
        if self.blocks.get(self.last).is_none_or(|b| b.number != number) {
            self.last = match self.blocks.iter().position(|b| b.number == number) {
                Some(at) => at,
                None => {
                    let count = written()?;
                    if self.blocks.len() == self.most {
                        let oldest = (0..self.most).min_by_key(|i| self.blocks[*i].used).unwrap_or(0);
                        out = Some(self.blocks.swap_remove(oldest));
                    }
                    let mut data = self.spare.pop().unwrap_or_default();
                    data.resize(self.chunk * BLOCK as usize, 0);
                    self.blocks.push(Block { number, data, filled: [0; WORDS], count, used: 0 });
                    self.blocks.len() - 1
                }
            };
        }
        let block = &mut self.blocks[self.last];
        let i = chunk % BLOCK;
        let at = i as usize * self.chunk;
        block.data[at..at + bytes.len()].copy_from_slice(bytes);
        if !block.has(i) {
            block.filled[(i / 64) as usize] |= 1 << (i % 64);
            block.count += 1;
        }
        block.used = self.tick;
        if block.count == BLOCK.min(self.chunks - number * BLOCK) && out.is_none() {
            out = Some(self.blocks.swap_remove(self.last));
        }
        Ok(out)
    }

    /// A chunk that is here.
    pub fn get(&self, chunk: u64) -> Option<&[u8]> {
        let block = self.blocks.iter().find(|b| b.number == chunk / BLOCK)?;
        let at = (chunk % BLOCK) as usize * self.chunk;
        if block.has(chunk % BLOCK) { block.data.get(at..at + self.chunk) } else { None }
    }

    /// The first chunk of the lowest block that is here.
    pub fn lowest(&self) -> Option<u64> {
        self.blocks.iter().map(|b| b.number * BLOCK).min()
    }

    /// The lowest block, to be written.
    pub fn pop(&mut self) -> Option<Block> {
        let lowest = (0..self.blocks.len()).min_by_key(|i| self.blocks[*i].number)?;
        Some(self.blocks.swap_remove(lowest))
    }

    /// Gives back a block that is written.
    pub fn recycle(&mut self, block: Block) {
        if self.spare.len() < 2 {
            self.spare.push(block.data);
        }
    }
}
