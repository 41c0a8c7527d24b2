use super::*;
use crate::e1000::device::Settings;
use crate::e1000::regs::{RA, VFTA, rctl, status};

fn chip(csb: bool) -> Chip {
    Chip::new(Arc::new(Device::new(Settings { csb, ..Settings::default() })))
}

fn put(c: &mut Chip, at: u32, v: u32) -> Effects {
    c.write_bar0(u64::from(at), &v.to_le_bytes(), 0)
}

/// What `ethtool -t` of the stock drivers writes and expects back: (register, bits kept, bits written).
const PATTERNS: &[(u32, u32, u32)] = &[
    (regs::FCAL, 0xffff_ffff, 0xffff_ffff),
    (regs::FCAH, 0x0000_ffff, 0xffff_ffff),
    (regs::FCT, 0x0000_ffff, 0xffff_ffff),
    (regs::VET, 0x0000_ffff, 0xffff_ffff),
    (regs::RDTR, 0x0000_ffff, 0xffff_ffff),
    (regs::RDBAH, 0xffff_ffff, 0xffff_ffff),
    (regs::RDLEN, 0x000f_ff80, 0x000f_ffff),
    (regs::RDH, 0x0000_ffff, 0x0000_ffff),
    (regs::RDT, 0x0000_ffff, 0x0000_ffff),
    (regs::FCRTH, 0x0000_fff8, 0x0000_fff8),
    (regs::FCTTV, 0x0000_ffff, 0xffff_ffff),
    (regs::TIPG, 0x3fff_ffff, 0xffff_ffff),
    (regs::TDBAH, 0xffff_ffff, 0xffff_ffff),
    (regs::TDLEN, 0x000f_ff80, 0x000f_ffff),
    (regs::RDBAL, 0xffff_fff0, 0xffff_ffff),
    (regs::TXCW, 0xc000_ffff, 0x0000_ffff),
    (regs::TDBAL, 0xffff_fff0, 0xffff_ffff),
    (regs::TIDV, 0x0000_ffff, 0x0000_ffff),
    (RA + 4, 0x8003_ffff, 0xffff_ffff),
    (RA + 124, 0x8003_ffff, 0xffff_ffff),
    (regs::MTA, 0xffff_ffff, 0xffff_ffff),
    (regs::MTA + 508, 0xffff_ffff, 0xffff_ffff),
    (VFTA + 508, 0xffff_ffff, 0xffff_ffff),
];

#[test]
fn passes_the_stock_drivers_register_test() {
    let mut c = chip(false);
    for &(at, mask, write) in PATTERNS {
        for pattern in [0x5a5a_5a5a, 0xa5a5_a5a5, 0, u32::MAX] {
            let _ = put(&mut c, at, pattern & write);
            assert_eq!(c.read(at, 0), write & pattern & mask, "{at:#x} {pattern:#x}");
        }
    }
    let expect = 0x06df_b3fe;
    for (v, mask) in [(0, u32::MAX), (0x003f_fffb, expect), (u32::MAX, expect)] {
        let _ = put(&mut c, regs::RCTL, v & mask);
        assert_eq!(c.read(regs::RCTL, 0) & mask, v & mask);
    }
    let _ = put(&mut c, regs::TCTL, 0);
    assert_eq!(c.read(regs::TCTL, 0), 0);
    let before = c.read(regs::STATUS, 0);
    let _ = put(&mut c, regs::STATUS, !before);
    assert_eq!(c.read(regs::STATUS, 0), before);
}

#[test]
fn resets_and_loads_the_address_from_the_eeprom() {
    let mut c = chip(false);
    for v in [0, 0x1234_5678] {
        let _ = put(&mut c, RA, v);
        let _ = put(&mut c, RA + 8, v);
    }
    let _ = put(&mut c, regs::IMS, u32::MAX);
    assert!(put(&mut c, regs::ICS, cause::RXT0).interrupt);
    let e = put(&mut c, regs::CTRL, ctrl::RST);
    assert!(e.transmit && e.room);
    assert_eq!((c.read(RA, 0), c.read(RA + 4, 0)), (0xe100_5452, 0x8000_0100));
    assert_eq!((c.read(RA + 8, 0), c.read(regs::IMS, 0), c.read(regs::ICR, 0)), (0, 0, 0));
    assert_eq!(c.read(regs::CTRL, 0) & ctrl::RST, 0);
    assert_eq!(c.device().counters.resets.get(), 1);
    assert!(!c.device().line());
}

