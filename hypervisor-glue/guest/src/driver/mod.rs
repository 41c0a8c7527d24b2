//! The driver. It reaches the card through a [`Bus`] and guest memory through a [`Dma`], and sends by legacy or data
//! descriptors.
//!
//! Sending has two steps, as the paper's two kinds of senders need them: frames are queued, and the card is told.
//! [`Driver::send`] does both for each frame, as a socket does; pkt-gen queues many with [`Driver::queue_filled`] and
//! then calls [`Driver::flush`] once. With the CSB, descriptors are taken back by the card's head in the block, and no
//! reports are asked for.

use crate::csb;
use crate::desc::{Written, cmd};
use crate::dma::{Dma, Unmapped};
use crate::regs::{self, cause, ctrl, rctl, tctl};

mod options;
mod ring;
mod shared;

pub use options::{Options, TX_BUFFER};
pub use ring::{Frame, Segmentation, Send};
use ring::{RxRing, TxRing};
use shared::GuestCsb;

/// Most frames that are received before the card gets their buffers back.
const RX_BATCH: u32 = 64;

/// How registers are reached.
pub trait Bus {
    /// Reads a register.
    fn read(&mut self, at: u32) -> u32;
    /// Writes a register.
    fn write(&mut self, at: u32, v: u32);
}

/// What the driver did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// Writes of TDT.
    pub tx_kicks: u64,
    /// Writes of RDT.
    pub rx_kicks: u64,
    /// Interrupts it served.
    pub interrupts: u64,
    /// Frames it sent.
    pub sent: u64,
    /// Frames it received.
    pub received: u64,
}

/// The words of a receive descriptor beside the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Status.
    pub status: u8,
    /// Errors.
    pub errors: u8,
    /// VLAN tag.
    pub special: u16,
    /// Packet checksum.
    pub sum: u16,
}

impl From<Written> for Flags {
    fn from(w: Written) -> Self {
        Self { status: w.status, errors: w.errors, special: w.special, sum: w.sum }
    }
}

/// Send Combining's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combining {
    /// No interrupt is awaited.
    Idle,
    /// One is, and the card knows of all frames.
    AwaitsInterrupt,
    /// One is, and the card is to be told of frames then.
    TailPending,
}

/// The interrupts that the driver wants.
const WANTED: u32 = cause::TXDW | cause::RXT0 | cause::RXDMT0 | cause::RXO | cause::LSC;

/// The driver.
pub struct Driver {
    options: Options,
    tx: TxRing,
    rx: RxRing,
    csb: Option<GuestCsb>,
    combining: Combining,
    did: Did,
}

impl Driver {
    /// Resets the card and sets it up.
    pub fn start(bus: &mut impl Bus, mem: &impl Dma, options: Options) -> Result<Self, Unmapped> {
        let (n, base) = (options.descriptors, options.base + csb::PAGE as u64);
        let rings = 16 * u64::from(n);
        let buffers = base + 2 * rings;
        let tx = TxRing::new(base, n, buffers);
        let rx = RxRing::new(base + rings, n, buffers + u64::from(n) * TX_BUFFER as u64, options.buffer);
        bus.write(regs::IMC, u32::MAX);
        bus.write(regs::CTRL, ctrl::RST);
        // Whatever an interrupt of before was for.
        bus.read(regs::ICR);
        bus.write(regs::CTRL, options.ctrl);
        for (first, at) in [(regs::TDBAL, base), (regs::RDBAL, base + rings)] {
            let reg = |r: u32| first + r - regs::TDBAL;
            bus.write(reg(regs::TDBAL), at as u32);
            bus.write(reg(regs::TDBAH), (at >> 32) as u32);
            bus.write(reg(regs::TDLEN), 16 * n);
            bus.write(reg(regs::TDH), 0);
            bus.write(reg(regs::TDT), 0);
        }
        for (r, v) in [
            (regs::ITR, options.itr),
            (regs::TIDV, options.tx_delay.0),
            (regs::TADV, options.tx_delay.1),
            (regs::RDTR, options.rx_delay.0),
            (regs::RADV, options.rx_delay.1),
        ] {
            bus.write(r, v);
        }
        rx.prepare(mem)?;
        tx.prepare(mem)?;
        let csb = if options.csb { Some(GuestCsb::enable(bus, mem, options.base)?) } else { None };
        let size = match options.buffer {
            256 => 3,
            512 => 2,
            1024 => 1,
            _ => 0,
        } << rctl::BSIZE_SHIFT;
        bus.write(regs::TCTL, tctl::EN | tctl::PSP);
        bus.write(regs::RCTL, rctl::EN | rctl::BAM | size | options.rctl);
        bus.write(regs::IMS, WANTED);
        let mut d = Self { options, tx, rx, csb, combining: Combining::Idle, did: Did::default() };
        d.publish_rx(bus, mem)?;
        // Writes are posted, and the CSB is memory: a card that is still being told would find frames there and send
        // them by the registers of before. What is read comes back after all that was written.
        bus.read(regs::STATUS);
        // Setting up is not counted.
        d.did = Did::default();
        Ok(d)
    }

