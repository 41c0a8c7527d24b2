//! What the guest receives: frames are copied straight from their sender's memory into the guest's receive buffers.
//!
//! Each frame comes behind a `virtio_net_hdr` with what is left to be done for it; with mergeable buffers it takes as
//! many as it needs, else it must fit into one. Who gets which buffers is the [`Book`]'s business.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use valecast_switch::frame::{Burst, Entry, Frame, VnetHdr};
use valecast_switch::port::{Caps, Egress, Tally};

use super::book::{Book, Fit, Place};
use super::chain::{Bad, Use, walk};
use super::queue::Queue;
use super::ring::Ring;
use crate::memory::{Direction, Nearby, Snapshot};

mod source;

use source::Source;

/// Longest header.
const HEADER: usize = 12;
/// Buffers are asked for so many positions ahead.
const AHEAD: u64 = 8;

/// The receive queue of a pair.
struct Receive {
    queue: Arc<Queue>,
    book: Book,
    exclusive: bool,
}

/// The receive queues of a port.
pub struct Receiver {
    queues: Vec<Receive>,
    caps: Caps,
}

impl Receive {
    /// A key for notes in bursts.
    fn key(&self) -> usize {
        std::ptr::from_ref(&self.book) as usize
    }

    fn need(&self, burst: &Burst, e: Entry) -> usize {
        burst.frames[usize::from(e.frame)].len() + self.queue.parts.features.header()
    }

    fn claim(&self, burst: &Burst, list: &[Entry]) -> usize {
        let guard = crossbeam::epoch::pin();
        let memory = self.queue.memory(&guard);
        let Some(ring) = self.queue.ring(memory) else { return 0 };
        let longest = burst.longest() + self.queue.parts.features.header();
        let want = self.book.estimate(longest, list.len(), list.iter().map(|e| self.need(burst, *e)));
        let (start, mut end) = self.book.reserve(&self.queue, &ring, want);
        self.book.read(&self.queue, &ring, memory, start, end);
        let (mut pos, mut got) = (start, 0);
        'frames: for e in list {
            let need = self.need(burst, *e);
            loop {
                match self.book.fit(pos, end, need) {
                    Fit::At(place) => pos = place.end,
                    // It goes nowhere, and takes no room.
                    Fit::Never => {}
                    Fit::Short(useful) => {
                        let more = self.book.extend(&self.queue, &ring, end, self.book.more(need));
                        if more == end {
                            if useful == end {
                                pos = end;
                            }
                            break 'frames;
                        }
                        self.book.read(&self.queue, &ring, memory, end, more);
                        end = more;
                        continue;
                    }
                }
                got += 1;
                break;
            }
        }
        let held = end > start;
        if self.book.give_back(end, pos) {
            end = pos;
        }
        if got > 0 {
            burst.leave(self.key(), Book::note(start, end, got));
        } else {
            self.release(&ring, start, end);
            if held {
                self.others();
            }
        }
        got
    }

    fn unclaim(&self, burst: &Burst, frames: usize) {
        let Some(mut note) = burst.pick_up(self.key()) else { return };
        note.frames = note.frames.saturating_sub(frames);
        if note.frames > 0 {
            // What the others do not need is given back when they are delivered.
            burst.leave(self.key(), note);
        } else if self.book.give_back(note.end, note.start) {
            self.others();
        } else {
            let guard = crossbeam::epoch::pin();
            if let Some(ring) = self.queue.ring(self.queue.memory(&guard)) {
                self.release(&ring, note.start, note.end);
            }
        }
    }

    /// Gives buffers of a claim that came to nothing back to the guest. This may publish what others have written, and
    /// nobody will look after that.
    fn release(&self, ring: &Ring<'_>, start: u64, end: u64) {
        if end > start {
            self.return_empty(ring, start, end);
            self.book.commit(&self.queue, ring, start, end);
            self.queue.tell();
        }
    }

    /// Room that was held for a moment is there again.
    fn others(&self) {
        if !self.exclusive {
            self.book.pass_on(&self.queue);
        }
    }

    fn put(&self, burst: &Burst, list: &[Entry]) -> Tally {
        let mut tally = Tally::default();
        let note = burst.pick_up(self.key());
        let guard = crossbeam::epoch::pin();
        let memory = self.queue.memory(&guard);
        let (Some(note), Some(ring)) = (note, self.queue.ring(memory)) else {
            tally.tx_error = list.len() as u64;
            return tally;
        };
        let (mut pos, mut end) = (note.start, note.end);
        let mut near = Nearby::new(memory, Direction::Write);
        let address = |pos| self.book.buffer(pos).address;
        // Finds the map, which the looks ahead are in.
        let _ = address(pos).and_then(|a| near.whole(a, 1));
        (pos..end.min(pos + AHEAD)).filter_map(address).for_each(|a| near.prefetch(a));
        for e in list {
            if pos + AHEAD < end
                && let Some(a) = address(pos + AHEAD)
            {
                near.prefetch(a);
            }
            let frame = &burst.frames[usize::from(e.frame)];
            let placed = match self.book.fit(pos, end, self.need(burst, *e)) {
                Fit::At(place) => {
                    self.return_empty(&ring, pos, place.first);
                    pos = place.end;
                    self.write(&ring, &mut near, memory, burst, frame, place)
                }
                Fit::Short(_) | Fit::Never => false,
            };
            if placed {
                tally.frames += 1;
                tally.bytes += frame.len() as u64;
            } else {
                tally.tx_error += 1;
            }
        }
        if self.book.give_back(end, pos) {
            end = pos;
        }
        self.return_empty(&ring, pos, end);
        self.book.commit(&self.queue, &ring, note.start, end);
        tally
    }

    /// Marks buffers as used with nothing in them.
    fn return_empty(&self, ring: &Ring<'_>, from: u64, end: u64) {
        for pos in from..end {
            ring.put_used(self.queue.used_index(pos), self.book.buffer(pos).head, 0);
            self.queue.parts.counters.rx_returned.add(1);
        }
    }

    /// Writes one frame; whether all of it arrived.
    fn write(
        &self,
        ring: &Ring<'_>,
        near: &mut Nearby<'_>,
        memory: &Snapshot,
        burst: &Burst,
        f: &Frame,
        place: Place,
    ) -> bool {
        let mut header = [0; HEADER];
        let offload = if f.vnet == 0 { None } else { burst.vnet(f) };
        if let Some(v) = offload {
            header[..VnetHdr::LEN].copy_from_slice(&v.to_bytes());
        }
        header[VnetHdr::LEN..].copy_from_slice(&((place.end - place.first) as u16).to_le_bytes());
        let len = self.queue.parts.features.header();
        let (header, frame) = (&header[..len], burst.bytes_of(f));
        let mut source = Source::new(header, frame, f.len());
        if place.end == place.first + 1 {
            // One buffer, in one piece, as most frames have it.
            let b = self.book.buffer(place.first);
            let all = source.left();
            if let Some(piece) = b.address.filter(|_| b.len as usize >= all).and_then(|a| near.whole(a, all))
            {
                source.copy(&piece);
                ring.put_used(self.queue.used_index(place.first), b.head, all as u32);
                return true;
            }
        }
        let mut arrived = true;
        for pos in place.first..place.end {
            let b = self.book.buffer(pos);
            let wrote = match b.address {
                Some(address) => source.put(memory, address, b.len).map_err(Bad::from),
                None => self.scatter(ring, memory, b.head, &mut source),
            };
            let wrote = wrote.unwrap_or_else(|bad| {
                bad.count(&self.queue.parts.counters);
                tracing::debug!(queue = self.queue.parts.number, "a receive buffer cannot be written: {bad}");
                arrived = false;
                0
            });
            ring.put_used(self.queue.used_index(pos), b.head, wrote);
        }
        arrived && source.left() == 0
    }

    /// Into a buffer in several pieces; bytes. The guest may have changed them meanwhile.
    fn scatter(
        &self,
        ring: &Ring<'_>,
        memory: &Snapshot,
        head: u16,
        source: &mut Source<'_>,
    ) -> Result<u32, Bad> {
        let mut wrote = 0u32;
        walk(ring, memory, self.queue.parts.features.indirect(), head, Use::Write, |address, len| {
            wrote = wrote.saturating_add(source.put(memory, address, len)?);
            Ok(())
        })?;
        Ok(wrote)
    }

    fn arm(&self) -> bool {
        let guard = crossbeam::epoch::pin();
        match self.queue.ring(self.queue.memory(&guard)) {
            Some(ring) => self.book.arm(&self.queue, &ring),
            None => true,
        }
    }
}

