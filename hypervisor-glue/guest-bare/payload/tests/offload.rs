//! What the card does to frames on their way: checksums, segments, tags.

use valecast_guest::desc::rx;
use valecast_guest::driver::{Bus, Driver, Options, Segmentation, Send};
use valecast_guest::regs::{self, ctrl, rctl};

use super::frames::{PATIENCE, options};
use super::{Wrong, expect};
use crate::machine::{Ram, Registers, ticks};

/// Bytes of a frame's FCS.
const FCS: usize = 4;
const ETHERNET: usize = 14;
const TCP: usize = 20;
/// Payload, and how much of it goes into a segment.
const PAYLOAD: usize = 2500;
const MSS: usize = 1000;
const LONGEST: usize = ETHERNET + 40 + TCP + PAYLOAD;

/// The ones' complement sum of the big-endian words of `b`.
fn sum(b: &[u8]) -> u32 {
    let mut sum: u32 =
        b.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |l| u32::from(*l))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

fn add(a: u32, b: u32) -> u32 {
    let s = a + b;
    (s & 0xffff) + (s >> 16)
}

/// Sends one frame and hands over what comes back, without FCS: bytes, status, tag. How many frames came, of `want`.
fn back(
    d: &mut Driver,
    card: &mut Registers,
    ram: &Ram,
    send: &Send<'_>,
    want: u32,
    mut each: impl FnMut(&[u8], u8, u16) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    d.send(card, ram, send)?;
    let (begun, mut got, mut first) = (ticks(), 0, Ok(()));
    while got < want && ticks() - begun < PATIENCE {
        got += d.interrupt(card, ram, |f| {
            let mut b = [0; 2048];
            let n = f.copy(ram, &mut b).unwrap_or(0);
            let looked = each(&b[..n.max(FCS) - FCS], f.last.status, f.last.special);
            if first.is_ok() {
                first = looked;
            }
        })?;
    }
    first?;
    expect("frames that came back", got, want)
}

fn header(b: &mut [u8], ethertype: u16) {
    b[..12].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2]);
    b[12..14].copy_from_slice(&ethertype.to_be_bytes());
}

/// A checksum by context and by legacy descriptors.
pub fn checksums(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    for legacy in [false, true] {
        let mut d = Driver::start(card, ram, options(Options { legacy, ..Options::default() }))?;
        let mut b: [u8; 201] = core::array::from_fn(|i| i as u8);
        header(&mut b, 0x88b5);
        b[40..42].fill(0);
        let send = Send { bytes: &b, checksum: Some((34, 40)), ..Send::default() };
        back(&mut d, card, ram, &send, 1, |got, _, _| {
            expect("the frame's length", got.len() as u32, 201)?;
            expect("the sum of what is summed", sum(&got[34..]), 0xffff)?;
            expect("the rest", u32::from(got[..40] == b[..40] && got[42..] == b[42..]), 1)
        })?;
        d.stop(card);
    }
    Ok(())
}

