use super::*;
use crate::e1000::desc::{DD, rx as bits};
use crate::e1000::device::Settings;
use crate::e1000::guest::rig::Rig;
use crate::e1000::guest::{Bus, Options, Received};
use crate::e1000::regs::{MTA, RA, RAH_AV, VFTA, ctrl, rxcsum};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0xe1, 0, 1];

fn rig(options: Options) -> Rig {
    Rig::new(Settings::default(), options).unwrap()
}

fn frame(to: [u8; 6], len: usize) -> Vec<u8> {
    let mut b: Vec<u8> = (0..len).map(|i| (i * 5 + 3) as u8).collect();
    b[..6].copy_from_slice(&to);
    b[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    b[12..14].copy_from_slice(&[0x88, 0xb5]);
    b
}

fn receive(r: &mut Rig, frames: &[Vec<u8>]) -> Vec<Received> {
    assert_eq!(r.deliver(frames), frames.len());
    r.interrupt().unwrap()
}

fn count(r: &Rig, name: &str) -> u64 {
    r.device.counters.all().into_iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn frames_arrive_with_and_without_fcs_and_padded() {
    for secrc in [false, true] {
        let mut r = rig(Options { rctl: if secrc { rctl::SECRC } else { 0 }, ..Options::default() });
        let sent = [frame(MAC, 60), frame([0xff; 6], 1514), frame(MAC, 20)];
        let got = receive(&mut r, &sent);
        assert_eq!(got.len(), 3);
        let fcs = if secrc { 0 } else { 4 };
        for (s, g) in sent.iter().zip(&got) {
            assert_eq!(g.bytes[..s.len()], *s);
            assert_eq!(g.bytes.len(), s.len().max(60) + fcs);
            assert!(g.bytes[s.len()..].iter().all(|b| *b == 0));
            assert_eq!((g.descriptors, g.last.status, g.last.errors), (1, DD | bits::EOP | bits::IXSM, 0));
        }
        let mut bus = r.bus();
        assert_eq!((bus.read(0x4074), bus.read(0x4078), bus.read(0x4088)), (3, 1, 64 + 1518 + 64));
    }
}

#[test]
fn long_frames_take_several_buffers() {
    for (buffer, n) in [(256, 36), (512, 18), (1024, 9), (2048, 5)] {
        let mut r = rig(Options { buffer, rctl: rctl::LPE | rctl::SECRC, ..Options::default() });
        let sent = frame(MAC, 9000);
        let got = receive(&mut r, std::slice::from_ref(&sent));
        assert_eq!((got.len(), got[0].descriptors), (1, n));
        assert_eq!(got[0].bytes, sent);
    }
    // Not without LPE.
    let mut r = rig(Options::default());
    assert!(receive(&mut r, &[frame(MAC, 1519), frame(MAC, 9000)]).is_empty());
    assert_eq!((count(&r, "rx_too_long"), r.bus().read(0x40ac)), (2, 2));
    assert_eq!(receive(&mut r, &[frame(MAC, 1518)]).len(), 1);
    // Buffers of 16 times the size.
    let v = rctl::EN | rctl::LPE | rctl::SECRC | rctl::BSEX | 1 << rctl::BSIZE_SHIFT;
    assert_eq!(Shape { buffer: 16_384, fcs: 0, most: MOST_LONG }.cost(MOST_LONG), 1);
    let _ = r.chip.write(regs::RCTL, v, 0);
    assert_eq!(Shape::of(&r.device).buffer, 16_384);
}

#[test]
fn filters() {
    let mut r = rig(Options::default());
    let _ = r.chip.write(RA + 8, u32::from_le_bytes([2, 2, 3, 4]), 0);
    let _ = r.chip.write(RA + 12, u32::from_le_bytes([5, 6, 0, 0]) | RAH_AV, 0);
    let group = [1, 0, 0x5e, 0, 0, 0xfb];
    let other = [2, 0, 0, 0, 0, 0x77];
    let passes = |r: &mut Rig, to: [u8; 6]| {
        let got = receive(r, &[frame(to, 60)]);
        got.first().map(|g| g.last.status & bits::PIF != 0)
    };
    assert_eq!(passes(&mut r, MAC), Some(false));
    assert_eq!(passes(&mut r, [2, 2, 3, 4, 5, 6]), Some(false));
    assert_eq!(passes(&mut r, [0xff; 6]), Some(false));
    assert_eq!(passes(&mut r, other), None);
    assert_eq!(passes(&mut r, group), None);
    assert_eq!(count(&r, "rx_filtered"), 2);
    // The four ways to choose 12 bits of the last two bytes, as drivers compute them.
    for (mo, hash) in [(0u32, 0xfb0u32), (1, 0x1f60), (2, 0x3ec0), (3, 0xfb00)] {
        let hash = hash & 0xfff;
        r.bus().write(regs::RCTL, rctl::EN | mo << rctl::MO_SHIFT);
        assert_eq!(passes(&mut r, group), None, "{mo}");
        r.bus().write(MTA + hash / 32 * 4, 1 << (hash % 32));
        assert_eq!(passes(&mut r, group), Some(true), "{mo}");
        r.bus().write(MTA + hash / 32 * 4, 0);
    }
    assert_eq!(passes(&mut r, [0xff; 6]), None, "BAM is off");
    r.bus().write(regs::RCTL, rctl::EN | rctl::MPE);
    assert_eq!((passes(&mut r, group), passes(&mut r, other)), (Some(true), None));
    r.bus().write(regs::RCTL, rctl::EN | rctl::UPE);
    assert_eq!((passes(&mut r, group), passes(&mut r, other)), (None, Some(true)));
    r.bus().write(regs::RCTL, 0);
    assert_eq!(passes(&mut r, MAC), None);
    assert_eq!(count(&r, "rx_disabled"), 1);
}

#[test]
fn tags_are_filtered_and_stripped() {
    let mut tagged = frame(MAC, 100);
    tagged.splice(12..12, [0x81, 0x00, 0x60, 0x2a]);
    let mut r = rig(Options { rctl: rctl::SECRC, ..Options::default() });
    let got = receive(&mut r, std::slice::from_ref(&tagged));
    assert_eq!((&got[0].bytes, got[0].last.status & bits::VP), (&tagged, 0));
    r.bus().write(regs::CTRL, ctrl::VME);
    let got = receive(&mut r, std::slice::from_ref(&tagged));
    assert_eq!(got[0].bytes, frame(MAC, 100));
    assert_eq!((got[0].last.status & bits::VP, got[0].last.special), (bits::VP, 0x602a));
    r.bus().write(regs::RCTL, rctl::EN | rctl::VFE | rctl::SECRC);
    assert!(receive(&mut r, std::slice::from_ref(&tagged)).is_empty());
    assert_eq!(receive(&mut r, &[frame(MAC, 100)]).len(), 1, "no tag, no filter");
    r.bus().write(VFTA + 4, 1 << 10);
    assert_eq!(receive(&mut r, &[tagged]).len(), 1);
}

#[test]
fn checksums_are_looked_at_when_asked() {
    let build = |udp: bool, payload: &[u8]| {
        let b = etherparse::PacketBuilder::ethernet2([2; 6], MAC).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut v = Vec::new();
        if udp {
            b.udp(1, 2).write(&mut v, payload).unwrap();
        } else {
            b.tcp(1, 2, 3, 4).write(&mut v, payload).unwrap();
        }
        v
    };
    let six = |payload: &[u8]| {
        let b = etherparse::PacketBuilder::ethernet2([2; 6], MAC).ipv6([1; 16], [2; 16], 64);
        let mut v = Vec::new();
        b.tcp(1, 2, 3, 4).write(&mut v, payload).unwrap();
        v
    };
    let mut r = rig(Options::default());
    r.bus().write(regs::RXCSUM, rxcsum::IPOFL | rxcsum::TUOFL);
    let (both, l4) = (bits::IPCS | bits::TCPCS, bits::TCPCS);
    let mut bad_ip = build(false, b"x");
    bad_ip[24] ^= 1;
    let mut bad_tcp = build(false, &[7; 1001]);
    *bad_tcp.last_mut().unwrap() ^= 0x10;
    let mut no_udp = build(true, b"abc");
    no_udp[40..42].fill(0);
    let mut fragment = build(true, b"abc");
    fragment[20] = 0x20;
    let cases = [
        (build(false, &[7; 1001]), both, 0),
        (build(true, b"abc"), both, 0),
        (six(&[9; 333]), l4, 0),
        (bad_ip, both, bits::IPE),
        (bad_tcp, both, bits::TCPE),
        (no_udp, bits::IPCS, 0),
        (fragment, bits::IPCS, bits::IPE),
        (frame(MAC, 100), bits::IXSM, 0),
    ];
    let frames: Vec<_> = cases.iter().map(|c| c.0.clone()).collect();
    let got = receive(&mut r, &frames);
    for (g, (f, status, errors)) in got.iter().zip(&cases) {
        assert_eq!((g.last.status & !(DD | bits::EOP), g.last.errors), (*status, *errors), "{f:x?}");
    }
    assert_eq!(got.len(), cases.len());
    // The packet checksum, from where the guest says.
    r.bus().write(regs::RXCSUM, 14);
    let f = frame(MAC, 101);
    let sum = crate::e1000::sum::fold(crate::e1000::sum::add(0, &f[14..], false));
    assert_eq!(receive(&mut r, &[f])[0].last.sum, sum);
}

#[test]
fn room_is_claimed_once_and_told_of() {
    let mut r = rig(Options { descriptors: 16, ..Options::default() });
    let many: Vec<_> = (0..20).map(|_| frame(MAC, 60)).collect();
    assert_eq!(r.deliver(&many), 15);
    assert_eq!(r.deliver(&many[..1]), 0);
    assert_eq!((count(&r, "rx_full"), r.bus().read(0x40a0)), (1, 1));
    assert!(r.device.arm_room(&r.mem), "no room");
    assert_eq!(r.bus().read(regs::ICS) & (cause::RXDMT0 | cause::RXT0), cause::RXDMT0 | cause::RXT0);
    assert_eq!(r.interrupt().unwrap().len(), 15);
    assert!(!r.device.arm_room(&r.mem), "room again");
    assert_eq!(r.deliver(&many), 15);
    assert_eq!(count(&r, "rx_frames"), 30);
    // Room that was claimed and taken back.
    r.interrupt().unwrap();
    let mut burst = Burst::default();
    // SAFETY: `many` outlives the burst.
    unsafe { burst.push(many[0].as_ptr(), 60, 1) };
    let list: Vec<_> = (0..15).map(|orig| Entry { orig, frame: 0 }).collect();
    assert_eq!(r.device.claim(&r.mem, &burst, &list), 15);
    assert_eq!(r.device.claim(&r.mem, &burst, &list), 0);
    r.device.unclaim(&burst, &list[..5]);
    assert_eq!(r.device.claim(&r.mem, &burst, &list), 5);
    let head = r.bus().read(regs::RDH);
    let _ = r.chip.write(regs::RDT, head, 0);
    r.device.put(&r.mem, &burst, &list);
    assert_eq!(count(&r, "rx_no_room"), 15);
    r.device.notify(&r.mem, 0);
    assert_eq!((r.bus().read(0x4010), r.bus().read(regs::ICR) & cause::RXO), (15, cause::RXO));
}

/// What never fits into the ring is not waited for: it is claimed, and lost as far as there is no room.
#[test]
fn frames_of_one_that_never_fit_hold_nobody_up() {
    let mut r = rig(Options { descriptors: 16, ..Options::default() });
    let one = frame(MAC, 60);
    let mut burst = Burst::default();
    // SAFETY: `one` outlives the burst.
    unsafe { burst.push(one.as_ptr(), 60, 1) };
    let run = [Entry { orig: 0, frame: 0 }; 17];
    assert_eq!(r.device.claim(&r.mem, &burst, &run), 17);
    r.device.put(&r.mem, &burst, &run);
    assert_eq!((count(&r, "rx_frames"), count(&r, "rx_no_room")), (15, 2));
    // One that would fit is waited for.
    assert_eq!(r.device.claim(&r.mem, &burst, &run[..13]), 0);
    r.device.notify(&r.mem, 0);
    assert_eq!(r.interrupt().unwrap().len(), 15);
    assert_eq!(r.device.claim(&r.mem, &burst, &run[..13]), 13);
}

#[test]
fn buffers_that_are_not_memory() {
    let mut r = rig(Options { descriptors: 16, ..Options::default() });
    let ring = 0x10_1000 + 16 * 16;
    for i in 0..2u64 {
        let addr = if i == 0 { 0u64 } else { 0xdead_0000_0000 };
        r.mem.write(ring + 16 * i, &addr.to_le_bytes()).unwrap();
    }
    let got = receive(&mut r, &[frame(MAC, 60), frame(MAC, 61), frame(MAC, 62)]);
    let errors: Vec<_> = got.iter().map(|g| g.last.errors).collect();
    assert_eq!(errors, [bits::RXE, bits::RXE, 0]);
    assert_eq!((count(&r, "rx_dma_dropped"), count(&r, "rx_frames")), (2, 1));
    // A ring that is not.
    let _ = r.chip.write(regs::RDBAH, 7, 0);
    let _ = r.chip.write(regs::RDT, 9, 0);
    r.deliver(&[frame(MAC, 60)]);
    assert_eq!(count(&r, "rx_dma_dropped"), 3);
    assert_eq!(r.device.reg(regs::RDH), 3);
}

#[test]
fn interrupts_wait_as_the_guest_asked() {
    let mut r = rig(Options { rx_delay: (10, 100), ..Options::default() });
    assert!(receive(&mut r, &[frame(MAC, 60)]).is_empty());
    r.wait(10 * 1024);
    assert_eq!(r.interrupt().unwrap().len(), 1);
    // Small packets do not wait.
    r.bus().write(regs::RSRPD, 64);
    assert!(receive(&mut r, &[frame(MAC, 100)]).is_empty());
    r.bus().write(regs::IMS, cause::SRPD);
    assert_eq!(receive(&mut r, &[frame(MAC, 60)]).len(), 2);
}

/// Two workers deliver: what one puts does not use up what the other claimed.
#[test]
fn claims_of_several_workers_stay_apart() {
    let mut r = rig(Options { descriptors: 16, ..Options::default() });
    let f = frame(MAC, 60);
    let mut burst = Burst::default();
    // SAFETY: `f` outlives the burst.
    unsafe { burst.push(f.as_ptr(), f.len(), 1) };
    let list: [Entry; 15] = std::array::from_fn(|i| Entry { orig: i as u16, frame: 0 });
    assert_eq!(r.device.claim(&r.mem, &burst, &list[..10]), 10);
    assert_eq!(r.device.claim(&r.mem, &burst, &list[..10]), 5);
    r.device.put(&r.mem, &burst, &list[..10]);
    assert_eq!(r.device.claim(&r.mem, &burst, &list[..1]), 0, "the other's five are left");
    r.device.put(&r.mem, &burst, &list[..5]);
    assert_eq!(count(&r, "rx_no_room"), 0);
    r.device.notify(&r.mem, 0);
    assert_eq!(r.interrupt().unwrap().len(), 15);
}
