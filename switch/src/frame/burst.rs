//! What a source gave in one turn, and what was made of it. `pieces` has frames that lie in several pieces of memory,
//! `arena` the burst's own.

use std::cell::RefCell;

use super::{Frame, HEAD, HeadKey, MAX_BURST, Piece, VnetHdr};
use crate::counters::Cause;

mod arena;
mod pieces;

/// Bytes for headers made in passing (VLAN tags, segments) and reassembled fragments, per burst.
const ARENA: usize = 4 << 20;
/// Longer than any frame.
const IN_PIECES: usize = 1 << (usize::BITS - 1);

/// What a source gave in one turn, and frames derived from it.
pub struct Burst {
    /// The first [`Burst::taken`] came from the source, the rest was derived.
    pub frames: Vec<Frame>,
    taken: usize,
    /// Bytes and slots of the frames taken, and the longest of all: so that the usual burst, in which all
    /// frames are alike, needs no further look at each.
    bytes: u64,
    slots: u32,
    longest: usize,
    /// The same, or [`IN_PIECES`] if some frame is.
    bound: usize,
    /// Whether some frame needs a look of its own: refused, with offloads, not to be learned from.
    odd: bool,
    heads: Box<[[u8; HEAD]; MAX_BURST]>,
    /// Of frames that lie in several, those of each side by side.
    pieces: Vec<Piece>,
    vnets: Vec<VnetHdr>,
    arena: Box<[u8]>,
    used: usize,
    notes: RefCell<Vec<(usize, Note)>>,
}

/// What a destination remembers between a claim and its end, for those whose claims are more than a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// First position claimed.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Frames they are for.
    pub frames: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Self {
            frames: Vec::with_capacity(2 * MAX_BURST),
            taken: 0,
            bytes: 0,
            slots: 0,
            longest: 0,
            bound: 0,
            odd: false,
            heads: Box::new([[0; HEAD]; MAX_BURST]),
            pieces: Vec::with_capacity(2 * MAX_BURST),
            vnets: Vec::with_capacity(MAX_BURST),
            arena: vec![0; ARENA].into_boxed_slice(),
            used: 0,
            notes: RefCell::default(),
        }
    }
}

