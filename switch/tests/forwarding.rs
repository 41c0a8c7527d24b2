//! What goes where: learning, flooding, VLANs, groups, meters, mirrors, policies. Over real rings.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

use common::{Rig, frame};
use std::time::{Duration, Instant};
use valecast_ring::layout::{Layout, RingParams};
use valecast_ring::region::{HugePages, Region};

#[test]
fn learns_and_floods() {
    let rig = Rig::rings(&["a", "b", "c"], "", "");
    let (mut a, mut b, mut c) = (rig.attach("a"), rig.attach("b"), rig.attach("c"));
    let hello = frame(2, 1, b"to b, unknown yet");
    a.send(&hello);
    assert_eq!(b.recv().as_ref(), Some(&hello));
    assert_eq!(c.recv().as_ref(), Some(&hello));
    let back = frame(1, 2, b"now known");
    b.send(&back);
    assert_eq!(a.recv(), Some(back));
    assert!(c.silent());
    a.send(&hello);
    assert_eq!(b.recv(), Some(hello));
    assert!(c.silent());
    let own = frame(1, 9, b"to my own port");
    a.send(&own);
    let all = frame(0xff, 3, b"to all");
    c.send(&all);
    assert_eq!((a.recv(), b.recv()), (Some(all.clone()), Some(all)));
    assert!(c.silent());
    let v = rig.books();
    assert_eq!(v.ports[0].in_drops["own_port"], 1);
    assert_eq!(v.fdb_entries, 4);
}

#[test]
fn sizes_cross_whole() {
    let rig = Rig::rings(&["a", "b"], "", "");
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    for len in [14, 15, 16, 17, 31, 32, 33, 48, 60, 63, 64, 65, 127, 1500, 1514, 2112, 2113, 9018, 65535] {
        let mut f = frame(0xff, 1, &[]);
        f.resize(len.max(14), 0);
        f.truncate(len);
        for (i, x) in f.iter_mut().enumerate().skip(14) {
            *x = (i * 31) as u8;
        }
        a.send(&f);
        assert_eq!(b.recv(), Some(f), "{len} bytes");
    }
    a.send(&[1, 2, 3]);
    assert!(b.silent());
    assert_eq!(rig.books().ports[0].in_drops["runt"], 1);
}

/// The key decides; what there is for those who may have some is the kernel's to say.
#[test]
fn huge_pages_are_for_ports_that_want_them() {
    let rest = "[[switch.port]]\nname = \"off\"\nkind = \"ring\"\nhugepages = \"off\"\n";
    let rig = Rig::rings(&["a"], "", rest);
    let attached = || {
        let clients = (rig.attach("a"), rig.attach("off"));
        let ports = rig.stats().ports;
        drop(clients);
        while rig.stats().ports.iter().any(|p| p.state == "up") {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((ports[1].huge_memory, ports[1].memory), (0, ports[0].memory));
        assert!([0, 4 << 20].contains(&ports[0].huge_memory), "{}", ports[0].huge_memory);
        ports[0].huge_memory > 0
    };
    let layout = Layout::try_from(RingParams::default()).unwrap();
    let given = || Region::create(layout, "t", HugePages::Try).unwrap().huge() > 0;
    // One that is out of them for a moment has some again.
    let some = (0..10).any(|_| given());
    assert_eq!((0..10).any(|_| attached()), some);
}

/// A frame that is too long for its receiver does not take along those after it.
#[test]
fn a_frame_too_long_is_dropped_alone() {
    let rest = "[[switch.port]]\nname = \"small\"\nkind = \"ring\"\nslots = 16\nbuf_size = 64\n";
    let rig = Rig::rings(&["a"], "", rest);
    let (mut a, mut small) = (rig.attach("a"), rig.attach("small"));
    small.send(&frame(0xff, 2, b"here"));
    assert!(a.recv().is_some());
    let mut long = frame(2, 1, &[]);
    long.resize(5000, 7);
    let short = frame(2, 1, b"short");
    // In one burst: all are published at once.
    for f in [&long, &short, &short] {
        assert!(a.tx.push(f));
    }
    a.tx.publish();
    assert_eq!((small.recv().as_ref(), small.recv()), (Some(&short), Some(short.clone())));
    let v = rig.books();
    assert_eq!(v.ports[1].out_drops["too_big"], 1);
}

/// A receiver that waits for more frames than come is woken with what there is, even while the worker never
/// rests.
#[test]
fn a_patient_receiver_is_served_beside_a_busy_one() {
    let rig = Rig::rings(&["a", "b", "c", "d"], "", "");
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    let (mut c, mut d) = (rig.attach("c"), rig.attach("d"));
    for (p, n) in [(&mut a, 1), (&mut b, 2), (&mut c, 3), (&mut d, 4)] {
        p.send(&frame(0xff, n, b"here"));
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for _ in 0..64 {
                    c.tx.push(&frame(4, 3, b"load"));
                }
                c.tx.publish();
                let n = d.rx.pending();
                d.rx.advance(n);
                d.rx.release();
            }
        });
        while b.rx.pending() > 0 {
            b.rx.advance(1);
        }
        b.rx.release();
        a.send(&frame(2, 1, b"one"));
        b.rx.wait(100, None).unwrap();
        let seen = b.rx.pending();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(seen >= 1, "nobody woke the receiver");
    });
    rig.books();
}

