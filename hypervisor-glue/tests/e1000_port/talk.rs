//! Frames from and to guests, as they should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use valecast_hypervisor_glue::e1000::guest::{Options, Send};
use valecast_hypervisor_glue::e1000::regs::rctl;

use crate::rig::{Rig, frame};

const VM: &str = "kind = \"e1000\"";
const RING: &str = "kind = \"ring\"";

#[test]
fn a_guest_and_a_ring_client_play_ping_pong() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    assert_eq!(rig.port("vm").state, "waiting");
    let mut client = rig.client("a");
    let mut vm = rig.vm("vm", Options::default());
    let view = rig.port("vm");
    assert_eq!((view.pid, view.mode.as_deref()), (Some(std::process::id() as i32), Some("registers")));
    for n in 0..300u32 {
        let f = frame(2, 1, n, 60 + (n as usize * 7) % 1450);
        assert!(vm.send(&f).is_empty());
        assert_eq!(client.wait(), f, "{n}: guest to client");
        let f = frame(1, 2, n, 60 + (n as usize * 5) % 1450);
        client.send(&f);
        assert_eq!(vm.receive(1), [f], "{n}: client to guest");
    }
    let v = rig.books();
    let port = v.ports.iter().find(|p| p.name == "vm").unwrap();
    assert_eq!((port.in_frames, port.out_frames), (300, 300));
    let did = vm.driver.did();
    let count = |name| rig.counter("vm", name);
    assert_eq!(
        (count("tx_frames"), count("rx_frames"), count("tx_kicks")),
        (300, 300, 301),
        "and the start's kick"
    );
    assert_eq!(count("tx_by_reference"), 300, "none was copied on its way to the switch");
    assert_eq!(count("rx_kicks"), did.rx_kicks + 2, "and two of the start");
    assert!(count("interrupts") >= did.interrupts && did.interrupts >= 300);
    assert!(count("exits") >= 300 * 4);
    assert_eq!((count("dma_errors"), count("bad_access"), count("vms")), (0, 0, 1));
}

/// Everything that one guest sends comes to another in order, whoever is the slower.
pub fn stream(switch: &str, keys: &str, from: Options, to: Options, frames: u32, longest: usize) -> Rig {
    let lossless = format!("{keys}\noverflow = \"backpressure\"");
    let rig = Rig::new(switch, &[("vm1", &lossless), ("vm2", &lossless)]);
    let (mut a, mut b) = (rig.vm("vm1", from), rig.vm("vm2", to));
    // So that the switch knows where the receiver is.
    b.send(&frame(1, 2, 0, 60));
    assert_eq!(a.receive(1).len(), 1);
    let sizes = move |n: u32| 60 + (n as usize * 131) % (longest - 59);
    let done = Arc::new(AtomicBool::new(false));
    let told = done.clone();
    let sender = thread::spawn(move || {
        for n in 0..frames {
            a.send(&frame(2, 1, n, sizes(n)));
        }
        // Send Combining tells of the last ones when it is interrupted.
        while !told.load(Ordering::Relaxed) {
            a.serve();
            thread::yield_now();
        }
    });
    if to.descriptors < from.descriptors {
        rig.until("there is no room left", "vm2", |p| p.device["rx_full"] > 0);
    }
    for n in 0..frames {
        assert_eq!(b.next(), frame(2, 1, n, sizes(n)), "{n}");
    }
    done.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    rig.books();
    assert_eq!(rig.counter("vm2", "rx_frames"), u64::from(frames));
    rig
}

#[test]
fn from_guest_to_guest() {
    let rig = stream("", VM, Options::default(), Options::default(), 3000, 1514);
    assert_eq!(rig.counter("vm1", "tx_by_reference"), 3000);
}

#[test]
fn from_guest_to_guest_by_two_workers_and_small_rings() {
    let small = Options { descriptors: 16, ..Options::default() };
    stream("workers = 2", VM, Options::default(), small, 2000, 1514);
}

