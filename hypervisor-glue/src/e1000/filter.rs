//! Which frames the guest wants: addresses, multicast table, VLAN table.
//!
//! Manual, sections 3.2.1 and 13.5.

use super::device::Device;
use super::regs::{self, RAH_AV, rctl};

/// How a frame came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By an address of its own, or as a broadcast.
    Exact,
    /// By the multicast hash or promiscuity: software must look again.
    Inexact,
    /// Not at all.
    Refused,
}

/// A copy of what filters go by, made once per burst; the tables are looked at in place.
pub struct Filter<'a> {
    device: &'a Device,
    rctl: u32,
    vet: u16,
    addresses: [u64; 16],
    valid: usize,
}

/// Bits of RAH that say which address is compared; 0 for the destination.
const SELECT: u32 = 3 << 16;

impl<'a> Filter<'a> {
    /// As the registers are now.
    pub fn new(device: &'a Device) -> Self {
        let (mut addresses, mut valid) = ([0; 16], 0);
        for i in 0..16 {
            let high = device.reg(regs::RA + 8 * i + 4);
            if high & RAH_AV != 0 && high & SELECT == 0 {
                addresses[valid] = u64::from(high & 0xffff) << 32 | u64::from(device.reg(regs::RA + 8 * i));
                valid += 1;
            }
        }
        let (rctl, vet) = (device.reg(regs::RCTL), device.reg(regs::VET) as u16);
        Self { device, rctl, vet, addresses, valid }
    }

    /// The VLAN tag (TCI) of a frame.
    pub fn tag(&self, head: &[u8; 16]) -> Option<u16> {
        (u16::from_be_bytes([head[12], head[13]]) == self.vet)
            .then(|| u16::from_be_bytes([head[14], head[15]]))
    }

    /// What to do with the frame that begins so.
    pub fn verdict(&self, head: &[u8; 16]) -> Verdict {
        let has = |bit| self.rctl & bit != 0;
        if let Some(tci) = self.tag(head) {
            if has(rctl::VFE) && !self.in_table(regs::VFTA, u32::from(tci & 0xfff)) {
                return Verdict::Refused;
            }
            if has(rctl::CFIEN) && (tci & 0x1000 != 0) != has(rctl::CFI) {
                return Verdict::Refused;
            }
        }
        if has(rctl::DPF) && !has(rctl::PMCF) && head[12..14] == [0x88, 0x08] {
            return Verdict::Refused;
        }
        let to = u64::from_le_bytes([head[0], head[1], head[2], head[3], head[4], head[5], 0, 0]);
        if to == 0xffff_ffff_ffff && has(rctl::BAM) || self.addresses[..self.valid].contains(&to) {
            return Verdict::Exact;
        }
        let pass = if to & 1 == 0 {
            has(rctl::UPE)
        } else {
            has(rctl::MPE) || self.in_table(regs::MTA, self.hash(to))
        };
        if pass { Verdict::Inexact } else { Verdict::Refused }
    }

    /// Bits of the last two bytes: which 12 of 16, RCTL says.
    fn hash(&self, to: u64) -> u32 {
        let shift = [4, 3, 2, 0][(self.rctl >> rctl::MO_SHIFT & 3) as usize];
        (to >> 32 >> shift & 0xfff) as u32
    }

    fn in_table(&self, table: u32, bit: u32) -> bool {
        self.device.reg(table + bit / 32 * 4) >> (bit % 32) & 1 != 0
    }
}
