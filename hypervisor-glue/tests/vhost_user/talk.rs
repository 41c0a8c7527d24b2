//! Frames between a guest and a ring client, whatever the guest's driver negotiates and however it lays frames out.

use valecast_switch::frame::VnetHdr;

use crate::front::{EVENT_INDEX, Front, MERGEABLE, Options};
use crate::rig::{Client, Rig, frame};

pub const VM: &str = "kind = \"vhost-user\"";
pub const RING: &str = "kind = \"ring\"";
const VERSION_1: u64 = 1 << 32;

fn both_ways(rig: &Rig, vm: &mut Front, client: &mut Client) {
    // Where the switch has not learned, it floods: also to the port that is meant.
    for (n, len) in [(1, 60), (2, 14 + 46), (3, 61), (4, 1514), (5, 20), (6, 1000)] {
        for (k, sizes) in [&[][..], &[12], &[10], &[5, 7], &[12, 14], &[12, 100, 1], &[40]].iter().enumerate()
        {
            let f = frame(2, 1, n * 100 + k as u32, len);
            vm.send(0, &f, VnetHdr::default(), sizes);
            assert_eq!(client.wait(), f, "{len} bytes in pieces of {sizes:?}");
            vm.sent(0);
        }
        let f = frame(1, 2, n, len);
        client.send(&f);
        let got = vm.wait(0);
        assert_eq!((got.bytes, got.offload), (f, VnetHdr::default()));
    }
    let view = rig.books();
    let port = view.ports.iter().find(|p| p.name == "vm").unwrap();
    assert_eq!((port.in_frames, port.out_frames), (42, 6), "{port:?}");
    assert!(port.in_drops.is_empty() && port.out_drops.is_empty(), "{port:?}");
}

fn talk(features: u64, base: u16) {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options { features, base, ..Options::default() });
    both_ways(&rig, &mut vm, &mut client);
    // However many pieces it lies in, it is not copied on its way in.
    assert_eq!((rig.counter("vm", "tx_by_reference"), rig.counter("vm", "tx_gathered")), (42, 0));
    assert_eq!(rig.counter("vm", "bad_descriptors"), 0);
}

#[test]
fn a_modern_guest_talks() {
    talk(u64::MAX, 0);
}

#[test]
fn indices_wrap() {
    talk(u64::MAX, 65530);
}

#[test]
fn a_guest_without_event_indices_talks() {
    talk(!EVENT_INDEX, 0);
}

#[test]
fn a_guest_without_mergeable_buffers_talks() {
    talk(!MERGEABLE, 7);
}

#[test]
fn a_guest_from_before_virtio_1_talks() {
    talk(!(MERGEABLE | VERSION_1), 0);
}

/// More than a Linux guest ever makes (`frame::MAX_PIECES`): gathered, and whole.
#[test]
fn a_frame_in_very_many_pieces_arrives() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options::default());
    for (n, pieces, gathered) in [(1, 17, 0), (2, 18, 0), (3, 19, 1), (4, 60, 2)] {
        let f = frame(2, 1, n, 700);
        // The header, so many pieces, and the rest is the last of them.
        let sizes: Vec<usize> = std::iter::once(12).chain(std::iter::repeat_n(9, pieces - 1)).collect();
        vm.send(0, &f, VnetHdr::default(), &sizes);
        assert_eq!(client.wait(), f, "{pieces} pieces");
        vm.sent(0);
        assert_eq!(rig.counter("vm", "tx_gathered"), gathered, "{pieces} pieces");
    }
}

#[test]
fn a_chain_may_lie_in_a_table_of_its_own() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options::default());
    let f = frame(2, 1, 77, 800);
    let at = crate::driver::BASE + 0x48_0000;
    let table = at + 0x1000;
    vm.memory.write(at, &[&[0; 12], &f[..]].concat());
    for (n, (from, len, next)) in [(0, 100, 2), (500, 312, 0), (100, 400, 1)].into_iter().enumerate() {
        let mut d = (at + from).to_le_bytes().to_vec();
        d.extend((len as u32).to_le_bytes());
        d.extend(u16::from(n != 1).to_le_bytes());
        d.extend((next as u16).to_le_bytes());
        vm.memory.write(table + 16 * n as u64, &d);
    }
    vm.pairs[0].tx.add(&vm.memory, &[(table, 48, crate::driver::INDIRECT)]);
    vm.kick(0);
    assert_eq!(client.wait(), f);
    vm.sent(0);
    assert_eq!((rig.counter("vm", "tx_by_reference"), rig.counter("vm", "tx_gathered")), (1, 0));
}

/// A guest asleep is woken for each frame, one that polls is left alone; and so is a switch.
#[test]
fn nobody_is_woken_who_is_awake() {
    for features in [u64::MAX, !EVENT_INDEX] {
        let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
        let mut client = rig.client("c");
        let mut vm = rig.vm("vm", Options { features, ..Options::default() });
        for n in 0..50 {
            client.send(&frame(1, 2, n, 60));
            vm.wait(0);
        }
        let asleep = rig.at_rest("vm").device["calls"];
        vm.pairs[0].rx.disarm(&vm.memory);
        let before = rig.counter("vm", "suppressed_calls");
        for n in 0..50 {
            client.send(&frame(1, 2, n, 60));
            while vm.take(0).is_none() {
                std::thread::yield_now();
            }
        }
        rig.until("the last burst is considered", "vm", |p| p.device["suppressed_calls"] > before);
        assert_eq!(rig.counter("vm", "calls"), asleep, "interrupts that nobody asked for");
        assert!(rig.counter("vm", "kicks") <= 2 + 50, "{}", rig.counter("vm", "kicks"));
        rig.books();
    }
}
