//! Frames over several buffers, several queues, several workers.

use valecast_switch::frame::VnetHdr;

use crate::front::Options;
use crate::rig::{Rig, frame};
use crate::talk::{RING, VM};

/// Buffers of any length do; a frame takes as many as it needs, none goes back empty.
#[test]
fn a_frame_takes_as_many_buffers_as_it_needs() {
    for buffer in [64, 100, 512, 1526, 4096] {
        let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
        let mut client = rig.client("c");
        let mut vm = rig.vm("vm", Options { buffer, ..Options::default() });
        for n in 0..200 {
            let f = frame(1, 2, n, 60 + (n as usize * 37) % 1400);
            client.send(&f);
            let got = vm.wait(0);
            assert_eq!(usize::from(got.buffers), (f.len() + 12).div_ceil(buffer as usize));
            assert_eq!(got.bytes, f);
        }
        let port = rig.at_rest("vm");
        assert_eq!((port.out_frames, port.device["rx_returned"]), (200, 0), "{port:?}");
    }
}

/// A frame longer than all buffers together, or than the one it would have to go into, is lost with a count, and no other.
#[test]
fn a_frame_that_fits_nowhere_is_counted() {
    for (features, buffer, size) in [(u64::MAX, 64, 16), (!(1 << 15), 200, 16)] {
        let rig = Rig::new("", &[("vm", &format!("{VM}\noverflow = \"backpressure\"")), ("c", RING)]);
        let mut client = rig.client("c");
        let mut vm = rig.vm("vm", Options { features, buffer, size, ..Options::default() });
        for n in 0..20 {
            client.send(&frame(1, 2, 2 * n, 1200));
            client.send(&frame(1, 2, 2 * n + 1, 100));
            assert_eq!(vm.wait(0).bytes, frame(1, 2, 2 * n + 1, 100));
        }
        let port = rig.at_rest("vm");
        assert_eq!((port.out_frames, port.out_drops["tx_error"]), (20, 20), "{port:?}");
    }
}

/// With no room the sender waits if the port must not lose anything, and is told when there is some again.
#[test]
fn a_guest_without_buffers_holds_its_senders() {
    let rig = Rig::new("", &[("vm", &format!("{VM}\noverflow = \"backpressure\"")), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options { size: 16, ..Options::default() });
    for n in 0..500 {
        client.send(&frame(1, 2, n, 100));
    }
    rig.until("the guest's buffers are used up", "vm", |p| p.out_frames == 16);
    for n in 0..500 {
        assert_eq!(vm.wait(0).bytes, frame(1, 2, n, 100));
    }
    let port = rig.at_rest("vm");
    assert_eq!((port.out_frames, port.out_drops.len()), (500, 0));
}

/// Several workers deliver into one queue: nothing is lost, doubled, mixed, or out of its sender's order.
#[test]
fn several_workers_fill_one_queue() {
    for (features, buffer) in [(u64::MAX, 2048), (u64::MAX, 128), (!(1 << 15), 2048)] {
        let vm_keys = format!("{VM}\noverflow = \"backpressure\"");
        let ports = [("vm", &*vm_keys), ("c2", RING), ("c3", RING), ("c4", RING)];
        let rig = Rig::new("workers = 3", &ports);
        let mut vm = rig.vm("vm", Options { features, buffer, size: 32, base: 65500, ..Options::default() });
        const EACH: u32 = 1500;
        let senders: Vec<_> = [2u8, 3, 4]
            .into_iter()
            .map(|who| {
                let mut client = rig.client(&format!("c{who}"));
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        client.send(&frame(1, who, n, 60 + (n as usize * 13) % 300));
                    }
                    client
                })
            })
            .collect();
        let mut next = [0; 5];
        for _ in 0..3 * EACH {
            let got = vm.wait(0).bytes;
            let who = got[11];
            let n = &mut next[usize::from(who)];
            assert_eq!(got, frame(1, who, *n, 60 + (*n as usize * 13) % 300), "from {who}");
            *n += 1;
        }
        assert_eq!(next, [0, 0, EACH, EACH, EACH]);
        let clients: Vec<_> = senders.into_iter().map(|s| s.join().unwrap()).collect();
        let port = rig.at_rest("vm");
        assert_eq!((port.out_frames, port.out_drops.len()), (3 * u64::from(EACH), 0), "{port:?}");
        drop(clients);
    }
}

/// Each pair is a source of its own, and frames of one source come by one pair.
#[test]
fn several_pairs() {
    let rig = Rig::new(
        "workers = 2",
        &[("vm", &format!("{VM}\nqueues = 4")), ("other", &format!("{VM}\nqueues = 4"))],
    );
    let mut vm = rig.vm("vm", Options { pairs: 4, ..Options::default() });
    let mut other = rig.vm("other", Options { pairs: 3, ..Options::default() });
    rig.until("all pairs are there", "vm", |p| p.rings.len() == 4);
    rig.until("all pairs are there", "other", |p| p.rings.len() == 3);
    let mut used = std::collections::BTreeMap::new();
    for n in 0..200u32 {
        let pair = n as usize % 4;
        let f = frame(2, 1, n, 200);
        vm.send(pair, &f, VnetHdr::default(), &[]);
        let got = loop {
            if let Some(found) = (0..3).find_map(|p| other.take(p).map(|g| (p, g))) {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(got.1.bytes, f);
        assert_eq!(*used.entry(pair).or_insert(got.0), got.0, "a source changed its queue");
        vm.sent(pair);
    }
    assert_eq!(used.values().collect::<std::collections::BTreeSet<_>>().len(), 3, "{used:?}");
    // One pair less, as `ethtool -L` asks for.
    for ring in [4u32, 5] {
        other.tell(crate::front::SET_VRING_ENABLE, &crate::front::words(&[ring, 0]), &[]);
    }
    rig.until("a pair is gone", "other", |p| p.rings.len() == 2 && p.state == "up");
    vm.send(3, &frame(2, 1, 1, 60), VnetHdr::default(), &[]);
    let got = loop {
        if let Some(got) = (0..2).find_map(|p| other.take(p)) {
            break got;
        }
        std::thread::yield_now();
    };
    assert_eq!(got.bytes, frame(2, 1, 1, 60));
    rig.books();
}
