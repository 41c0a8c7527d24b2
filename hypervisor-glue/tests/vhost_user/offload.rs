//! Offload headers are carried to who takes them, and worked off for who does not.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use valecast_switch::frame::VnetHdr;

use crate::front::{MERGEABLE, Options};
use crate::rig::Rig;
use crate::talk::{RING, VM};

const GUEST_TSO4: u64 = 1 << 7;
const GUEST_ECN: u64 = 1 << 9;

/// A TCP segment of `payload` bytes as a driver leaves it: no checksum, to be cut at 1448 bytes.
fn large(dst: u8, src: u8, payload: usize) -> (Vec<u8>, VnetHdr) {
    let bytes: Vec<u8> = (0..payload).map(|i| (i * 7 + i / 251) as u8).collect();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, src], [2, 0, 0, 0, 0, dst])
        .ipv4([10, 0, 0, src], [10, 0, 0, dst], 64)
        .tcp(1234, 80, 1_000_000, 512);
    let mut frame = Vec::new();
    builder.write(&mut frame, &bytes).unwrap();
    // What is there instead of the checksum: the sum of the pseudo-header.
    let len = 20 + payload as u32;
    let sum = 2 * (10 << 8) + u32::from(src) + u32::from(dst) + 6 + len;
    frame[50..52].copy_from_slice(&(sum as u16).to_be_bytes());
    let h = VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        gso_type: VnetHdr::GSO_TCPV4,
        hdr_len: 54,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    (frame, h)
}

/// The payload of a TCP segment whose checksums are right; and its sequence number.
fn check(frame: &[u8]) -> (u32, Vec<u8>) {
    let p = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &p.net else { panic!("IPv4") };
    let Some(TransportSlice::Tcp(tcp)) = &p.transport else { panic!("TCP") };
    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    let sum = tcp.to_header().calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap();
    assert_eq!(tcp.checksum(), sum);
    (tcp.sequence_number(), tcp.payload().to_vec())
}

#[test]
fn a_large_segment_crosses_whole() {
    for (sizes, buffer, buffers) in [(&[][..], 2048, 15), (&[12, 54], 2048, 15), (&[66, 9000, 9000], 4096, 8)]
    {
        let rig = Rig::new("", &[("a", VM), ("b", VM)]);
        let mut a = rig.vm("a", Options::default());
        let mut b = rig.vm("b", Options { buffer, ..Options::default() });
        for _ in 0..10 {
            let (frame, header) = large(2, 1, 30_000);
            a.send(0, &frame, header, sizes);
            let got = b.wait(0);
            assert!(got.bytes == frame, "bytes changed on the way");
            assert_eq!((got.offload, got.buffers), (header, buffers));
            a.sent(0);
        }
        let b_port = rig.at_rest("b");
        assert_eq!((b_port.out_frames, b_port.out_drops.len()), (10, 0));
        assert_eq!(rig.counter("b", "rx_returned"), 0);
    }
}

#[test]
fn a_large_segment_is_cut_for_who_does_not_take_it() {
    let rig = Rig::new("", &[("a", VM), ("b", VM), ("off", &format!("{VM}\noffload = false")), ("c", RING)]);
    let mut a = rig.vm("a", Options::default());
    let mut b = rig.vm("b", Options { features: !GUEST_TSO4, ..Options::default() });
    let mut off = rig.vm("off", Options { features: !MERGEABLE, ..Options::default() });
    let mut c = rig.client("c");
    assert_eq!(off.offered & 0x7f83, 0, "no offload is offered");
    let (frame, header) = large(0xee, 1, 20_000);
    let payload = &frame[54..];
    for sizes in [&[][..], &[66]] {
        a.send(0, &frame, header, sizes);
        for who in ["b", "off", "c"] {
            let mut at = 0;
            while at < payload.len() {
                let bytes = match who {
                    "b" => b.wait(0).bytes,
                    "off" => off.wait(0).bytes,
                    _ => c.wait(),
                };
                let (seq, part) = check(&bytes);
                assert_eq!(seq, 1_000_000 + at as u32, "{who}");
                assert_eq!(part, payload[at..at + part.len()], "{who}");
                assert!(part.len() == 1448 || at + part.len() == payload.len(), "{who}: {}", part.len());
                at += part.len();
            }
        }
        a.sent(0);
    }
    rig.books();
}

#[test]
fn a_checksum_is_left_to_the_receiver_or_made() {
    let rig = Rig::new("", &[("a", VM), ("b", VM), ("c", RING)]);
    let mut a = rig.vm("a", Options::default());
    let mut b = rig.vm("b", Options::default());
    let mut c = rig.client("c");
    let (frame, header) = large(0xee, 1, 500);
    let header = VnetHdr { gso_type: 0, gso_size: 0, ..header };
    a.send(0, &frame, header, &[12]);
    let got = b.wait(0);
    assert_eq!((got.bytes, got.offload), (frame.clone(), header));
    assert_eq!(check(&c.wait()).1, frame[54..]);
}

/// Some guests take segments but none of a flow with congestion marks: for them those are cut.
#[test]
fn what_a_guest_does_not_take_is_known_by_kind() {
    let rig = Rig::new("", &[("a", VM), ("b", VM)]);
    let mut a = rig.vm("a", Options::default());
    let mut b = rig.vm("b", Options { features: !GUEST_ECN, ..Options::default() });
    let (frame, header) = large(2, 1, 4000);
    a.send(0, &frame, header, &[]);
    assert_eq!(b.wait(0).offload, header);
    a.send(0, &frame, VnetHdr { gso_type: header.gso_type | VnetHdr::GSO_ECN, ..header }, &[]);
    for len in [1448, 1448, 1104] {
        let got = b.wait(0);
        assert_eq!((got.offload, check(&got.bytes).1.len()), (VnetHdr::default(), len));
    }
}

/// What a header promises must be so: else the frame is dropped with a count, and only it.
#[test]
fn a_header_that_lies_is_dropped() {
    let rig = Rig::new("", &[("a", VM), ("b", VM)]);
    let mut a = rig.vm("a", Options { features: !(1 << 56), ..Options::default() });
    let mut b = rig.vm("b", Options::default());
    let (frame, good) = large(2, 1, 3000);
    let lies = [
        VnetHdr { gso_size: 0, ..good },
        VnetHdr { csum_start: 60000, ..good },
        VnetHdr { csum_offset: 65535, ..good },
        VnetHdr { flags: 0, ..good },
        VnetHdr { gso_type: VnetHdr::GSO_UDP, ..good },
        VnetHdr { gso_type: 77, ..good },
        // Not agreed on.
        VnetHdr { gso_type: VnetHdr::GSO_UDP_L4, ..good },
    ];
    for lie in lies {
        a.send(0, &frame, lie, &[]);
        a.sent(0);
    }
    a.send(0, &frame, good, &[]);
    assert_eq!(b.wait(0).offload, good);
    assert_eq!(rig.at_rest("a").in_drops["bad_slot"], lies.len() as u64);
    assert_eq!(rig.counter("a", "bad_descriptors"), lies.len() as u64);
}
