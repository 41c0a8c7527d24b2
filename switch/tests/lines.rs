//! Ports with a capacity or with faults, in a running daemon. The clock is the real one: what is checked holds however
//! slow the machine is.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

use common::{Rig, flow, frame};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

fn switches(workers: usize, left: &str, right: &str) -> String {
    let mut toml = String::new();
    for (name, peer, keys) in [("vale0", "far", left), ("far", "vale0", right)] {
        toml += &format!("[[switch]]\nname = {name:?}\nworkers = {workers}\n");
        toml += "[[switch.port]]\nname = \"a\"\nkind = \"ring\"\noverflow = \"backpressure\"\n";
        toml +=
            &format!("[[switch.port]]\nname = \"link\"\nkind = \"patch\"\npeer = \"{peer}:link\"\n{keys}\n");
    }
    toml
}

/// With backpressure at the link everything crosses, in order and whole, and no faster than it may.
#[test]
fn a_link_carries_all_at_its_rate() {
    for workers in [1, 2] {
        let keys = "capacity = \"40 Mbit/s\"\nqueue = \"4KiB\"\noverflow = \"backpressure\"";
        let rig = Rig::new(&switches(workers, keys, keys));
        let (a, b) = (rig.attach("a"), rig.attach_to("far", "a"));
        let (mut atx, mut brx) = (a.tx, b.rx);
        let (stop, ab) = (AtomicBool::new(true), flow::Flow::default());
        let since = Instant::now();
        std::thread::scope(|s| {
            s.spawn(|| ab.send(&mut atx, 0xff, 1, 400, &stop));
            s.spawn(|| ab.receive(&mut brx, 0xff, 1));
        });
        let took = since.elapsed();
        let v = rig.settled("vale0");
        let link = v.ports.iter().find(|p| p.name == "link").unwrap();
        assert_eq!((link.out_frames, link.out_drops.len()), (400, 0));
        let least = Duration::from_nanos(link.out_bytes * 8 * 1000 / 40);
        assert!(took >= least, "{} bytes took {took:?}, not {least:?}", link.out_bytes);
        assert_eq!(link.device["queue_bytes"], 0);
    }
}

/// Without backpressure what the queue has no room for is dropped and counted; a reload changes the line, takes it away
/// from a port and gives it to one; what waits in the queue of a port that goes is counted.
#[test]
fn lines_change_live() {
    let rig = Rig::new(&switches(1, "capacity = \"8 bit/s\"\nqueue = \"4KiB\"", ""));
    let (mut a, mut b) = (rig.attach("a"), rig.attach_to("far", "a"));
    let burst: Vec<_> = (0..20).map(|n| frame(0xff, n, &[n; 986])).collect();
    for f in &burst {
        assert!(a.tx.push(f));
    }
    a.tx.publish();
    let full = |name: &str| {
        let v = rig.daemon.with(name, |s| s.ports_view()).unwrap();
        v.iter().map(|p| p.out_drops.get("ring_full").copied().unwrap_or(0)).sum::<u64>()
    };
    let since = Instant::now();
    while full("vale0") < 15 {
        assert!(since.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    let reload = |from: &str, to: &str| {
        let text = std::fs::read_to_string(rig.file()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(rig.file(), text.replacen(from, to, 1)).unwrap();
        rig.daemon.reload().unwrap()
    };
    // A thousand seconds for each frame is now a millisecond.
    reload("8 bit/s", "8 Mbit/s");
    for f in &burst[..5] {
        assert_eq!(b.recv().as_ref(), Some(f));
    }
    let v = rig.settled("vale0");
    assert_eq!(v.ports.iter().map(|p| p.out_frames).sum::<u64>(), 5);
    // No limit at all.
    reload("capacity = \"8 Mbit/s\"\nqueue = \"4KiB\"", "");
    for f in &burst {
        a.send(f);
        assert_eq!(b.recv().as_ref(), Some(f));
    }
    // The other end gets faults: everything is lost.
    reload("peer = \"vale0:link\"", "peer = \"vale0:link\"\nfaults = { loss = 1 }");
    b.send(&frame(0xff, 9, b"lost"));
    assert!(a.silent());
    let v = rig.settled("far");
    assert_eq!(v.ports[1].out_drops, [("fault".to_owned(), 1)].into());
    // And then a delay, during which the port goes.
    reload("loss = 1", "delay = \"10s\"");
    for n in 0..3 {
        b.send(&frame(0xff, n, b"on its way"));
    }
    let since = Instant::now();
    while rig.daemon.with("far", |s| s.ports_view()).unwrap()[0].copies < 4 {
        assert!(since.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    rig.daemon.detach_port("far", "link").unwrap();
    let v = rig.settled("far");
    assert_eq!(v.retired.out_drops, [("fault".to_owned(), 1), ("port_down".to_owned(), 3)].into());
    assert!(a.silent());
}

/// A line before a port whose client takes no frames: they wait, and go on once it does. Large frames are cut up before.
#[test]
fn a_slow_client_holds_the_line_up_and_comes_back() {
    let rest = "[[switch.port]]\nname = \"slow\"\nkind = \"ring\"\nslots = 16\ncapacity = \"10 Gbit/s\"\n\
                queue = \"64KiB\"\noverflow = \"backpressure\"\n";
    let rig = Rig::rings(&["a"], "", rest);
    let (mut a, mut slow) = (rig.attach("a"), rig.attach("slow"));
    let frames: Vec<_> = (0..200u8).map(|n| frame(0xff, 1, &[n; 900])).collect();
    std::thread::scope(|s| {
        s.spawn(|| frames.iter().for_each(|f| a.send(f)));
        // Everybody sleeps meanwhile.
        std::thread::sleep(Duration::from_millis(50));
        for f in &frames {
            assert_eq!(slow.recv().as_ref(), Some(f));
        }
    });
    let v = rig.settled("vale0");
    assert_eq!(v.ports.iter().map(|p| p.out_frames).sum::<u64>(), 200);
}
