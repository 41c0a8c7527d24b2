//! Who tells whom, and how often: the card and a driver as the paper has them, by BASE, ITR, Send Combining and CSB.
//! Everything is counted, nothing is timed.
#![allow(missing_docs)]

use valecast_hypervisor_glue::csb;
use valecast_hypervisor_glue::e1000::device::Settings;
use valecast_hypervisor_glue::e1000::guest::rig::Rig;
use valecast_hypervisor_glue::e1000::guest::{Options, Send};

const CSB: Settings = Settings {
    mac: [0x52, 0x54, 0, 0xe1, 0, 1],
    csb: true,
    itr_floor: 0,
    moderation: true,
    tx_idle_polls: 1,
};

fn frame(n: u16) -> Vec<u8> {
    let mut b = vec![0x52, 0x54, 0, 0xe1, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xb5];
    b.extend(n.to_be_bytes());
    b.resize(60, 0);
    b
}

fn number(b: &[u8]) -> u16 {
    u16::from_be_bytes([b[14], b[15]])
}

/// Sends `n` frames, a few per turn of the worker, serving interrupts as they come; all must arrive, in order.
fn send_all(r: &mut Rig, n: u16) -> u64 {
    let (mut sent, mut got) = (0, 0);
    let mut turns = 0;
    while got < n {
        turns += 1;
        assert!(turns < 100_000, "a wake-up was lost at frame {got}");
        for _ in 0..8 {
            if sent < n && r.send(&Send { bytes: &frame(sent), ..Send::default() }).expect("guest memory") {
                sent += 1;
            }
        }
        for f in r.turn(32) {
            assert_eq!(number(&f.bytes), got);
            got += 1;
        }
        r.interrupt().expect("guest memory");
        r.wait(5_000);
    }
    turns
}

fn count(r: &Rig, name: &str) -> u64 {
    r.device.counters.all().into_iter().find(|(n, _)| *n == name).expect("a counter").1
}

#[test]
fn base_kicks_for_every_frame() {
    let mut r = Rig::new(Settings::default(), Options::default()).unwrap();
    send_all(&mut r, 1000);
    assert_eq!((r.driver.did().tx_kicks, count(&r, "tx_kicks") - 1), (1000, 1000));
}

#[test]
fn send_combining_kicks_once_per_interrupt() {
    for itr in [100, 400] {
        let options = Options { itr, send_combining: true, ..Options::default() };
        let mut r = Rig::new(Settings::default(), options).unwrap();
        send_all(&mut r, 1000);
        let did = r.driver.did();
        assert!(did.tx_kicks <= did.interrupts + 1, "{did:?}");
        assert!(did.tx_kicks * 5 <= 1000, "{did:?}: fewer by 5 at least (paper, section 3.2)");
    }
}

#[test]
fn the_csb_needs_one_kick_while_the_worker_is_awake() {
    let mut r = Rig::new(CSB, Options { csb: true, ..Options::default() }).unwrap();
    send_all(&mut r, 5000);
    let did = r.driver.did();
    assert!(did.tx_kicks <= 50, "{did:?}: below 0.01 per frame");
    // Then it sleeps, and one kick wakes it.
    while !r.is_asleep() {
        assert!(r.turn(32).is_empty());
    }
    assert!(count(&r, "csb_tx_sleeps") > 0);
    let before = r.driver.did().tx_kicks;
    assert!(r.send(&Send { bytes: &frame(7), ..Send::default() }).unwrap());
    assert_eq!(r.driver.did().tx_kicks, before + 1);
    assert_eq!(r.turn(32).len(), 1);
    assert!(r.send(&Send { bytes: &frame(8), ..Send::default() }).unwrap());
    assert_eq!(r.driver.did().tx_kicks, before + 1, "awake: no kick");
    assert_eq!(r.turn(32).len(), 1);
}

/// A sender that fills its ring before the worker looks gets its descriptors back by interrupt, and only then.
#[test]
fn a_full_ring_is_told_of_room() {
    let mut r = Rig::new(CSB, Options { csb: true, descriptors: 16, ..Options::default() }).unwrap();
    let mut n = 0;
    while r.send(&Send { bytes: &frame(n), ..Send::default() }).unwrap() {
        n += 1;
    }
    assert_eq!((n, r.device.interrupts().raised), (15, 0));
    assert_eq!(r.turn(64).len(), 15);
    assert!(r.device.line(), "the guest waits for descriptors");
    r.interrupt().unwrap();
    assert!(r.send(&Send { bytes: &frame(n), ..Send::default() }).unwrap());
    assert_eq!(r.turn(64).len(), 1);
    assert!(!r.device.line(), "it does not wait any more");
    assert!(count(&r, "csb_causes_spared") > 0);
}

