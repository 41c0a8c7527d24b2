//! Frames that the card sends to itself.

use valecast_guest::driver::{Driver, Frame, Options, Send};
use valecast_guest::mailbox::MEMORY;
use valecast_guest::regs::rctl;

use super::{Wrong, expect};
use crate::machine::{Ram, Registers, ticks};

/// Frames that one test sends.
const FRAMES: u16 = 100;
/// Ticks that anything may take: some seconds. Only what fails takes so long.
pub const PATIENCE: u64 = 1 << 34;

/// With MAC loopback, and everything received.
pub fn options(o: Options) -> Options {
    Options { base: MEMORY, rctl: o.rctl | 1 << 6 | rctl::UPE | rctl::MPE, ..o }
}

/// Sends frames to itself and looks at what comes back.
pub fn loops(card: &mut Registers, ram: &Ram, o: Options) -> Result<(), Wrong> {
    let mut d = Driver::start(card, ram, options(o))?;
    let (mut sent, mut got) = (0u16, 0u16);
    let begun = ticks();
    while got < FRAMES && ticks() - begun < PATIENCE {
        if sent < FRAMES {
            let mut b = [0xa5u8; 300];
            b[..14].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x88, 0xb5]);
            b[14..16].copy_from_slice(&sent.to_be_bytes());
            let len = 60 + usize::from(sent);
            if d.send(
                card,
                ram,
                &Send { bytes: &b[..len], split: usize::from(sent % 3) * 20, ..Send::default() },
            )? {
                sent += 1;
            }
        }
        let mut wrong = None;
        let mut look = |f: &Frame| {
            let mut b = [0; 16];
            let copied = f.copy(ram, &mut b);
            let number = u16::from_be_bytes([b[14], b[15]]);
            // The FCS is there, too.
            if copied.is_err() || number != got || f.len != 64 + usize::from(got) {
                wrong = Some(Wrong::Value("a frame that came back", u32::from(number), u32::from(got)));
            }
            got += 1;
        };
        if o.csb {
            d.poll(card, ram, 16, &mut look)?;
        } else {
            d.interrupt(card, ram, &mut look)?;
        }
        if let Some(w) = wrong {
            return Err(w);
        }
    }
    d.stop(card);
    expect("frames that came back", u32::from(got), u32::from(FRAMES))
}