impl Receiver {
    /// Over the receive queues of all pairs, at least one, all of them at position 0. `exclusive`: one worker alone
    /// delivers. `max_frame`: longest frame that is not to be segmented.
    pub fn new(queues: Vec<Arc<Queue>>, exclusive: bool, max_frame: usize) -> Self {
        let smallest = queues.iter().map(|q| q.parts.size).min().unwrap_or(0);
        let vnet = queues.iter().all(|q| q.parts.features.receives_offloads());
        let caps = Caps { vnet, max_frame, max_run: usize::from(smallest).max(2) / 2, queues: queues.len() };
        let guard = crossbeam::epoch::pin();
        let queues: Vec<_> = queues
            .into_iter()
            .map(|queue| {
                if let Some(ring) = queue.ring(queue.memory(&guard)) {
                    queue.quiet(&ring, 0);
                }
                let book = Book::new(queue.parts.size, queue.parts.features.mergeable(), exclusive);
                Receive { queue, book, exclusive }
            })
            .collect();
        Self { queues, caps }
    }

    fn queue(&self, lane: usize) -> &Receive {
        match self.queues.as_slice() {
            [one] => one,
            more => &more[lane % more.len()],
        }
    }
}

impl Egress for Receiver {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn takes(&self, offload: VnetHdr) -> bool {
        self.queues.iter().all(|q| q.queue.parts.features.receives(offload))
    }

    fn claim(&self, burst: &Burst, list: &[Entry], lane: usize) -> usize {
        self.queue(lane).claim(burst, list)
    }

    fn unclaim(&self, burst: &Burst, list: &[Entry], lane: usize) {
        self.queue(lane).unclaim(burst, list.len());
    }

    fn put(&self, burst: &Burst, list: &[Entry], lane: usize, _now: u64) -> Tally {
        self.queue(lane).put(burst, list)
    }

    fn wake(&self) {
        self.queues.iter().for_each(|q| q.queue.tell());
    }

    fn arm_room(&self, lane: usize) -> bool {
        self.queue(lane).arm()
    }

    fn room_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.queues.iter().filter_map(|q| q.queue.parts.kick.as_ref()).map(|k| k.as_fd()).collect()
    }
}