impl Burst {
    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        self.frames.clear();
        self.taken = 0;
        (self.bytes, self.slots, self.longest, self.bound, self.odd) = (0, 0, 0, 0, false);
        self.vnets.clear();
        self.used = 0;
        self.notes.get_mut().clear();
    }

    /// Leaves a note for the destination (or queue of one) `whose`, a number of its own such as an address.
    pub fn leave(&self, whose: usize, note: Note) {
        self.notes.borrow_mut().push((whose, note));
    }

    /// Takes the note that was left for `whose`.
    pub fn pick_up(&self, whose: usize) -> Option<Note> {
        let mut notes = self.notes.borrow_mut();
        let at = notes.iter().position(|(w, _)| *w == whose)?;
        Some(notes.swap_remove(at).1)
    }

    /// Frames that came from the source.
    #[inline]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes of the first `n` frames taken.
    #[inline]
    pub fn bytes(&self, n: usize) -> u64 {
        if n == self.taken { self.bytes } else { self.frames[..n].iter().map(|f| f.len() as u64).sum() }
    }

    /// Slots of the first `n` frames taken.
    #[inline]
    pub fn slots(&self, n: usize) -> u32 {
        if n == self.taken { self.slots } else { self.frames[..n].iter().map(|f| u32::from(f.slots)).sum() }
    }

    /// Length of the longest frame, derived ones included.
    #[inline]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// What no frame is longer than, for a quick look at all of them: beyond every limit if some frame lies in
    /// pieces, so that whoever copies looks at each.
    #[inline]
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// The private copy of frame `i`'s first bytes.
    #[inline]
    pub fn head(&self, i: usize) -> &[u8; HEAD] {
        &self.heads[i]
    }

    /// The same of all frames taken, from `from` on.
    #[inline]
    pub fn heads(&self, from: usize) -> &[[u8; HEAD]] {
        &self.heads[from..self.taken]
    }

    /// Whether some frame taken was refused, is shorter than a head, has an offload header, or is not to be
    /// learned from.
    #[inline]
    pub fn is_odd(&self) -> bool {
        self.odd
    }

    /// Whether each frame's head has [`HEAD`] bytes: those taken do unless some is odd, those made of them may have others.
    #[inline]
    pub fn has_whole_heads(&self) -> bool {
        !self.odd && self.frames.len() == self.taken
    }

    /// What frame `i` is compared by.
    #[inline]
    pub fn head_key(&self, i: usize) -> HeadKey {
        HeadKey::of(&self.heads[i])
    }

    /// How many frames from `from` on have this key. Only heads are compared: see [`Burst::is_odd`].
    #[inline]
    pub fn alike(&self, key: HeadKey, from: usize) -> usize {
        key.alike(&self.heads[from..self.taken])
    }

    /// Adds plain frames of one slot each, as many as `next` gives from its first on, at most `most`; how many. This is the
    /// fast way in: whatever is special about a frame is left to [`Burst::push`]. What they begin with is read when
    /// `next` has given all of them, so it should ask for that.
    ///
    /// # Safety
    /// As for [`Burst::push`], and frames must be at least [`HEAD`] bytes long.
    #[inline(always)]
    pub unsafe fn push_plain(
        &mut self,
        most: usize,
        mut next: impl FnMut(u32) -> Option<(*const u8, usize)>,
    ) -> u32 {
        let first = self.taken;
        let most = most.min(MAX_BURST - first);
        debug_assert!(self.frames.len() == first, "derived frames come after those taken");
        self.frames.reserve(most);
        let mut n = 0;
        let heads = &mut self.heads[first..first + most];
        for (frame, head) in self.frames.spare_capacity_mut().iter_mut().zip(&*heads) {
            let Some((data, len)) = next(n) else { break };
            frame.write(Frame {
                head: head.as_ptr(),
                // SAFETY: inside the frame, or one past its end.
                tail: unsafe { data.add(HEAD) },
                head_len: HEAD as u16,
                slots: 1,
                tail_len: (len - HEAD) as u32,
                vnet: 0,
                first: 0,
                pieces: 0,
                no_learn: false,
                steer: 0,
                reject: None,
            });
            n += 1;
        }
        self.taken = first + n as usize;
        // SAFETY: the `n` frames after those before were written just now.
        unsafe { self.frames.set_len(self.taken) };
        let (mut bytes, mut longest) = (0, 0);
        for (frame, head) in self.frames[first..].iter().zip(heads) {
            // SAFETY: the 16 bytes before the tail are readable; read once, by a copy that tolerates a racing writer.
            *head = unsafe { frame.tail.sub(HEAD).cast::<[u8; HEAD]>().read_unaligned() };
            bytes += u64::from(frame.tail_len);
            longest = longest.max(frame.tail_len);
        }
        self.slots += n;
        if n > 0 {
            self.bytes += bytes + u64::from(n) * HEAD as u64;
            self.longest = self.longest.max(longest as usize + HEAD);
            self.bound = self.bound.max(longest as usize + HEAD);
        }
        n
    }

    /// Adds a frame of `len` bytes at `data`, which took `slots` slots of its source.
    ///
    /// # Safety
    /// `data` must stay readable for `len` bytes until the burst is cleared. Others may write there.
    #[inline]
    pub unsafe fn push(&mut self, data: *const u8, len: usize, slots: u16) {
        let i = self.taken;
        if i >= MAX_BURST {
            return;
        }
        let (head_len, reject) = if len >= HEAD {
            // SAFETY: 16 bytes are readable; read once, by a copy that tolerates a racing writer.
            self.heads[i] = unsafe { data.cast::<[u8; HEAD]>().read_unaligned() };
            (HEAD, None)
        } else {
            // SAFETY: as the caller promised.
            (len, unsafe { self.push_short(data, len) })
        };
        self.frames.push(Frame {
            head: self.heads[i].as_ptr(),
            // SAFETY: inside the frame, or one past its end.
            tail: unsafe { data.add(head_len) },
            head_len: head_len as u16,
            slots,
            tail_len: (len - head_len) as u32,
            vnet: 0,
            first: 0,
            pieces: 0,
            no_learn: false,
            steer: 0,
            reject,
        });
        self.taken = i + 1;
        self.bytes += len as u64;
        self.slots += u32::from(slots);
        self.longest = self.longest.max(len);
        self.bound = self.bound.max(len);
    }

    /// The head of a frame that has a whole one, and what follows in one piece; as nearly all do.
    #[inline]
    pub fn plain(&self, f: &Frame) -> Option<(&[u8; HEAD], Piece)> {
        if usize::from(f.head_len) != HEAD || f.is_in_pieces() {
            return None;
        }
        // SAFETY: a frame's head is memory of this burst's own, which stays put while it is borrowed, and has the 16
        // bytes that it says.
        let head = unsafe { &*f.head.cast::<[u8; HEAD]>() };
        Some((head, Piece { at: f.tail, len: f.tail_len as usize }))
    }

    /// The head of a frame that is shorter than a head.
    ///
    /// # Safety
    /// As for [`Burst::push`].
    #[cold]
    unsafe fn push_short(&mut self, data: *const u8, len: usize) -> Option<Cause> {
        let head = &mut self.heads[self.taken];
        *head = [0; HEAD];
        // What looks like a tag in it may be none.
        self.odd = true;
        if len < 14 {
            return Some(Cause::Runt);
        }
        // SAFETY: `len` bytes are readable, fewer than a head has, and the head is ours.
        unsafe { std::ptr::copy_nonoverlapping(data, head.as_mut_ptr(), len) };
        None
    }

    /// Adds a slot that is no frame, so that it is counted.
    pub fn push_rejected(&mut self, slots: u16, cause: Cause) {
        if self.taken < MAX_BURST {
            let head = self.heads[self.taken].as_ptr();
            self.frames.push(Frame {
                head,
                tail: head,
                head_len: 0,
                slots,
                tail_len: 0,
                vnet: 0,
                first: 0,
                pieces: 0,
                no_learn: true,
                steer: 0,
                reject: Some(cause),
            });
            self.taken += 1;
            self.slots += u32::from(slots);
            self.odd = true;
        }
    }

    /// The frame pushed last, to say what is special about it.
    pub fn last_mut(&mut self) -> Option<&mut Frame> {
        self.odd = true;
        self.frames.last_mut()
    }

    /// Remembers an offload header and returns what goes into [`Frame::vnet`].
    pub fn add_vnet(&mut self, v: VnetHdr) -> u16 {
        self.odd = true;
        self.vnets.push(v);
        self.vnets.len() as u16
    }

    /// The offload header of a frame.
    #[inline]
    pub fn vnet(&self, f: &Frame) -> Option<VnetHdr> {
        match f.vnet {
            0 => None,
            n => self.vnets.get(usize::from(n) - 1).copied(),
        }
    }

    /// Adds a frame made from another; its index.
    pub fn derive(&mut self, f: Frame) -> Option<u16> {
        let i = u16::try_from(self.frames.len()).ok()?;
        self.longest = self.longest.max(f.len());
        self.bound = self.bound.max(f.len());
        self.frames.push(f);
        Some(i)
    }
}
