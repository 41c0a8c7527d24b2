//! The driver's and the card's ways of many frames at once, against those of one after the other.

use proptest::collection::vec;
use proptest::prelude::*;
use valecast_hypervisor_glue::e1000::device::Settings;
use valecast_hypervisor_glue::e1000::guest::rig::Rig;
use valecast_hypervisor_glue::e1000::guest::{Bus, Options};
use valecast_hypervisor_glue::e1000::regs::rctl;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0xe1, 0, 1];

fn frame(len: usize, seed: u8) -> Vec<u8> {
    let mut b: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(5).wrapping_add(seed)).collect();
    b[..6].copy_from_slice(&MAC);
    b[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    b[12..14].copy_from_slice(&[0x88, 0xb5]);
    b
}

/// A driver that looks needs no registers.
struct Silent;

impl Bus for Silent {
    fn read(&mut self, _: u32) -> u32 {
        0
    }
    fn write(&mut self, _: u32, _: u32) {}
}

fn rig(csb: bool, descriptors: u32, buffer: usize) -> Rig {
    let settings = Settings { csb: true, ..Settings::default() };
    let rctl = rctl::LPE | rctl::SECRC;
    Rig::new(settings, Options { csb, descriptors, buffer, rctl, ..Options::default() }).expect("a rig")
}

/// Everything that is there, `max` frames at a time.
fn poll(r: &mut Rig, max: u32) -> Vec<(Vec<u8>, u32)> {
    let mut got = Vec::new();
    loop {
        let mem = &r.mem;
        let each = |f: &valecast_hypervisor_glue::e1000::guest::Frame| {
            let mut b = vec![0; f.len];
            assert_eq!(f.copy(mem, &mut b), Ok(f.len));
            assert_eq!(b[..8], mem_word(mem, f.at()), "it begins where it says");
            got.push((b, f.descriptors));
        };
        if r.driver.poll(&mut Silent, mem, max, each).expect("rings in memory") == 0 {
            return got;
        }
    }
}

fn mem_word(mem: &impl valecast_hypervisor_glue::e1000::dma::Dma, at: u64) -> [u8; 8] {
    mem.eight(at).expect("eight bytes in memory")
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(60usize), 2 => Just(1500), 2 => 60usize..300, 1 => 60usize..3000]
}

proptest! {
    /// By the CSB's head, in rows, whose descriptors are never cleared, and by each descriptor's status, which is: the same
    /// frames in the same buffers.
    #[test]
    fn frames_are_received_alike_with_and_without_the_csb(
        bursts in vec((vec(length(), 1..8), 1u32..10), 1..40),
        small in any::<bool>(),
    ) {
        let buffer = if small { 256 } else { 2048 };
        let (mut by_head, mut by_status) = (rig(true, 128, buffer), rig(false, 128, buffer));
        for (k, (lens, max)) in bursts.iter().enumerate() {
            let sent: Vec<_> = lens.iter().enumerate().map(|(i, len)| frame(*len, (k * 8 + i) as u8)).collect();
            for r in [&mut by_head, &mut by_status] {
                prop_assert_eq!(r.deliver(&sent), sent.len());
            }
            let (a, b) = (poll(&mut by_head, *max), poll(&mut by_status, *max));
            prop_assert_eq!(a.iter().map(|(f, _)| f).collect::<Vec<_>>(), sent.iter().collect::<Vec<_>>());
            prop_assert_eq!(a, b);
            prop_assert_eq!(by_head.driver.did().received, by_status.driver.did().received);
            // The tail, which without the CSB is a register's.
            let rdt = by_head.word(GUEST_RDT);
            by_status.bus().write(valecast_hypervisor_glue::e1000::regs::RDT, rdt);
        }
    }

    /// Lap after lap, frames that lie in their buffers already are sent as often as they were queued, though descriptors that say
    /// the same are not written again; also if the card wrote its reports into them.
    #[test]
    fn queued_frames_are_sent_once_each(
        queued in vec((1u32..40, 0usize..3), 1..60),
        csb in any::<bool>(),
    ) {
        let mut r = rig(csb, 32, 2048);
        for (k, (most, len)) in queued.iter().enumerate() {
            let f = frame([60, 200, 1500][*len], k as u8);
            let n = r.send_filled(&f, *most).unwrap();
            prop_assert_eq!(n, (*most).min(31));
            // More turns than it takes: nothing is sent twice.
            let sent: Vec<_> = (0..4).flat_map(|_| r.turn(64)).collect();
            prop_assert_eq!(sent.len() as u32, n);
            prop_assert!(sent.iter().all(|s| s.bytes == f));
            r.driver.reclaim(&r.mem).unwrap();
            prop_assert_eq!(r.driver.tx_room(), 31);
        }
    }
}

/// Where the driver says up to where there are buffers.
const GUEST_RDT: u64 = 0x10;
