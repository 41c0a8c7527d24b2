//! Over a pair of interfaces, in network namespaces of their own. They need root, as packet sockets do.
//! The tests of xdp ports share the helpers.

use std::io::Write as _;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::frame::VnetHdr;

/// Runs `f` in a network namespace with the pair `va`, `vb`; not at all without the rights.
pub fn as_root(f: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        // Not `eprintln`, which the test harness hides.
        let _ = writeln!(std::io::stderr(), "*** SKIPPED: needs root (the e2e suite covers it as root) ***");
        return;
    }
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link add va type veth peer name vb");
        for i in ["va", "vb"] {
            // Else the kernel speaks on its own.
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{i}/disable_ipv6"), "1").ok();
            ip(&format!("link set {i} up"));
        }
        // A link that was set up a moment ago may still drop what it is given.
        let deadline = Instant::now() + Duration::from_secs(10);
        let is_up = |i: &str| {
            let shown = std::process::Command::new("ip").args(["link", "show", i]).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("state UP")
        };
        while !(is_up("va") && is_up("vb")) {
            assert!(Instant::now() < deadline, "the links do not come up");
        }
        f();
    })
    .join()
    .unwrap();
}

pub fn ip(args: &str) {
    let ok = std::process::Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(ok.success(), "ip {args}");
}

fn config(interface: &str) -> PacketPort {
    PacketPort { interface: interface.into(), netns: None, promiscuous: true, offload: true }
}

pub fn udp(data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 5], [2, 0, 0, 0, 0, 9])
        .ipv4([10, 9, 0, 2], [10, 9, 0, 1], 64)
        .udp(5000, 4000)
        .write(&mut frame, data)
        .unwrap();
    frame
}

pub fn tagged(mut frame: Vec<u8>, tag: [u8; 4]) -> Vec<u8> {
    frame.splice(12..12, tag);
    frame
}

pub fn put(o: &Opened, frames: &[(Vec<u8>, VnetHdr)]) -> Tally {
    let mut b = Burst::default();
    for (f, v) in frames {
        // SAFETY: the frames outlive the burst.
        unsafe { b.push(f.as_ptr(), f.len(), 1) };
        if v.is_needed() {
            let n = b.add_vnet(*v);
            b.last_mut().unwrap().vnet = n;
        }
    }
    let list: Vec<_> = (0..frames.len() as u16).map(|i| Entry { orig: i, frame: i }).collect();
    o.egress.put(&b, &list, 0, 0)
}

/// Takes until `n` frames of ours came; a third of each burst is left for the next time.
pub fn receive(o: &mut Opened, n: usize) -> Vec<(Vec<u8>, Option<VnetHdr>)> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let (mut all, mut b) = (Vec::new(), Burst::default());
    while all.len() < n {
        assert!(Instant::now() < deadline, "{} of {n} frames", all.len());
        b.clear();
        o.ingress[0].take(&mut b, 1024, 0);
        let done = b.taken().div_ceil(3) * 2;
        let done = done.min(b.taken());
        for i in 0..done {
            let mut v = Vec::new();
            io::append(&mut v, &b, Entry { orig: 0, frame: i as u16 });
            if v[..6] == [2, 0, 0, 0, 0, 9] {
                all.push((v, b.vnet(&b.frames[i])));
            }
        }
        o.ingress[0].complete(&b, done);
    }
    all
}

#[test]
fn frames_cross_as_they_are() {
    as_root(|| {
        let (a, mut b) = (open("a", &config("va")).unwrap(), open("b", &config("vb")).unwrap());
        let sent: Vec<_> = (0..500usize)
            .map(|i| {
                let f = udp(&vec![i as u8; i * 2]);
                let f = match i % 4 {
                    1 => tagged(f, [0x81, 0, 0x60, i as u8]),
                    2 => tagged(f, [0x88, 0xa8, 0, 7]),
                    3 => tagged(tagged(f, [0x81, 0, 0, 5]), [0x88, 0xa8, 0x20, 7]),
                    _ => f,
                };
                (f, VnetHdr::default())
            })
            .collect();
        let t = put(&a, &sent);
        let bytes = sent.iter().map(|(f, _)| f.len() as u64).sum();
        assert_eq!(t, Tally { frames: 500, bytes, tx_error: 0 });
        let got = receive(&mut b, 500);
        for (i, (g, s)) in got.iter().zip(&sent).enumerate() {
            assert_eq!(g.0, s.0, "frame {i}");
            assert_eq!(g.1, None);
        }
    });
}