/// One large frame of TCP comes back as packets.
pub fn segments(card: &mut Registers, ram: &Ram, v6: bool) -> Result<(), Wrong> {
    let ip = if v6 { 40 } else { 20 };
    let l4 = ETHERNET + ip;
    let headers = l4 + TCP;
    let mut b = [0u8; LONGEST];
    header(&mut b, if v6 { 0x86dd } else { 0x0800 });
    let addresses = if v6 { ETHERNET + 8..ETHERNET + 40 } else { ETHERNET + 12..ETHERNET + 20 };
    b[addresses.clone()].iter_mut().zip(1u8..).for_each(|(x, n)| *x = n);
    if v6 {
        b[ETHERNET..ETHERNET + 8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 6, 64]);
    } else {
        b[ETHERNET..ETHERNET + 10].copy_from_slice(&[0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, 6]);
    }
    // Ports, sequence number, acknowledgement; 5 words, ACK PSH FIN; the sum of the pseudo-header without the length.
    b[l4..l4 + 16].copy_from_slice(&[0, 80, 1, 0, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4, 0x50, 0x19, 16, 0]);
    let pseudo = add(sum(&b[addresses.clone()]), 6);
    b[l4 + 16..l4 + 18].copy_from_slice(&(pseudo as u16).to_be_bytes());
    b[headers..].iter_mut().zip(0u32..).for_each(|(x, n)| *x = (n * 7 % 251) as u8);
    let total = headers + PAYLOAD;
    let s = Segmentation {
        l3: ETHERNET as u8,
        l4: l4 as u8,
        header: headers as u8,
        mss: MSS as u16,
        v6,
        udp: false,
    };
    let send = Send { bytes: &b[..total], segments: Some(s), ..Send::default() };
    let mut d = Driver::start(card, ram, options(Options::default()))?;
    let mut done = 0;
    back(&mut d, card, ram, &send, PAYLOAD.div_ceil(MSS) as u32, |got, _, _| {
        let part = MSS.min(PAYLOAD - done);
        expect("a segment's length", got.len() as u32, (headers + part) as u32)?;
        let word = |at: usize| u32::from(got[at]) << 8 | u32::from(got[at + 1]);
        if v6 {
            expect("IPv6's length", word(ETHERNET + 4), (TCP + part) as u32)?;
        } else {
            expect("IPv4's length", word(ETHERNET + 2), (ip + TCP + part) as u32)?;
            expect("IPv4's number", word(ETHERNET + 4), 0x1234 + (done / MSS) as u32)?;
            expect("IPv4's sum", sum(&got[ETHERNET..l4]), 0xffff)?;
        }
        expect(
            "the sequence number",
            word(l4 + 4) << 16 | word(l4 + 6),
            0xffff_ff00u32.wrapping_add(done as u32),
        )?;
        expect("the flags", u32::from(got[l4 + 13]), if done + part == PAYLOAD { 0x19 } else { 0x10 })?;
        let over = add(add(sum(&got[addresses.clone()]), 6), (TCP + part) as u32);
        expect("TCP's sum", add(over, sum(&got[l4..])), 0xffff)?;
        expect("the payload", u32::from(got[headers..] == b[headers + done..headers + done + part]), 1)?;
        done += part;
        Ok(())
    })?;
    d.stop(card);
    Ok(())
}

/// With CTRL.VME tags go in and come out again; without, they stay where they are. VFTA says which are wanted.
pub fn tags(card: &mut Registers, ram: &Ram) -> Result<(), Wrong> {
    let mut b = [0x3cu8; 100];
    header(&mut b, 0x88b5);
    let tagged = Send { bytes: &b, tag: Some(0x6007), ..Send::default() };
    let with_vme = Options { ctrl: ctrl::SLU | ctrl::VME, ..Options::default() };
    let mut d = Driver::start(card, ram, options(with_vme))?;
    back(&mut d, card, ram, &tagged, 1, |got, status, tag| {
        expect("a tag that was stripped", u32::from(tag), 0x6007)?;
        expect("its bit", u32::from(status & rx::VP), u32::from(rx::VP))?;
        expect("the frame", u32::from(got == b), 1)
    })?;
    let mut d = Driver::start(card, ram, options(Options::default()))?;
    back(&mut d, card, ram, &tagged, 1, |got, status, _| {
        expect("no tag's bit", u32::from(status & rx::VP), 0)?;
        expect("a frame without VME", u32::from(got == b), 1)
    })?;
    // Filtered: of two frames the one whose tag is in the table comes.
    let mut d = Driver::start(card, ram, options(Options { rctl: rctl::VFE, ..with_vme }))?;
    card.write(regs::VFTA, 1 << 9);
    d.send(card, ram, &tagged)?;
    back(&mut d, card, ram, &Send { tag: Some(9), ..tagged }, 1, |_, _, tag| {
        expect("the tag that is wanted", u32::from(tag), 9)
    })?;
    d.stop(card);
    Ok(())
}
