//! Against the kernel, in network namespaces of their own. They need root, as TAPs do.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use nix::sched::{CloneFlags, unshare};
use valecast_config::Mac;

use super::*;

/// Runs `f` in a network namespace that goes away with it; not at all without the rights.
fn as_root(f: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        // Not `eprintln`, which the test harness hides.
        let _ = writeln!(std::io::stderr(), "*** SKIPPED: needs root (the e2e suite covers it as root) ***");
        return;
    }
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        f();
    })
    .join()
    .unwrap();
}

fn config(addresses: &[&str]) -> TapPort {
    TapPort {
        ifname: "vtap0".into(),
        netns: None,
        queues: 1,
        mtu: Some(1400),
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        offload: true,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        up: true,
    }
}

/// Takes frames until `want` likes one; its bytes and header.
fn await_frame(i: &mut dyn Ingress, want: impl Fn(&[u8]) -> bool) -> (Vec<u8>, Option<VnetHdr>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut burst = Burst::default();
    loop {
        burst.clear();
        i.take(&mut burst, 1024, 0);
        let n = burst.taken();
        for k in 0..n {
            let mut v = Vec::new();
            io::append(&mut v, &burst, Entry { orig: 0, frame: k as u16 });
            if want(&v) {
                let vnet = burst.vnet(&burst.frames[k]);
                i.complete(&burst, n);
                return (v, vnet);
            }
        }
        i.complete(&burst, n);
        assert!(Instant::now() < deadline, "no such frame");
    }
}

fn put(o: &Opened, frame: &[u8]) -> Tally {
    let mut b = Burst::default();
    // SAFETY: the frame outlives the burst.
    unsafe { b.push(frame.as_ptr(), frame.len(), 1) };
    o.egress.put(&b, &[Entry { orig: 0, frame: 0 }], 3, 0)
}

#[test]
fn speaks_with_the_kernel() {
    as_root(|| {
        let mut o = open("t", &config(&["10.9.0.1/24", "10.8.0.1/16", "fd00:9::1/64"])).unwrap();
        let i = Iface::new("vtap0").unwrap();
        assert_eq!(i.mtu().unwrap(), 1400);
        // All addresses can be used at once.
        UdpSocket::bind("10.8.0.1:0").unwrap();
        UdpSocket::bind("[fd00:9::1]:0").unwrap();
        let s = UdpSocket::bind("10.9.0.1:4000").unwrap();
        s.set_read_timeout(Some(Duration::from_secs(10))).unwrap();

        let data = b"from the switch".repeat(20);
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 5], [2, 0, 0, 0, 0, 9])
            .ipv4([10, 9, 0, 2], [10, 9, 0, 1], 64)
            .udp(5000, 4000)
            .write(&mut frame, &data)
            .unwrap();
        let t = put(&o, &frame);
        assert_eq!(t, Tally { frames: 1, bytes: frame.len() as u64, tx_error: 0 });
        let mut got = [0; 2000];
        let (n, from) = s.recv_from(&mut got).unwrap();
        assert_eq!((&got[..n], from), (&data[..], SocketAddr::from(([10, 9, 0, 2], 5000))));

        // The other way: the kernel asks who has the address.
        s.send_to(b"x", "10.9.0.7:9").unwrap();
        let (arp, _) = await_frame(&mut *o.ingress[0], |f| f[12..14] == [8, 6] && f[38..42] == [10, 9, 0, 7]);
        assert_eq!(arp[..12], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9]);
        assert!(put(&o, &[0; 10]).tx_error == 1, "a runt is refused");
    });
}

#[test]
fn leaves_segments_to_us() {
    as_root(|| {
        let mut o = open("t", &config(&["10.9.0.1/24"])).unwrap();
        let ok = std::process::Command::new("ip")
            .args(["neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:05", "dev", "vtap0"])
            .status()
            .unwrap();
        assert!(ok.success());
        let s = UdpSocket::bind("10.9.0.1:0").unwrap();
        s.send_to(b"checksum me", "10.9.0.2:9").unwrap();
        let (f, vnet) = await_frame(&mut *o.ingress[0], |f| f[..6] == [2, 0, 0, 0, 0, 5]);
        assert_eq!(f.len(), 14 + 20 + 8 + 11);
        let vnet = vnet.expect("the checksum is left to us");
        assert_eq!((vnet.flags & VnetHdr::NEEDS_CSUM, vnet.csum_start, vnet.csum_offset), (1, 34, 6));
    });
}

