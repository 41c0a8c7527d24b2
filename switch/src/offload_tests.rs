//! Segments and checksums against etherparse, which we did not write.

use super::*;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

fn frame_bytes(burst: &Burst, f: &Frame) -> Vec<u8> {
    let mut b = vec![0; f.len()];
    assert_eq!(burst.bytes_of(f).read(0, &mut b), b.len());
    b
}

fn checksums_hold(bytes: &[u8]) -> usize {
    let p = SlicedPacket::from_ethernet(bytes).unwrap();
    match p.transport.as_ref().unwrap() {
        TransportSlice::Tcp(t) => {
            let h = t.to_header();
            let want = match p.net.as_ref().unwrap() {
                etherparse::NetSlice::Ipv4(ip) => {
                    assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
                    h.calc_checksum_ipv4(&ip.header().to_header(), t.payload()).unwrap()
                }
                etherparse::NetSlice::Ipv6(ip) => {
                    h.calc_checksum_ipv6(&ip.header().to_header(), t.payload()).unwrap()
                }
                _ => panic!("not IP"),
            };
            assert_eq!(h.checksum, want);
            t.payload().len()
        }
        TransportSlice::Udp(u) => {
            let h = u.to_header();
            let etherparse::NetSlice::Ipv4(ip) = p.net.as_ref().unwrap() else { panic!("not IPv4") };
            assert_eq!(h.checksum, h.calc_checksum_ipv4(&ip.header().to_header(), u.payload()).unwrap());
            u.payload().len()
        }
        _ => panic!("no transport"),
    }
}

/// A TCP packet and the offload header to segment it by.
pub(crate) fn tcp(v6: bool, vlan: bool, payload: usize) -> (Vec<u8>, VnetHdr) {
    let b = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let data: Vec<u8> = (0..payload).map(|i| (i * 7) as u8).collect();
    let mut out = Vec::new();
    let l3 = if vlan { 18 } else { 14 };
    macro_rules! build {
        ($b:expr) => {
            if v6 {
                $b.ipv6([1; 16], [2; 16], 9).tcp(1, 2, 1000, 500).psh().fin().write(&mut out, &data)
            } else {
                $b.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
                    .tcp(1, 2, 1000, 500)
                    .psh()
                    .fin()
                    .write(&mut out, &data)
            }
        };
    }
    if vlan {
        build!(b.single_vlan(etherparse::VlanId::try_new(7).unwrap())).unwrap();
    } else {
        build!(b).unwrap();
    }
    let l4 = l3 + if v6 { 40 } else { 20 };
    let v = VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        gso_type: if v6 { VnetHdr::GSO_TCPV6 } else { VnetHdr::GSO_TCPV4 },
        hdr_len: 54,
        gso_size: 1448,
        csum_start: l4 as u16,
        csum_offset: 16,
    };
    (out, v)
}

fn burst_of(bytes: &[u8], v: VnetHdr) -> Burst {
    let mut b = Burst::default();
    // SAFETY: the caller keeps `bytes` alive while the burst is used.
    unsafe { b.push(bytes.as_ptr(), bytes.len(), 1) };
    let n = b.add_vnet(v);
    b.frames[0].vnet = n;
    b
}

#[test]
fn segments_tcp() {
    for (v6, vlan, payload) in
        [(false, false, 10_000), (true, false, 1449), (false, true, 60_001), (true, true, 5)]
    {
        let (bytes, v) = tcp(v6, vlan, payload);
        let mut b = burst_of(&bytes, v);
        let r = finish(&mut b, 0).unwrap();
        assert_eq!(r.len(), payload.div_ceil(1448));
        let mut got = 0;
        for (k, i) in r.clone().enumerate() {
            let seg = frame_bytes(&b, &b.frames[usize::from(i)]);
            got += checksums_hold(&seg);
            let p = SlicedPacket::from_ethernet(&seg).unwrap();
            let Some(TransportSlice::Tcp(t)) = p.transport else { panic!() };
            assert_eq!(t.sequence_number(), 1000 + 1448 * k as u32);
            assert_eq!((t.fin(), t.psh()), (k + 1 == r.len(), k + 1 == r.len()));
        }
        assert_eq!(got, payload);
    }
}

#[test]
fn completes_a_checksum() {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
        .udp(5, 6)
        .write(&mut bytes, b"hello odd")
        .unwrap();
    let good = bytes.clone();
    // What a kernel leaves in the field: the pseudo-header's sum, not inverted.
    let pseudo = add(0, &bytes[26..34], false) + 17 + 17;
    bytes[40..42].copy_from_slice(&(!fold(pseudo)).to_be_bytes());
    let v = VnetHdr { flags: VnetHdr::NEEDS_CSUM, csum_start: 34, csum_offset: 6, ..Default::default() };
    let mut b = burst_of(&bytes, v);
    let r = finish(&mut b, 0).unwrap();
    assert_eq!(frame_bytes(&b, &b.frames[usize::from(r.start)]), good);
}

/// One checksum in 65536 is 0: TCP says so, UDP says all ones.
#[test]
fn a_checksum_of_zero() {
    let mut room = [0u8; 2];
    put_sum(&mut room, 0, 0xffff, false);
    assert_eq!(room, [0, 0]);
    put_sum(&mut room, 0, 0xffff, true);
    assert_eq!(room, [0xff, 0xff]);
}

proptest::proptest! {
    /// Hostile offload headers are refused or served, never followed out of the frame.
    #[test]
    fn never_reads_outside(len in 14usize..300, raw in proptest::array::uniform10(0u8..), fill in 0u8..) {
        let mut bytes = vec![fill; len];
        if len > 40 {
            bytes[12..14].copy_from_slice(&[8, 0]);
        }
        let v = VnetHdr::from_bytes(raw);
        let mut b = burst_of(&bytes, v);
        if let Ok(r) = finish(&mut b, 0) {
            for i in r {
                proptest::prop_assert!(b.frames[usize::from(i)].len() <= len + 2);
            }
        }
    }
}
