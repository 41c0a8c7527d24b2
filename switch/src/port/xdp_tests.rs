//! Over a pair of interfaces, in network namespaces of their own. They need root, as AF_XDP does.

use crate::frame::VnetHdr;
use crate::port::packet;
use crate::port::packet::tests::{as_root, ip, put, receive, tagged, udp};
use valecast_config::PacketPort;

use super::*;

fn config(interface: &str, mode: XdpMode) -> XdpPort {
    XdpPort {
        interface: interface.into(),
        netns: None,
        mode,
        queues: None,
        slots: 64,
        promiscuous: true,
        fill_checksums: true,
    }
}

/// A packet port on the other end of the cable.
fn other_end() -> Opened {
    let cfg = PacketPort { interface: "vb".into(), netns: None, promiscuous: true, offload: true };
    packet::open("b", &cfg).unwrap()
}

fn refusal(cfg: &XdpPort) -> String {
    open("a", cfg).err().expect("it is refused").to_string()
}

fn cross(mode: XdpMode, most: usize) {
    let (mut a, mut b) = (open("a", &config("va", mode)).unwrap(), other_end());
    assert_eq!(a.egress.about().mode, Some(mode.name()));
    // More than once round the rings, some at a time.
    for round in 0..20u8 {
        let frames: Vec<_> = (0..30)
            .map(|i| {
                let f = udp(&vec![round; (most - 46) * i / 29]);
                (if i % 3 == 0 { tagged(f, [0x81, 0, 0x60, round]) } else { f }, VnetHdr::default())
            })
            .collect();
        let list: Vec<&Vec<u8>> = frames.iter().map(|(f, _)| f).collect();
        let want = frames.iter().map(|(f, _)| f.len() as u64).sum();
        for (from, to) in [(0, 1), (1, 0)] {
            let ports = [&mut a, &mut b];
            let tally = put(ports[from], &frames);
            assert_eq!((tally.frames, tally.bytes, tally.tx_error), (30, want, 0), "round {round}");
            let got = receive(ports[to], 30);
            assert!(got.iter().zip(&list).all(|((g, v), f)| g == *f && v.is_none()), "round {round}");
        }
    }
    assert_eq!(a.egress.about().kernel_drops.iter().map(|(_, n)| n).sum::<u64>(), 0);
}

#[test]
fn frames_cross_in_each_mode() {
    as_root(|| {
        for mode in [XdpMode::Copy, XdpMode::Generic] {
            cross(mode, 1518);
        }
    });
}

#[test]
fn frames_cross_over_several_chunks() {
    as_root(|| {
        ip("link set va mtu 9000");
        ip("link set vb mtu 9000");
        cross(XdpMode::Copy, 9018);
    });
}

#[test]
fn sees_checksums_that_were_left() {
    as_root(|| {
        let (mut a, b) = (open("a", &config("va", XdpMode::Auto)).unwrap(), other_end());
        assert_eq!(a.egress.about().mode, Some("copy"), "what veth has");
        let mut left = udp(&[5; 18]);
        let vnet =
            VnetHdr { flags: VnetHdr::NEEDS_CSUM, csum_start: 34, csum_offset: 6, ..VnetHdr::default() };
        // As the kernel leaves it: the sum over the pseudo header of 10.9.0.2, 10.9.0.1, UDP, 26 bytes.
        let pseudo = (0x0a09u32 * 2 + 2 + 1 + 17 + 26) as u16;
        left[40..42].copy_from_slice(&pseudo.to_be_bytes());
        put(&b, &[(left.clone(), vnet), (udp(&[5; 18]), VnetHdr::default())]);
        let got = receive(&mut a, 2);
        assert_eq!(got[0], (left, Some(vnet)));
        assert_eq!(got[1], (udp(&[5; 18]), None));
    });
}

#[test]
fn says_why_it_cannot_be_opened() {
    as_root(|| {
        let auto = |name: &str| config(name, XdpMode::Auto);
        assert!(refusal(&auto("none")).contains("cannot find interface none"));
        let native = refusal(&config("va", XdpMode::Native));
        assert!(native.contains("`mode = \"native\"` is refused"), "{native}");
        let many = refusal(&XdpPort { queues: Some(9), ..auto("va") });
        assert!(many.contains("1 receive queues in use, `queues = 9`"), "{many}");
        let first = open("a", &auto("va")).unwrap();
        let second = refusal(&auto("va"));
        assert!(second.contains("another AF_XDP socket has this queue"), "{second}");
        drop(first);
        open("a", &auto("va")).unwrap();
    });
}

#[test]
fn outlives_its_interface() {
    as_root(|| {
        let mut a = open("a", &config("va", XdpMode::Auto)).unwrap();
        let one = [(udp(&[1; 18]), VnetHdr::default())];
        assert_eq!(a.egress.about().state, Some("up"));
        assert_eq!(put(&a, &one).frames, 1);
        ip("link set va down");
        assert_eq!(a.egress.about().state, Some("down"));
        // One burst may wait for it to come up again; after that they are dropped.
        let tally: Vec<u64> = (0..100).map(|_| put(&a, &one).tx_error).collect();
        assert_eq!(tally[1..], [1; 99]);
        ip("link set va up");
        assert_eq!(put(&a, &one).tx_error, 0, "up again");
        ip("link del va");
        assert_eq!(a.egress.about().state, Some("gone"));
        for _ in 0..3 {
            put(&a, &one);
            let mut burst = Burst::default();
            a.ingress[0].take(&mut burst, 64, 0);
            assert_eq!(burst.taken(), 0);
            assert!(a.ingress[0].arm(), "nothing to do");
        }
        assert_eq!(put(&a, &one).tx_error, 1);
    });
}

#[test]
fn chunks_are_as_large_as_frames_need() {
    let shape = |longest| {
        let s = Shape::new(64, longest);
        (s.chunk, s.frags)
    };
    assert_eq!(shape(1518), (2048, false));
    assert_eq!(shape(1792), (2048, false));
    assert_eq!(shape(1793), (4096, false));
    assert_eq!(shape(3840), (4096, false));
    assert_eq!(shape(9018), (4096, true));
    assert_eq!(Shape::new(2048, 1518).memory(), 8 << 20);
}
