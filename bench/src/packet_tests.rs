use super::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

/// Checks lengths and checksums with somebody else's parser.
fn check(frame: &[u8]) {
    let p = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Udp(udp)) = p.transport else { panic!("no UDP") };
    let header = udp.to_header();
    let sum = match p.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let h = ip.header().to_header();
            assert_eq!(h.header_checksum, h.calc_header_checksum());
            assert_eq!(usize::from(h.total_len), frame.len() - ETH_LEN);
            header.calc_checksum_ipv4(&h, udp.payload()).unwrap()
        }
        NetSlice::Ipv6(ip) => {
            let h = ip.header().to_header();
            assert_eq!(usize::from(h.payload_length), frame.len() - ETH_LEN - 40);
            header.calc_checksum_ipv6(&h, udp.payload()).unwrap()
        }
        _ => panic!("no IP"),
    };
    assert_eq!(header.checksum, sum);
    assert_ne!(header.checksum, 0);
}

#[test]
fn looks_like_pkt_gens() {
    let mut t = Template::new(Family::V4, 60, 0, 0);
    t.set_macs([2, 0, 0, 0, 0, 1], [0xff; 6]);
    t.set_ends(End { addr: 0x0a00_0001, port: 1234 }, End { addr: 0x0a01_0001, port: 1234 });
    t.seal();
    let f = t.frame();
    assert_eq!(f.len(), 60);
    assert_eq!(f[..12], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1]);
    assert_eq!(f[26..34], [10, 0, 0, 1, 10, 1, 0, 1]);
    check(f);
}

#[test]
fn shorter_than_its_headers_is_cut() {
    let mut t = Template::new(Family::V4, 16, 0, 0);
    t.seal();
    assert_eq!(t.frame().len(), 16);
    assert_eq!(t.frame()[12..15], [8, 0, 0x45]);
}

#[test]
fn a_virtio_header_stands_in_front() {
    let mut t = Template::new(Family::V4, 60, 12, 0);
    t.seal();
    assert_eq!(t.frame().len(), 72);
    assert_eq!(t.frame()[..12], [0; 12]);
    check(&t.frame()[12..]);
}

proptest! {
    #[test]
    fn checksums_follow_every_change(
        v6 in any::<bool>(),
        vnet in prop::sample::select(vec![0usize, 10, 12]),
        max in 74usize..9000,
        steps in prop::collection::vec(
            (any::<[u128; 2]>(), any::<[u16; 2]>(), any::<[u8; 12]>(), 0usize..9000, any::<[Mac; 2]>()), 1..8),
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let mut t = Template::new(family, max, vnet, 12);
        let least = payload_offset(family) + 12;
        for (addrs, ports, stamp, size, macs) in steps {
            let mask = if v6 { u128::MAX } else { u128::from(u32::MAX) };
            t.set_macs(macs[0], macs[1]);
            t.set_ends(
                End { addr: addrs[0] & mask, port: ports[0] },
                End { addr: addrs[1] & mask, port: ports[1] },
            );
            let size = size.clamp(least, max.max(least));
            t.resize(size);
            t.stamp(&stamp);
            t.seal();
            prop_assert_eq!(t.frame().len(), vnet + size);
            check(&t.frame()[vnet..]);
        }
    }
}