    /// Resets the card: it forgets the rings.
    pub fn stop(&mut self, bus: &mut impl Bus) {
        bus.write(regs::IMC, u32::MAX);
        bus.write(regs::CTRL, ctrl::RST);
    }

    /// What it did so far.
    pub fn did(&self) -> Did {
        self.did
    }

    /// Whether it uses the CSB.
    pub fn has_csb(&self) -> bool {
        self.csb.is_some()
    }

    /// The transmit ring's next descriptor, and its number of free ones.
    pub fn tx_room(&self) -> u32 {
        self.tx.free()
    }

    /// Room for `n` descriptors; if there is none, the card was asked to tell when there is.
    fn make_room(&mut self, mem: &impl Dma, n: u32) -> Result<bool, Unmapped> {
        if n <= self.tx.free() {
            return Ok(true);
        }
        self.reclaim(mem)?;
        if n > self.tx.free()
            && let Some(c) = &self.csb
        {
            c.wait_for_tx(mem)?;
            // Look again: the card may have sent some before it could see the flag.
            self.reclaim(mem)?;
        }
        Ok(n <= self.tx.free())
    }

    /// Command bits of a frame's descriptors.
    fn extra(&self) -> u8 {
        let report = if self.csb.is_some() { 0 } else { cmd::RS };
        report | if self.options.tx_delay.0 != 0 { cmd::IDE } else { 0 }
    }

    /// Sends a frame and tells the card; `false` if there are not enough descriptors (the driver then asks to be told).
    pub fn send(&mut self, bus: &mut impl Bus, mem: &impl Dma, s: &Send<'_>) -> Result<bool, Unmapped> {
        if !self.make_room(mem, self.tx.needs(s))? {
            return Ok(false);
        }
        self.tx.put(mem, s, self.options.legacy, self.extra())?;
        self.did.sent += 1;
        self.flush(bus, mem)?;
        Ok(true)
    }

    /// Writes `bytes`, of one buffer at most, into every transmit buffer, for [`Driver::queue_filled`].
    pub fn fill(&mut self, mem: &impl Dma, bytes: &[u8]) -> Result<(), Unmapped> {
        self.tx.fill(mem, bytes)
    }

    /// Queues up to `most` frames of `len` bytes that lie in their buffers already, without telling the card; how many
    /// there was room for. None: as in [`Driver::send`].
    #[inline]
    pub fn queue_filled(&mut self, mem: &impl Dma, len: usize, most: u32) -> Result<u32, Unmapped> {
        // What is known to be free may be less than what is.
        if self.tx.free() < most {
            self.reclaim(mem)?;
        }
        if !self.make_room(mem, 1)? {
            return Ok(0);
        }
        let n = most.min(self.tx.free());
        self.tx.put_filled(mem, len, self.options.legacy, self.extra(), n)?;
        self.did.sent += u64::from(n);
        Ok(n)
    }

