//! One frame, from its pieces to the burst.

use valecast_switch::counters::Cause;
use valecast_switch::frame::{Burst, HEAD, MAX_PIECES, Piece, VnetHdr};

use super::Contexts;
use super::offload::{self, Request};
use crate::e1000::desc::{self, Offload, cmd};
use crate::e1000::device::Device;
use crate::e1000::dma::{Access, Dma};
use crate::e1000::regs::{self, ctrl, tctl};

/// Longest frame to be segmented: 64 KiB of IP and the Ethernet header with two tags.
const MOST_SEGMENTED: usize = 65_535 + 22;
/// Longest other frame (manual, section 3.3.3).
pub(super) const MOST: usize = 16_288;
/// Most pieces of one frame; what a 64 KiB frame in 512-byte buffers takes, and more than any driver uses.
const MOST_PIECES: usize = 256;
/// Shortest frame without FCS.
pub(super) const LEAST: usize = 60;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gave {
    /// It is in the burst, as a frame or as a refused one.
    Yes,
    /// It is, and lies in the guest's memory but for its headers.
    ByReference,
    /// The burst has no room for it: in the next one.
    Later,
}

/// A frame whose end was not seen yet.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Addresses and lengths; neighbours are one piece.
    pieces: Vec<(u64, usize)>,
    /// Where its bytes lie, or those behind the ones that were copied.
    spans: Vec<Piece>,
    total: usize,
    request: Request,
    tag: Option<u16>,
    begun: bool,
    bad: bool,
}

