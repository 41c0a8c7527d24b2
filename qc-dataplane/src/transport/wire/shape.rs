//! How a transfer is cut up.

/// Most bytes of a manifest, which receivers hold in memory.
pub const MAX_MANIFEST: u32 = 16 << 20;
/// Most bytes of content.
pub const MAX_TOTAL: u64 = 1 << 56;
/// Chunk sizes are multiples of this, as parity is computed over it.
pub const CHUNK_STEP: u16 = 64;
/// Largest chunk.
pub const MAX_CHUNK: u16 = 8896;
/// Most chunks in a block with parity.
pub const MAX_FEC_DATA: u16 = 256;
/// Most parity shards of a block.
pub const MAX_FEC_PARITY: u16 = 128;

/// How a transfer is cut up. Only made of numbers that were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub(super) total: u64,
    pub(super) manifest: u32,
    pub(super) chunk: u16,
    pub(super) fec_data: u16,
    pub(super) fec_parity: u16,
}

impl Shape {
    /// See the fields of [`super::HelloHead`].
    ///
    /// # Errors
    ///
    /// The number that is out of its bounds.
    pub fn new(
        total: u64,
        manifest: u32,
        chunk: u16,
        fec_data: u16,
        fec_parity: u16,
    ) -> Result<Self, &'static str> {
        if total > MAX_TOTAL {
            return Err("more content than 2^56 bytes");
        }
        if manifest == 0 || manifest > MAX_MANIFEST {
            return Err("manifest empty or above 16 MiB");
        }
        if chunk == 0 || !chunk.is_multiple_of(CHUNK_STEP) || chunk > MAX_CHUNK {
            return Err("chunk size not a multiple of 64 up to 8896");
        }
        if (fec_data == 0) != (fec_parity == 0) || fec_data > MAX_FEC_DATA || fec_parity > MAX_FEC_PARITY {
            return Err("parity of no block, or above 256 + 128 shards");
        }
        Ok(Self { total, manifest, chunk, fec_data, fec_parity })
    }

    /// Bytes of content.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of the manifest.
    pub fn manifest(&self) -> usize {
        self.manifest as usize
    }

    /// Bytes of a chunk.
    pub fn chunk(&self) -> usize {
        self.chunk.into()
    }

    /// Chunks of content.
    pub fn chunks(&self) -> u64 {
        self.total.div_ceil(self.chunk.into())
    }

    /// Parts of the manifest, which are as long as chunks.
    pub fn parts(&self) -> u64 {
        u64::from(self.manifest).div_ceil(self.chunk.into())
    }

    /// Bytes of chunk `n`, 0 if there is none.
    pub fn len_of(&self, n: u64) -> usize {
        len_of(self.total, self.chunk.into(), n)
    }

    /// Bytes of part `n` of the manifest, 0 if there is none.
    pub fn len_of_part(&self, n: u64) -> usize {
        len_of(self.manifest.into(), self.chunk.into(), n)
    }

    /// Chunks and parity shards of a block, if there is parity.
    pub fn fec(&self) -> Option<(usize, usize)> {
        (self.fec_data != 0).then_some((self.fec_data.into(), self.fec_parity.into()))
    }

    /// Blocks with parity.
    pub fn blocks(&self) -> u64 {
        if self.fec_data == 0 { 0 } else { self.chunks().div_ceil(self.fec_data.into()) }
    }

    /// Chunks of block `n`.
    pub fn block(&self, n: u64) -> std::ops::Range<u64> {
        let all = self.chunks();
        let k = u64::from(self.fec_data);
        n.saturating_mul(k).min(all)..n.saturating_add(1).saturating_mul(k).min(all)
    }
}

fn len_of(total: u64, chunk: u64, n: u64) -> usize {
    let before = n.saturating_mul(chunk);
    total.saturating_sub(before).min(chunk) as usize
}
