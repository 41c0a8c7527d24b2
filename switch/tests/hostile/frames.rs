//! The fuzz target's function (`fuzz/`), driven by seeded cases: noise, and packets with offload headers that
//! are right but for a byte or two.

#[path = "../../fuzz/src/lib.rs"]
mod cases;

use etherparse::PacketBuilder;

use super::common::proc::alone;
use super::common::raw::Rng;

/// One frame of a case, as `cases::frame_parser` reads it.
fn put(case: &mut Vec<u8>, kind: u8, len: usize, vnet: &[u16; 4], flags: [u8; 2], bytes: &[u8]) {
    case.push(kind);
    case.extend_from_slice(&(len as u16).to_le_bytes());
    case.extend_from_slice(&flags);
    vnet.iter().for_each(|w| case.extend_from_slice(&w.to_ne_bytes()));
    case.extend_from_slice(&bytes[..bytes.len().min(len)]);
}

fn packet(rng: &mut Rng, payload: usize) -> (Vec<u8>, u16, bool) {
    let (tcp, v6, tagged) = (rng.next() & 1 != 0, rng.next() & 1 != 0, rng.next() & 1 != 0);
    let dst = [[2, 0, 0, 0, 0, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]][rng.below(3)];
    let eth = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], dst);
    let vlan = [0, 5, 10, 11, 200][rng.below(5)];
    let body = rng.bytes(payload);
    let mut out = Vec::new();
    // One arm for each, since the builder's steps have different types.
    macro_rules! finish {
        ($ip:expr) => {
            if tcp {
                $ip.tcp(1, 2, rng.next() as u32, 100).ack(7).psh().fin().write(&mut out, &body).unwrap()
            } else {
                $ip.udp(1, 2).write(&mut out, &body).unwrap()
            }
        };
    }
    let vid = etherparse::VlanId::try_new(vlan).unwrap();
    match (v6, tagged) {
        (false, false) => finish!(eth.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)),
        (false, true) => finish!(eth.single_vlan(vid).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)),
        (true, false) => finish!(eth.ipv6([1; 16], [2; 16], 64)),
        (true, true) => finish!(eth.single_vlan(vid).ipv6([1; 16], [2; 16], 64)),
    }
    let l4 = 14 + if tagged { 4 } else { 0 } + if v6 { 40 } else { 20 };
    (out, l4, tcp)
}

#[test]
fn frame_parser() {
    // Others measure what processor time the process takes.
    let _alone = alone();
    let mut rng = Rng(42);
    for case in 0..20_000 {
        let mut bytes = vec![rng.next() as u8];
        if case % 4 == 0 {
            let n = rng.below(600);
            bytes.extend(rng.bytes(n));
            cases::frame_parser(&bytes);
            continue;
        }
        for _ in 0..1 + rng.below(4) {
            let payload = [0, 1, 46, 500, 1900][rng.below(5)];
            let (p, l4, tcp) = packet(&mut rng, payload);
            let gso = [0, if tcp { [1, 4][rng.below(2)] } else { 5 }, 0x81, rng.next() as u8][rng.below(4)];
            let size = [0, 1, 100, 536, 1448, 9000][rng.below(6)];
            let mut vnet = [l4 + 20, size, l4, if tcp { 16 } else { 6 }];
            let mut flags = [1, gso];
            match rng.below(4) {
                0 => vnet[rng.below(4)] = rng.next() as u16,
                1 => vnet[rng.below(4)] ^= 1 << rng.below(16),
                2 => flags[0] = rng.next() as u8,
                _ => {}
            }
            let mut p = p;
            if rng.below(3) == 0 {
                let at = rng.below(p.len().min(80));
                p[at] ^= 1 << rng.below(8);
            }
            // Sometimes as long as 16 bits say, what there is repeated.
            let large = rng.below(30) == 0 && p.len() <= 2048;
            let kind = rng.next() as u8 & !1 & !2 | 4 | u8::from(large);
            let len = if large { p.len().max(rng.below(65536)) } else { p.len() };
            // A large one takes whatever follows in the case as well, so it comes last.
            put(&mut bytes, kind, len, &vnet, flags, &p);
            if large {
                break;
            }
        }
        cases::frame_parser(&bytes);
    }
}
