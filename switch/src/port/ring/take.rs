//! From slots to a burst.

use valecast_ring::SlotFlags;
use valecast_ring::abi::MAX_FRAGS;
use valecast_ring::host::TxSlots;

use crate::counters::Cause;
use crate::frame::{Burst, HEAD, MAX_BURST, VnetHdr};

/// Frames whose first bytes are asked for together: few enough for the first-level cache, and enough for the first of
/// them to have come when the last was asked for.
const BLOCK: usize = 64;
/// Flags of slots that need a look of their own.
const SPECIAL: SlotFlags = SlotFlags::MORE_FRAG.union(SlotFlags::NO_LEARN);

/// [`Special`](super::Special), as it is for one burst.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::port) struct Extras {
    pub(super) hdr: usize,
    pub(super) steer: bool,
}

impl Extras {
    /// Flags of slots that need a look of their own.
    pub(super) fn look(self) -> SlotFlags {
        if self.steer { SPECIAL.union(SlotFlags::FRAGS) } else { SPECIAL }
    }
}

/// One slot of a source: where its bytes are, how many, and its flags; `None` if it makes no sense.
pub(in crate::port) type SlotAt = Option<(*const u8, usize, SlotFlags)>;

/// Slots in a row that frames are taken from.
pub(in crate::port) trait Slots {
    /// The `i`-th.
    fn slot(&self, i: u32) -> SlotAt;

    /// Those from the `i`-th on, or the first of them, at most `n`: each a frame of at least [`HEAD`] bytes without the
    /// flags `look`, or `None`. What it begins with is asked for.
    fn plain(&self, i: u32, n: u32, look: SlotFlags) -> impl Fn(u32) -> Option<(*const u8, usize)>;
}

/// Slots of which only this is known.
#[derive(Clone, Copy)]
pub(in crate::port) struct Each<F>(pub F);

impl<F: Fn(u32) -> SlotAt> Slots for Each<F> {
    #[inline(always)]
    fn slot(&self, i: u32) -> SlotAt {
        (self.0)(i)
    }

    #[inline(always)]
    fn plain(&self, i: u32, _: u32, look: SlotFlags) -> impl Fn(u32) -> Option<(*const u8, usize)> {
        move |k| {
            let (data, len, flags) = (self.0)(i + k)?;
            valecast_ring::prefetch(data);
            (len >= HEAD && !flags.intersects(look)).then_some((data, len))
        }
    }
}

impl Slots for TxSlots<'_> {
    #[inline(always)]
    fn slot(&self, i: u32) -> SlotAt {
        self.frame(i).ok().map(|f| (f.data.as_ptr().cast_const(), f.len as usize, f.flags))
    }

    #[inline(always)]
    fn plain(&self, i: u32, n: u32, look: SlotFlags) -> impl Fn(u32) -> Option<(*const u8, usize)> {
        self.prefetch_descs(i, n);
        let next = TxSlots::plain(self, i, n, HEAD as u32, look);
        move |k| {
            let (data, len) = next(k)?;
            let data = data.as_ptr().cast_const();
            valecast_ring::prefetch(data);
            Some((data, len as usize))
        }
    }
}

/// Puts the frames of `pending` slots into `burst`.
///
/// # Safety
/// What `slots` returns must stay readable until the burst is cleared.
#[inline]
pub(in crate::port) unsafe fn take_slots(
    burst: &mut Burst,
    pending: u32,
    max: usize,
    extras: Extras,
    slots: impl Slots + Copy,
) {
    let max = max.min(MAX_BURST);
    let look = extras.look();
    let mut i = 0;
    while i < pending && burst.taken() < max {
        if extras.hdr == 0 {
            let most = (max - burst.taken()).min((pending - i) as usize).min(BLOCK) as u32;
            // SAFETY: the caller vouches for what `slots` returns, and short frames are left out.
            let n = unsafe { burst.push_plain(most as usize, slots.plain(i, most, look)) };
            i += n;
            if n == most {
                continue;
            }
        }
        // SAFETY: as the caller promised.
        match unsafe { take_one(burst, &{ slots }, i, pending, extras.hdr, look) } {
            Some(n) => i += n,
            None => return,
        }
    }
}

/// As [`take_slots`], slot by slot: for so few, getting ready for many costs more.
///
/// # Safety
/// As for [`take_slots`].
#[inline]
pub(super) unsafe fn take_few(
    burst: &mut Burst,
    pending: u32,
    max: usize,
    extras: Extras,
    slots: impl Slots + Copy,
) {
    let mut i = 0;
    while i < pending && burst.taken() < max {
        // SAFETY: as the caller promised.
        match unsafe { take_one(burst, &{ slots }, i, pending, extras.hdr, extras.look()) } {
            Some(n) => i += n,
            None => return,
        }
    }
}

