use super::*;
use crate::e1000::desc::TX_STATUS;
use crate::e1000::device::Settings;
use crate::e1000::dma::Dma;
use crate::e1000::guest::rig::{Rig, Sent, bytes_of};
use crate::e1000::guest::{Bus, Options, Segmentation, Send};
use crate::e1000::regs::{cause, ctrl, rctl};
use crate::e1000::sum::{add, fold};

fn rig(options: Options) -> Rig {
    Rig::new(Settings::default(), options).unwrap()
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + 1) as u8).collect()
}

fn one(rig: &mut Rig, s: &Send<'_>) -> Sent {
    assert!(rig.send(s).unwrap());
    let mut got = rig.turn(16);
    assert_eq!(got.len(), 1);
    got.remove(0)
}

fn counter(rig: &Rig, name: &str) -> u64 {
    rig.device.counters.all().into_iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn one_piece_leaves_by_reference_and_is_reported() {
    for legacy in [true, false] {
        let mut r = rig(Options { legacy, ..Options::default() });
        let b = bytes(700);
        assert_eq!(one(&mut r, &Send { bytes: &b, ..Send::default() }), Sent { bytes: b, vnet: None });
        assert_eq!(counter(&r, "tx_by_reference"), 1);
        let mut bus = r.bus();
        assert_eq!((bus.read(regs::TDH), bus.read(0x4080)), (1, 1));
        assert_eq!(bus.read(regs::ICR) & (cause::TXDW | cause::TXQE), cause::TXDW | cause::TXQE);
        assert_eq!(r.driver.reclaim(&r.mem).unwrap(), 1);
    }
}

#[test]
fn pieces_leave_by_reference_and_short_frames_are_padded() {
    let mut r = rig(Options::default());
    let b = bytes(1000);
    assert_eq!(one(&mut r, &Send { bytes: &b, split: 66, ..Send::default() }).bytes, b);
    assert_eq!(counter(&r, "tx_by_reference"), 1);
    let long = bytes(9000);
    assert_eq!(one(&mut r, &Send { bytes: &long, ..Send::default() }).bytes, long);
    assert_eq!(counter(&r, "tx_by_reference"), 2);
    let short = one(&mut r, &Send { bytes: &b[..20], ..Send::default() }).bytes;
    assert_eq!((&short[..20], &short[20..]), (&b[..20], &[0; 40][..]));
}

#[test]
fn what_is_not_completed_is_given_again() {
    let mut r = rig(Options::default());
    let frames: Vec<Vec<u8>> = (60..64).map(bytes).collect();
    for b in &frames {
        assert!(r.send(&Send { bytes: b, checksum: Some((34, 50)), ..Send::default() }).unwrap());
    }
    let mut burst = Burst::default();
    for (done, want) in [(1, 4), (2, 3), (1, 1), (0, 0)] {
        burst.clear();
        r.tx.take(&r.mem, &mut burst, 16, 0);
        assert_eq!(burst.taken(), want);
        if want > 0 {
            assert_eq!(burst.frames[0].len(), 64 - want);
            assert_eq!(burst.vnet(&burst.frames[0]).map(|v| v.csum_start), Some(34));
        }
        r.tx.complete(&r.mem, &burst, done);
    }
    assert_eq!(r.bus().read(regs::TDH), 8);
}

/// What is wrong with frames that are given again is counted once.
#[test]
fn what_is_given_again_counts_once() {
    let mut r = rig(Options { descriptors: 128, ..Options::default() });
    let (large, good) = large(false, false, 3000);
    let nonsense = Segmentation { mss: 0, ..good };
    assert!(r.send(&Send { bytes: &bytes(100), ..Send::default() }).unwrap());
    assert!(r.send(&Send { bytes: &large, segments: Some(nonsense), ..Send::default() }).unwrap());
    assert!(r.send(&Send { bytes: &bytes(13), ..Send::default() }).unwrap());
    let mut burst = Burst::default();
    for (done, want) in [(0, 3), (0, 3), (1, 3), (0, 2), (1, 2), (0, 1), (1, 1), (0, 0)] {
        burst.clear();
        r.tx.take(&r.mem, &mut burst, 16, 0);
        assert_eq!(burst.taken(), want);
        r.tx.complete(&r.mem, &burst, done);
        assert_eq!((counter(&r, "tx_bad_offload"), counter(&r, "tx_bad_length")), (1, 1));
    }
    // The next ones count again.
    assert!(r.send(&Send { bytes: &bytes(13), ..Send::default() }).unwrap());
    assert!(r.turn(16).is_empty());
    assert_eq!(counter(&r, "tx_bad_length"), 2);
}

#[test]
fn checksums_stay_requests_or_are_done_here() {
    let b = bytes(200);
    for legacy in [true, false] {
        let mut r = rig(Options { legacy, ..Options::default() });
        let got = one(&mut r, &Send { bytes: &b, checksum: Some((34, 50)), ..Send::default() });
        let v = got.vnet.unwrap();
        assert_eq!((v.flags, v.csum_start, v.csum_offset, v.gso_type), (1, 34, 16, 0));
        assert_eq!(got.bytes, b, "untouched");
        // Beyond the frame's end: it is sent as it is.
        let got = one(&mut r, &Send { bytes: &b, checksum: Some((34, 199)), ..Send::default() });
        assert_eq!((got.bytes, got.vnet), (b.clone(), None));
        assert_eq!(counter(&r, "tx_bad_offload"), 1);
    }
    let mut r = rig(Options::default());
    let ip = Send { bytes: &b, ip_checksum: Some((14, 24, 33)), checksum: Some((34, 50)), ..Send::default() };
    let got = one(&mut r, &ip);
    // The sum takes in what the field held, as the chip's does.
    let sum = !fold(add(0, &b[14..34], false));
    assert_eq!(got.bytes[24..26], sum.to_be_bytes());
    assert!(got.vnet.is_some());
}

/// Headers of a TCP or UDP packet as a driver leaves them for segmentation, and its payload.
fn large(v6: bool, udp: bool, payload: usize) -> (Vec<u8>, Segmentation) {
    let mut b = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let protocol = if udp { 17 } else { 6 };
    if v6 {
        b.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64]);
        b.extend([0xfd; 16]);
        b.extend([0xfe; 16]);
    } else {
        b.extend([8, 0, 0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    let (l3, l4) = (14, b.len());
    let pseudo = add(u64::from(protocol), &b[if v6 { 22 } else { 26 }..l4], false);
    let partial = fold(pseudo).to_be_bytes();
    b.extend([0x10, 0x00, 0x20, 0x00]);
    if udp {
        b.extend([0, 0, partial[0], partial[1]]);
    } else {
        b.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x19, 1, 0, partial[0], partial[1], 0, 0]);
    }
    let header = b.len();
    b.extend(bytes(payload));
    (b, Segmentation { l3, l4: l4 as u8, header: header as u8, mss: 1000, v6, udp })
}