#[test]
fn gives_again_and_arms_only_when_empty() {
    as_root(|| {
        let mut o = open("t", &config(&["10.9.0.1/24"])).unwrap();
        let i = &mut o.ingress[0];
        let mut b = Burst::default();
        // Whatever the kernel says of its own, until it is quiet.
        let quiet = |i: &mut dyn Ingress, b: &mut Burst| {
            loop {
                b.clear();
                i.take(b, 1024, 0);
                if b.taken() == 0 && i.arm() {
                    return;
                }
                i.complete(b, b.taken());
            }
        };
        quiet(&mut **i, &mut b);
        UdpSocket::bind("10.9.0.1:0").unwrap().send_to(b"x", "10.9.0.7:9").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while i.arm() {
            assert!(Instant::now() < deadline);
        }
        for _ in 0..3 {
            b.clear();
            i.take(&mut b, 1, 0);
            assert_eq!(b.taken(), 1);
            assert!(!i.arm());
        }
        i.complete(&b, 1);
    });
}

#[test]
fn many_queues_and_clear_refusals() {
    as_root(|| {
        let cfg = TapPort { queues: 4, offload: false, ..config(&[]) };
        let o = open("t", &cfg).unwrap();
        assert_eq!(o.ingress.len(), 4);
        assert!(!o.egress.caps().vnet);
        let e = open("t", &config(&[])).err().unwrap().to_string();
        assert!(e.contains("vtap0") && e.contains("several are configured"), "{e}");
        drop(o);
        let o = open("t", &TapPort { up: false, ..config(&[]) }).unwrap();
        let e = open("t", &config(&[])).err().unwrap().to_string();
        assert!(e.contains("another process has it"), "{e}");
        assert_eq!(put(&o, &[0; 60]).tx_error, 1, "the interface is down");
        let e =
            open("t", &TapPort { netns: Some("nowhere".into()), ..config(&[]) }).err().unwrap().to_string();
        assert!(e.contains("/run/netns/nowhere") && e.contains("ip netns add"), "{e}");
        let e =
            open("t", &TapPort { netns: Some("/dev/null".into()), ..config(&[]) }).err().unwrap().to_string();
        assert!(e.contains("/dev/null (the file is not a network namespace)"), "{e}");
        let e = open("t", &TapPort { ifname: "lo".into(), ..config(&[]) }).err().unwrap().to_string();
        assert!(e.contains("is no TAP"), "{e}");
    });
}

#[test]
fn makes_the_interface_in_another_namespace() {
    as_root(|| {
        let other = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let other = other.join().unwrap();
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", other.as_raw_fd());
        let mut o = open("t", &TapPort { netns: Some(path.clone()), ..config(&["10.9.0.1/24"]) }).unwrap();
        assert_eq!(Iface::new("vtap0").unwrap().index(), Err(Errno::ENODEV), "not here");
        sys::in_netns(Some(&path), || {
            UdpSocket::bind("10.9.0.1:0").unwrap().send_to(b"x", "10.9.0.7:9").unwrap();
            Ok(())
        })
        .unwrap();
        await_frame(&mut *o.ingress[0], |f| f[12..14] == [8, 6]);
    });
}

#[test]
fn attaches_to_a_persistent_interface() {
    as_root(|| {
        let ok = std::process::Command::new("ip")
            .args(["tuntap", "add", "vtap0", "mode", "tap"])
            .status()
            .unwrap();
        assert!(ok.success());
        let mut o = open("t", &config(&["10.9.0.1/24"])).unwrap();
        UdpSocket::bind("10.9.0.1:0").unwrap().send_to(b"x", "10.9.0.7:9").unwrap();
        await_frame(&mut *o.ingress[0], |f| f[12..14] == [8, 6]);
        drop(o);
        // It stays, and so do its addresses, which is no reason to refuse it the next time.
        Iface::new("vtap0").unwrap().index().unwrap();
        open("t", &config(&["10.9.0.1/24"])).unwrap();
    });
}
