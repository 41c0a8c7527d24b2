//! What the guest sends: chains of its transmit queue become frames of a burst, by reference into its memory.
//!
//! A frame is not copied here, though it may lie in several pieces (a Linux guest's TCP, whose headers and payload lie
//! apart). Only one in more than [`MAX_PIECES`] is gathered into the burst's own memory.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use valecast_switch::counters::Cause;
use valecast_switch::frame::{Burst, MAX_BURST, MAX_PIECES, Piece, VnetHdr};
use valecast_switch::port::Ingress;

use super::chain::{Bad, Use, single, walk};
use super::queue::Queue;
use super::ring::Ring;
use crate::memory::{Direction, Fault, Nearby, Snapshot};

/// Longest frame: 64 KiB of IP with an Ethernet header and two tags.
const MAX_FRAME: u64 = 65535 + 22;
/// Descriptors and buffers are asked for so many positions ahead, or twice as many.
const AHEAD: u64 = 8;
/// Most buffers of one frame.
const MAX_BUFFERS: usize = 1024;

/// The transmit queue of a pair.
pub struct Transmit {
    queue: Arc<Queue>,
    /// First position that is not done with.
    next: u64,
    /// First position that was never looked at: what a full receiver holds back is looked at again, and counted once.
    fresh: u64,
    /// By slot: the chain there, as it was when it was taken.
    heads: Box<[u16]>,
    /// What its buffers are, in guest addresses and in ours.
    pieces: Vec<(u64, u32)>,
    spans: Vec<Piece>,
}

/// What became of a good frame.
enum Pushed {
    /// The burst has it, where it lies.
    ByReference,
    /// The burst has a copy.
    Gathered,
    /// The burst can hold no more.
    Full,
}

impl Transmit {
    /// Over a queue at position 0.
    pub fn new(queue: Arc<Queue>) -> Self {
        let heads = vec![0; usize::from(queue.parts.size)].into_boxed_slice();
        let guard = crossbeam::epoch::pin();
        if let Some(ring) = queue.ring(queue.memory(&guard)) {
            queue.quiet(&ring, 0);
        }
        Self { queue, next: 0, fresh: 0, heads, pieces: Vec::new(), spans: Vec::new() }
    }

    fn slot(&self, pos: u64) -> usize {
        pos as usize & (self.heads.len() - 1)
    }

    /// Puts the frame of a chain that is one buffer, in one piece, into `burst`; whether it is one, and a good one.
    #[inline]
    fn push_plain(&self, ring: &Ring<'_>, near: &mut Nearby<'_>, head: u16, burst: &mut Burst) -> bool {
        let parts = &self.queue.parts;
        let header = parts.features.header();
        let Some(d) = single(ring, head, Use::Read) else { return false };
        let Some(len) = (d.len as usize).checked_sub(header).filter(|len| *len as u64 <= MAX_FRAME) else {
            return false;
        };
        let Some(all) = near.whole(d.address, d.len as usize) else { return false };
        let mut bytes = [0; VnetHdr::LEN];
        let (true, Some(frame)) = (all.read(0, &mut bytes), all.part(header, len)) else { return false };
        let offload = VnetHdr::from_bytes(bytes);
        if !parts.features.may_send(offload, len) {
            return false;
        }
        // SAFETY: as in `push`.
        unsafe { burst.push(frame.as_ptr(), len, 1) };
        offer(burst, offload);
        true
    }

    /// Puts the frame of any chain into `burst`.
    fn push(
        &mut self,
        ring: &Ring<'_>,
        memory: &Snapshot,
        head: u16,
        burst: &mut Burst,
    ) -> Result<Pushed, Bad> {
        let parts = &self.queue.parts;
        let pieces = &mut self.pieces;
        pieces.clear();
        let mut total = 0u64;
        match single(ring, head, Use::Read) {
            Some(d) => {
                pieces.push((d.address, d.len));
                total = d.len.into();
            }
            None => walk(ring, memory, parts.features.indirect(), head, Use::Read, |address, len| {
                total += u64::from(len);
                if pieces.len() == MAX_BUFFERS {
                    return Err(Bad::Length(total));
                }
                if len > 0 {
                    pieces.push((address, len));
                }
                Ok(())
            })?,
        }
        let header = parts.features.header();
        let len = total.saturating_sub(header as u64);
        if total < header as u64 || len > MAX_FRAME {
            return Err(Bad::Length(total));
        }
        let offload = VnetHdr::from_bytes(take_header(pieces, memory, header)?);
        let len = len as usize;
        if !parts.features.may_send(offload, len) {
            return Err(Bad::Offload);
        }
        let spans = &mut self.spans;
        spans.clear();
        for &(address, size) in pieces.iter() {
            memory.each(address, size.into(), Direction::Read, |s| {
                spans.push(Piece { at: s.as_ptr(), len: s.len() });
            })?;
            if spans.len() > MAX_PIECES {
                break;
            }
        }
        // SAFETY: guest memory, which stays mapped while this thread's epoch is pinned: the worker pins it for the whole
        // turn, longer than the burst lives.
        if unsafe { burst.push_pieces(spans, 1) } {
            offer(burst, offload);
            return Ok(Pushed::ByReference);
        }
        if !burst.has_room(len) && burst.taken() > 0 {
            return Ok(Pushed::Full);
        }
        let begin = burst.mark();
        let room = burst.alloc(len).ok_or(Bad::Length(total))?;
        if let Err(e) = gather(pieces, memory, room) {
            burst.rewind(begin);
            return Err(e.into());
        }
        let at = room.as_ptr();
        // SAFETY: the burst's own memory, `len` bytes.
        unsafe { burst.push(at, len, 1) };
        offer(burst, offload);
        Ok(Pushed::Gathered)
    }
}