#[test]
fn large_frames_come_apart_into_good_packets() {
    for (v6, udp, tag) in
        [(false, false, None), (true, false, None), (false, true, None), (true, false, Some(5))]
    {
        let mut r = rig(Options { ctrl: ctrl::SLU | ctrl::VME, ..Options::default() });
        let (b, s) = large(v6, udp, 40_500);
        let header = usize::from(s.header);
        let send = Send { bytes: &b, split: header, segments: Some(s), tag, ..Send::default() };
        let got = one(&mut r, &send);
        let v = got.vnet.unwrap();
        assert_eq!(usize::from(v.gso_size), 1000);
        // What a kernel looks at before it takes such a frame.
        let whole = etherparse::SlicedPacket::from_ethernet(&got.bytes).unwrap();
        let Some(etherparse::TransportSlice::Tcp(_) | etherparse::TransportSlice::Udp(_)) = whole.transport
        else {
            panic!("no transport in {whole:?}");
        };
        let mut burst = Burst::default();
        // SAFETY: `got` outlives the burst's use.
        unsafe { burst.push(got.bytes.as_ptr(), got.bytes.len(), 1) };
        let n = burst.add_vnet(v);
        burst.last_mut().unwrap().vnet = n;
        let made = finish(&mut burst, 0).unwrap();
        assert_eq!(made.len(), 41);
        let mut payload = Vec::new();
        for i in made {
            let p = bytes_of(&burst, &burst.frames[usize::from(i)]);
            let s = etherparse::SlicedPacket::from_ethernet(&p).unwrap();
            assert_eq!(s.vlan().is_some(), tag.is_some());
            let net = s.net.unwrap();
            match s.transport.unwrap() {
                etherparse::TransportSlice::Tcp(t) => {
                    let (h, data) = (t.to_header(), t.payload());
                    let sum = match &net {
                        etherparse::NetSlice::Ipv4(ip) => {
                            let h4 = ip.header().to_header();
                            assert_eq!(h4.calc_header_checksum(), h4.header_checksum);
                            h.calc_checksum_ipv4(&h4, data).unwrap()
                        }
                        etherparse::NetSlice::Ipv6(ip) => {
                            h.calc_checksum_ipv6(&ip.header().to_header(), data).unwrap()
                        }
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(sum, h.checksum);
                    assert_eq!(h.sequence_number as usize, 1 + payload.len());
                    payload.extend_from_slice(data);
                }
                etherparse::TransportSlice::Udp(u) => {
                    let etherparse::NetSlice::Ipv4(ip) = &net else { panic!("{net:?}") };
                    let h = u.to_header();
                    assert_eq!(
                        h.calc_checksum_ipv4(&ip.header().to_header(), u.payload()).unwrap(),
                        h.checksum
                    );
                    payload.extend_from_slice(u.payload());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(payload, b[header..]);
        let mut bus = r.bus();
        assert_eq!((bus.read(0x40d4), bus.read(0x40f8)), (41, 1), "packets and segmentations");
    }
}

#[test]
fn nonsense_segmentation_loses_the_frame_only() {
    let (b, good) = large(false, false, 3000);
    let bad = [
        Segmentation { mss: 0, ..good },
        Segmentation { l4: 20, ..good },
        Segmentation { l3: 5, ..good },
        Segmentation { header: 40, ..good },
    ];
    let mut r = rig(Options { descriptors: 128, ..Options::default() });
    for s in bad {
        assert!(r.send(&Send { bytes: &b, segments: Some(s), ..Send::default() }).unwrap());
        assert!(r.turn(16).is_empty());
    }
    // As long as its headers.
    let only = Send { bytes: &b[..54], segments: Some(good), ..Send::default() };
    assert!(r.send(&only).unwrap() && r.turn(16).is_empty());
    assert_eq!(counter(&r, "tx_bad_offload"), 5);
    assert!(one(&mut r, &Send { bytes: &b, segments: Some(good), ..Send::default() }).vnet.is_some());
}

#[test]
fn tags_go_in_when_enabled() {
    let b = bytes(100);
    for vme in [false, true] {
        let mut r = rig(Options { ctrl: if vme { ctrl::VME } else { 0 }, ..Options::default() });
        let s = Send { bytes: &b, tag: Some(0x2007), checksum: Some((34, 40)), ..Send::default() };
        let got = one(&mut r, &s);
        let mut want = b.clone();
        if vme {
            want.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
        }
        assert_eq!(got.bytes, want);
        assert_eq!(got.vnet.map(|v| (v.csum_start, v.csum_offset)), Some((if vme { 38 } else { 34 }, 6)));
    }
}

#[test]
fn half_a_frame_waits_without_work() {
    let mut r = rig(Options::default());
    let b = bytes(300);
    assert!(r.send(&Send { bytes: &b, split: 100, ..Send::default() }).unwrap());
    // The guest shows only the first piece.
    let _ = r.chip.write(regs::TDT, 1, 0);
    assert!(r.turn(16).is_empty());
    assert!(r.is_asleep(), "nothing to do until the rest comes");
    let mut burst = Burst::default();
    let _ = r.chip.write(regs::TDT, 2, 0);
    assert!(r.tx.has_work(&r.mem));
    r.tx.take(&r.mem, &mut burst, 16, 0);
    assert_eq!(burst.frames[0].len(), 300);
}

#[test]
fn hostile_rings_are_counted_and_left() {
    let mut burst = Burst::default();
    let mut fresh = |prepare: &dyn Fn(&mut Rig)| {
        let mut r = rig(Options::default());
        prepare(&mut r);
        burst.clear();
        r.tx.take(&r.mem, &mut burst, 1024, 0);
        let n = burst.taken();
        r.tx.complete(&r.mem, &burst, n);
        assert!(!r.tx.has_work(&r.mem), "it would go on for ever");
        (n, r)
    };
    let set = |r: &mut Rig, at, v| {
        let _ = r.chip.write(at, v, 0);
    };
    // Tail outside the ring.
    let (n, r) = fresh(&|r| set(r, regs::TDT, 64));
    assert!(n == 0 && counter(&r, "bad_ring") > 0);
    // No ring.
    let (n, r) = fresh(&|r| (set(r, regs::TDLEN, 0), set(r, regs::TDT, 5)).1);
    assert!(n == 0 && counter(&r, "bad_ring") == 0);
    // A ring that is not memory.
    let (n, r) = fresh(&|r| (set(r, regs::TDBAH, 5), set(r, regs::TDT, 63)).1);
    assert_eq!((n, counter(&r, "dma_errors")), (1, 1));
    assert_eq!(r.device.reg(regs::TDH), 63, "skipped");
    // A whole ring that ends no frame.
    let (n, r) = fresh(&|r| {
        for i in 0..64u64 {
            r.mem.write(0x10_1000 + 16 * i, &0x10_2000u64.to_le_bytes()).unwrap();
            r.mem.write(0x10_1008 + 16 * i, &100u64.to_le_bytes()).unwrap();
        }
        set(r, regs::TDT, 63);
    });
    assert_eq!((n, counter(&r, "tx_endless")), (1, 1));
    // A buffer that is not memory.
    let (n, r) = fresh(&|r| {
        r.mem.write(0x10_1000, &u64::MAX.to_le_bytes()).unwrap();
        r.mem.write(0x10_1008, &(100u64 | 0x09 << 24).to_le_bytes()).unwrap();
        set(r, regs::TDT, 1);
    });
    assert_eq!((n, counter(&r, "tx_dma_dropped")), (1, 1));
    assert_eq!(r.device.reg(regs::TDH), 1);
    // Frames too short and too long.
    for len in [13u64, 0xf_ffff] {
        let (n, r) = fresh(&|r| {
            r.mem.write(0x10_1000, &0x10_2000u64.to_le_bytes()).unwrap();
            r.mem.write(0x10_1008, &(len | 1 << 20 | 0x29 << 24).to_le_bytes()).unwrap();
            set(r, regs::TDT, 1);
        });
        assert_eq!((n, counter(&r, "tx_bad_length")), (1, 1));
    }
}

#[test]
fn nothing_is_written_into_a_ring_that_was_taken_back() {
    for (at, v) in [(regs::CTRL, ctrl::RST), (regs::TCTL, 0), (regs::TDH, 0), (regs::TDBAL, 0x10_1000)] {
        let mut r = rig(Options::default());
        let b = bytes(100);
        assert!(r.send(&Send { bytes: &b, ..Send::default() }).unwrap());
        let mut burst = Burst::default();
        r.tx.take(&r.mem, &mut burst, 16, 0);
        assert_eq!(burst.taken(), 1);
        let _ = r.chip.write(at, v, 0);
        r.tx.complete(&r.mem, &burst, 1);
        let mut status = [0];
        r.mem.read(0x10_1000 + TX_STATUS, &mut status).unwrap();
        assert_eq!((status[0], r.device.reg(regs::TDH)), (0, 0), "{at:#x}");
    }
}

#[test]
fn frames_come_back_in_loopback() {
    let (b, s) = large(false, false, 2500);
    // By the MAC, by the transceiver, by the PHY; whether the cable is in or not.
    for (bits, phy) in [(1 << 6, false), (rctl::LBM, false), (0, true)] {
        let mut r = rig(Options { rctl: bits | rctl::UPE | rctl::MPE | rctl::SECRC, ..Options::default() });
        if phy {
            let _ = r.chip.write(regs::MDIC, 1 << 26 | 1 << 21 | 0x4140, 0);
        }
        r.device.set_link(false, 0);
        assert!(r.send(&Send { bytes: &bytes(100), ..Send::default() }).unwrap());
        assert!(r.send(&Send { bytes: &b, segments: Some(s), ..Send::default() }).unwrap());
        assert!(r.turn(16).is_empty(), "nothing for the switch");
        let got = r.interrupt().unwrap();
        let lens: Vec<_> = got.iter().map(|f| f.bytes.len()).collect();
        assert_eq!(lens, [100, 1054, 1054, 554], "{bits:#x} {phy}");
        assert_eq!(got[0].bytes, bytes(100));
    }
}

#[test]
fn a_link_that_is_down_sends_nothing() {
    let mut r = rig(Options::default());
    r.device.set_link(false, 0);
    assert!(r.send(&Send { bytes: &bytes(100), ..Send::default() }).unwrap());
    assert!(r.turn(16).is_empty());
    r.device.set_link(true, 0);
    assert!(r.tx.has_work(&r.mem));
}
