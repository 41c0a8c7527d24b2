//! The registers: names, bits, and the table of what a guest may read and write. What a register *does* is the business of
//! the device.
//!
//! Source: Intel, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (8254x), chapter
//! 13, for the 82540EM.

use crate::csb;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident = $at:expr;)*) => { $($(#[$doc])* pub const $name: u32 = $at;)* };
}

mod bits;

pub use bits::{cause, ctrl, rctl, rxcsum, status, tctl};

offsets! {
    /// Device control.
    CTRL = 0x0000;
    /// Device status.
    STATUS = 0x0008;
    /// EEPROM, bit by bit.
    EECD = 0x0010;
    /// EEPROM, word by word.
    EERD = 0x0014;
    /// Extended control.
    CTRL_EXT = 0x0018;
    /// PHY access.
    MDIC = 0x0020;
    /// Flow control address, low.
    FCAL = 0x0028;
    /// Flow control address, high.
    FCAH = 0x002c;
    /// Flow control type.
    FCT = 0x0030;
    /// VLAN ethertype.
    VET = 0x0038;
    /// Interrupt causes; a read clears them.
    ICR = 0x00c0;
    /// Least time between interrupts, in 256 ns.
    ITR = 0x00c4;
    /// Sets interrupt causes.
    ICS = 0x00c8;
    /// Sets bits of the interrupt mask.
    IMS = 0x00d0;
    /// Clears bits of the interrupt mask.
    IMC = 0x00d8;
    /// Receive control.
    RCTL = 0x0100;
    /// Flow control timer.
    FCTTV = 0x0170;
    /// Transmit configuration word (of the serializer; kept, not used).
    TXCW = 0x0178;
    /// Receive configuration word.
    RXCW = 0x0180;
    /// Transmit control.
    TCTL = 0x0400;
    /// Transmit gap.
    TIPG = 0x0410;
    /// Adaptive gap.
    AIT = 0x0458;
    /// LEDs.
    LEDCTL = 0x0e00;
    /// Packet buffer allocation.
    PBA = 0x1000;
    /// Flow control thresholds.
    FCRTL = 0x2160;
    /// As above, high.
    FCRTH = 0x2168;
    /// Receive ring: address, low.
    RDBAL = 0x2800;
    /// Address, high.
    RDBAH = 0x2804;
    /// Bytes.
    RDLEN = 0x2808;
    /// Head: the next descriptor that the device fills.
    RDH = 0x2810;
    /// Tail: the first that it may not fill.
    RDT = 0x2818;
    /// Receive delay, in 1.024 us, restarted by each frame.
    RDTR = 0x2820;
    /// Receive descriptor control.
    RXDCTL = 0x2828;
    /// Receive delay, in 1.024 us, from the first frame.
    RADV = 0x282c;
    /// Longest frame (bytes) that is told of at once.
    RSRPD = 0x2c00;
    /// Transmit DMA control.
    TXDMAC = 0x3000;
    /// Transmit ring: address, low.
    TDBAL = 0x3800;
    /// Address, high.
    TDBAH = 0x3804;
    /// Bytes.
    TDLEN = 0x3808;
    /// Head: the next descriptor that the device sends.
    TDH = 0x3810;
    /// Tail: the first that it may not send.
    TDT = 0x3818;
    /// Transmit delay, in 1.024 us, restarted by each frame.
    TIDV = 0x3820;
    /// Transmit descriptor control.
    TXDCTL = 0x3828;
    /// Transmit delay, in 1.024 us, from the first frame.
    TADV = 0x382c;
    /// Segmentation padding and threshold.
    TSPMT = 0x3830;
    /// Statistics, to 0x4100.
    STATS = 0x4000;
    /// Receive checksums.
    RXCSUM = 0x5000;
    /// Multicast table, 128 words.
    MTA = 0x5200;
    /// Receive addresses, 16 pairs.
    RA = 0x5400;
    /// VLAN table, 128 words.
    VFTA = 0x5600;
    /// Wake-up control.
    WUC = 0x5800;
    /// Wake-up filters.
    WUFC = 0x5808;
    /// Wake-up status.
    WUS = 0x5810;
    /// Management control.
    MANC = 0x5820;
    /// Bytes that have registers.
    END = 0x6000;
    /// Bytes of BAR 0.
    BAR0_SIZE = 0x2_0000;
}

/// RAH: the entry is valid.
pub const RAH_AV: u32 = 1 << 31;
/// RDTR, TIDV: flush.
pub const FPD: u32 = 1 << 31;

/// How a guest reaches a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keeps what is written, within its mask.
    Plain,
    /// Writes do nothing.
    ReadOnly,
    /// Reads as 0.
    WriteOnly,
    /// Counts; a read clears it.
    Statistic,
}

/// One register, or a row of the same.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Offset in BAR 0.
    pub at: u32,
    /// How many.
    pub words: u32,
    /// As the manual has it.
    pub name: &'static str,
    /// How it is reached.
    pub kind: Kind,
    /// Bits that keep what is written.
    pub mask: u32,
    /// Value after a reset.
    pub reset: u32,
}

const fn r(at: u32, words: u32, name: &'static str, kind: Kind, mask: u32, reset: u32) -> Register {
    Register { at, words, name, kind, mask, reset }
}

const ALL: u32 = u32::MAX;
use Kind::{Plain, ReadOnly, Statistic, WriteOnly};

