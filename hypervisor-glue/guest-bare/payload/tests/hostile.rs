//! A guest that gets things wrong. Whatever it does, the card works after a reset.

use core::mem::offset_of;
use core::sync::atomic::Ordering;

use valecast_guest::csb::{Csb, REG_CSBAH, REG_CSBAL};
use valecast_guest::desc::cmd;
use valecast_guest::dma::Dma;
use valecast_guest::driver::{Bus, Driver, Options, Send};
use valecast_guest::mailbox::MEMORY;
use valecast_guest::regs;

use super::frames::{PATIENCE, loops, options};
use super::{Wrong, expect};
use crate::machine::{Ram, Registers, ticks};

/// No memory of any machine here.
const NOWHERE: u64 = 0x7f_0000_0000;

/// After whatever a test did to it, the card works.
fn works(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    loops(card, ram, Options::default())
}

pub fn bogus(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    let _ = Driver::start(card, ram, options(Options::default()))?;
    for tail in [64, 65, 0xffff, u32::MAX] {
        card.write(regs::TDT, tail);
        card.write(regs::RDT, tail);
    }
    for len in [0, 128, 0xf_ff80] {
        card.write(regs::TDLEN, len);
        card.write(regs::TDH, len / 16);
        card.write(regs::TDT, 1);
    }
    works(card, ram)
}

pub fn outside(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    let o = options(Options::default());
    let _ = Driver::start(card, ram, o)?;
    // Buffers: frames that cannot be read are dropped, and the ring goes on.
    let ring = o.base + 4096;
    let high = 100 | u64::from(cmd::EOP | cmd::RS) << 24;
    for i in 0..8u64 {
        ram.write(ring + 16 * i, &(NOWHERE + i * 4096).to_le_bytes())?;
        ram.write(ring + 16 * i + 8, &high.to_le_bytes())?;
    }
    card.write(regs::TDT, 8);
    let begun = ticks();
    while card.read(regs::TDH) != 8 && ticks() - begun < PATIENCE {}
    expect("TDH behind bad buffers", card.read(regs::TDH), 8)?;
    // Rings.
    for at in [regs::TDBAH, regs::RDBAH] {
        card.write(at, (NOWHERE >> 32) as u32);
    }
    card.write(regs::TDT, 20);
    card.write(regs::RDT, 20);
    works(card, ram)
}

pub fn endless(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    let o = options(Options::default());
    let _ = Driver::start(card, ram, o)?;
    let n = u64::from(o.descriptors);
    for i in 0..n {
        ram.write(o.base + 4096 + 16 * i, &MEMORY.to_le_bytes())?;
        ram.write(o.base + 4096 + 16 * i + 8, &2048u64.to_le_bytes())?;
    }
    card.write(regs::TDT, n as u32 - 1);
    let begun = ticks();
    while card.read(regs::TDH) != n as u32 - 1 && ticks() - begun < PATIENCE {}
    expect("TDH behind a frame without end", card.read(regs::TDH), n as u32 - 1)?;
    works(card, ram)
}

/// The card goes by its registers then.
pub fn csb_elsewhere(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    for at in [NOWHERE, MEMORY + 2, u64::MAX - 4095] {
        let mut d = Driver::start(card, ram, options(Options::default()))?;
        card.write(REG_CSBAH, (at >> 32) as u32);
        card.write(REG_CSBAL, at as u32);
        d.send(card, ram, &Send { bytes: &[0x5a; 100], ..Send::default() })?;
        let (begun, mut got) = (ticks(), 0);
        while got == 0 && ticks() - begun < PATIENCE {
            got += d.interrupt(card, ram, |_| {})?;
        }
        expect("frames without a block", got, 1)?;
        d.stop(card);
    }
    works(card, ram)
}

pub fn csb_tails(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    let o = Options { csb: true, ..options(Options::default()) };
    for tail in [o.descriptors, 0xffff, u32::MAX] {
        let _ = Driver::start(card, ram, o)?;
        let word = |offset: usize| ram.word32(o.base + offset as u64).ok_or(Wrong::Memory(o.base));
        // ORDERING: SeqCst, so that who raises the flag after this sees the tails.
        word(offset_of!(Csb, guest_rdt))?.store(tail, Ordering::SeqCst);
        word(offset_of!(Csb, guest_tdt))?.store(tail, Ordering::SeqCst);
        let asleep = word(offset_of!(Csb, host_need_txkick))?;
        asleep.store(0, Ordering::SeqCst);
        card.write(regs::TDT, 1);
        // The card finds no work in that ring and asks to be told of some.
        // Seen once: who looks again may find it awake.
        let (begun, mut seen) = (ticks(), 0);
        while seen == 0 && ticks() - begun < PATIENCE {
            seen = asleep.load(Ordering::SeqCst);
        }
        expect("host_need_txkick", seen, 1)?;
        expect("TDH", card.read(regs::TDH), 0)?;
    }
    works(card, ram)
}
