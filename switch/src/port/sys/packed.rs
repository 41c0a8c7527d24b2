//! Frames that were read one by one, each right behind the one before.
//!
//! A source of frames between 60 bytes and 64 KiB either spreads them over buffers of the largest size, or packs
//! them. Packed, a burst of small frames lies in a few pages; and as the memory is used again from its
//! beginning once a burst is done with, large ones are written out while they are still in the cache.

use crate::frame::{Burst, VnetHdr};

/// Bytes for frames of one burst. More are not taken at once: they would push each other out of the cache.
const ROOM: usize = 512 << 10;
/// Frames of one burst.
const MOST: usize = 256;
/// Frames begin on cache lines.
const LINE: usize = 64;

#[derive(Clone, Copy)]
struct Piece {
    at: usize,
    len: usize,
    vnet: VnetHdr,
}

/// Frames waiting, oldest first.
pub struct Packed {
    memory: Box<[u8]>,
    /// The longest read, with what goes before its frame.
    longest: usize,
    pieces: Vec<Piece>,
    /// Pieces that are done with.
    done: usize,
    used: usize,
}

impl Packed {
    /// For reads of up to `longest` bytes.
    pub fn new(longest: usize) -> Self {
        let memory = vec![0; ROOM.max(longest)].into_boxed_slice();
        Self { memory, longest, pieces: Vec::with_capacity(MOST), done: 0, used: 0 }
    }

    /// Frames waiting.
    pub fn len(&self) -> usize {
        self.pieces.len() - self.done
    }

    /// Where to read the next frame to; `None` while there is no room.
    pub fn free(&mut self) -> Option<&mut [u8]> {
        if self.pieces.len() == MOST {
            return None;
        }
        self.memory.get_mut(self.used..self.used + self.longest)
    }

    /// The free piece holds an offload header and a frame, `n` bytes in all. `false` if it is no frame.
    pub fn fill(&mut self, n: usize) -> bool {
        let read = &self.memory[self.used..self.used + n];
        let Some((header, frame)) = read.split_first_chunk::<{ VnetHdr::LEN }>() else { return false };
        let vnet = VnetHdr::from_bytes(*header);
        self.pieces.push(Piece { at: self.used + VnetHdr::LEN, len: frame.len(), vnet });
        self.used += n.next_multiple_of(LINE);
        true
    }

    /// Gives up to `max` frames. Nothing may be read into free pieces before the burst is cleared.
    pub fn give(&self, burst: &mut Burst, max: usize) {
        for p in self.pieces[self.done..].iter().take(max) {
            let frame = &self.memory[p.at..p.at + p.len];
            // SAFETY: the memory stays put, and pieces are written again only after `done`, which sources call
            // when the burst is finished.
            unsafe { burst.push(frame.as_ptr(), frame.len(), 1) };
            if p.vnet.is_needed() {
                let vnet = burst.add_vnet(p.vnet);
                if let Some(f) = burst.last_mut() {
                    f.vnet = vnet;
                }
            }
        }
    }

    /// The oldest `n` are done with.
    pub fn done(&mut self, n: usize) {
        self.done += n.min(self.len());
        if self.done == self.pieces.len() {
            self.pieces.clear();
            (self.done, self.used) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(p: &mut Packed, len: usize, tag: u8, flags: u8) -> bool {
        let Some(free) = p.free() else { return false };
        free[..VnetHdr::LEN].fill(0);
        free[0] = flags;
        free[VnetHdr::LEN..VnetHdr::LEN + len].fill(tag);
        p.fill(VnetHdr::LEN + len)
    }

    fn given(p: &Packed, max: usize) -> Burst {
        let mut burst = Burst::default();
        p.give(&mut burst, max);
        burst
    }

    #[test]
    fn gives_again_what_is_not_done() {
        let mut p = Packed::new(2000);
        for tag in 0..5 {
            assert!(read(&mut p, 100 + usize::from(tag), tag, 0));
        }
        p.done(2);
        assert_eq!(p.len(), 3);
        assert!(read(&mut p, 60, 9, VnetHdr::NEEDS_CSUM));
        let burst = given(&p, 100);
        let seen: Vec<_> = (0..burst.taken()).map(|i| (burst.head(i)[0], burst.frames[i].len())).collect();
        assert_eq!(seen, [(2, 102), (3, 103), (4, 104), (9, 60)]);
        assert_eq!(burst.vnet(&burst.frames[3]).map(|v| v.flags), Some(VnetHdr::NEEDS_CSUM));
        assert_eq!(given(&p, 1).taken(), 1);
        p.done(100);
        assert_eq!(p.len(), 0);
        assert!(!p.fill(3), "shorter than its header");
    }

    #[test]
    fn begins_anew_only_when_all_is_done() {
        let mut p = Packed::new(65536);
        let mut n = 0;
        while read(&mut p, 65000, n, 0) {
            n += 1;
        }
        assert_eq!(usize::from(n), (ROOM - 65536) / 65024 + 1);
        p.done(1);
        assert!(p.free().is_none(), "the rest is still in use");
        p.done(usize::from(n) - 1);
        for i in 0..MOST {
            assert!(read(&mut p, 14, i as u8, 0));
        }
        assert!(p.free().is_none());
    }
}
