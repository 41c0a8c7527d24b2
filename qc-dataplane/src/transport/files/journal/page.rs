//! Pages of the journal: the bits of one segment, in two places.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Chunks of a segment.
pub const SEGMENT: u64 = 32_768;
/// Words of a segment.
pub const WORDS: usize = SEGMENT as usize / 64;
/// Where pages begin.
pub const FIRST: u64 = 4096;
/// From one page to the next: [`Page`] in whole sectors.
pub const STRIDE: u64 = 4608;
/// The bits of a segment, in the byte order of the machine.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Page {
    pub generation: u64,
    pub segment: u64,
    pub checksum: u32,
    reserved: u32,
    pub bits: [u64; WORDS],
}
const _: () = assert!(size_of::<Page>() == 4120 && size_of::<Page>() as u64 <= STRIDE);

impl Page {
    fn checksum(&self) -> u32 {
        let of = crc32c::crc32c(self.bits.as_bytes());
        let of = crc32c::crc32c_append(of, &self.generation.to_ne_bytes());
        crc32c::crc32c_append(of, &self.segment.to_ne_bytes())
    }

    /// The newer of the places that are right; no bits if none is. The segment has `len` chunks.
    pub fn read(file: &File, segment: u64, len: u64) -> io::Result<Self> {
        let mut best = Self { generation: 0, segment, checksum: 0, reserved: 0, bits: [0; WORDS] };
        for place in 0..2 {
            let mut page = best.clone();
            match file.read_exact_at(page.as_mut_bytes(), FIRST + (segment * 2 + place) * STRIDE) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(e) => return Err(e),
            }
            let right = page.segment == segment && page.checksum == page.checksum();
            if right && page.generation > best.generation && page.generation % 2 == place {
                best = page;
            }
        }
        // Bits after the last chunk are nobody's.
        best.bits.iter_mut().zip(mask(len)).for_each(|(word, valid)| *word &= valid);
        Ok(best)
    }

    /// Writes it to the place that does not have its last state.
    pub fn write(&mut self, file: &File) -> io::Result<()> {
        self.generation += 1;
        self.checksum = self.checksum();
        file.write_all_at(self.as_bytes(), FIRST + (self.segment * 2 + self.generation % 2) * STRIDE)
    }
}

/// For each word of a segment of `len` chunks the bits that are somebody's.
pub(super) fn mask(len: u64) -> impl Iterator<Item = u64> {
    (0..WORDS).map(move |i| match (len as usize).saturating_sub(i * 64) {
        64.. => u64::MAX,
        n => (1 << n) - 1,
    })
}

/// Word and bit of a chunk in the page of its segment.
pub(super) fn place(chunk: u64) -> (usize, u64) {
    ((chunk % SEGMENT / 64) as usize, 1 << (chunk % 64))
}
