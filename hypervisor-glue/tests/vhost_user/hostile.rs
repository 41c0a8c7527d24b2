//! Guests that put anything into their rings: counted, and nobody else hurt.

use valecast_switch::frame::VnetHdr;

use crate::driver::{BASE, INDIRECT, MEMORY, NEXT, Piece, WRITE};
use crate::front::{Front, Options};
use crate::rig::{Brimful, Client, Rig, frame};
use crate::talk::{RING, VM};

fn send_good(vm: &mut Front, client: &mut Client, n: u32) {
    let f = frame(2, 1, n, 100);
    vm.send(0, &f, VnetHdr::default(), &[]);
    assert_eq!(client.wait(), f);
    vm.sent(0);
}

/// Chains that are no frames: each is given back, counted, and the next good frame passes.
#[test]
fn bad_chains_are_dropped_one_by_one() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options::default());
    let at = BASE + 0x47_0000;
    let end = BASE + MEMORY;
    let table = |vm: &Front, entries: &[(u64, u32, u16, u16)]| {
        for (n, (a, len, flags, next)) in entries.iter().enumerate() {
            let mut d = a.to_le_bytes().to_vec();
            d.extend(len.to_le_bytes());
            d.extend(flags.to_le_bytes());
            d.extend(next.to_le_bytes());
            vm.memory.write(at + 16 * n as u64, &d);
        }
    };
    let mut bad = 0;
    let mut faults = 0;
    // (chain, whether it is memory that is not there)
    let chains: Vec<(Vec<Piece>, bool)> = vec![
        (vec![(at, 5, 0)], false),
        (vec![(at, 0, 0)], false),
        (vec![(at, 100, WRITE)], false),
        (vec![(at, 12, 0), (at, 100, WRITE)], false),
        (vec![(at, 70_000, 0)], false),
        (vec![(at, u32::MAX, 0), (at, u32::MAX, 0)], false),
        (vec![(0, 100, 0)], true),
        (vec![(u64::MAX - 50, 100, 0)], true),
        (vec![(end - 50, 100, 0)], true),
        (vec![(at, 12, 0), (end + 4096, 100, 0)], true),
        (vec![(at, 12, 0), (end - 10, 60, 0), (at, 10, 0)], true),
        (vec![(at, 15, INDIRECT)], false),
        (vec![(at, 0, INDIRECT)], false),
        (vec![(at, 16 * 2000, INDIRECT)], false),
        (vec![(at, 16, INDIRECT), (at, 100, 0)], false),
        (vec![(end, 32, INDIRECT)], true),
        (vec![(u64::MAX, 32, INDIRECT)], true),
    ];
    for (n, (chain, fault)) in chains.iter().enumerate() {
        vm.pairs[0].tx.add(&vm.memory, chain);
        vm.kick(0);
        assert_eq!(vm.sent(0).len(), 1, "{chain:?}");
        if *fault {
            faults += 1;
        } else {
            bad += 1;
        }
        let counted = (rig.counter("vm", "bad_descriptors"), rig.counter("vm", "memory_errors"));
        assert_eq!(counted, (bad, faults), "{chain:?}");
        send_good(&mut vm, &mut client, n as u32);
    }
    // Tables that go round, lead out of themselves, or into others.
    for entries in [
        vec![(at, 50, NEXT, 1), (at, 50, NEXT, 0)],
        vec![(at, 50, NEXT, 9), (at, 50, 0, 0)],
        vec![(at, 50, NEXT, 1), (at, 32, INDIRECT, 0)],
        vec![(at, 50, WRITE, 0), (at, 50, 0, 0)],
    ] {
        table(&vm, &entries);
        vm.pairs[0].tx.add(&vm.memory, &[(at, 32, INDIRECT)]);
        vm.kick(0);
        vm.sent(0);
        bad += 1;
        assert_eq!(rig.counter("vm", "bad_descriptors"), bad, "{entries:?}");
        send_good(&mut vm, &mut client, 99);
    }
    assert_eq!(rig.at_rest("vm").in_drops["bad_slot"], bad + faults);
}

/// A head that is no descriptor, and a chain that goes round, by the ring itself.
#[test]
fn bad_heads_and_loops() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options::default());
    let Front { memory, pairs, .. } = &mut vm;
    let tx = &mut pairs[0].tx;
    tx.descriptor(memory, 3, (BASE, 50, NEXT), 4);
    tx.descriptor(memory, 4, (BASE, 50, NEXT), 3);
    let heads = [64, 65535, 3, 4];
    heads.iter().for_each(|h| tx.offer(memory, *h));
    vm.kick(0);
    rig.until("they are counted", "vm", |p| p.device["bad_descriptors"] == 4);
    rig.until("they are given back", "vm", |p| p.in_frames == 4);
    // Their heads come back as they were.
    let p = &mut vm.pairs[0];
    let end = std::time::Instant::now() + crate::rig::DEADLINE;
    while p.tx.used_index(&vm.memory) != 4 {
        assert!(std::time::Instant::now() < end, "{}", p.tx.used_index(&vm.memory));
    }
    for (i, head) in heads.iter().enumerate() {
        let e = vm.memory.read(p.tx.used() + 4 + 8 * i as u64, 4);
        assert_eq!(u32::from_le_bytes(e.try_into().unwrap()), u32::from(*head));
    }
    p.tx.seen = 4;
    send_good(&mut vm, &mut client, 5);
}

