//! Frames in flight: a burst of references into senders' memory, with private copies of what was looked at.
//!
//! A sender may rewrite its buffer while the switch works on it. So the first 16 bytes (addresses, type,
//! VLAN tag) are copied once; all decisions are made on that copy and *it* is what receivers get,
//! followed by the rest straight from the sender's buffer.

use std::cell::RefCell;

use crate::counters::Cause;

/// Most frames that a worker takes from a source at once.
pub const MAX_BURST: usize = 1024;
/// Bytes of a frame that are copied out before it is looked at.
pub const HEAD: usize = 16;
/// Bytes for headers made in passing (VLAN tags, segments) and reassembled fragments, per burst.
const ARENA: usize = 4 << 20;

/// `struct virtio_net_hdr` (legacy layout, 10 bytes): offloads that a frame still needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHdr {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Length of the headers, a hint.
    pub hdr_len: u16,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where the checksum begins.
    pub csum_start: u16,
    /// Where it goes, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// Bytes on the wire between kernel and switch (the `num_buffers` field is never used).
    pub const LEN: usize = 10;
    /// The checksum still has to be computed.
    pub const NEEDS_CSUM: u8 = 1;
    /// TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// UDP fragmentation over IPv4 (legacy).
    pub const GSO_UDP: u8 = 3;
    /// TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP segmentation.
    pub const GSO_UDP_L4: u8 = 5;
    /// ECN bit, or'ed to the type.
    pub const GSO_ECN: u8 = 0x80;

    /// From kernel memory, native byte order.
    pub fn from_bytes(b: [u8; Self::LEN]) -> Self {
        let w = |i: usize| u16::from_ne_bytes([b[i], b[i + 1]]);
        Self {
            flags: b[0],
            gso_type: b[1],
            hdr_len: w(2),
            gso_size: w(4),
            csum_start: w(6),
            csum_offset: w(8),
        }
    }

    /// To kernel memory.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut b = [0; Self::LEN];
        b[0] = self.flags;
        b[1] = self.gso_type;
        b[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        b[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        b[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        b[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        b
    }

    /// Whether a port that knows nothing of it needs the switch to do the work.
    pub fn is_needed(self) -> bool {
        self.flags & Self::NEEDS_CSUM != 0 || self.gso_type & !Self::GSO_ECN != 0
    }
}

/// What makes frames alike: addresses, type and VLAN tag. The last two bytes of a head count only if they belong to
/// a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadKey(u128);

impl HeadKey {
    #[inline(always)]
    fn of(head: &[u8; HEAD]) -> Self {
        let w = u128::from_le_bytes(*head);
        let tagged = (w >> 96) as u16 == u16::from_le_bytes([0x81, 0]);
        Self(if tagged { w } else { w & (u128::MAX >> 16) })
    }
}

/// One frame: private head, then the rest in the sender's memory.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The private copy of the first bytes.
    pub head: *const u8,
    /// The bytes after it.
    pub tail: *const u8,
    /// Bytes at `head`.
    pub head_len: u16,
    /// Slots of the source that this frame takes.
    pub slots: u16,
    /// Bytes at `tail`.
    pub tail_len: u32,
    /// 0, or 1 + index into the burst's vnet headers.
    pub vnet: u16,
    /// Do not learn from it (`NS_NO_LEARN`).
    pub no_learn: bool,
    /// Not 0: the port it goes to, whatever its address (bits 8-15 of a netmap slot's flags).
    pub steer: u8,
    /// Refused by the source already.
    pub reject: Option<Cause>,
}

impl Frame {
    /// Bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.head_len) + self.tail_len as usize
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

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
    /// Whether some frame needs a look of its own: refused, with offloads, not to be learned from.
    odd: bool,
    heads: Box<[[u8; HEAD]; MAX_BURST]>,
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
            odd: false,
            heads: Box::new([[0; HEAD]; MAX_BURST]),
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
        (self.bytes, self.slots, self.longest, self.odd) = (0, 0, 0, false);
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

    /// The private copy of frame `i`'s first bytes.
    #[inline]
    pub fn head(&self, i: usize) -> &[u8; HEAD] {
        &self.heads[i]
    }

    /// Whether some frame taken was refused, is shorter than a head, has an offload header, or is not to be
    /// learned from.
    #[inline]
    pub fn is_odd(&self) -> bool {
        self.odd
    }

    /// What frame `i` is compared by.
    #[inline]
    pub fn head_key(&self, i: usize) -> HeadKey {
        HeadKey::of(&self.heads[i])
    }

    /// How many frames from `from` on have this key. Only heads are compared: see [`Burst::is_odd`].
    #[inline]
    pub fn alike(&self, key: HeadKey, from: usize) -> usize {
        self.heads[from..self.taken].iter().take_while(|h| HeadKey::of(h) == key).count()
    }

    /// Adds plain frames of one slot each, as many as `next` gives from its first on, at most `most`; how many.
    /// This is the fast way in: whatever is special about a frame is left to [`Burst::push`].
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
        let (mut bytes, mut longest, mut n) = (0, self.longest, 0);
        let room = self.frames.spare_capacity_mut().iter_mut().zip(&mut self.heads[first..first + most]);
        for (frame, head) in room {
            let Some((data, len)) = next(n) else { break };
            // SAFETY: 16 bytes are readable; read once, by a copy that tolerates a racing writer.
            *head = unsafe { data.cast::<[u8; HEAD]>().read_unaligned() };
            frame.write(Frame {
                head: head.as_ptr(),
                // SAFETY: inside the frame, or one past its end.
                tail: unsafe { data.add(HEAD) },
                head_len: HEAD as u16,
                slots: 1,
                tail_len: (len - HEAD) as u32,
                vnet: 0,
                no_learn: false,
                steer: 0,
                reject: None,
            });
            bytes += len as u64;
            longest = longest.max(len);
            n += 1;
        }
        self.taken = first + n as usize;
        // SAFETY: the `n` frames after those before were written just now.
        unsafe { self.frames.set_len(self.taken) };
        self.bytes += bytes;
        self.slots += n;
        self.longest = longest;
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
            no_learn: false,
            steer: 0,
            reject,
        });
        self.taken = i + 1;
        self.bytes += len as u64;
        self.slots += u32::from(slots);
        self.longest = self.longest.max(len);
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

    /// Whether a source may put `len` more bytes here: half is kept for headers made in passing.
    pub fn has_room(&self, len: usize) -> bool {
        self.used + len <= ARENA / 2
    }

    /// Where the next [`Burst::alloc`] begins. Allocations made one after another lie side by side.
    pub fn mark(&self) -> usize {
        self.used
    }

    /// What was allocated since `mark`.
    pub fn since(&self, mark: usize) -> &[u8] {
        &self.arena[mark..self.used]
    }

    /// Gives back what was allocated since `mark`; no frame may lie there.
    pub fn rewind(&mut self, mark: usize) {
        self.used = mark;
    }

    /// `len` bytes that stay put until the burst is cleared; `None` when the arena is used up.
    pub fn alloc(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.used.checked_add(len)?;
        let part = self.arena.get_mut(self.used..end)?;
        self.used = end;
        Some(part)
    }

    /// Adds a frame made from another; its index.
    pub fn derive(&mut self, f: Frame) -> Option<u16> {
        let i = u16::try_from(self.frames.len()).ok()?;
        self.longest = self.longest.max(f.len());
        self.frames.push(f);
        Some(i)
    }
}

/// One intended copy: frame `frame` of the burst, made from the source's frame `orig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index among the frames taken from the source.
    pub orig: u16,
    /// Index among all frames of the burst.
    pub frame: u16,
}