/// Puts the frame of slot `i` into `burst`, whatever it is like. Slots it takes, or `None` if it has to wait. Apart, and with
/// a copy of the slots that only it takes the address of, as its needs must not burden plain frames.
///
/// # Safety
/// As for [`take_slots`].
#[inline(never)]
unsafe fn take_one(
    burst: &mut Burst,
    slots: &impl Slots,
    i: u32,
    pending: u32,
    hdr: usize,
    look: SlotFlags,
) -> Option<u32> {
    match slots.slot(i) {
        Some((_, _, flags)) if flags.contains(SlotFlags::MORE_FRAG) => {
            let n = gather(burst, i, pending, hdr, |i| slots.slot(i))?;
            mark(burst, flags, look);
            Some(n)
        }
        Some((data, len, flags)) if len >= hdr => {
            // SAFETY: the caller vouches for `len` bytes, of which the header takes `hdr`.
            unsafe {
                let offload = header(data, hdr);
                burst.push(data.add(hdr), len - hdr, 1);
                offer(burst, offload);
            }
            mark(burst, flags, look);
            Some(1)
        }
        _ => {
            burst.push_rejected(1, Cause::BadSlot);
            Some(1)
        }
    }
}

/// Notes what a frame's flags ask for.
fn mark(burst: &mut Burst, flags: SlotFlags, look: SlotFlags) {
    let steer = ((flags & look).bits() >> 8) as u8;
    if (flags.contains(SlotFlags::NO_LEARN) || steer != 0)
        && let Some(last) = burst.last_mut()
    {
        last.no_learn |= flags.contains(SlotFlags::NO_LEARN);
        last.steer = steer;
    }
}

/// The offload header at `data`, if frames have one: of the 12 bytes of the longer one the last two count buffers.
///
/// # Safety
/// `hdr` bytes must be readable at `data`; others may write there.
unsafe fn header(data: *const u8, hdr: usize) -> Option<VnetHdr> {
    // SAFETY: a header has at least so many bytes, as the caller says; read once.
    let bytes = (hdr >= VnetHdr::LEN).then(|| unsafe { data.cast::<[u8; VnetHdr::LEN]>().read_unaligned() });
    bytes.map(VnetHdr::from_bytes).filter(|v| v.is_needed())
}

/// Gives the frame pushed last its offload header.
fn offer(burst: &mut Burst, offload: Option<VnetHdr>) {
    if let Some(v) = offload {
        let n = burst.add_vnet(v);
        if let Some(last) = burst.last_mut() {
            last.vnet = n;
        }
    }
}

/// A frame over several slots, gathered into the burst's own memory. Slots it takes, or `None` if its
/// end is not there yet or this burst cannot hold it.
#[cold]
fn gather(
    burst: &mut Burst,
    first: u32,
    pending: u32,
    hdr: usize,
    slot: impl Fn(u32) -> SlotAt,
) -> Option<u32> {
    let begin = burst.mark();
    let (mut n, mut bad) = (0u32, false);
    loop {
        if first + n >= pending {
            burst.rewind(begin);
            return None;
        }
        let part = slot(first + n);
        n += 1;
        let Some((data, len, flags)) = part else {
            bad = true;
            break;
        };
        if !burst.has_room(len) && burst.taken() > 0 {
            // In the next burst.
            burst.rewind(begin);
            return None;
        }
        match burst.alloc(len) {
            // SAFETY: the slot's bytes are readable (see `take_slots`), the room is ours and as long.
            Some(room) => unsafe { std::ptr::copy_nonoverlapping(data, room.as_mut_ptr(), len) },
            None => bad = true,
        }
        let more = flags.contains(SlotFlags::MORE_FRAG);
        if more && n as usize >= MAX_FRAGS {
            bad = true;
        }
        if bad || !more {
            break;
        }
    }
    let (data, len) = (burst.since(begin).as_ptr(), burst.since(begin).len());
    if bad || len < hdr || len - hdr > usize::from(u16::MAX) {
        burst.rewind(begin);
        burst.push_rejected(n as u16, Cause::BadSlot);
    } else {
        // SAFETY: arena memory of `len` bytes, at least a header, which stays put until the burst is cleared.
        unsafe {
            let offload = header(data, hdr);
            burst.push(data.add(hdr), len - hdr, n as u16);
            offer(burst, offload);
        }
    }
    Some(n)
}