#[test]
fn vlans_part_and_join() {
    let rest = r#"
[[switch.port]]
name = "a10"
kind = "ring"
vlan_access = 10
[[switch.port]]
name = "b10"
kind = "ring"
vlan_access = 10
[[switch.port]]
name = "c20"
kind = "ring"
vlan_access = 20
[[switch.port]]
name = "trunk"
kind = "ring"
vlan_trunk = [10, 20]
"#;
    let rig = Rig::new(&format!("[[switch]]\nname = \"vale0\"\n{rest}"));
    let mut p: Vec<_> = ["a10", "b10", "c20", "trunk"].iter().map(|n| rig.attach(n)).collect();
    let f = frame(0xff, 1, b"in vlan 10");
    p[0].send(&f);
    assert_eq!(p[1].recv().as_ref(), Some(&f));
    let mut tagged = f.clone();
    tagged.splice(12..12, [0x81, 0, 0, 10]);
    assert_eq!(p[3].recv().as_ref(), Some(&tagged));
    assert!(p[2].silent());
    let mut t20 = frame(0xff, 7, b"vlan 20 from the trunk");
    let plain20 = t20.clone();
    t20.splice(12..12, [0x81, 0, 0, 20]);
    p[3].send(&t20);
    assert_eq!(p[2].recv(), Some(plain20));
    assert!(p[0].silent() && p[1].silent());
    // The same address lives in both VLANs, on different ports.
    let mut t30 = frame(0xff, 7, b"vlan 30 is not carried");
    t30.splice(12..12, [0x81, 0, 0, 30]);
    p[3].send(&t30);
    p[0].send(&tagged);
    let v = rig.books();
    let port = |n: &str| v.ports.iter().find(|p| p.name == n).unwrap();
    assert_eq!(port("trunk").in_drops["vlan"], 1);
    assert_eq!(port("a10").in_drops["vlan"], 1);
}

#[test]
fn groups_copy_and_rewrite() {
    let rest = r#"
[[switch.group]]
name = "g"
address = "01:00:5e:00:00:01"
ingress = "a"
buckets = [{ port = "b" }, { port = "c", set_dst = "02:00:00:00:00:0c" }, { port = "a" }]
"#;
    let rig = Rig::rings(&["a", "b", "c", "d"], "", rest);
    let mut p: Vec<_> = ["a", "b", "c", "d"].iter().map(|n| rig.attach(n)).collect();
    let mut f = frame(9, 1, b"group");
    f[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]);
    p[0].send(&f);
    assert_eq!(p[1].recv().as_ref(), Some(&f));
    let mut at_c = f.clone();
    at_c[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0xc]);
    assert_eq!(p[2].recv(), Some(at_c));
    assert!(p[3].silent() && p[0].silent());
    // From another port the address is plain multicast.
    p[3].send(&f);
    assert!((0..3).all(|i| p[i].recv().as_ref() == Some(&f)));
    let g = rig.daemon.with("vale0", |s| s.groups_view()).unwrap();
    assert_eq!(g.groups[0].frames, 1);
    rig.daemon.with("vale0", |s| s.remove_group("g")).unwrap().unwrap();
    p[0].send(&f);
    assert_eq!(p[3].recv(), Some(f));
    rig.books();
}

