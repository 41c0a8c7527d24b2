//! A guest's driver, as hostile as it can be.

use std::sync::Arc;

use valecast_hypervisor_glue::csb;
use valecast_hypervisor_glue::e1000::chip::Chip;
use valecast_hypervisor_glue::e1000::device::{Device, Settings};
use valecast_hypervisor_glue::e1000::dma::{Dma, HeapMemory};
use valecast_hypervisor_glue::e1000::guest::rig::bytes_of;
use valecast_hypervisor_glue::e1000::regs;
use valecast_hypervisor_glue::e1000::tx::TxQueue;
use valecast_ring::notify;
use valecast_switch::frame::{Burst, Entry};

/// A case's bytes, taken from the front; zeros when they run out.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

/// Guest memory: 64 KiB, then a hole, then a page of a mapping of its own, and one that touches it.
const MEMORY: &[(u64, usize)] = &[(0x1_0000, 0x1_0000), (0x4_0000, 0x1000), (0x4_1000, 0x1000)];

/// A place that mostly is memory.
fn place(b: &mut Bytes<'_>) -> u64 {
    match b.u8() {
        0..=199 => 0x1_0000 + u64::from(b.u16() & !15),
        200..=219 => 0x4_0000 + u64::from(b.u16() & 0x1fff),
        220..=239 => u64::from(b.u32()),
        _ => u64::from(b.u32()) << 32 | u64::from(b.u32()),
    }
}

/// Registers that the data path goes by.
const LIVELY: &[u32] = &[
    regs::CTRL,
    regs::RCTL,
    regs::TCTL,
    regs::TDBAL,
    regs::TDLEN,
    regs::TDH,
    regs::TDT,
    regs::RDBAL,
    regs::RDLEN,
    regs::RDH,
    regs::RDT,
    regs::IMS,
    regs::ITR,
    regs::TIDV,
    regs::RDTR,
    regs::RXCSUM,
    regs::TXDCTL,
    regs::RSRPD,
    csb::REG_CSBAL,
    csb::REG_CSBAH,
];

struct Case {
    chip: Chip,
    device: Arc<Device>,
    tx: TxQueue,
    mem: HeapMemory,
    burst: Burst,
    now: u64,
    /// Frames that the switch was given and was done with.
    taken: u64,
    rejected: u64,
    offered: u64,
}

/// A guest that writes anything anywhere, between the worker's steps in any order. Checks that nothing outside guest
/// memory is touched (by the sanitizer), that every step ends, and the books.
/// Returns what the card counted, so that a run can tell how far its cases got.
pub fn e1000_guest(data: &[u8]) -> Vec<(&'static str, u64)> {
    let b = &mut Bytes(data);
    let shape = b.u8();
    let settings = Settings {
        csb: shape & 1 != 0,
        moderation: shape & 2 != 0,
        itr_floor: u64::from(shape >> 2) * 1000,
        ..Settings::default()
    };
    let device = Arc::new(Device::new(settings));
    let mut c = Case {
        chip: Chip::new(device.clone()),
        tx: TxQueue::new(device.clone()),
        device,
        mem: HeapMemory::new(MEMORY),
        burst: Burst::default(),
        now: 0,
        taken: 0,
        rejected: 0,
        offered: 0,
    };
    if shape & 0x80 != 0 {
        usable(&mut c);
    }
    while !b.0.is_empty() {
        step(&mut c, b);
    }
    books(&c);
    let interrupts = c.device.interrupts();
    let mut all = c.device.counters.all();
    all.extend([
        ("interrupts", interrupts.raised),
        ("moderated", interrupts.moderated),
        ("rejected", c.rejected),
    ]);
    all
}

/// A card as a driver leaves it, so that a case begins where it gets interesting.
fn usable(c: &mut Case) {
    for (at, v) in [
        (regs::TDBAL, 0x1_1000),
        (regs::TDLEN, 256),
        (regs::RDBAL, 0x1_2000),
        (regs::RDLEN, 256),
        (regs::RCTL, 0x801e),
        (regs::TCTL, 0xa),
        (regs::IMS, u32::MAX),
        (regs::ITR, 200),
        (csb::REG_CSBAL, 0x1_0000),
        (regs::RDT, 15),
    ] {
        let _ = c.chip.write(at, v, 0);
    }
    for i in 0..16u64 {
        let _ = c.mem.write(0x1_2000 + 16 * i, &(0x1_8000 + 2048 * i).to_le_bytes());
    }
}