impl Assembly {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.spans.clear();
        (self.total, self.request, self.tag) = (0, Request::None, None);
        (self.begun, self.bad) = (false, false);
    }

    /// Whether no piece was added.
    pub fn is_empty(&self) -> bool {
        !self.begun
    }

    /// Adds a piece; what is to be done to the frame the first piece says (manual, section 3.3.7.3), a legacy
    /// checksum and a VLAN tag the one that asks for it.
    pub fn add(&mut self, p: &desc::Piece, contexts: Contexts) {
        let first = !std::mem::replace(&mut self.begun, true);
        match p.offload {
            Offload::Context(popts) if first => {
                self.request = if p.command & cmd::TSE != 0 {
                    Request::Segment(contexts.segmented)
                } else {
                    Request::of(popts, contexts.plain)
                };
            }
            Offload::Legacy { css, cso } if p.command & cmd::IC != 0 => {
                self.request = Request::Legacy { css, cso };
            }
            _ => {}
        }
        if p.command & cmd::VLE != 0 {
            self.tag = Some(p.special);
        }
        let len = p.len as usize;
        self.total = self.total.saturating_add(len);
        if len == 0 || self.bad {
            return;
        }
        let full = self.pieces.len() == MOST_PIECES;
        match self.pieces.last_mut() {
            Some((addr, n)) if addr.checked_add(*n as u64) == Some(p.addr) => *n += len,
            _ if full => self.bad = true,
            _ => self.pieces.push((p.addr, len)),
        }
    }

    /// Puts the frame, which is complete, into the burst. `once`: 1, or 0 if what may be wrong with it was counted.
    pub fn give<M: Dma + ?Sized>(
        &mut self,
        d: &Device,
        mem: &M,
        burst: &mut Burst,
        (slots, once): (u16, u64),
    ) -> Gave {
        let most = if matches!(self.request, Request::Segment(_)) { MOST_SEGMENTED } else { MOST };
        if self.bad || self.total > most || self.total < 14 {
            d.counters.tx_bad_length.add(once);
            burst.push_rejected(slots, if self.total < 14 { Cause::Runt } else { Cause::BadSlot });
            return Gave::Yes;
        }
        let tag = self.tag.filter(|_| d.reg(regs::CTRL) & ctrl::VME != 0);
        let padded = self.total < LEAST && d.reg(regs::TCTL) & tctl::PSP != 0;
        // What is changed is copied; what need not be looked at stays where it is.
        let headers = self.request.reach(self.total).max(if tag.is_some() { HEAD } else { 0 });
        let copied = if padded || self.total <= HEAD { self.total } else { headers.min(self.total) };
        let spans = &mut self.spans;
        spans.clear();
        let by_reference = copied < self.total && find(mem, &self.pieces, copied, spans);
        let copied = if by_reference { copied } else { self.total };
        let shift = if tag.is_some() { 4 } else { 0 };
        let room = shift + if padded { LEAST } else { copied };
        if room > 0 && !burst.has_room(room) && burst.taken() > 0 {
            return Gave::Later;
        }
        match self.copy(d, mem, burst, (copied, room, tag, once)) {
            Ok(vnet) => {
                // SAFETY: guest memory that stays mapped while the burst is in use (see `Dma`), and before it the burst's
                // own.
                if !unsafe { burst.push_pieces(&self.spans, slots) } {
                    // Not reached: `find` knows the most.
                    burst.push_rejected(slots, Cause::BadSlot);
                }
                if let Some(v) = vnet {
                    let vnet = burst.add_vnet(v);
                    burst.last_mut().into_iter().for_each(|f| f.vnet = vnet);
                }
                if by_reference { Gave::ByReference } else { Gave::Yes }
            }
            Err(Some(cause)) => {
                burst.push_rejected(slots, cause);
                Gave::Yes
            }
            Err(None) => Gave::Later,
        }
    }

    /// Copies the first bytes into the burst's own memory, with the tag among them, and does to them what was asked
    /// for; they go before the spans. The offload header for the rest.
    fn copy<M: Dma + ?Sized>(
        &mut self,
        d: &Device,
        mem: &M,
        burst: &mut Burst,
        (copied, len, tag, once): (usize, usize, Option<u16>, u64),
    ) -> Result<Option<VnetHdr>, Option<Cause>> {
        let mark = burst.mark();
        let room = burst.alloc(len).ok_or(None)?;
        room.fill(0);
        let shift = if tag.is_some() { 4 } else { 0 };
        let (mut at, end) = (shift, shift + copied);
        for (addr, n) in &self.pieces {
            let n = (*n).min(end - at);
            if mem.read(*addr, &mut room[at..at + n]).is_err() {
                burst.rewind(mark);
                d.counters.dma_errors.add(once);
                d.counters.tx_dma_dropped.add(once);
                return Err(Some(Cause::BadSlot));
            }
            at += n;
        }
        if let Some(tci) = tag {
            room.copy_within(4..16, 0);
            room[12..14].copy_from_slice(&(d.reg(regs::VET) as u16).to_be_bytes());
            room[14..16].copy_from_slice(&tci.to_be_bytes());
        }
        let padding = len - end;
        let vnet = match offload::apply(self.request, room, (shift, self.total + shift, padding)) {
            Ok(v) => v,
            Err(offload::Nonsense { fatal }) => {
                d.counters.tx_bad_offload.add(once);
                if fatal {
                    burst.rewind(mark);
                    return Err(Some(Cause::Offload));
                }
                None
            }
        };
        if len > 0 {
            self.spans.insert(0, Piece { at: room.as_ptr(), len });
        }
        Ok(vnet)
    }
}

/// Where the bytes behind the first `skip` lie, if they lie in few enough pieces; `false` if not, or if some are no
/// memory.
fn find<M: Dma + ?Sized>(mem: &M, pieces: &[(u64, usize)], mut skip: usize, spans: &mut Vec<Piece>) -> bool {
    for (addr, len) in pieces {
        let n = skip.min(*len);
        skip -= n;
        let Some(addr) = addr.checked_add(n as u64) else { return false };
        let found = mem.pieces(addr, len - n, Access::Read, |_, s| {
            spans.push(Piece { at: s.ptr.as_ptr(), len: s.len });
        });
        // One more may come before them.
        if found.is_err() || spans.len() >= MAX_PIECES {
            return false;
        }
    }
    true
}