#[test]
fn group_limits_are_clear() {
    let rig = Rig::new(
        "[[switch]]\nname=\"vale0\"\nmax_groups=1\nmax_buckets=1\n[[switch.port]]\nname=\"a\"\nkind=\"null\"\n",
    );
    let group = |name: &str, n: usize| {
        let b = vec!["{port=\"a\"}"; n].join(",");
        let text = format!("name={name:?}\naddress=\"01:00:00:00:00:0{n}\"\nbuckets=[{b}]");
        valecast_config::parse_group("t", &text).unwrap()
    };
    let add = |g| rig.daemon.with("vale0", |s| s.add_group(g)).unwrap();
    let e = add(group("two", 2)).unwrap_err().to_string();
    assert!(e.contains("2 buckets") && e.contains("max_buckets"), "{e}");
    add(group("one", 1)).unwrap();
    let e = add(group("more", 1)).unwrap_err().to_string();
    assert!(e.contains("max_groups"), "{e}");
}

#[test]
fn mirrors_see_both_directions() {
    let rest = "[[switch.mirror]]\nfrom = \"a\"\nto = \"m\"\n";
    let rig = Rig::rings(&["a", "b", "m"], "", rest);
    let (mut a, mut b, mut m) = (rig.attach("a"), rig.attach("b"), rig.attach("m"));
    let (out, back) = (frame(2, 1, b"out"), frame(1, 2, b"back"));
    a.send(&out);
    assert_eq!((b.recv(), m.recv()), (Some(out.clone()), Some(out)));
    b.send(&back);
    assert_eq!((a.recv(), m.recv()), (Some(back.clone()), Some(back)));
    assert!(m.silent(), "a mirror gets each frame once");
    rig.books();
}

#[test]
fn policies_drop_by_name() {
    let rest = r#"
[[switch.port]]
name = "strict"
kind = "ring"
allowed_macs = ["02:00:00:00:00:01"]
[[switch.port]]
name = "few"
kind = "ring"
mac_limit = 2
[[switch.port]]
name = "slow"
kind = "ring"
rate = "80bit/s"
rate_burst = "1000"
[[switch.static]]
mac = "02:00:00:00:00:aa"
port = "few"
"#;
    let rig = Rig::rings(&["b"], "", rest);
    let (mut b, mut strict, mut few, mut slow) =
        (rig.attach("b"), rig.attach("strict"), rig.attach("few"), rig.attach("slow"));
    strict.send(&frame(0xff, 9, b"spoofed"));
    strict.send(&frame(0xff, 1, b"mine"));
    assert_eq!(&b.recv().unwrap()[14..18], b"mine");
    for src in 10..20 {
        few.send(&frame(0xff, src, b"many"));
    }
    for _ in 0..100 {
        slow.send(&frame(0xff, 30, &[0; 86]));
    }
    b.send(&frame(0xaa, 2, b"static"));
    let v = rig.books();
    let port = |n: &str| v.ports.iter().find(|p| p.name == n).unwrap();
    assert_eq!(port("strict").in_drops["mac_denied"], 1);
    assert_eq!(port("few").learn_refused, 8 + 1);
    assert!((85..=90).contains(&port("slow").in_drops["policed"]), "{:?}", port("slow"));
    let mut last = Vec::new();
    while let Some(f) = few.recv_within(Duration::from_millis(100)) {
        last = f;
    }
    assert_eq!(&last[14..20], b"static");
}

#[test]
fn a_shaping_meter_holds_and_loses_nothing() {
    let rest = r#"
[[switch.meter]]
name = "m"
rate = "8Mbit/s"
burst = "1000"
mode = "shape"
[[switch.group]]
name = "g"
address = "01:00:5e:00:00:01"
meter = "m"
buckets = [{ port = "b" }]
"#;
    let rig = Rig::rings(&["a", "b"], "", rest);
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    let mut f = frame(9, 1, &[7; 986]);
    f[0] = 1;
    f[1..6].copy_from_slice(&[0, 0x5e, 0, 0, 1]);
    let start = Instant::now();
    for _ in 0..200 {
        a.send(&f);
    }
    let got = (0..200).filter(|_| b.recv().is_some()).count();
    assert_eq!(got, 200);
    // 200 frames of 1000 bytes at 1 MB/s: never faster, whatever the machine.
    assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    rig.books();
}

