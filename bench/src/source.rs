//! Where a sender's frames come from, and how they get into ring slots.

use std::collections::VecDeque;
use std::sync::Arc;

use valecast_ring::SlotFlags;
use valecast_ring::abi::MAX_FRAGS;
use valecast_ring::client::TxRing;

use crate::dump::{Dump, dump_frame};
use crate::generate::{FrameSpec, Generator};
use crate::pcap::Capture;
use crate::run::RunError;

/// What to send.
#[derive(Clone, Debug)]
pub enum What {
    /// Generated UDP frames.
    Generated(FrameSpec),
    /// Whatever is in the ring's buffers, so many bytes a frame: costs the sender nothing but descriptors.
    Rubbish {
        /// Frame size in bytes.
        size: usize,
    },
    /// The frames of a capture.
    Capture {
        /// The capture.
        frames: Arc<Capture>,
        /// Send at the times of the capture, sped up so many times; `None` follows the rate, if any.
        speed: Option<f64>,
    },
}

/// How frames are cut into slots (`-F`, `-M`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// Slots per frame, 1 to 63.
    pub count: usize,
    /// Most bytes in a slot; the buffer's size if `None`.
    pub size: Option<usize>,
}

impl Default for Fragments {
    fn default() -> Self {
        Self { count: 1, size: None }
    }
}

impl Fragments {
    /// Bytes in each slot (but the last) of a frame of `len` bytes, in buffers of `buf` bytes.
    fn part(self, len: usize, buf: usize) -> usize {
        len.div_ceil(self.count.max(1)).min(self.size.unwrap_or(buf)).clamp(1, buf.max(1))
    }
}

#[derive(Debug)]
enum Source {
    /// The same frame for ever.
    Constant(Vec<u8>),
    /// A new frame each time.
    Fresh(Box<Generator>),
    Rubbish(usize),
    Capture(Arc<Capture>, u64),
}

/// What a ring's buffers still hold of the constant frame.
#[derive(Debug, Default)]
pub(crate) struct RingState {
    /// Slots used since the start: slot `pos % slots` comes next.
    pos: u64,
    /// Positions at which something else was put into a buffer.
    dirty: VecDeque<u64>,
}

/// Puts frames into rings.
#[derive(Debug)]
pub(crate) struct Writer {
    source: Source,
    fragments: Fragments,
    dump: Dump,
    /// Most slots that one frame takes.
    pub slots_per_frame: u32,
}

impl Writer {
    /// A writer for rings of `slots` slots with buffers of `buf` bytes. `copy`: copy every frame, even if
    /// the buffer holds it already.
    pub(crate) fn new(
        what: &What,
        fragments: Fragments,
        copy: bool,
        dump: Dump,
        (slots, buf): (u32, usize),
    ) -> Result<Self, RunError> {
        let (source, longest) = match what {
            What::Generated(spec) => {
                let mut g = Generator::new(spec, 0)?;
                let longest = spec.size + spec.vnet;
                let whole = fragments.part(longest, buf) >= longest;
                if g.is_constant() && whole && !copy && dump == Dump::Off {
                    (Source::Constant(g.make().to_vec()), longest)
                } else {
                    (Source::Fresh(Box::new(g)), longest)
                }
            }
            What::Rubbish { size } => (Source::Rubbish(*size), *size),
            What::Capture { frames, .. } => (Source::Capture(frames.clone(), 0), frames.longest()),
        };
        let part = fragments.part(longest, buf);
        let needed = longest.div_ceil(part).max(fragments.count);
        let most = MAX_FRAGS.min(slots as usize - 1);
        if needed > most {
            return Err(RunError::Frame { bytes: longest, slots: needed, part, most });
        }
        Ok(Self { source, fragments, dump, slots_per_frame: needed as u32 })
    }

