//! A guest's driver, as tests, fuzzers and benches use it: the other side of everything in [`super`].
//!
//! It drives the card through a [`Bus`] and guest memory through a [`Dma`], with legacy or data descriptors, and as
//! the paper's drivers do: with Send Combining (section 3.2), or by the CSB (section 3.3). [`rig`] puts it and a
//! card together in one process.

use super::desc::{Written, cmd};
use super::dma::{Dma, Unmapped};
use super::regs::{self, cause, ctrl, rctl, tctl};
use crate::csb;

mod options;
pub mod rig;
mod ring;
mod shared;

pub use options::{Options, TX_BUFFER};
use ring::{RxRing, TxRing};
pub use ring::{Segmentation, Send};
use shared::GuestCsb;

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

/// A frame as the driver got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its bytes, FCS included if the card leaves it.
    pub bytes: Vec<u8>,
    /// Descriptors it took.
    pub descriptors: u32,
    /// What the last of them said.
    pub last: Flags,
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
        if csb.is_none() {
            bus.write(regs::RDT, d.rx.tail());
        }
        Ok(d)
    }

    /// What it did so far.
    pub fn did(&self) -> Did {
        self.did
    }

    /// The transmit ring's next descriptor, and its number of free ones.
    pub fn tx_room(&self) -> u32 {
        self.tx.free()
    }

    /// Sends a frame; `false` if there are not enough descriptors (the driver then asks to be told).
    pub fn send(&mut self, bus: &mut impl Bus, mem: &impl Dma, s: &Send<'_>) -> Result<bool, Unmapped> {
        if self.tx.needs(s) > self.tx.free() {
            self.reclaim(mem)?;
        }
        if self.tx.needs(s) > self.tx.free() {
            if let Some(c) = &self.csb {
                c.wait_for_tx(mem)?;
                // Look again: the card may have sent some before it could see the flag.
                self.reclaim(mem)?;
            }
            if self.tx.needs(s) > self.tx.free() {
                return Ok(false);
            }
        }
        let extra = if self.options.tx_delay.0 != 0 { cmd::IDE } else { 0 };
        self.tx.put(mem, s, self.options.legacy, extra)?;
        self.did.sent += 1;
        self.kick(bus, mem)?;
        Ok(true)
    }

    fn kick(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<(), Unmapped> {
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

    /// Takes back descriptors that were sent.
    pub fn reclaim(&mut self, mem: &impl Dma) -> Result<u32, Unmapped> {
        let n = self.tx.reclaim(mem)?;
        if n > 0
            && let Some(c) = &self.csb
        {
            c.has_tx_room(mem)?;
        }
        Ok(n)
    }

    /// The interrupt handler: looks why, takes back descriptors, receives, and tells the card what it held back.
    pub fn interrupt(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<Vec<Received>, Unmapped> {
        let why = bus.read(regs::ICR);
        if why & WANTED == 0 {
            return Ok(Vec::new());
        }
        self.did.interrupts += 1;
        bus.write(regs::IMC, u32::MAX);
        let got = self.receive(bus, mem)?;
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
        bus.write(regs::IMS, WANTED);
        Ok(got)
    }

    /// Takes all frames that are there and gives the buffers back.
    pub fn receive(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<Vec<Received>, Unmapped> {
        if let Some(c) = &self.csb {
            c.awake(mem)?;
        }
        let mut got = Vec::new();
        loop {
            while let Some(f) = self.rx.next(mem)? {
                got.push(f);
                self.publish_rx(bus, mem)?;
            }
            let Some(c) = &self.csb else { break };
            c.wait_for_rx(mem)?;
            // Look again: a frame may have come before the card could see the flag.
            if !self.rx.is_ready(mem)? {
                break;
            }
            c.awake(mem)?;
        }
        if self.csb.is_none() && !got.is_empty() {
            bus.write(regs::RDT, self.rx.tail());
            self.did.rx_kicks += 1;
        }
        self.did.received += got.len() as u64;
        Ok(got)
    }

    /// With the CSB: tells of the receive tail, buffer by buffer, so that the card's threshold is not jumped over.
    fn publish_rx(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<(), Unmapped> {
        let Some(c) = &self.csb else { return Ok(()) };
        for tail in self.rx.published() {
            if c.publish_rx(mem, tail)? {
                bus.write(regs::RDT, tail);
                self.did.rx_kicks += 1;
            }
        }
        Ok(())
    }
}