/// Reads the header off the front of `pieces`: its first 10 bytes (the last two of 12 count buffers, which a driver
/// leaves 0).
fn take_header(
    pieces: &mut Vec<(u64, u32)>,
    memory: &Snapshot,
    header: usize,
) -> Result<[u8; VnetHdr::LEN], Fault> {
    let mut bytes = [0; 12];
    let mut at = 0;
    let mut whole = 0;
    for (address, len) in pieces.iter_mut() {
        let n = (header - at).min(*len as usize);
        memory.read(*address, &mut bytes[at..at + n])?;
        at += n;
        // No overflow: memory was read there.
        *address += n as u64;
        *len -= n as u32;
        if *len > 0 {
            break;
        }
        whole += 1;
        if at == header {
            break;
        }
    }
    pieces.drain(..whole);
    let mut first = [0; VnetHdr::LEN];
    first.copy_from_slice(&bytes[..VnetHdr::LEN]);
    Ok(first)
}

fn gather(pieces: &[(u64, u32)], memory: &Snapshot, room: &mut [u8]) -> Result<(), Fault> {
    let mut rest = room;
    for &(address, len) in pieces {
        let (part, after) = rest.split_at_mut(rest.len().min(len as usize));
        memory.read(address, part)?;
        rest = after;
    }
    Ok(())
}

/// Gives the frame pushed last its offload header, if it needs one.
fn offer(burst: &mut Burst, offload: VnetHdr) {
    if offload.is_needed() {
        let flags = offload.flags & VnetHdr::NEEDS_CSUM;
        let n = burst.add_vnet(VnetHdr { flags, ..offload });
        if let Some(last) = burst.last_mut() {
            last.vnet = n;
        }
    }
}

impl Ingress for Transmit {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        let queue = Arc::clone(&self.queue);
        let guard = crossbeam::epoch::pin();
        let memory = queue.memory(&guard);
        let Some(ring) = queue.ring(memory) else { return };
        let pending = usize::from(queue.pending(&ring, self.next));
        let end = self.next + pending.min(max).min(MAX_BURST) as u64;
        let mut near = Nearby::new(memory, Direction::Read);
        let (mut by_reference, mut gathered) = (0, 0);
        let index = |pos| queue.available_index(pos);
        (self.next..end.min(self.next + 2 * AHEAD)).for_each(|pos| ring.prefetch_descriptor(index(pos)));
        for pos in self.next..end {
            if pos + 2 * AHEAD < end {
                ring.prefetch_descriptor(index(pos + 2 * AHEAD));
            }
            if pos + AHEAD < end
                && let Some(d) = ring.descriptor(ring.head(index(pos + AHEAD)))
            {
                near.prefetch(d.address);
            }
            let head = ring.head(index(pos));
            let slot = self.slot(pos);
            self.heads[slot] = head;
            let once = u64::from(pos >= self.fresh);
            let pushed = if self.push_plain(&ring, &mut near, head, burst) {
                Ok(Pushed::ByReference)
            } else {
                self.push(&ring, memory, head, burst)
            };
            match pushed {
                Ok(Pushed::ByReference) => by_reference += once,
                Ok(Pushed::Gathered) => gathered += once,
                Ok(Pushed::Full) => break,
                Err(bad) => {
                    if once > 0 {
                        bad.count(&queue.parts.counters);
                        tracing::debug!(queue = queue.parts.number, "a sent chain is no frame: {bad}");
                    }
                    burst.push_rejected(1, Cause::BadSlot);
                }
            }
            self.fresh = self.fresh.max(pos + 1);
        }
        for (counter, n) in [
            (&queue.parts.counters.tx_by_reference, by_reference),
            (&queue.parts.counters.tx_gathered, gathered),
        ] {
            if n > 0 {
                counter.add(n);
            }
        }
    }

    fn complete(&mut self, burst: &Burst, n: usize) {
        let guard = crossbeam::epoch::pin();
        let end = self.next + u64::from(burst.slots(n));
        if let Some(ring) = self.queue.ring(self.queue.memory(&guard)) {
            for pos in self.next..end {
                ring.put_used(self.queue.used_index(pos), self.heads[self.slot(pos)], 0);
            }
        }
        self.next = end;
    }

    fn publish(&mut self) {
        if self.next == self.queue.published() {
            return;
        }
        let guard = crossbeam::epoch::pin();
        if let Some(ring) = self.queue.ring(self.queue.memory(&guard)) {
            self.queue.publish(&ring, self.next);
        }
    }

    fn wake(&mut self) {
        self.queue.tell();
    }

    fn arm(&mut self) -> bool {
        self.publish();
        let guard = crossbeam::epoch::pin();
        match self.queue.ring(self.queue.memory(&guard)) {
            Some(ring) => self.queue.arm(&ring, self.next),
            // Until it is set up anew, which makes another source.
            None => true,
        }
    }

    fn disarm(&mut self) {
        self.queue.parts.counters.kicks.add(1);
        let guard = crossbeam::epoch::pin();
        if let Some(ring) = self.queue.ring(self.queue.memory(&guard)) {
            self.queue.quiet(&ring, self.next);
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.parts.kick.as_ref().map(|k| k.as_fd())
    }
}

impl Drop for Transmit {
    fn drop(&mut self) {
        self.publish();
        valecast_ring::notify::settle();
        self.queue.tell();
    }
}