    /// Puts `n` frames into free slots of `ring`, which must have room for them, and advances it. Returns
    /// their bytes.
    pub(crate) fn fill(&mut self, ring: &mut TxRing, state: &mut RingState, n: u32) -> u64 {
        match &mut self.source {
            Source::Constant(frame) => fill_constant(ring, state, frame, n),
            Source::Fresh(g) => {
                let mut bytes = 0;
                for _ in 0..n {
                    let frame = g.make();
                    bytes += frame.len() as u64;
                    put(ring, frame, self.fragments, self.dump);
                }
                bytes
            }
            Source::Rubbish(len) => {
                let part = self.fragments.part(*len, ring.buf_size());
                for _ in 0..n {
                    put_rubbish(ring, *len, part);
                }
                u64::from(n) * *len as u64
            }
            Source::Capture(capture, next) => {
                let mut bytes = 0;
                for k in *next..*next + u64::from(n) {
                    let frame = capture.frame(k);
                    bytes += frame.len() as u64;
                    put(ring, frame, self.fragments, self.dump);
                }
                *next += u64::from(n);
                bytes
            }
        }
    }

    /// Puts one other frame (a probe) into `ring`, which must have room for it.
    pub(crate) fn put_other(&self, ring: &mut TxRing, state: &mut RingState, frame: &[u8]) {
        if matches!(self.source, Source::Constant(_)) {
            state.dirty.push_back(state.pos);
            state.pos += 1;
        }
        put(ring, frame, Fragments::default(), self.dump);
    }
}

/// The fast way: buffers that hold the frame already only get a descriptor.
fn fill_constant(ring: &mut TxRing, state: &mut RingState, frame: &[u8], n: u32) -> u64 {
    let slots = u64::from(ring.slots());
    let end = state.pos + u64::from(n);
    // First lap: nothing holds the frame yet.
    let fresh = slots.saturating_sub(state.pos).min(u64::from(n)) as u32;
    for i in 0..fresh {
        ring.buffer(i)[..frame.len()].copy_from_slice(frame);
    }
    while let Some(again) = state.dirty.front().map(|d| d + slots).filter(|again| *again < end) {
        state.dirty.pop_front();
        // Smaller: something else took that slot, and is on the list itself.
        if let Some(i) = again.checked_sub(state.pos) {
            ring.buffer(i as u32)[..frame.len()].copy_from_slice(frame);
        }
    }
    for i in 0..n {
        ring.set(i, frame.len(), SlotFlags::empty());
    }
    ring.advance(n);
    state.pos = end;
    u64::from(n) * frame.len() as u64
}

fn put(ring: &mut TxRing, frame: &[u8], fragments: Fragments, dump: Dump) {
    let part = fragments.part(frame.len(), ring.buf_size());
    let slots = frame.len().div_ceil(part);
    for (i, bytes) in (0..).zip(frame.chunks(part)) {
        ring.buffer(i)[..bytes.len()].copy_from_slice(bytes);
        ring.set(i, bytes.len(), more(i as usize + 1 < slots));
    }
    if dump != Dump::Off {
        dump_frame(dump, ring.slot_number(0), frame);
    }
    ring.advance(slots as u32);
}

fn put_rubbish(ring: &mut TxRing, len: usize, part: usize) {
    let slots = len.div_ceil(part);
    for i in 0..slots {
        ring.set(i as u32, part.min(len - i * part), more(i + 1 < slots));
    }
    ring.advance(slots as u32);
}

fn more(more: bool) -> SlotFlags {
    if more { SlotFlags::MORE_FRAG } else { SlotFlags::empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_as_pkt_gen_cuts_them() {
        let f = |count, size| Fragments { count, size };
        assert_eq!(f(1, None).part(60, 2048), 60);
        assert_eq!(f(1, None).part(9000, 2048), 2048);
        assert_eq!(f(3, None).part(100, 2048), 34);
        assert_eq!(f(3, Some(20)).part(100, 2048), 20);
        assert_eq!(f(3, Some(4000)).part(9000, 2048), 2048);
        assert_eq!(f(63, None).part(16, 2048), 1);
    }
}