    /// Tells the card of queued frames, as far as it has to be told.
    pub fn flush(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<(), Unmapped> {
        let tail = self.tx.tail();
        if let Some(c) = &self.csb {
            if c.publish_tx(mem, tail)? {
                self.write_tdt(bus, tail);
            }
        } else if !self.options.send_combining {
            self.write_tdt(bus, tail);
        } else if self.combining == Combining::Idle {
            self.combining = Combining::AwaitsInterrupt;
            self.write_tdt(bus, tail);
        } else {
            self.combining = Combining::TailPending;
        }
        Ok(())
    }

    fn write_tdt(&mut self, bus: &mut impl Bus, tail: u32) {
        bus.write(regs::TDT, tail);
        self.did.tx_kicks += 1;
    }

    /// Takes back descriptors that were sent; how many.
    pub fn reclaim(&mut self, mem: &impl Dma) -> Result<u32, Unmapped> {
        let Some(c) = &self.csb else { return self.tx.reclaim(mem) };
        let n = self.tx.reclaim_to(c.tdh(mem)?);
        if n > 0 {
            c.has_tx_room(mem)?;
        }
        Ok(n)
    }

    /// The interrupt handler: looks why, takes back descriptors, receives, and tells the card what it held back. How
    /// many frames it received.
    pub fn interrupt(
        &mut self,
        bus: &mut impl Bus,
        mem: &impl Dma,
        each: impl FnMut(&Frame),
    ) -> Result<u32, Unmapped> {
        let why = bus.read(regs::ICR);
        if why & WANTED == 0 {
            return Ok(0);
        }
        self.did.interrupts += 1;
        // The CSB's flags are a mask of their own: a guest that is awake is not interrupted.
        if self.csb.is_none() {
            bus.write(regs::IMC, u32::MAX);
        }
        let got = self.receive(bus, mem, each)?;
        self.reclaim(mem)?;
        if why & cause::TXDW != 0 {
            self.combining = match self.combining {
                Combining::TailPending => {
                    let tail = self.tx.tail();
                    self.write_tdt(bus, tail);
                    Combining::AwaitsInterrupt
                }
                _ => Combining::Idle,
            };
        }
        if self.csb.is_none() {
            bus.write(regs::IMS, WANTED);
        }
        Ok(got)
    }

    /// Takes all frames that are there, gives the buffers back, and asks for an interrupt at the next one; how many.
    /// Without the CSB a ring's worth at most, however fast they come: some of so many came after the card said why it
    /// interrupts, so it will again.
    pub fn receive(
        &mut self,
        bus: &mut impl Bus,
        mem: &impl Dma,
        mut each: impl FnMut(&Frame),
    ) -> Result<u32, Unmapped> {
        let mut got = 0;
        self.awake(mem)?;
        loop {
            match self.poll(bus, mem, RX_BATCH, &mut each)? {
                0 if self.may_sleep(mem)? => return Ok(got),
                n => got += n,
            }
            if self.csb.is_none() && got >= self.rx.n {
                return Ok(got);
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
    ) -> Result<u32, Unmapped> {
        let mut n = 0;
        // With the CSB the card's head says what is there, and descriptors need not be cleared: each line of them would
        // go back and forth once more.
        let head = self.csb.as_ref().map(|c| c.rdh(mem)).transpose()?;
        while n < max {
            let row = head.map_or(0, |head| self.rx.row(mem, head, max - n, &mut each));
            n += row;
            if row > 0 {
                continue;
            }
            let Some(f) = self.rx.next(mem, head)? else { break };
            each(&f);
            self.rx.give_back(mem, &f, head.is_none())?;
            n += 1;
        }
        if n > 0 {
            self.did.received += u64::from(n);
            self.publish_rx(bus, mem)?;
        }
        Ok(n)
    }

    /// With the CSB: no interrupt is needed for frames.
    pub fn awake(&self, mem: &impl Dma) -> Result<(), Unmapped> {
        self.csb.as_ref().map_or(Ok(()), |c| c.awake(mem))
    }

    /// Whether nothing is there to receive; an interrupt tells of the next frame then.
    pub fn may_sleep(&self, mem: &impl Dma) -> Result<bool, Unmapped> {
        let Some(c) = &self.csb else { return Ok(!self.rx.is_ready(mem)?) };
        c.wait_for_rx(mem)?;
        // Look again: a frame may have come before the card could see the flag.
        if self.rx.is_behind(c.rdh(mem)?) {
            c.awake(mem)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Tells of the receive tail.
    fn publish_rx(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<(), Unmapped> {
        let (told, tail) = (self.rx.tell(), self.rx.tail());
        let kick = match &self.csb {
            Some(c) => c.publish_rx(mem, told, tail, self.rx.n)?,
            None => true,
        };
        if kick {
            bus.write(regs::RDT, tail);
            self.did.rx_kicks += 1;
        }
        Ok(())
    }
}