/// Receive buffers that are none: given back empty, and the frame goes into the next good one.
#[test]
fn bad_receive_buffers() {
    for features in [u64::MAX, !(1 << 15)] {
        let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
        let mut client = rig.client("c");
        let mut vm = Front::connect(&rig.vm_socket("vm"), Options { features, ..Options::default() });
        vm.hello();
        vm.set_up();
        rig.until("the port is up", "vm", |p| p.state == "up");
        // All good ones are used up first, without new ones.
        for n in 0..64 {
            client.send(&frame(1, 2, n, 60));
        }
        rig.until("its buffers are used", "vm", |p| p.out_frames == 64);
        let Front { memory, pairs, .. } = &mut vm;
        let rx = &mut pairs[0].rx;
        while rx.take(memory).is_some() {}
        let good = BASE + 0x40_0000;
        for piece in [(good, 100, 0), (good, 0, WRITE)] {
            rx.add(memory, &[piece]);
        }
        rx.add(memory, &[(good, 50, WRITE), (good, 50, 0)]);
        rx.offer(memory, 7777);
        // Not there, which is found when it is written to.
        rx.add(memory, &[(0x5000, 2048, WRITE)]);
        // In pieces, which is fine.
        rx.add(memory, &[(good + 4096, 12, WRITE), (good + 8192, 33, WRITE), (good, 1000, WRITE)]);
        rx.add(memory, &[(good + 0x4000, 2048, WRITE)]);
        rx.publish(memory);
        for n in 0..3 {
            client.send(&frame(1, 2, 100 + n, 90));
        }
        let port =
            rig.until("they are used", "vm", |p| p.out_frames + p.out_drops.values().sum::<u64>() == 67);
        assert_eq!((port.out_frames, port.out_drops["tx_error"]), (66, 1), "{port:?}");
        assert_eq!(port.device["rx_returned"], 4, "{port:?}");
        assert!(port.device["bad_descriptors"] >= 3 && port.device["memory_errors"] == 1, "{port:?}");
        let got =
            [vm.memory.read(good + 4096, 12), vm.memory.read(good + 8192, 33), vm.memory.read(good, 45)];
        assert_eq!(got[1..].concat()[..78], frame(1, 2, 101, 90)[..78]);
        assert_eq!(vm.memory.read(good + 0x4000 + 12, 90), frame(1, 2, 102, 90));
        rig.books();
    }
}

/// An index that moved too far stops the ring; the other ring and other ports go on, and so does this one when it is set up
/// anew.
#[test]
fn an_index_that_makes_no_sense_stops_its_ring() {
    for which in 0..2 {
        let rig = Rig::new("", &[("vm", VM), ("c", RING), ("d", RING)]);
        let (mut client, mut other) = (rig.client("c"), rig.client("d"));
        let mut vm = rig.vm("vm", Options::default());
        send_good(&mut vm, &mut client, 1);
        let ring = if which == 0 { &vm.pairs[0].rx } else { &vm.pairs[0].tx };
        vm.memory.put_u16(ring.available() + 2, ring.next.wrapping_add(1000));
        vm.pairs[0].kicks[which].write(1).unwrap();
        if which == 0 {
            client.send(&frame(1, 2, 1, 60));
        }
        rig.until("it is counted", "vm", |p| p.device["memory_errors"] == 1);
        other.send(&frame(2, 3, 1, 60));
        while client.wait() != frame(2, 3, 1, 60) {}
        if which == 0 {
            send_good(&mut vm, &mut client, 2);
            assert!(rig.port("vm").out_drops["ring_full"] > 0);
        }
        drop(vm);
        rig.until("it is gone", "vm", |p| p.state == "waiting");
        let mut vm = rig.vm("vm", Options::default());
        send_good(&mut vm, &mut client, 3);
        rig.books();
    }
}

