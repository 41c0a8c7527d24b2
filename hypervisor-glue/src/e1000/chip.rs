//! What registers do: a guest's accesses to BAR 0 and BAR 1. One thread owns it; workers share its [`Device`].

use std::sync::Arc;

use super::device::{Device, Effects};
use super::eeprom::Eeprom;
use super::pci;
use super::phy::Phy;
use super::regs::{self, Kind, cause, ctrl, tctl};
use crate::csb;

/// Offsets in BAR 1.
mod io {
    pub const IOADDR: u64 = 0;
    pub const IODATA: u64 = 4;
}

/// The chip as its guest sees it.
pub struct Chip {
    device: Arc<Device>,
    eeprom: Eeprom,
    phy: Phy,
    /// IOADDR: the register that IODATA reaches.
    window: u32,
}

impl Chip {
    /// Over a device that was just made.
    pub fn new(device: Arc<Device>) -> Self {
        let s = *device.settings();
        Self { device, eeprom: Eeprom::new(s.mac, pci::subsystem(s.csb)), phy: Phy::default(), window: 0 }
    }

    /// What workers share.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// As after power on: the bus's reset, or a new client. CTRL.RST leaves the PHY alone.
    pub fn reset(&mut self) {
        self.phy.reset();
        self.device.set_phy_loopback(false);
        self.window = 0;
        self.device.reset(self.eeprom.mac());
    }

