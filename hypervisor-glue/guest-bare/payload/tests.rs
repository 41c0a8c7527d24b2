//! Tests of the card from inside. A card that misbehaves fails a test here; a daemon that dies fails all of them.
//!
//! Here: registers and causes; [`frames`]: every kind of transmit descriptor through the loopback, with Send Combining and
//! the CSB; [`offload`]: checksums, segmentation and VLAN tags; [`hostile`]: a guest that gets things wrong. The port must
//! offer the CSB.

use core::fmt;

use valecast_guest::dma::Unmapped;
use valecast_guest::driver::{Bus, Options};
use valecast_guest::regs::{self, ctrl, status};

mod frames;
mod hostile;
mod offload;

use crate::console::line;
use crate::machine::{Machine, Ram, Registers};
use frames::loops;

/// What was wrong.
enum Wrong {
    Memory(u64),
    /// What, what was read, what was expected.
    Value(&'static str, u32, u32),
}

impl From<Unmapped> for Wrong {
    fn from(e: Unmapped) -> Self {
        Self::Memory(e.addr)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(at) => write!(f, "no memory at {at:#x}"),
            Self::Value(what, is, want) => write!(f, "{what}: {is:#x} instead of {want:#x}"),
        }
    }
}

type Test = fn(&mut Registers, &Ram) -> Result<(), Wrong>;

const TESTS: [(&str, Test); 16] = [
    ("registers keep what their masks say", keep),
    ("a reset restores the table", reset),
    ("interrupt causes are set, masked, read and cleared", causes),
    ("data descriptors loop back", |c, m| loops(c, m, Options::default())),
    ("legacy descriptors loop back", |c, m| loops(c, m, Options { legacy: true, ..Options::default() })),
    ("Send Combining loses nothing", |c, m| {
        loops(c, m, Options { send_combining: true, ..Options::default() })
    }),
    ("the CSB loses nothing", |c, m| loops(c, m, Options { csb: true, ..Options::default() })),
    ("checksums are put in", offload::checksums),
    ("segments of IPv4 are good packets", |c, m| offload::segments(c, m, false)),
    ("segments of IPv6 are good packets", |c, m| offload::segments(c, m, true)),
    ("VLAN tags go in, come out, and are filtered by", offload::tags),
    ("tails and lengths that make no sense", hostile::bogus),
    ("rings and buffers outside memory", hostile::outside),
    ("descriptors that never end a frame", hostile::endless),
    ("a CSB where there is no memory", hostile::csb_elsewhere),
    ("a CSB that tells of tails outside the ring", hostile::csb_tails),
];

/// Runs all of them; how many failed.
pub fn run(machine: &mut Machine) -> u8 {
    let ram = machine.ram;
    let mut failed = 0;
    for (name, test) in TESTS {
        match test(&mut machine.card, &ram) {
            Ok(()) => line(format_args!("ok {name}")),
            Err(why) => {
                failed += 1;
                line(format_args!("FAILED {name}: {why}"));
            }
        }
        if let Some(n) = machine.interrupted() {
            machine.end_of_interrupt(n);
        }
    }
    line(format_args!("{} tests, {failed} failed", TESTS.len()));
    failed
}

fn expect(what: &'static str, is: u32, want: u32) -> Result<(), Wrong> {
    if is == want { Ok(()) } else { Err(Wrong::Value(what, is, want)) }
}

/// Registers whose writes do something beyond being kept.
const LIVELY: [u32; 11] = [
    regs::CTRL,
    regs::EECD,
    regs::EERD,
    regs::MDIC,
    regs::ICR,
    regs::ICS,
    regs::IMS,
    regs::IMC,
    regs::RCTL,
    regs::TCTL,
    regs::RDTR,
];

fn plain() -> impl Iterator<Item = (&'static regs::Register, u32)> {
    let quiet = |r: &&regs::Register| {
        r.kind == regs::Kind::Plain
            && !LIVELY.contains(&r.at)
            && !r.name.starts_with("CSB")
            && r.at != regs::TIDV
    };
    regs::TABLE.iter().filter(quiet).flat_map(|r| (0..r.words).map(move |i| (r, r.at + 4 * i)))
}

fn keep(card: &mut Registers, _: &Ram) -> Result<(), Wrong> {
    card.write(regs::CTRL, ctrl::RST);
    expect("STATUS, link", card.read(regs::STATUS) & status::LU, status::LU)?;
    for (r, at) in plain() {
        for v in [u32::MAX, 0, 0x5a5a_5a5a] {
            card.write(at, v);
            let kept = r.kept(at);
            expect(r.name, card.read(at) & kept, v & kept)?;
        }
    }
    // There is nothing at odd places, and reading there harms nobody.
    expect("no register", card.read(regs::END - 4), 0)
}

fn reset(card: &mut Registers, _: &Ram) -> Result<(), Wrong> {
    card.write(regs::CTRL, ctrl::RST);
    for (r, at) in plain().filter(|(r, _)| r.at != regs::RA) {
        expect(r.name, card.read(at), r.reset)?;
    }
    Ok(())
}

fn causes(card: &mut Registers, _: &Ram) -> Result<(), Wrong> {
    use regs::cause;
    card.write(regs::CTRL, ctrl::RST);
    card.write(regs::IMC, u32::MAX);
    card.read(regs::ICR);
    card.write(regs::ICS, cause::LSC | cause::RXO);
    expect("ICR, masked", card.read(regs::ICR), cause::LSC | cause::RXO)?;
    expect("ICR, read again", card.read(regs::ICR), 0)?;
    card.write(regs::IMS, cause::LSC);
    card.write(regs::ICS, cause::LSC);
    expect("ICR, asserted", card.read(regs::ICR), cause::LSC | cause::INT_ASSERTED)?;
    card.write(regs::IMC, u32::MAX);
    expect("IMS", card.read(regs::IMS), 0)
}