#[test]
fn offloads_cross_unfinished() {
    as_root(|| {
        let (a, mut b) = (open("a", &config("va")).unwrap(), open("b", &config("vb")).unwrap());
        let mut tcp = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 5], [2, 0, 0, 0, 0, 9])
            .ipv4([10, 9, 0, 2], [10, 9, 0, 1], 64)
            .tcp(5000, 4000, 1, 1000)
            .write(&mut tcp, &vec![7; 30_000])
            .unwrap();
        let vnet = |tag: u16| VnetHdr {
            flags: VnetHdr::NEEDS_CSUM,
            gso_type: VnetHdr::GSO_TCPV4,
            hdr_len: 54 + tag,
            gso_size: 1400,
            csum_start: 34 + tag,
            csum_offset: 16,
        };
        let with_tag = tagged(tcp.clone(), [0x81, 0, 0, 5]);
        let t = put(&a, &[(tcp.clone(), vnet(0)), (with_tag.clone(), vnet(4))]);
        assert_eq!(t.frames, 2);
        let got = receive(&mut b, 2);
        assert_eq!(got[0].0, tcp);
        assert_eq!(got[1].0, with_tag);
        for (got, tag) in got.iter().zip([0, 4]) {
            let (g, v) = (got.1.unwrap(), vnet(tag));
            assert_eq!((g.gso_type, g.gso_size), (v.gso_type, v.gso_size));
            assert_eq!((g.flags & 1, g.csum_start, g.csum_offset), (1, v.csum_start, 16));
        }
    });
}

#[test]
fn one_refused_frame_stops_no_other() {
    as_root(|| {
        let (a, mut b) = (open("a", &config("va")).unwrap(), open("b", &config("vb")).unwrap());
        assert_eq!(a.egress.caps().max_frame, 1518);
        let plain = VnetHdr::default();
        let mut frames: Vec<_> = (0..40).map(|i| (udp(&[i; 30]), plain)).collect();
        frames[0].0 = udp(&[0; 5000]);
        frames[20].0 = udp(&[0; 5000]);
        frames[39].0 = udp(&[0; 5000]);
        let t = put(&a, &frames);
        assert_eq!((t.frames, t.tx_error), (37, 3));
        assert_eq!(receive(&mut b, 37).len(), 37);
        // Our own frames do not come back to us.
        let mut a = a;
        let mut burst = Burst::default();
        a.ingress[0].take(&mut burst, 10, 0);
        assert_eq!(burst.taken(), 0);
        assert!(a.ingress[0].arm());
        put(&a, &frames[1..2]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while b.ingress[0].arm() {
            assert!(Instant::now() < deadline);
        }
        assert_eq!(receive(&mut b, 1).len(), 1);
    });
}

#[test]
fn survives_the_interface_going_down_and_away() {
    as_root(|| {
        let (a, mut b) = (open("a", &config("va")).unwrap(), open("b", &config("vb")).unwrap());
        ip("link set va down");
        assert_eq!(put(&a, &[(udp(b"x"), VnetHdr::default())]).tx_error, 1);
        ip("link set va up");
        // The kernel takes its time to make a link usable.
        let mut burst = Burst::default();
        let deadline = Instant::now() + Duration::from_secs(10);
        while burst.taken() == 0 {
            assert!(Instant::now() < deadline, "nothing comes any more");
            put(&a, &[(udp(b"x"), VnetHdr::default())]);
            b.ingress[0].take(&mut burst, 10, 0);
        }
        let n = burst.taken();
        b.ingress[0].complete(&burst, n);
        ip("link del va");
        // What came before may still be there.
        burst.clear();
        b.ingress[0].take(&mut burst, 1000, 0);
        let n = burst.taken();
        b.ingress[0].complete(&burst, n);
        burst.clear();
        b.ingress[0].take(&mut burst, 10, 0);
        assert!(b.ingress[0].arm(), "nothing will come");
        assert_eq!(put(&a, &[(udp(b"x"), VnetHdr::default())]).tx_error, 1);
    });
}

#[test]
fn refusals_are_clear() {
    as_root(|| {
        let e = open("a", &config("nosuch0")).err().unwrap().to_string();
        assert!(e.contains("cannot find interface nosuch0") && e.contains("No such device"), "{e}");
        let e = open("a", &config("a-name-that-is-too-long")).err().unwrap().to_string();
        assert!(e.contains("a-name-that-is-too-long"), "{e}");
    });
}

#[test]
fn puts_a_tag_back() {
    let mut buffer = vec![0; 64];
    buffer[FRAME_AT..FRAME_AT + 14].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
    let vnet = VnetHdr { flags: VnetHdr::NEEDS_CSUM, csum_start: 34, hdr_len: 42, ..VnetHdr::default() };
    let r = Received { len: 14, vnet, tag: Some((0x8100, 0x2005)), cut: false };
    let s = place(&mut buffer, &r);
    assert_eq!(buffer[s.at..][..s.len], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x81, 0, 0x20, 5, 8, 0]);
    assert_eq!((s.vnet.csum_start, s.vnet.hdr_len), (38, 46));
}