#[test]
fn patches_join_two_switches() {
    let port = |n: &str, k: &str| format!("[[switch.port]]\nname={n:?}\n{k}\n");
    let toml = format!(
        "[[switch]]\nname=\"vale0\"\n{}{}[[switch]]\nname=\"vale1\"\n{}{}",
        port("a", "kind=\"ring\""),
        port("x", "kind=\"patch\"\npeer=\"vale1:y\""),
        port("b", "kind=\"ring\""),
        port("y", "kind=\"patch\"\npeer=\"vale0:x\""),
    );
    let rig = Rig::new(&toml);
    let mut a = rig.attach("a");
    let sock = valecast_switch::daemon::Daemon::ring_socket(rig.dir.path(), "vale1");
    let p = valecast_ring::client::Port::attach(&sock, "b", &Default::default()).unwrap();
    let (link, tx, rx) = p.split();
    let mut b =
        common::Client { link, tx: tx.into_iter().next().unwrap(), rx: rx.into_iter().next().unwrap() };
    for i in 0..2000u32 {
        let f = frame(0xff, 1, &i.to_be_bytes());
        a.send(&f);
        assert_eq!(b.recv(), Some(f));
        b.send(&frame(1, 2, b"back"));
        assert!(a.recv().is_some());
    }
    rig.books();
}

/// A port with `flood = false` is left out of floods and lets none in; groups and static entries, of group addresses,
/// too, work. A reload changes it.
#[test]
fn floods_stop_at_a_link() {
    let rest = r#"
[[switch.port]]
name = "link"
kind = "ring"
flood = false
[[switch.static]]
mac = "02:00:00:00:00:21"
port = "link"
[[switch.static]]
mac = "03:00:01:00:00:00"
port = "link"
[[switch.group]]
name = "tree"
address = "03:00:02:00:00:00"
buckets = [{ port = "link" }, { port = "a" }, { port = "b" }]
"#;
    let rig = Rig::rings(&["a", "b"], "", rest);
    let (mut a, mut b, mut link) = (rig.attach("a"), rig.attach("b"), rig.attach("link"));
    let group = |n: u8, src| [&[3, 0, n, 0, 0, 0, 2, 0, 0, 0, 0, src, 0x88, 0xb5][..], &[7; 50]].concat();
    // Unknown, broadcast, multicast without an entry.
    for f in [frame(9, 1, b"unknown"), frame(0xff, 1, b"all"), group(9, 1)] {
        a.send(&f);
        assert_eq!(b.recv(), Some(f.clone()));
        let mut back = f;
        back[11] = 0x30;
        link.send(&back);
    }
    assert!(link.silent() && a.silent() && b.silent());
    // Known, a group, and static entries of either sort.
    link.send(&frame(1, 0x30, b"known"));
    assert_eq!(a.recv(), Some(frame(1, 0x30, b"known")));
    link.send(&group(2, 0x30));
    assert_eq!((a.recv(), b.recv()), (Some(group(2, 0x30)), Some(group(2, 0x30))));
    for f in [frame(0x21, 1, b"static"), frame(0x30, 1, b"learned"), group(1, 1), group(2, 1)] {
        a.send(&f);
        assert_eq!(link.recv(), Some(f));
    }
    assert_eq!(b.recv(), Some(group(2, 1)));
    let v = rig.books();
    assert_eq!(v.ports[2].name, "link");
    assert_eq!(v.ports[2].in_drops, [("no_flood".to_owned(), 3)].into());
    assert_eq!(v.ports[2].out_frames, 4);

    let text = std::fs::read_to_string(rig.file()).unwrap();
    let text =
        text.replace("flood = false", "flood = true").replace("03:00:01:00:00:00", "03:00:05:00:00:00");
    std::fs::write(rig.file(), text).unwrap();
    assert_eq!(rig.daemon.reload().unwrap().len(), 1);
    link.send(&frame(0xff, 0x30, b"all"));
    assert!(a.recv().is_some() && b.recv().is_some());
    // The entry that the reload took away: flooded now.
    a.send(&group(1, 1));
    assert_eq!((link.recv(), b.recv()), (Some(group(1, 1)), Some(group(1, 1))));
    a.send(&group(5, 1));
    assert_eq!(link.recv(), Some(group(5, 1)));
    assert!(b.silent());
    rig.books();
}
