//! Straight from a client's transmit ring into another's receive ring, for frames that all go there: no list of them is
//! made, and no plan.

use valecast_ring::host::{RxQueue, Source};

use super::egress::WHOLE;
use super::ingress::EARLY;
use super::take::Slots;
use super::{RingEgress, RingIngress};
use crate::frame::{HEAD, Piece};

/// Frames that are looked at together.
pub(crate) const BLOCK: usize = 64;
/// Frames that are dealt with one by one: for so few, getting ready for many costs more.
const FEW: usize = 4;

/// What is known of a block's frames: the private copies of their first bytes, and where they are.
pub(crate) struct Desk {
    heads: [[u8; HEAD]; BLOCK],
    frames: [Piece; BLOCK],
}

impl Default for Desk {
    fn default() -> Self {
        let nothing = Piece { at: std::ptr::null(), len: HEAD };
        Self { heads: [[0; HEAD]; BLOCK], frames: [nothing; BLOCK] }
    }
}

/// What went across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crossed {
    /// Whether anything waits, or did.
    pub any: bool,
    /// Frames, from the first that waited on.
    pub frames: usize,
    /// Their bytes.
    pub bytes: u64,
    /// A frame that is to go elsewhere came after them.
    pub otherwise: bool,
}

/// Where frames go that cross.
#[derive(Clone, Copy)]
pub(crate) struct Across<'e> {
    /// Into this port,
    pub to: &'e RingEgress,
    /// by the queue of this lane,
    pub lane: usize,
    /// if they are no longer than this,
    pub longest: usize,
    /// and so many at the most.
    pub max: usize,
}

impl RingIngress {
    /// Moves those of the waiting frames that may go `across`, from the first on: up to the first that is longer, needs a look
    /// of its own, finds no room, or does not go the same way. The others are left. `same` says of how many heads, from the
    /// first on, the frames do go there.
    #[inline(always)]
    pub(crate) fn cross(
        &mut self,
        across: Across<'_>,
        desk: &mut Desk,
        same: impl FnMut(&[[u8; HEAD]]) -> usize,
    ) -> Crossed {
        let pending = (self.queue.pending() as usize).min(across.max);
        let none = Crossed { any: pending > 0, ..Crossed::default() };
        if pending == 0 || self.extras().hdr > 0 || !across.to.is_bare() {
            return none;
        }
        let crossed = if pending <= FEW {
            self.few(across, pending, same)
        } else {
            self.many(across, desk, pending, same)
        };
        if crossed.frames > 0 {
            self.queue.complete(crossed.frames as u32);
        }
        crossed
    }

    /// [`RingIngress::cross`], one by one.
    #[inline(always)]
    fn few(
        &mut self,
        across: Across<'_>,
        pending: usize,
        mut same: impl FnMut(&[[u8; HEAD]]) -> usize,
    ) -> Crossed {
        let (q, look) = (across.to.queue(across.lane), self.extras().look());
        let longest = across.longest.min(across.to.max_len) as u32;
        let mut crossed = Crossed { any: true, ..Crossed::default() };
        while crossed.frames < pending {
            let Some((at, len)) =
                self.queue.slots_unasked().plain_one(crossed.frames as u32, (HEAD as u32, longest), look)
            else {
                break;
            };
            // SAFETY: the buffer is readable for `len` bytes, at least a head; read once, by a copy that tolerates a racing
            // writer.
            let head = unsafe { at.cast::<[u8; HEAD]>().read_unaligned() };
            if same(std::slice::from_ref(&head)) == 0 {
                crossed.otherwise = true;
                break;
            }
            // SAFETY: the frame has no more bytes than a slot, and is readable while the queue lives.
            if !unsafe { write_one(q, &head, at.as_ptr().cast_const(), len) } {
                break;
            }
            crossed.frames += 1;
            crossed.bytes += u64::from(len);
        }
        crossed
    }