/// It is told when half of the ring is free, once; and before, if no more will come of the ring by itself.
#[test]
fn a_sender_that_waits_is_woken_for_half_a_ring() {
    let mut r = Rig::new(CSB, Options { csb: true, descriptors: 64, ..Options::default() }).unwrap();
    let mut n = 0;
    while r.send(&Send { bytes: &frame(n), ..Send::default() }).unwrap() {
        n += 1;
    }
    assert_eq!(n, 63);
    for (taken, left, told) in [(10, 53, false), (10, 43, false), (10, 33, false), (1, 32, true)] {
        assert_eq!(r.turn(taken).len(), taken);
        assert_eq!(r.device.line(), told, "with {left} descriptors in use");
    }
    r.interrupt().unwrap();
    assert_eq!((r.device.interrupts().raised, r.driver.tx_room()), (1, 31));
}

#[test]
fn receiving_by_csb_needs_neither_interrupts_nor_kicks_while_awake() {
    let mut r = Rig::new(CSB, Options { csb: true, ..Options::default() }).unwrap();
    // Idle: the first frame interrupts.
    assert_eq!(r.deliver(&[frame(0)]), 1);
    assert_eq!(r.interrupt().unwrap().len(), 1);
    let raised = r.device.interrupts().raised;
    let mut got = 0;
    for i in 0..200 {
        // Frames come while the guest is at work: it says so.
        r.set_word(csb_offset::GUEST_NEED_RXKICK, 0);
        assert_eq!(r.deliver(&[frame(i), frame(i)]), 2);
        got += r.receive().unwrap().len();
    }
    assert_eq!((got, r.device.interrupts().raised, r.driver.did().rx_kicks), (400, raised, 0));
}

mod csb_offset {
    pub const GUEST_NEED_RXKICK: u64 = 0x08;
    pub const HOST_RXKICK_AT: u64 = 0x5c;
}

/// Who waits for receive buffers is told when three quarters of them are back.
#[test]
fn one_kick_tells_of_receive_buffers() {
    let mut r = Rig::new(CSB, Options { csb: true, descriptors: 32, ..Options::default() }).unwrap();
    let many: Vec<_> = (0..40).map(frame).collect();
    assert_eq!(r.deliver(&many), 31);
    assert_eq!(r.deliver(&many[..1]), 0);
    assert!(r.device.arm_room(&r.mem));
    assert_ne!(r.word(csb_offset::HOST_RXKICK_AT), csb::NO_KICK);
    assert_eq!(r.interrupt().unwrap().len(), 31);
    assert_eq!(r.driver.did().rx_kicks, 1);
    assert_eq!(r.deliver(&many), 31, "all buffers are seen");
    r.device.disarm_room(&r.mem);
    assert_eq!(r.word(csb_offset::HOST_RXKICK_AT), csb::NO_KICK);
    assert!(count(&r, "csb_rx_sleeps") > 0);
}

#[test]
fn moderation_spaces_interrupts_and_loses_none() {
    let run = |settings, itr| {
        let mut r = Rig::new(settings, Options { itr, descriptors: 256, ..Options::default() }).unwrap();
        let mut got = 0;
        for i in 0..400 {
            assert_eq!(r.deliver(&[frame(i)]), 1);
            got += r.interrupt().unwrap().len();
            r.wait(1_000);
        }
        r.wait(1_000_000);
        got += r.interrupt().unwrap().len();
        assert_eq!(got, 400);
        r.device.interrupts()
    };
    let base = Settings::default();
    assert_eq!(run(base, 0).raised, 400);
    // 100 * 256 ns: one per 26 frames.
    let itr = run(base, 100);
    assert!((15..=17).contains(&itr.raised), "{itr:?}");
    assert!(itr.moderated > 0);
    assert_eq!(run(Settings { itr_floor: 25_600, ..base }, 0).raised, itr.raised);
    assert_eq!(run(Settings { moderation: false, ..base }, 100).raised, 400);
}