/// Every register, by offset.
#[rustfmt::skip]
pub const TABLE: &[Register] = &[
    r(CTRL, 1, "CTRL", Plain, !(ctrl::RST | ctrl::PHY_RST), 0x0014_0240),
    r(STATUS, 1, "STATUS", ReadOnly, 0, status::FIXED),
    r(EECD, 1, "EECD", Plain, 0x4f, 0),
    r(EERD, 1, "EERD", Plain, 0xff00, 0),
    r(CTRL_EXT, 1, "CTRL_EXT", Plain, ALL, 0),
    r(MDIC, 1, "MDIC", Plain, 0x6fff_ffff, 0),
    r(FCAL, 1, "FCAL", Plain, ALL, 0),
    r(FCAH, 1, "FCAH", Plain, 0xffff, 0),
    r(FCT, 1, "FCT", Plain, 0xffff, 0),
    r(VET, 1, "VET", Plain, 0xffff, 0x8100),
    r(ICR, 1, "ICR", Plain, 0, 0),
    r(ITR, 1, "ITR", Plain, 0xffff, 0),
    r(ICS, 1, "ICS", Plain, 0, 0),
    r(IMS, 1, "IMS", Plain, 0, 0),
    r(IMC, 1, "IMC", WriteOnly, 0, 0),
    r(RCTL, 1, "RCTL", Plain, 0x06df_f3fe, 0),
    r(FCTTV, 1, "FCTTV", Plain, 0xffff, 0),
    r(TXCW, 1, "TXCW", Plain, 0xc000_ffff, 0),
    r(RXCW, 1, "RXCW", ReadOnly, 0, 0),
    r(TCTL, 1, "TCTL", Plain, 0x03ff_fffa, 0),
    r(TIPG, 1, "TIPG", Plain, 0x3fff_ffff, 0),
    r(AIT, 1, "AIT", Plain, 0xffff, 0),
    r(LEDCTL, 1, "LEDCTL", Plain, ALL, 0x0706_8302),
    r(PBA, 1, "PBA", Plain, 0x7f, 0x0010_0030),
    r(FCRTL, 1, "FCRTL", Plain, 0x8000_fff8, 0),
    r(FCRTH, 1, "FCRTH", Plain, 0x8000_fff8, 0),
    r(RDBAL, 1, "RDBAL", Plain, !15, 0),
    r(RDBAH, 1, "RDBAH", Plain, ALL, 0),
    r(RDLEN, 1, "RDLEN", Plain, 0xf_ff80, 0),
    r(RDH, 1, "RDH", Plain, 0xffff, 0),
    r(RDT, 1, "RDT", Plain, 0xffff, 0),
    r(RDTR, 1, "RDTR", Plain, 0xffff, 0),
    r(RXDCTL, 1, "RXDCTL", Plain, ALL, 1 << 16),
    r(RADV, 1, "RADV", Plain, 0xffff, 0),
    r(csb::REG_CSBAL, 1, "CSBAL", Plain, ALL, 0),
    r(csb::REG_CSBAH, 1, "CSBAH", Plain, ALL, 0),
    r(RSRPD, 1, "RSRPD", Plain, 0xfff, 0),
    r(TXDMAC, 1, "TXDMAC", Plain, 1, 1),
    r(TDBAL, 1, "TDBAL", Plain, !15, 0),
    r(TDBAH, 1, "TDBAH", Plain, ALL, 0),
    r(TDLEN, 1, "TDLEN", Plain, 0xf_ff80, 0),
    r(TDH, 1, "TDH", Plain, 0xffff, 0),
    r(TDT, 1, "TDT", Plain, 0xffff, 0),
    r(TIDV, 1, "TIDV", Plain, 0xffff, 0),
    r(TXDCTL, 1, "TXDCTL", Plain, ALL, 0),
    r(TADV, 1, "TADV", Plain, 0xffff, 0),
    r(TSPMT, 1, "TSPMT", Plain, ALL, 0x0100_0400),
    r(STATS, 64, "statistics", Statistic, 0, 0),
    r(RXCSUM, 1, "RXCSUM", Plain, 0x7ff, 0),
    r(MTA, 128, "MTA", Plain, ALL, 0),
    // Low halves are wholly kept, high halves by the mask below.
    r(RA, 32, "RA", Plain, ALL, 0),
    r(VFTA, 128, "VFTA", Plain, ALL, 0),
    r(WUC, 1, "WUC", Plain, 0xf, 0),
    r(WUFC, 1, "WUFC", Plain, 0xf_00ff, 0),
    r(WUS, 1, "WUS", ReadOnly, 0, 0),
    r(MANC, 1, "MANC", Plain, ALL, 0),
];

/// Bits of RAH that are kept: address, which address is compared, valid.
const RAH_MASK: u32 = 0x8003_ffff;

/// The register at `at`, a multiple of 4.
pub fn find(at: u32) -> Option<&'static Register> {
    let i = TABLE.partition_point(|r| r.at <= at).checked_sub(1)?;
    let r = &TABLE[i];
    (at < r.at + 4 * r.words).then_some(r)
}

impl Register {
    /// Bits of the one at `at` that keep what is written.
    pub fn kept(&self, at: u32) -> u32 {
        if self.at == RA && at & 4 != 0 { RAH_MASK } else { self.mask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_within_the_file() {
        for w in TABLE.windows(2) {
            assert!(w[0].at + 4 * w[0].words <= w[1].at, "{} and {}", w[0].name, w[1].name);
        }
        assert!(TABLE.iter().all(|r| r.at % 4 == 0 && r.at + 4 * r.words <= END));
        assert_eq!(find(RA + 4).map(|r| r.kept(RA + 4)), Some(RAH_MASK));
        assert_eq!(find(0x4).map(|r| r.name), None);
        assert_eq!(find(STATS + 0xfc).map(|r| r.kind), Some(Statistic));
        assert!(find(STATS + 0x100).is_none() && find(BAR0_SIZE).is_none());
    }
}