fn step(c: &mut Case, b: &mut Bytes<'_>) {
    match b.u8() % 16 {
        0 => {
            let at = if b.u8() & 1 == 0 { b.u32() } else { u32::from(b.u16()) };
            let len = [1, 2, 4, 8][usize::from(b.u8() & 3)];
            let v = [b.u32(), b.u32()].map(u32::to_le_bytes).concat();
            let _ = c.chip.write_bar0(u64::from(at), &v[..len], c.now);
            let mut back = [0; 8];
            c.chip.read_bar0(u64::from(at), &mut back[..len], c.now);
        }
        1 | 2 => {
            let at = LIVELY[usize::from(b.u8()) % LIVELY.len()];
            let v = match b.u8() & 3 {
                _ if at == regs::CTRL => b.u32() & if b.u8() & 7 == 0 { u32::MAX } else { !regs::ctrl::RST },
                0 => b.u32(),
                1 => place(b) as u32,
                _ => u32::from(b.u8()),
            };
            let _ = c.chip.write(at, v, c.now);
        }
        3 => {
            let v = b.u32().to_le_bytes();
            let _ = c.chip.write_bar1(u64::from(b.u8() & 7), &v, c.now);
            let mut back = [0; 4];
            c.chip.read_bar1(u64::from(b.u8() & 7), &mut back, c.now);
        }
        // A descriptor, in either ring as `usable` has them.
        4 | 5 => {
            let at = 0x1_1000 + u64::from(b.u16() & 0x11f0);
            let low = if b.u8() & 7 == 0 { u64::from(b.u32()) << 32 | u64::from(b.u32()) } else { place(b) };
            let high = u64::from(b.u16()) | u64::from(b.u16()) << 16 | u64::from(b.u32()) << 32;
            let _ = c.mem.write(at, &low.to_le_bytes());
            let _ = c.mem.write(at + 8, &high.to_le_bytes());
        }
        // A word anywhere, the CSB as likely as not.
        6 => {
            let at = if b.u8() & 1 == 0 { 0x1_0000 + u64::from(b.u8() & 0x7c) } else { place(b) };
            let _ = c.mem.write(at, &b.u32().to_le_bytes());
        }
        7 | 8 => transmit(c, b),
        11..=13 => send(c, b),
        14 => {
            // The guest's handler.
            c.chip.read(regs::ICR, c.now);
        }
        9 | 10 => receive(c, b),
        _ => {
            c.now += u64::from(b.u16()) * 16;
            c.device.tick(c.now);
            if b.u8() & 1 == 0 {
                c.device.set_link(b.u8() & 3 != 0, c.now);
            }
        }
    }
    // The line says no more than the causes do.
    if c.device.line() {
        assert_ne!(c.chip.read(regs::ICS, c.now) & regs::cause::INT_ASSERTED, 0);
    }
}

/// A guest that (nearly) knows what it does puts some descriptors at the tail of its ring.
fn send(c: &mut Case, b: &mut Bytes<'_>) {
    let reg = |c: &Case, at| c.device.reg(at);
    let len = (reg(c, regs::TDLEN) / 16).max(1);
    let base = u64::from(reg(c, regs::TDBAH)) << 32 | u64::from(reg(c, regs::TDBAL));
    let mut tail = reg(c, regs::TDT) % len;
    for _ in 0..=b.u8() & 15 {
        let kind = b.u8();
        let size = if kind & 0x40 == 0 { u64::from(b.u8()) } else { u64::from(b.u16() & 0x3fff) };
        // EOP mostly, RS, and sometimes IC or TSE, VLE, IDE.
        let command = 0x09 | b.u8() & b.u8() & 0xc4;
        let command = u64::from(if kind & 0x30 == 0 { command & !1 } else { command });
        let special = u64::from(b.u16());
        let (low, high) = match kind & 3 {
            0 => (place(b), size | command << 24 | u64::from(b.u8() & 63) << 40 | special << 48),
            1 => {
                let of_ip = u64::from(b.u8() & 15) << 8 | 33 << 16 | 14;
                let l4 = if b.u8() & 1 == 0 { 34 | 50 << 8 } else { u64::from(b.u16()) };
                let tcp = u64::from(b.u8() & 7) | 0x20;
                (of_ip | l4 << 32, tcp << 24 | 54 << 40 | u64::from(b.u8()) << 48)
            }
            _ => {
                let popts = u64::from(b.u8() & 3);
                (place(b), size | 1 << 20 | (command | 0x20) << 24 | popts << 40 | special << 48)
            }
        };
        let at = base.wrapping_add(16 * u64::from(tail));
        let _ = c.mem.write(at, &low.to_le_bytes());
        let _ = c.mem.write(at.wrapping_add(8), &high.to_le_bytes());
        tail = (tail + 1) % len;
    }
    if b.u8() & 15 == 0 {
        // All of the ring.
        tail = (reg(c, regs::TDH) % len + len - 1) % len;
    }
    if reg(c, regs::TCTL) & regs::tctl::EN == 0 {
        let _ = c.chip.write(regs::TCTL, 0xa, c.now);
    }
    let _ = c.chip.write(regs::TDT, tail, c.now);
    // As a driver with the CSB does.
    if b.u8() & 1 == 0 {
        let block = u64::from(reg(c, csb::REG_CSBAL));
        let _ = c.mem.write(block, &tail.to_le_bytes());
    }
}

