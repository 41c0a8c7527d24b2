//! Tunnels over the loopback interface, honest and hostile.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;

use super::*;
use crate::frame::Entry;
use crate::port::{Egress, Tally};

fn cfg(local: &str, remote: &str, udp: u16, vni: u32) -> VxlanPort {
    let at = |ip: &str| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), udp);
    VxlanPort {
        remote: at(remote),
        local: at(local),
        vni,
        mtu: None,
        netns: None,
        ttl: Some(7),
        dont_fragment: false,
    }
}

/// A UDP port that is free at all addresses of this host now.
fn free() -> u16 {
    UdpSocket::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

struct End {
    ingress: Box<dyn Ingress>,
    egress: Arc<dyn Egress>,
    burst: Burst,
    rejected: BTreeMap<&'static str, u64>,
    _keep: Vec<Box<dyn std::any::Any + Send>>,
}

impl End {
    fn open(cfg: &VxlanPort) -> Self {
        let Opened { mut ingress, egress, keep } = open("x", cfg).unwrap();
        let (burst, rejected) = (Burst::default(), BTreeMap::new());
        Self { ingress: ingress.remove(0), egress, burst, rejected, _keep: keep }
    }

    fn send(&mut self, frames: &[Vec<u8>]) -> Tally {
        self.burst.clear();
        for f in frames {
            // SAFETY: the frames outlive the burst's use.
            unsafe { self.burst.push(f.as_ptr(), f.len(), 1) };
        }
        let list: Vec<_> = (0..frames.len() as u16).map(|i| Entry { orig: i, frame: i }).collect();
        self.egress.put(&self.burst, &list, 0, 0)
    }

    /// The frames that are there within `ms`, at least `least` unless time is over; `max` at a time.
    fn receive(&mut self, least: u64, max: usize, ms: u16) -> Vec<Vec<u8>> {
        let (mut got, mut many) = (Vec::new(), 0);
        while many < least {
            self.burst.clear();
            self.ingress.take(&mut self.burst, max, 0);
            let n = self.burst.taken();
            if n == 0 {
                assert!(self.ingress.arm(), "there is something after all");
                let fd = self.ingress.fd().unwrap();
                if poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::from(ms)).unwrap() == 0 {
                    break;
                }
                continue;
            }
            many += n as u64;
            for i in 0..n {
                let f = self.burst.frames[i];
                match f.reject {
                    Some(cause) => *self.rejected.entry(cause.name()).or_default() += 1,
                    None => {
                        let mut bytes = Vec::new();
                        let e = Entry { orig: i as u16, frame: i as u16 };
                        crate::port::sys::io::append(&mut bytes, &self.burst, e);
                        got.push(bytes);
                    }
                }
            }
            self.ingress.complete(&self.burst, n);
        }
        got
    }
}

const SOON: u16 = 10_000;

