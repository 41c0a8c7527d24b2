//! One frame, from its pieces to the burst.

use valecast_switch::counters::Cause;
use valecast_switch::frame::{Burst, HEAD};

use super::Contexts;
use super::offload::{self, Request};
use crate::e1000::desc::{Offload, Piece, cmd};
use crate::e1000::device::Device;
use crate::e1000::dma::{Access, Dma};
use crate::e1000::regs::{self, ctrl, tctl};

/// Longest frame to be segmented: 64 KiB of IP and the Ethernet header with two tags.
const MOST_SEGMENTED: usize = 65_535 + 22;
/// Longest other frame (manual, section 3.3.3).
const MOST: usize = 16_288;
/// Most pieces of one frame; what a 64 KiB frame in 512-byte buffers takes, and more than any driver uses.
const MOST_PIECES: usize = 256;
/// Shortest frame without FCS.
const LEAST: usize = 60;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gave {
    /// It is in the burst, as a frame or as a refused one.
    Yes,
    /// It is, and lies in the guest's memory but for its head.
    ByReference,
    /// The burst has no room for it: in the next one.
    Later,
}

/// A frame whose end was not seen yet.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Addresses and lengths; neighbours are one piece.
    pieces: Vec<(u64, usize)>,
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
        (self.total, self.request, self.tag) = (0, Request::None, None);
        (self.begun, self.bad) = (false, false);
    }

    /// Whether no piece was added.
    pub fn is_empty(&self) -> bool {
        !self.begun
    }

    /// Adds a piece; what is to be done to the frame the first piece says (manual, section 3.3.7.3), a legacy
    /// checksum and a VLAN tag the one that asks for it.
    pub fn add(&mut self, p: &Piece, contexts: Contexts) {
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

    /// Puts the frame, which is complete, into the burst.
    pub fn give<M: Dma + ?Sized>(&self, d: &Device, mem: &M, burst: &mut Burst, slots: u16) -> Gave {
        let most = if matches!(self.request, Request::Segment(_)) { MOST_SEGMENTED } else { MOST };
        if self.bad || self.total > most || self.total < 14 {
            d.counters.tx_bad_length.add(1);
            burst.push_rejected(slots, if self.total < 14 { Cause::Runt } else { Cause::BadSlot });
            return Gave::Yes;
        }
        let tag = self.tag.filter(|_| d.reg(regs::CTRL) & ctrl::VME != 0);
        let pad = self.total < LEAST && d.reg(regs::TCTL) & tctl::PSP != 0;
        if tag.is_none()
            && !pad
            && let [(addr, len)] = self.pieces[..]
            && len >= HEAD
            && let Ok(vnet) = self.request.as_it_is(len)
            && let Some(p) = mem.whole(addr, len, Access::Read)
        {
            // SAFETY: guest memory that stays mapped while the burst is in use (see `Dma`).
            unsafe { burst.push(p.as_ptr(), len, slots) };
            if let Some(v) = vnet {
                let vnet = burst.add_vnet(v);
                burst.last_mut().into_iter().for_each(|f| f.vnet = vnet);
            }
            return Gave::ByReference;
        }
        let extra = if tag.is_some() { 4 } else { 0 };
        let len = if pad { LEAST } else { self.total } + extra;
        if !burst.has_room(len) && burst.taken() > 0 {
            return Gave::Later;
        }
        self.gather(d, mem, burst, slots, (len, tag))
    }

    fn gather<M: Dma + ?Sized>(
        &self,
        d: &Device,
        mem: &M,
        burst: &mut Burst,
        slots: u16,
        (len, tag): (usize, Option<u16>),
    ) -> Gave {
        let mark = burst.mark();
        let Some(room) = burst.alloc(len) else { return Gave::Later };
        room.fill(0);
        let shift = if tag.is_some() { 4 } else { 0 };
        let mut at = shift;
        for (addr, n) in &self.pieces {
            if mem.read(*addr, &mut room[at..at + n]).is_err() {
                burst.rewind(mark);
                d.counters.dma_errors.add(1);
                d.counters.tx_dma_dropped.add(1);
                burst.push_rejected(slots, Cause::BadSlot);
                return Gave::Yes;
            }
            at += n;
        }
        if let Some(tci) = tag {
            room.copy_within(4..16, 0);
            room[12..14].copy_from_slice(&(d.reg(regs::VET) as u16).to_be_bytes());
            room[14..16].copy_from_slice(&tci.to_be_bytes());
        }
        let vnet = match offload::apply(self.request, room, shift, self.total + shift) {
            Ok(v) => v,
            Err(offload::Nonsense { fatal }) => {
                d.counters.tx_bad_offload.add(1);
                if fatal {
                    burst.rewind(mark);
                    burst.push_rejected(slots, Cause::Offload);
                    return Gave::Yes;
                }
                None
            }
        };
        let p = room.as_ptr();
        // SAFETY: the burst's own memory, which stays put until it is cleared.
        unsafe { burst.push(p, len, slots) };
        if let Some(v) = vnet {
            let vnet = burst.add_vnet(v);
            burst.last_mut().into_iter().for_each(|f| f.vnet = vnet);
        }
        Gave::Yes
    }
}