#[test]
fn interrupts_by_registers() {
    let mut c = chip(false);
    assert!(!put(&mut c, regs::ICS, cause::TXDW | cause::LSC).interrupt, "masked");
    assert_eq!(c.read(regs::ICS, 0), cause::TXDW | cause::LSC);
    assert!(put(&mut c, regs::IMS, cause::LSC).interrupt);
    assert_eq!(c.read(regs::IMS, 0), cause::LSC);
    let _ = put(&mut c, regs::ICR, cause::LSC);
    assert!(!c.device().line());
    assert_eq!(c.read(regs::ICR, 0), cause::TXDW);
    assert_eq!(c.read(regs::ICR, 0), 0);
    let _ = put(&mut c, regs::IMC, u32::MAX);
    assert_eq!((c.read(regs::IMS, 0), c.read(regs::IMC, 0)), (0, 0));
}

#[test]
fn the_link_goes_and_comes() {
    let mut c = chip(false);
    let _ = put(&mut c, regs::IMS, cause::LSC);
    let status = |c: &mut Chip| c.read(regs::STATUS, 0) & status::LU;
    assert_ne!(status(&mut c), 0);
    assert!(c.device().set_link(false, 0));
    assert_eq!(status(&mut c), 0);
    assert_eq!(c.read(regs::ICR, 0) & cause::LSC, cause::LSC);
    assert!(!c.device().set_link(false, 0), "no news");
    // Read PHY register 1, with an interrupt when done.
    let _ = put(&mut c, regs::MDIC, 2 << 26 | 1 << 21 | 1 << 16 | 1 << 29);
    assert_eq!(c.read(regs::MDIC, 0) & (1 << 28 | 1 << 2), 1 << 28);
    assert_eq!(c.read(regs::ICR, 0), cause::MDAC);
}

#[test]
fn the_csb_is_there_only_when_offered() {
    for offered in [false, true] {
        let mut c = chip(offered);
        let e = put(&mut c, csb::REG_CSBAL, 0x1000);
        assert_eq!(e.transmit && e.room, offered);
        assert_eq!(c.read(csb::REG_CSBAL, 0), if offered { 0x1000 } else { 0 });
        assert_eq!(c.device().counters.bad_access.get(), if offered { 0 } else { 2 });
        // EEPROM word 0x0b is the subsystem id.
        let _ = put(&mut c, regs::EERD, 0x0b << 8 | 1);
        assert_eq!(c.read(regs::EERD, 0) >> 16 == 0x1101, offered);
    }
}

#[test]
fn the_window_reaches_registers_and_resets() {
    let mut c = chip(false);
    let mut b = [0; 4];
    let _ = c.write_bar1(0, &regs::VET.to_le_bytes(), 0);
    let _ = c.write_bar1(4, &0x88a8u32.to_le_bytes(), 0);
    c.read_bar1(4, &mut b, 0);
    assert_eq!(u32::from_le_bytes(b), 0x88a8);
    c.read_bar1(0, &mut b, 0);
    assert_eq!(u32::from_le_bytes(b), regs::VET);
    let _ = c.write_bar1(0, &0u32.to_le_bytes(), 0);
    assert!(c.write_bar1(4, &ctrl::RST.to_le_bytes(), 0).transmit);
    assert_eq!(c.read(regs::VET, 0), 0x8100);
    let _ = c.write_bar1(8, &[0; 4], 0);
    let _ = c.write_bar1(0, &[0; 2], 0);
    c.read_bar1(60, &mut b, 0);
    assert_eq!((b, c.device().counters.bad_access.get()), ([0; 4], 3));
}

#[test]
fn odd_accesses_are_counted() {
    let mut c = chip(false);
    let mut b = [7; 2];
    c.read_bar0(u64::from(regs::VET), &mut b, 0);
    assert_eq!(b, [0x00, 0x81], "part of a register");
    let mut b = [7; 8];
    c.read_bar0(u64::from(RA), &mut b, 0);
    assert_eq!(b, [0x52, 0x54, 0, 0xe1, 0, 1, 0, 0x80], "two registers");
    let bad = [(2, 4), (0x2_0000, 4), (0x1_fffc, 8), (0, 3), (0, 0), (u64::MAX - 3, 4), (0, 16)];
    for (at, n) in bad {
        c.read_bar0(at, &mut vec![1; n], 0);
        let _ = c.write_bar0(at, &vec![1; n], 0);
    }
    assert_eq!(c.device().counters.bad_access.get(), 2 * bad.len() as u64);
    let _ = c.write_bar0(u64::from(regs::VET), &[1, 2], 0);
    assert_eq!(c.read(regs::VET, 0), 0x8100, "only whole registers are written");
    let _ = c.write_bar0(u64::from(regs::RCTL), &rctl::EN.to_le_bytes(), 0);
    assert_eq!(c.read(regs::RCTL, 0), rctl::EN);
}