fn numbered(n: usize, len: usize) -> Vec<u8> {
    let mut f = vec![n as u8; len.max(20)];
    f[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    f[16..20].copy_from_slice(&(n as u32).to_be_bytes());
    f
}

#[test]
fn frames_cross_whole_and_in_order() {
    for (a, b) in [("127.0.0.1", "127.0.0.2"), ("::1", "::1")] {
        let udp = free();
        let (one, two) = (cfg(a, b, udp, 0xabcdef), cfg(b, a, udp, 0xabcdef));
        let mut left = End::open(&one);
        // Over IPv6 there is but one address: what is sent comes back.
        let mut right = if a == b { None } else { Some(End::open(&two)) };
        let lens = [20, 21, 60, 60, 60, 1514, 1514, 1514, 1500, 1514, 9000, 60, 40_000, 65_000];
        let frames: Vec<_> =
            lens.iter().cycle().enumerate().take(250).map(|(n, l)| numbered(n, *l)).collect();
        for part in frames.chunks(50) {
            let tally = left.send(part);
            assert_eq!(
                tally,
                Tally { frames: 50, bytes: part.iter().map(|f| f.len() as u64).sum(), tx_error: 0 }
            );
            let got = right.as_mut().unwrap_or(&mut left).receive(50, 7, SOON);
            assert!(got == part, "{} of {}", got.len(), part.len());
        }
        let alike: Vec<_> = (0..1000).map(|n| numbered(n, 1400)).collect();
        assert_eq!(left.send(&alike).frames, 1000);
        assert!(right.as_mut().unwrap_or(&mut left).receive(1000, 1024, SOON) == alike);
    }
}

/// Ports at one address get what is theirs, by network and sender; what is nobody's is counted once.
#[test]
fn ports_share_an_address() {
    let udp = free();
    let local = "127.0.0.1";
    let wants = [("127.0.0.2", 1), ("127.0.0.2", 2), ("127.0.0.3", 1), ("127.0.0.4", 0xff_ffff)];
    let mut hub: Vec<End> = wants.iter().map(|(r, vni)| End::open(&cfg(local, r, udp, *vni))).collect();
    let mut spokes: Vec<End> = wants.iter().map(|(r, vni)| End::open(&cfg(r, local, udp, *vni))).collect();
    let twice = open("x", &cfg(local, "127.0.0.2", udp, 2)).err().unwrap().to_string();
    assert!(twice.contains("another port takes frames of VNI 2 from 127.0.0.2 at 127.0.0.1"), "{twice}");
    for round in 0..2 {
        for (i, s) in spokes.iter_mut().enumerate() {
            assert_eq!(s.send(&[numbered(i, 100), numbered(i, 100), numbered(i, 90)]).frames, 3);
        }
        for (i, h) in hub.iter_mut().enumerate() {
            let got = h.receive(3, 64, SOON);
            assert!(
                got == [numbered(i, 100), numbered(i, 100), numbered(i, 90)],
                "port {i} in round {round}"
            );
        }
        // One goes: the others get theirs as before, and the first of the group what was its.
        if round == 0 {
            hub.remove(0);
            spokes.remove(0);
            for h in &mut hub {
                assert!(h.receive(1, 64, 0).is_empty() && h.rejected.is_empty());
            }
            hub.insert(0, End::open(&cfg(local, "127.0.0.9", udp, 9)));
            spokes.insert(0, End::open(&cfg("127.0.0.9", local, udp, 9)));
            assert_eq!(spokes[0].send(&[numbered(7, 60)]).frames, 1);
            assert!(hub[0].receive(1, 64, SOON) == [numbered(7, 60)]);
        }
    }
    let mut stranger = End::open(&cfg("127.0.0.5", local, udp, 1));
    stranger.send(&[numbered(1, 60)]);
    let mut seen = BTreeMap::new();
    for h in &mut hub {
        assert!(h.receive(1, 64, 200).is_empty());
        h.rejected.iter().for_each(|(c, n)| *seen.entry(*c).or_default() += n);
    }
    assert_eq!(seen, [("stranger", 1u64)].into());
}

#[test]
fn an_address_in_use_is_refused() {
    let udp = free();
    let _other = UdpSocket::bind(("127.0.0.1", udp)).unwrap();
    let refused = open("x", &cfg("127.0.0.1", "127.0.0.2", udp, 1)).err().unwrap().to_string();
    assert!(refused.contains(&format!("cannot listen at UDP 127.0.0.1:{udp}")), "{refused}");
    assert!(refused.contains("in use"), "{refused}");
    let elsewhere = open("x", &cfg("192.0.2.1", "127.0.0.2", udp, 1)).err().unwrap().to_string();
    assert!(elsewhere.contains("Cannot assign requested address"), "{elsewhere}");
}

/// Too long for a port's MTU the switch does not send; what the kernel refuses is counted.
#[test]
fn what_cannot_be_sent_is_counted() {
    let udp = free();
    let mut a = End::open(&VxlanPort { mtu: Some(1500), ..cfg("127.0.0.1", "127.0.0.2", udp, 1) });
    assert_eq!(a.egress.caps().max_frame, 1518);
    // Nobody listens there yet: not an error of UDP's.
    assert_eq!(a.send(&[numbered(0, 60)]).tx_error, 0);
    let mut b = End::open(&VxlanPort { dont_fragment: true, ..cfg("127.0.0.2", "127.0.0.1", udp, 1) });
    assert_eq!(b.send(&vec![numbered(0, 65_530); 3]), Tally { frames: 0, bytes: 0, tx_error: 3 });
    assert_eq!(b.send(&[numbered(1, 60)]).frames, 1);
    assert!(a.receive(1, 9, SOON) == [numbered(1, 60)]);
    assert_eq!(a.egress.about().kernel_drops, [("socket_full", 0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives: each datagram is one frame or one refusal, and only what is right is a frame.
    #[test]
    fn hostile_datagrams_are_refused(
        datagrams in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..30),
    ) {
        let udp = free();
        let mut end = End::open(&cfg("127.0.0.1", "127.0.0.2", udp, 5));
        let friend = UdpSocket::bind("127.0.0.2:0").unwrap();
        let stranger = UdpSocket::bind("127.0.0.3:0").unwrap();
        let (mut frames, mut malformed, mut strange) = (Vec::new(), 0u64, 0u64);
        for (known, bytes, headed) in &datagrams {
            let mut d = if *headed { header(5).to_vec() } else { Vec::new() };
            // What is reserved is ignored.
            if *headed && bytes.len() > 8 {
                (d[0], d[1], d[7]) = (bytes[0] | 8, bytes[1], bytes[2]);
            }
            d.extend_from_slice(bytes);
            let from = if *known { &friend } else { &stranger };
            from.send_to(&d, ("127.0.0.1", udp)).unwrap();
            if d.len() < 8 || d[0] & 8 == 0 {
                malformed += 1;
            } else if !known || d[4..7] != [0, 0, 5] {
                strange += 1;
            } else if d.len() - 8 < 14 {
                *end.rejected.entry("expected runts").or_default() += 1;
            } else {
                frames.push(d[8..].to_vec());
            }
        }
        let got = end.receive(datagrams.len() as u64, 5, SOON);
        let count = |end: &End, c: &str| end.rejected.get(c).copied().unwrap_or(0);
        prop_assert_eq!(got, frames);
        prop_assert_eq!(count(&end, "malformed"), malformed);
        prop_assert_eq!(count(&end, "stranger"), strange);
        prop_assert_eq!(count(&end, "runt"), count(&end, "expected runts"));
    }

    /// Any bytes, any number of buffers put together by the kernel.
    #[test]
    fn a_datagram_is_read_within_its_bytes(d in proptest::collection::vec(any::<u8>(), 0..64), vni in 0u32..1 << 24) {
        let at = |s: &str| s.parse::<SocketAddr>().unwrap();
        let (a, b) = (at("10.0.0.1:1"), at("10.0.0.1:2"));
        match frame_of(&d, a, b, vni) {
            Ok(f) => prop_assert!(d.len() >= 8 && d[0] & 8 != 0 && f == &d[8..] && d[4..7] == vni.to_be_bytes()[1..]),
            Err(Cause::Malformed) => prop_assert!(d.len() < 8 || d[0] & 8 == 0),
            Err(_) => prop_assert!(d[4..7] != vni.to_be_bytes()[1..]),
        }
        let whole = [&header(vni)[..], &d].concat();
        prop_assert_eq!(frame_of(&whole, a, b, vni), Ok(&d[..]));
        prop_assert_eq!(frame_of(&whole, at("10.0.0.2:1"), b, vni), Err(Cause::Stranger));
    }
}
