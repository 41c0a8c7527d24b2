//! Tests of the card from inside: registers, every kind of transmit descriptor through its loopback, and a guest that
//! gets things wrong. A card that misbehaves fails a test here; a daemon that dies fails all of them.

use core::fmt;

use valecast_guest::desc::cmd;
use valecast_guest::dma::{Dma, Unmapped};
use valecast_guest::driver::{Bus, Driver, Options, Send};
use valecast_guest::mailbox::MEMORY;
use valecast_guest::regs::{self, ctrl, rctl, status};

use crate::console::line;
use crate::machine::{Machine, Ram, Registers, ticks};

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

const TESTS: [(&str, Test); 9] = [
    ("registers keep what their masks say", keep),
    ("a reset restores the table", reset),
    ("interrupt causes are set, masked, read and cleared", causes),
    ("data descriptors loop back", |c, m| loops(c, m, Options::default())),
    ("legacy descriptors loop back", |c, m| loops(c, m, Options { legacy: true, ..Options::default() })),
    ("Send Combining loses nothing", |c, m| loops(c, m, Options { send_combining: true, ..Options::default() })),
    ("tails and lengths that make no sense", bogus),
    ("rings and buffers outside memory", outside),
    ("descriptors that never end a frame", endless),
];

/// Frames that one test sends.
const FRAMES: u16 = 100;
/// Ticks that anything may take: some seconds. Only what fails takes so long.
const PATIENCE: u64 = 1 << 34;
/// No memory of any machine here.
const NOWHERE: u64 = 0x7f_0000_0000;

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
        machine.end_of_interrupt();
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
        r.kind == regs::Kind::Plain && !LIVELY.contains(&r.at) && !r.name.starts_with("CSB") && r.at != regs::TIDV
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

fn options(o: Options) -> Options {
    // MAC loopback, everything received.
    Options { base: MEMORY, rctl: 1 << 6 | rctl::UPE | rctl::MPE, ..o }
}

/// Sends frames to itself and looks at what comes back.
fn loops(card: &mut Registers, ram: &Ram, o: Options) -> Result<(), Wrong> {
    let mut d = Driver::start(card, ram, options(o))?;
    let (mut sent, mut got) = (0u16, 0u16);
    let begun = ticks();
    while got < FRAMES && ticks() - begun < PATIENCE {
        if sent < FRAMES {
            let mut b = [0xa5u8; 300];
            b[..14].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x88, 0xb5]);
            b[14..16].copy_from_slice(&sent.to_be_bytes());
            let len = 60 + usize::from(sent);
            if d.send(card, ram, &Send { bytes: &b[..len], split: usize::from(sent % 3) * 20, ..Send::default() })? {
                sent += 1;
            }
        }
        let mut wrong = None;
        let mut look = |f: &valecast_guest::driver::Frame| {
            let mut b = [0; 16];
            let copied = f.copy(ram, &mut b);
            let number = u16::from_be_bytes([b[14], b[15]]);
            // The FCS is there, too.
            if copied.is_err() || number != got || f.len != 64 + usize::from(got) {
                wrong = Some(Wrong::Value("a frame that came back", u32::from(number), u32::from(got)));
            }
            got += 1;
        };
        d.interrupt(card, ram, &mut look)?;
        if let Some(w) = wrong {
            return Err(w);
        }
    }
    d.stop(card);
    expect("frames that came back", u32::from(got), u32::from(FRAMES))
}

/// After whatever a test did to it, the card works.
fn works(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    loops(card, ram, Options::default())
}

fn bogus(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
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

fn outside(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
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

fn endless(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
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