#[test]
fn jumbo_frames_over_several_buffers() {
    let long = Options { rctl: rctl::LPE, ..Options::default() };
    let short = Options { buffer: 512, ..long };
    let rig = stream("", VM, long, short, 600, 9018);
    assert_eq!(rig.counter("vm2", "rx_too_long"), 0);
}

#[test]
fn send_combining_saves_kicks() {
    let combining = Options { send_combining: true, ..Options::default() };
    let rig = stream("", VM, combining, Options::default(), 2000, 100);
    let (kicks, sent) = (rig.counter("vm1", "tx_kicks"), rig.counter("vm1", "tx_frames"));
    assert!(kicks < sent, "{kicks} kicks for {sent} frames");
}

#[test]
fn several_senders_to_one_guest() {
    let ring = format!("{RING}\noverflow = \"backpressure\"");
    let vm = format!("{VM}\noverflow = \"backpressure\"");
    let ports = [("vm", vm.as_str()), ("a", &ring), ("b", &ring), ("c", &ring)];
    let rig = Rig::new("workers = 2", &ports);
    let mut guest = rig.vm("vm", Options { descriptors: 32, ..Options::default() });
    guest.send(&frame(0xff, 9, 0, 60));
    let senders: Vec<_> = [("a", 1), ("b", 2), ("c", 3)]
        .into_iter()
        .map(|(port, src)| {
            let mut client = rig.client(port);
            thread::spawn(move || {
                (0..1000).for_each(|n| client.send(&frame(9, src, n, 60 + n as usize % 1400)));
                client
            })
        })
        .collect();
    let mut next = [0u32; 4];
    for _ in 0..3000 {
        let f = guest.next();
        let src = usize::from(f[11]);
        assert_eq!(f, frame(9, src as u8, next[src], 60 + next[src] as usize % 1400));
        next[src] += 1;
    }
    assert_eq!(next, [0, 1000, 1000, 1000]);
    senders.into_iter().for_each(|s| drop(s.join().unwrap()));
    rig.books();
}

/// The card's requests are done by the switch for those who cannot take them.
#[test]
fn checksums_and_segments_for_a_ring_client() {
    use etherparse::PacketBuilder;
    use valecast_hypervisor_glue::e1000::guest::Segmentation;

    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", Options::default()));
    let payload: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 2000, 77, 4096);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &payload).unwrap();
    // As a driver leaves it: the pseudo-header's sum without a length.
    let pseudo: u32 = [0x0a00u32, 1, 0x0a00, 2, 6].iter().sum();
    bytes[16..18].fill(0);
    bytes[24..26].fill(0);
    bytes[50..52].copy_from_slice(&(pseudo as u16).to_be_bytes());
    let segments = Segmentation { l3: 14, l4: 34, header: 54, mss: 1460, v6: false, udp: false };
    let mut big = Send { bytes: &bytes, segments: Some(segments), ..Send::default() };
    assert!(vm.try_send(&big));
    let mut got = Vec::new();
    for k in 0..4 {
        let f = client.wait();
        let packet = etherparse::SlicedPacket::from_ethernet(&f).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4") };
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum(), "{k}");
        let Some(etherparse::TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP") };
        assert_eq!(Ok(tcp.checksum()), tcp.calc_checksum_ipv4([10, 0, 0, 1], [10, 0, 0, 2]), "{k}");
        assert_eq!(tcp.sequence_number() as usize, 77 + got.len());
        got.extend_from_slice(tcp.payload());
    }
    assert_eq!(got, payload);
    // A checksum alone.
    let mut one = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(9, 9)
        .write(&mut one, &payload[..1000])
        .unwrap();
    let right = one.clone();
    let pseudo: u32 = [0x0a00u32, 1, 0x0a00, 2, 17, 1008].iter().sum();
    one[40..42].copy_from_slice(&(pseudo as u16).to_be_bytes());
    big = Send { bytes: &one, checksum: Some((34, 40)), ..Send::default() };
    assert!(vm.try_send(&big));
    assert_eq!(client.wait(), right);
}
