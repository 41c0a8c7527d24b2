//! A driver for virtio-net (virtio 1.3, section 5.1) over split rings, as the e1000's [`driver`](crate::driver) is for that
//! card: kicks and interrupts by event indices, a header of 12 bytes before each frame, and received frames over as
//! many buffers as they take. No offloads are asked for.
//!
//! - [`Driver`]: one pair of queues, each with buffers of its own;
//! - `queue`: a ring as the driver has it;
//! - [`setup`]: where rings lie, and how the guest says so to its monitor, which has no registers for that.
//!
//! What the device writes is not trusted either: an index, an entry or a header that makes no sense is a [`Fault`]
//! that says so.

use core::fmt;

use crate::dma::{Dma, Unmapped};
use crate::driver::{Bus, Did};

mod queue;
pub mod setup;

use queue::Queue;
pub use setup::{Places, Setup};

/// `VIRTIO_F_VERSION_1`, `VIRTIO_RING_F_EVENT_IDX`, `VIRTIO_NET_F_MRG_RXBUF`: what the driver asks for, and needs.
pub const FEATURES: u64 = 1 << 32 | 1 << 29 | 1 << 15;
/// Bytes of `struct virtio_net_hdr_v1` before each frame.
pub const HEADER: usize = 12;
/// Place of its count of buffers.
const NUM_BUFFERS: u64 = 10;
/// Bytes of a buffer, of either queue. Buffers lie [`STRIDE`] bytes apart, so that the frame behind a header begins a cache
/// line: what is copied from one to another is aligned.
pub const BUFFER: usize = STRIDE - LINE + HEADER;
/// See above.
pub const STRIDE: usize = 2048;
const LINE: usize = 64;
/// Longest frame that is sent.
pub const MAX_FRAME: usize = BUFFER - HEADER;
/// Most entries of a ring, for which the driver has a bit each.
pub const MAX_ENTRIES: u16 = 4096;
/// Number of the queue that receives.
pub const RECEIVE: u16 = 0;
/// Number of the queue that sends.
pub const TRANSMIT: u16 = 1;
/// Received buffers are asked for so many ahead.
const AHEAD: u16 = 8;
/// Most frames that are received before the device gets their buffers back.
const RX_BATCH: u32 = 64;

/// Register: as virtio's device status. [`DRIVER_OK`]: the rings are set up; 0: the device is to forget them.
pub const STATUS: u32 = 0x100;
/// `VIRTIO_CONFIG_S_DRIVER_OK`.
pub const DRIVER_OK: u32 = 4;

/// Register: the doorbell of a queue.
pub const fn doorbell(queue: u16) -> u32 {
    4 * queue as u32
}

/// Why the driver cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its own memory is not there.
    Unmapped(Unmapped),
    /// Features that it needs and the device does not have.
    Features(u64),
    /// A ring's size is no power of two from 2 to [`MAX_ENTRIES`].
    Entries(u16),
    /// The used index of this queue moved by so much, which is more than the device had.
    Index(u16, u16),
    /// An entry of this queue's used ring: a buffer that is not the device's, or more bytes than it has.
    Entry(u16, u32, u32),
    /// A received frame says that it has so many buffers, of which there are not as many.
    Buffers(u16),
    /// A frame of so many bytes, more than [`MAX_FRAME`].
    TooLong(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmapped(e) => e.fmt(f),
            Self::Features(n) => write!(f, "the device does not offer features {n:#x}"),
            Self::Entries(n) => {
                write!(f, "a ring of {n} entries; a power of two from 2 to {MAX_ENTRIES} is due")
            }
            Self::Index(q, n) => write!(f, "queue {q}: the used index moved by {n}, more than there were"),
            Self::Entry(q, id, len) => {
                write!(
                    f,
                    "queue {q}: buffer {id} came back with {len} bytes, and is not out or has not as many"
                )
            }
            Self::Buffers(n) => write!(f, "a frame in {n} buffers, of which there are not as many"),
            Self::TooLong(n) => write!(f, "a frame of {n} bytes; {MAX_FRAME} have room"),
        }
    }
}

impl core::error::Error for Fault {}

impl From<Unmapped> for Fault {
    fn from(e: Unmapped) -> Self {
        Self::Unmapped(e)
    }
}

/// How a driver sets up its device.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where its memory begins, a multiple of 4096.
    pub base: u64,
    /// Entries per ring, a power of two from 2 to [`MAX_ENTRIES`].
    pub entries: u16,
    /// Features that the device offers.
    pub offered: u64,
}

impl Options {
    /// Bytes of memory from `base` on that the driver uses.
    pub fn memory(&self) -> usize {
        2 * (Places::bytes(self.entries) + usize::from(self.entries) * STRIDE)
    }
}

/// A received frame in the driver's buffers, until the next one is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Its bytes, without the header.
    pub len: usize,
    /// Buffers it took.
    pub buffers: u16,
    /// Bytes of the header, and of the frame behind it, in the first of them.
    first: (u64, usize),
    at: queue::Taken,
}