    /// A guest's read of BAR 0, of 1, 2, 4 or 8 bytes that do not cross a multiple of their number.
    pub fn read_bar0(&mut self, at: u64, to: &mut [u8], now: u64) {
        if !fits(at, to.len(), regs::BAR0_SIZE) {
            self.device.counters.bad_access.add(1);
            to.fill(0);
            return;
        }
        let first = at as u32 & !3;
        let skip = at as usize & 3;
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.read(first, now).to_le_bytes());
        if to.len() > 4 {
            bytes[4..].copy_from_slice(&self.read(first + 4, now).to_le_bytes());
        }
        to.copy_from_slice(&bytes[skip..skip + to.len()]);
    }

    /// A guest's write to BAR 0. The chip takes whole registers only.
    pub fn write_bar0(&mut self, at: u64, from: &[u8], now: u64) -> Effects {
        if !fits(at, from.len(), regs::BAR0_SIZE) || from.len() < 4 {
            self.device.counters.bad_access.add(1);
            return Effects::default();
        }
        let mut all = Effects::default();
        for (at, b) in (at as u32..).step_by(4).zip(from.chunks_exact(4)) {
            let e = self.write(at, u32::from_le_bytes([b[0], b[1], b[2], b[3]]), now);
            all.interrupt |= e.interrupt;
            all.transmit |= e.transmit;
            all.room |= e.room;
        }
        all
    }

    /// A guest's read of BAR 1.
    pub fn read_bar1(&mut self, at: u64, to: &mut [u8], now: u64) {
        let v = match (at, to.len()) {
            (io::IOADDR, 4) => self.window,
            (io::IODATA, 4) => self.read(self.window, now),
            _ => {
                self.device.counters.bad_access.add(1);
                0
            }
        };
        let n = to.len().min(4);
        to.fill(0);
        to[..n].copy_from_slice(&v.to_le_bytes()[..n]);
    }

    /// A guest's write to BAR 1.
    pub fn write_bar1(&mut self, at: u64, from: &[u8], now: u64) -> Effects {
        match (at, from) {
            (io::IOADDR, &[a, b, c, d]) => self.window = u32::from_le_bytes([a, b, c, d]) & 0x1_fffc,
            (io::IODATA, &[a, b, c, d]) => {
                return self.write(self.window, u32::from_le_bytes([a, b, c, d]), now);
            }
            _ => self.device.counters.bad_access.add(1),
        }
        Effects::default()
    }

    /// Whether a register is there at all: a card without the CSB has none for it.
    fn known(&self, at: u32) -> Option<&'static regs::Register> {
        let hidden = matches!(at, csb::REG_CSBAL | csb::REG_CSBAH) && !self.device.settings().csb;
        let found = regs::find(at).filter(|_| !hidden);
        if found.is_none() {
            self.device.counters.bad_access.add(1);
        }
        found
    }

    /// Reads a register.
    pub fn read(&mut self, at: u32, now: u64) -> u32 {
        let Some(r) = self.known(at) else { return 0 };
        match (r.kind, at) {
            (Kind::WriteOnly, _) => 0,
            (Kind::Statistic, _) => self.device.stats.read(at),
            (_, regs::STATUS) => self.device.status(),
            (_, regs::EECD) => self.eeprom.read(),
            (_, regs::ICR) => self.device.irq().take(now),
            (_, regs::ICS) => self.device.irq().peek(),
            (_, regs::IMS) => self.device.irq().masked(),
            _ => self.device.reg(at),
        }
    }

    /// Writes a register.
    pub fn write(&mut self, at: u32, v: u32, now: u64) -> Effects {
        let Some(r) = self.known(at) else { return Effects::default() };
        let kept = r.kept(at);
        let d = &*self.device;
        let keep = || d.set_reg(at, (d.reg(at) & !kept) | (v & kept));
        let mut e = Effects::default();
        match at {
            _ if matches!(r.kind, Kind::ReadOnly | Kind::Statistic) => {}
            regs::CTRL => return self.control(v, now),
            regs::EECD => self.eeprom.write(v),
            regs::EERD => d.set_reg(at, self.eeprom.read_word(v)),
            regs::MDIC => e.interrupt = self.phy_access(v, now),
            regs::ICR => d.irq().clear(v, now),
            regs::ICS => e.interrupt = d.irq().set(v, now),
            regs::IMS => e.interrupt = d.irq().unmask(v, now),
            regs::IMC => d.irq().mask(v, now),
            regs::ITR => {
                keep();
                e.interrupt = d.irq().set_interval(v & kept, now);
            }
            regs::RDTR | regs::TIDV => {
                keep();
                if v & regs::FPD != 0 {
                    let mut irq = d.irq();
                    e.interrupt =
                        if at == regs::RDTR { irq.flush_receive(now) } else { irq.flush_transmit(now) };
                }
            }
            regs::RCTL | regs::RDBAL | regs::RDBAH | regs::RDLEN | regs::RDH => {
                let mut rx = d.rx_state();
                keep();
                if at != regs::RCTL {
                    rx.restart();
                }
                e.room = true;
            }
            regs::RDT => {
                keep();
                d.counters.rx_kicks.add(1);
                e.room = true;
            }
            regs::TDBAL | regs::TDBAH | regs::TDLEN | regs::TDH | regs::TCTL => {
                let mut tx = d.tx_head();
                if at != regs::TCTL || v & tctl::EN == 0 {
                    tx.life = tx.life.wrapping_add(1);
                }
                keep();
                e.transmit = true;
            }
            regs::TDT => {
                keep();
                d.counters.tx_kicks.add(1);
                e.transmit = true;
            }
            csb::REG_CSBAL | csb::REG_CSBAH => {
                keep();
                (e.transmit, e.room) = (at == csb::REG_CSBAL, at == csb::REG_CSBAL);
            }
            _ => keep(),
        }
        e
    }

    fn control(&mut self, v: u32, now: u64) -> Effects {
        let mut e = Effects::default();
        if v & ctrl::RST != 0 {
            self.device.counters.resets.add(1);
            self.device.reset(self.eeprom.mac());
            (e.transmit, e.room) = (true, true);
            return e;
        }
        if v & ctrl::PHY_RST != 0 {
            self.phy.reset();
            self.device.set_phy_loopback(false);
            e.interrupt = self.device.raise(cause::LSC, now);
        }
        self.device.set_reg(regs::CTRL, v & !(ctrl::RST | ctrl::PHY_RST));
        e
    }

    fn phy_access(&mut self, v: u32, now: u64) -> bool {
        let a = self.phy.access(v, self.device.link());
        self.device.set_reg(regs::MDIC, a.mdic);
        self.device.set_phy_loopback(self.phy.loopback());
        let causes = if a.interrupt { cause::MDAC } else { 0 } | if a.restarted { cause::LSC } else { 0 };
        self.device.raise(causes, now)
    }
}

/// Whether an access is of a size and at a place that PCI knows.
fn fits(at: u64, len: usize, size: u32) -> bool {
    matches!(len, 1 | 2 | 4 | 8) && at.is_multiple_of(len as u64) && at < u64::from(size)
}

#[cfg(test)]
#[path = "chip_tests.rs"]
mod tests;