/// A guest whose monitor cuts its memory off.
#[test]
fn memory_is_cut_off() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING), ("d", RING)]);
    let (mut client, mut other) = (rig.client("c"), rig.client("d"));
    let mut vm = Front::connect(&rig.vm_socket("vm"), Options::default());
    vm.hello();
    // A file that cannot be sealed.
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(MEMORY).unwrap();
    vm.memory = crate::driver::Memory::over(file.try_clone().unwrap().into());
    vm.set_up();
    rig.until("the port is up", "vm", |p| p.state == "up");
    send_good(&mut vm, &mut client, 1);
    file.set_len(0).unwrap();
    for n in 0..10 {
        client.send(&frame(1, 2, n, 60));
        other.send(&frame(2, 3, n, 60));
        while client.wait() != frame(2, 3, n, 60) {}
    }
    drop(vm);
    rig.until("it is gone", "vm", |p| p.state == "waiting");
    let mut vm = rig.vm("vm", Options::default());
    send_good(&mut vm, &mut client, 3);
}

/// The front end shares the open file of what it is interrupted by: it makes it blocking and fills it to the brim. The
/// worker that serves it serves the others, too, and the switch lets the port go.
#[test]
fn a_full_call_descriptor_blocks_nobody() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING), ("b", RING)]);
    let (mut a, mut b) = (rig.client("a"), rig.client("b"));
    let mut vm = rig.vm("vm", Options::default());
    let full = vm.pairs[0].calls.each_ref().map(Brimful::fill);
    for n in 0..20 {
        let p = &vm.pairs[0];
        p.rx.arm(&vm.memory, p.rx.seen);
        p.tx.arm(&vm.memory, p.tx.seen);
        // To the VM, from it, and past it.
        a.send(&frame(1, 2, n, 100));
        rig.until("the VM is interrupted", "vm", |p| p.device["calls"] > u64::from(n));
        vm.send(0, &frame(2, 1, n, 100), VnetHdr::default(), &[]);
        assert_eq!(a.wait(), frame(2, 1, n, 100));
        a.send(&frame(3, 2, n, 100));
        while b.wait() != frame(3, 2, n, 100) {}
        vm.sent(0);
        while vm.take(0).is_none() {}
    }
    drop(vm);
    rig.until("the VM has gone", "vm", |p| p.state == "waiting");
    rig.books();
    drop(full);
}

/// A chain is followed for 1024 descriptors, as in QEMU: with more it is bad, whatever the ring has room for.
#[test]
fn a_chain_ends_somewhere() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options { size: 2048, buffer: 128, ..Options::default() });
    for (n, descriptors, bad) in [(1, 1024, 0), (2, 1025, 1), (3, 2048, 2), (4, 1024, 2)] {
        // The header, a byte each, and what is left in the last.
        let f = frame(2, 1, n, 2100);
        let sizes: Vec<usize> = std::iter::once(12).chain(std::iter::repeat_n(1, descriptors - 2)).collect();
        vm.send(0, &f, VnetHdr::default(), &sizes);
        if descriptors <= 1024 {
            assert_eq!(client.wait(), f, "{descriptors} descriptors");
        }
        assert_eq!(vm.sent(0).len(), 1, "given back");
        assert_eq!(rig.counter("vm", "bad_descriptors"), bad, "{descriptors} descriptors");
    }
    assert_eq!(rig.at_rest("vm").in_drops["bad_slot"], 2);
}

/// What a full receiver holds back is looked at again and again: it counts once.
#[test]
fn what_is_held_back_counts_once() {
    let slow = "kind = \"ring\"\nslots = 16\noverflow = \"backpressure\"";
    let rig = Rig::new("", &[("vm", VM), ("c", slow)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options::default());
    client.send(&frame(1, 2, 0, 60));
    vm.wait(0);
    // In one burst: as many as the receiver has room for, more, and bad ones among and behind them.
    let at = BASE + 0x47_0000;
    for n in 1..=30 {
        let f = [&[0; 12], &frame(2, 1, n, 60)[..]].concat();
        let at = at + 0x100 * u64::from(n);
        vm.memory.write(at, &f);
        vm.pairs[0].tx.add(&vm.memory, &[(at, f.len() as u32, 0)]);
        if n % 10 == 0 {
            vm.pairs[0].tx.add(&vm.memory, &[(at, 5, 0)]);
            vm.pairs[0].tx.add(&vm.memory, &[(0, 100, 0)]);
        }
    }
    vm.kick(0);
    for n in 1..=30 {
        // One by one, so that there is room for one.
        assert_eq!(client.wait(), frame(2, 1, n, 60));
        rig.until("the next is there", "vm", |p| p.forwarded >= u64::from(n + 15).min(30));
    }
    vm.sent(0);
    let p = rig.at_rest("vm");
    assert_eq!((p.device["bad_descriptors"], p.device["memory_errors"]), (3, 3), "{p:?}");
    assert_eq!((p.in_drops["bad_slot"], p.device["tx_by_reference"]), (6, 30), "{p:?}");
}