impl Frame {
    /// Copies as much of it as `to` has room for; how much that was.
    pub fn copy(&self, mem: &impl Dma, to: &mut [u8]) -> Result<usize, Fault> {
        let (addr, len) = self.first;
        let mut at = len.min(to.len());
        mem.read(addr + HEADER as u64, &mut to[..at])?;
        for k in 1..self.buffers {
            let (addr, len) = self.at.piece(mem, k)?;
            let len = len.min(to.len() - at);
            mem.read(addr, &mut to[at..at + len])?;
            at += len;
        }
        Ok(at)
    }

    /// Where it begins, behind its header, if any of it is in the first buffer.
    #[inline]
    pub fn at(&self) -> Option<u64> {
        (self.first.1 > 0).then_some(self.first.0 + HEADER as u64)
    }

    /// The header's bytes.
    pub fn header(&self, mem: &impl Dma) -> Result<[u8; HEADER], Fault> {
        let mut b = [0; HEADER];
        mem.read(self.first.0, &mut b)?;
        Ok(b)
    }
}

/// See the [module](self).
pub struct Driver {
    rx: Queue,
    tx: Queue,
    did: Did,
}

impl Driver {
    /// Sets up rings and buffers; the device is to be told of [`Driver::setup`] then.
    pub fn start(mem: &impl Dma, o: Options) -> Result<Self, Fault> {
        let missing = FEATURES & !o.offered;
        if missing != 0 {
            return Err(Fault::Features(missing));
        }
        let n = o.entries;
        if !n.is_power_of_two() || !(2..=MAX_ENTRIES).contains(&n) {
            return Err(Fault::Entries(n));
        }
        let rings = Places::bytes(n) as u64;
        let buffers = o.base + 2 * rings + (LINE - HEADER) as u64;
        let mut rx = Queue::new(RECEIVE, o.base, n, buffers);
        let tx = Queue::new(TRANSMIT, o.base + rings, n, buffers + u64::from(n) * STRIDE as u64);
        rx.prepare(mem)?;
        tx.prepare(mem)?;
        while rx.free() > 0 {
            rx.lend(mem, queue::Way::Write, BUFFER)?;
        }
        // Nobody listens yet.
        rx.publish(mem)?;
        rx.wait(mem, 0)?;
        Ok(Self { rx, tx, did: Did::default() })
    }

    /// What the device is to be told.
    pub fn setup(&self) -> Setup {
        Setup { features: FEATURES, entries: self.tx.entries(), queues: [self.rx.places(), self.tx.places()] }
    }

    /// What it did so far.
    pub fn did(&self) -> Did {
        self.did
    }

    /// Buffers that may be sent in.
    pub fn tx_room(&self) -> u16 {
        self.tx.free()
    }

    /// Room for a frame; if there is none, an interrupt tells when half of the ring is free.
    fn make_room(&mut self, mem: &impl Dma) -> Result<bool, Fault> {
        if self.tx.free() > 0 || self.reclaim(mem)? > 0 {
            return Ok(true);
        }
        self.tx.wait(mem, self.tx.entries() / 2 - 1)?;
        // Look again: the device may have sent some before it could see the index.
        Ok(self.reclaim(mem)? > 0)
    }

    /// Sends a frame and tells the device, if it wants to be told; `false` if there is no room (the driver then asks to be
    /// told).
    pub fn send(&mut self, bus: &mut impl Bus, mem: &impl Dma, bytes: &[u8]) -> Result<bool, Fault> {
        if bytes.len() > MAX_FRAME {
            return Err(Fault::TooLong(bytes.len()));
        }
        if !self.make_room(mem)? {
            return Ok(false);
        }
        let at = self.tx.upcoming(mem)?;
        mem.write(at, &[0; HEADER])?;
        mem.write(at + HEADER as u64, bytes)?;
        self.tx.lend(mem, queue::Way::Read, HEADER + bytes.len())?;
        self.did.sent += 1;
        self.flush(bus, mem)?;
        Ok(true)
    }

    /// Writes a frame of `bytes` into every transmit buffer, for [`Driver::queue_filled`].
    pub fn fill(&mut self, mem: &impl Dma, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > MAX_FRAME {
            return Err(Fault::TooLong(bytes.len()));
        }
        for at in self.tx.buffers() {
            mem.write(at, &[0; HEADER])?;
            mem.write(at + HEADER as u64, bytes)?;
        }
        Ok(())
    }