fn transmit(c: &mut Case, b: &mut Bytes<'_>) {
    let max = 1 + usize::from(b.u8());
    c.burst.clear();
    c.tx.take(&c.mem, &mut c.burst, max, c.now);
    let n = c.burst.taken();
    assert!(n <= max);
    for f in &c.burst.frames[..n] {
        // Every byte is there to be read.
        assert_eq!(bytes_of(&c.burst, f).len(), f.len());
        assert!(f.len() <= 65_535 + 26);
    }
    // Sometimes something happens while frames are on their way.
    if b.u8() & 3 == 0 {
        let at = LIVELY[usize::from(b.u8()) % LIVELY.len()];
        let _ = c.chip.write(at, b.u32(), c.now);
    }
    let done = if n == 0 { 0 } else { usize::from(b.u8()) % (n + 1) };
    let before = c.device.counters.tx_frames.get();
    c.tx.complete(&c.mem, &c.burst, done);
    let given = c.device.counters.tx_frames.get() - before;
    let rejected = c.burst.frames[..done].iter().filter(|f| f.reject.is_some()).count() as u64;
    assert!(given == 0 || given + rejected == done as u64);
    (c.taken, c.rejected) = (c.taken + given, c.rejected + rejected);
    c.tx.publish();
    notify::settle();
    c.tx.wake(&c.mem, c.now);
    match b.u8() & 3 {
        0 => drop(c.tx.arm(&c.mem)),
        1 => c.tx.disarm(&c.mem),
        _ => {}
    }
}

fn receive(c: &mut Case, b: &mut Bytes<'_>) {
    let frames: Vec<Vec<u8>> = (0..=b.u8() & 15)
        .map(|_| {
            let len =
                if b.u8() & 7 == 0 { usize::from(b.u16() & 0x3fff) } else { usize::from(b.u8()) }.max(14);
            let mut f = vec![b.u8(); len];
            if b.u8() & 1 == 0 {
                f[..6].copy_from_slice(&[0xff; 6]);
            }
            match b.u8() & 7 {
                0 => f[12..14].copy_from_slice(&[0x81, 0]),
                1 => f[12..14].copy_from_slice(&[8, 0]),
                2 => f[12..14].copy_from_slice(&[0x86, 0xdd]),
                _ => {}
            }
            f
        })
        .collect();
    c.burst.clear();
    for f in &frames {
        // SAFETY: `frames` outlives this use of the burst.
        unsafe { c.burst.push(f.as_ptr(), f.len(), 1) };
    }
    let list: Vec<Entry> = (0..c.burst.taken() as u16).map(|i| Entry { orig: i, frame: i }).collect();
    let n = c.device.claim(&c.mem, &c.burst, &list);
    assert!(n <= list.len());
    let keep = if b.u8() & 7 == 0 { usize::from(b.u8()) % (n + 1) } else { n };
    if b.u8() & 7 == 0 {
        let at = LIVELY[usize::from(b.u8()) % LIVELY.len()];
        let _ = c.chip.write(at, b.u32(), c.now);
    }
    c.device.unclaim(&c.burst, &list[keep..n]);
    let t = c.device.put(&c.mem, &c.burst, &list[..keep]);
    assert_eq!(t.frames, keep as u64);
    c.offered += t.frames;
    notify::settle();
    c.device.notify(&c.mem, c.now);
    if b.u8() & 3 == 0 {
        c.device.arm_room(&c.mem);
    } else {
        c.device.disarm_room(&c.mem);
    }
}

/// Everything that went in came out or has a name.
fn books(c: &Case) {
    let k = &c.device.counters;
    assert!(k.tx_frames.get() >= c.taken, "frames that came back are counted, too");
    let ends =
        [&k.rx_frames, &k.rx_filtered, &k.rx_too_long, &k.rx_disabled, &k.rx_no_room, &k.rx_dma_dropped];
    let ends: u64 = ends.iter().map(|c| c.get()).sum();
    assert!(ends >= c.offered, "{} of {} frames are accounted for", ends, c.offered);
    let looped = k.tx_frames.get() - c.taken;
    assert!(looped > 0 || ends == c.offered, "{} were accounted for, {} offered", ends, c.offered);
}