    #[inline(never)]
    fn many(
        &self,
        across: Across<'_>,
        desk: &mut Desk,
        pending: usize,
        mut same: impl FnMut(&[[u8; HEAD]]) -> usize,
    ) -> Crossed {
        let (q, slots, look) = (across.to.queue(across.lane), self.queue.slots(), self.extras().look());
        let longest = across.longest.min(across.to.max_len);
        let mut crossed = Crossed { any: true, ..Crossed::default() };
        (0..pending.min(EARLY)).for_each(|i| slots.prefetch_early(i as u32));
        while crossed.frames < pending {
            let most =
                (pending - crossed.frames).min(BLOCK).min(slots.to_end(crossed.frames as u32) as usize);
            let next = Slots::plain(&slots, crossed.frames as u32, most as u32, look);
            // SAFETY: `plain` gives frames of at least a head, in buffers that are readable while the queue lives.
            let seen = unsafe { desk.look(most, longest, next) };
            let heads = &desk.heads[..seen];
            let many = if heads.is_empty() { 0 } else { same(heads) };
            crossed.otherwise = many < seen;
            let got = if many > 0 { q.claim(many as u32) } else { 0 };
            if got > 0 {
                let start = q.reserve(got);
                // What the next block begins with, while this one is written.
                let next = crossed.frames + most;
                let further = if next + most <= pending { slots.distance(crossed.frames, next) } else { 0 };
                // SAFETY: so many positions were reserved, and frames are no longer than `longest`, hence than a slot.
                crossed.bytes += unsafe { desk.write(q, got, start, further) };
                q.commit(start, got);
                crossed.frames += got as usize;
            }
            if (got as usize) < most {
                break;
            }
        }
        crossed
    }
}

/// Writes one frame of `len` bytes; `false` if there is no room. A function of its own, so that it has all registers to itself.
///
/// # Safety
/// `at` must be readable for `len` bytes, at least a head and no more than a slot has.
#[inline(never)]
unsafe fn write_one(q: &RxQueue, head: &[u8; HEAD], at: *const u8, len: u32) -> bool {
    if q.claim(1) == 0 {
        return false;
    }
    let start = q.reserve(1);
    // SAFETY: the position was reserved just now, and the caller vouches for the frame.
    unsafe { q.writer().write_one(start, WHOLE, source(head, &Piece { at, len: len as usize })) };
    q.commit(start, 1);
    true
}

#[inline(always)]
fn source(head: &[u8; HEAD], frame: &Piece) -> Source {
    // SAFETY: a frame on the desk has at least a head: inside it, or one past its end.
    let tail = unsafe { frame.at.add(HEAD) };
    Source { head: head.as_ptr(), head_len: HEAD, tail, tail_len: frame.len - HEAD }
}

impl Desk {
    /// Takes a look at up to `most` frames, which `next` gives; how many there were before one that is longer than `longest` or
    /// that it does not give.
    ///
    /// # Safety
    /// Frames must be at least [`HEAD`] bytes long, and readable until the desk is used for others.
    #[inline(always)]
    unsafe fn look(
        &mut self,
        most: usize,
        longest: usize,
        next: impl Fn(u32) -> Option<(*const u8, usize)>,
    ) -> usize {
        let mut n = 0;
        for frame in &mut self.frames[..most] {
            let Some((at, len)) = next(n as u32) else { break };
            if len > longest {
                break;
            }
            *frame = Piece { at, len };
            n += 1;
        }
        for (head, frame) in self.heads.iter_mut().zip(&self.frames[..n]) {
            // SAFETY: a frame's first 16 bytes are readable; read once, by a copy that tolerates a racing writer.
            *head = unsafe { frame.at.cast::<[u8; HEAD]>().read_unaligned() };
        }
        n
    }

    /// Writes the first `n` frames into positions from `start` on. With each it asks for what lies `further` than it by so many bytes. Bytes
    /// written.
    ///
    /// # Safety
    /// The `n` positions must be reserved, and the frames looked at, still readable, and no longer than a slot.
    #[inline(never)]
    unsafe fn write(&self, q: &RxQueue, n: u32, start: u64, further: isize) -> u64 {
        let (w, mut pos, mut bytes) = (q.writer(), start, 0);
        let (mut heads, mut frames) = (&self.heads[..n as usize], &self.frames[..n as usize]);
        while !heads.is_empty() {
            let sources = heads.iter().zip(frames).map(|(head, frame)| {
                valecast_ring::prefetch(frame.at.wrapping_offset(further));
                source(head, frame)
            });
            // SAFETY: heads and rests are readable, and the positions reserved, as the caller says.
            let (written, more) = unsafe { w.write(pos, heads.len() as u32, WHOLE, sources) };
            (heads, frames) = (&heads[written as usize..], &frames[written as usize..]);
            pos += u64::from(written);
            bytes += more;
        }
        bytes
    }
}