    /// Queues up to `most` frames of `len` bytes that lie in their buffers already, without telling the device; how many
    /// there was room for. None: as in [`Driver::send`].
    #[inline]
    pub fn queue_filled(&mut self, mem: &impl Dma, len: usize, most: u32) -> Result<u32, Fault> {
        // What is known to be free may be less than what is.
        if u32::from(self.tx.free()) < most {
            self.reclaim(mem)?;
        }
        if !self.make_room(mem)? {
            return Ok(0);
        }
        let n = most.min(self.tx.free().into());
        for _ in 0..n {
            self.tx.lend(mem, queue::Way::Read, HEADER + len.min(MAX_FRAME))?;
            self.did.sent += 1;
        }
        Ok(n)
    }

    /// Shows the device what is queued, and rings if it asked for that.
    pub fn flush(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<(), Fault> {
        if self.tx.publish(mem)? {
            bus.write(doorbell(TRANSMIT), TRANSMIT.into());
            self.did.tx_kicks += 1;
        }
        Ok(())
    }

    /// Takes back buffers that were sent; how many.
    pub fn reclaim(&mut self, mem: &impl Dma) -> Result<u16, Fault> {
        let n = self.tx.used(mem)?;
        for _ in 0..n {
            self.tx.take(mem)?;
        }
        if n > 0 {
            self.tx.quiet(mem)?;
        }
        Ok(n)
    }

    /// The interrupt handler: takes back what was sent and receives. How many frames it received.
    pub fn interrupt(
        &mut self,
        bus: &mut impl Bus,
        mem: &impl Dma,
        each: impl FnMut(&Frame),
    ) -> Result<u32, Fault> {
        self.did.interrupts += 1;
        self.reclaim(mem)?;
        self.receive(bus, mem, each)
    }

    /// Takes all frames that are there, gives the buffers back, and asks for an interrupt at the next one; how many.
    pub fn receive(
        &mut self,
        bus: &mut impl Bus,
        mem: &impl Dma,
        mut each: impl FnMut(&Frame),
    ) -> Result<u32, Fault> {
        let mut got = 0;
        self.awake(mem)?;
        loop {
            match self.poll(bus, mem, RX_BATCH, &mut each)? {
                0 if self.may_sleep(mem)? => return Ok(got),
                n => got += n,
            }
        }
    }

    /// Takes up to `max` frames that are there and gives the buffers back; how many.
    pub fn poll(
        &mut self,
        bus: &mut impl Bus,
        mem: &impl Dma,
        max: u32,
        mut each: impl FnMut(&Frame),
    ) -> Result<u32, Fault> {
        let there = self.rx.used(mem)?;
        (0..there.min(AHEAD)).for_each(|k| self.rx.taken().prefetch(mem, k));
        let (mut n, mut done) = (0, 0);
        while n < max && done < there {
            if done + AHEAD < there {
                self.rx.taken().prefetch(mem, AHEAD);
            }
            let Some(f) = self.next(mem, there - done)? else {
                // A buffer that was given back empty.
                self.again(mem)?;
                done += 1;
                continue;
            };
            each(&f);
            for _ in 0..f.buffers {
                self.again(mem)?;
            }
            done += f.buffers;
            n += 1;
        }
        if done > 0 {
            self.did.received += u64::from(n);
            self.rx.keep_quiet(mem)?;
            if self.rx.publish(mem)? {
                bus.write(doorbell(RECEIVE), RECEIVE.into());
                self.did.rx_kicks += 1;
            }
        }
        Ok(n)
    }

    /// The frame that begins with the next used buffer; there are `there` of those.
    fn next(&self, mem: &impl Dma, there: u16) -> Result<Option<Frame>, Fault> {
        let at = self.rx.taken();
        let (addr, bytes) = at.piece(mem, 0)?;
        let Some(first) = bytes.checked_sub(HEADER) else { return Ok(None) };
        let buffers = u16::from_le(
            mem.word16(addr + NUM_BUFFERS)
                .ok_or(Unmapped { addr })?
                // ORDERING: Relaxed; the used index was read with Acquire.
                .load(core::sync::atomic::Ordering::Relaxed),
        );
        if buffers == 0 || buffers > there {
            return Err(Fault::Buffers(buffers));
        }
        let mut len = first;
        for k in 1..buffers {
            len += at.piece(mem, k)?.1;
        }
        Ok(Some(Frame { len, buffers, first: (addr, first), at }))
    }

    /// The next used receive buffer is the device's again.
    fn again(&mut self, mem: &impl Dma) -> Result<(), Fault> {
        self.rx.take(mem)?;
        self.rx.lend(mem, queue::Way::Write, BUFFER)
    }

    /// No interrupt is needed for frames.
    pub fn awake(&mut self, mem: &impl Dma) -> Result<(), Fault> {
        self.rx.quiet(mem)
    }

    /// Whether nothing is there to receive; an interrupt tells of the next frame then.
    pub fn may_sleep(&mut self, mem: &impl Dma) -> Result<bool, Fault> {
        self.rx.wait(mem, 0)?;
        // Look again: a frame may have come before the device could see the index.
        if self.rx.used(mem)? > 0 {
            self.awake(mem)?;
            return Ok(false);
        }
        Ok(true)
    }
}
