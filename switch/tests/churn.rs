//! Clients that come and go, also by SIGKILL in the middle of it: others lose nothing, the port comes back at
//! once, nothing is left behind.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::flow::undisturbed;
use common::proc::{alone, fds, fds_back_to, rss_kb, soon};
use common::raw::Rng;
use common::{Client, Rig, frame};
use valecast_config::{Group, Mirror, parse_group, parse_mirror, parse_port};
use valecast_ring::client::{AttachOptions, Port};
use valecast_switch::switch::show::PortView;

/// Set for a child: the socket, and after a `|` the port.
const ROLE: &str = "VALECAST_TEST_CHILD";

/// Not a test: what a child process does, until it is killed.
#[test]
fn child_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (socket, port) = role.split_once('|').unwrap();
    let (link, mut tx, mut rx) =
        Port::attach(Path::new(socket), port, &AttachOptions::default()).unwrap().split();
    let mut seq = 0u32;
    while link.is_alive() {
        for dst in [0xff, 1, 2, 9] {
            let mut f = frame(dst, 0x66, &seq.to_be_bytes());
            f.resize(60 + seq as usize % 6000, 1);
            tx[0].push(&f);
        }
        tx[0].publish();
        seq += 1;
        // Reads now and then, and leaves some.
        if seq.is_multiple_of(7) {
            let n = rx[0].pending() / 2;
            rx[0].advance(n);
            rx[0].release();
        }
        if seq.is_multiple_of(64) {
            let _ = tx[0].wait(100, Some(Duration::from_millis(2)));
        }
    }
}

/// Killed and buried when dropped.
struct Blaster(Child);

#[cfg(test)]
impl Blaster {
    fn start(rig: &Rig, port: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_role", "--test-threads=1"])
            .env(ROLE, format!("{}|{port}", rig.socket().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

#[cfg(test)]
impl Drop for Blaster {
    fn drop(&mut self) {
        // `kill` is SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
fn rig(workers: usize, rest: &str) -> Rig {
    let honest = |n: &str| {
        format!("[[switch.port]]\nname = {n:?}\nkind = \"ring\"\nslots = 256\noverflow = \"backpressure\"\n")
    };
    Rig::new(&format!(
        "[[switch]]\nname = \"vale0\"\nworkers = {workers}\n{}{}[[switch.port]]\nname = \"x\"\nkind = \"ring\"\n\
         allowed_macs = [\"02:00:00:00:00:66\"]\n{rest}",
        honest("a"),
        honest("b")
    ))
}

#[cfg(test)]
fn port(rig: &Rig, name: &str) -> PortView {
    rig.stats().ports.into_iter().find(|p| p.name == name).unwrap()
}

#[cfg(test)]
fn lost(p: &PortView) -> u64 {
    p.in_drops.values().chain(p.out_drops.values()).sum::<u64>() + p.ring_resets
}

/// Honest clients lost nothing and their rings were never reset.
#[cfg(test)]
fn nothing_lost(rig: &Rig) {
    let v = rig.books();
    for p in v.ports.iter().filter(|p| p.name == "a" || p.name == "b") {
        assert_eq!(lost(p), 0, "{p:?}");
    }
}

#[cfg(test)]
fn killed_under_load(workers: usize, times: usize) {
    let _alone = alone();
    let rig = rig(workers, "");
    let base = fds();
    let mut rng = Rng(workers as u64);
    undisturbed(&rig, 2000, || {
        for i in 0..times {
            let child = Blaster::start(&rig, "x");
            soon(Duration::from_secs(10), "the child is attached", || port(&rig, "x").pid.is_some());
            let sent = port(&rig, "x").in_frames;
            if !i.is_multiple_of(5) {
                soon(Duration::from_secs(10), "it blasts", || port(&rig, "x").in_frames > sent);
            }
            std::thread::sleep(Duration::from_micros(rng.next() % 20_000));
            drop(child);
            soon(Duration::from_secs(20), "the port comes back", || port(&rig, "x").pid.is_none());
        }
    });
    assert!(port(&rig, "x").in_frames > 0);
    nothing_lost(&rig);
    let mut x = rig.attach("x");
    x.send(&frame(0xff, 0x66, b"back"));
    drop(x);
    fds_back_to(base, Duration::from_secs(8));
    nothing_lost(&rig);
}

#[test]
fn killed_under_load_one_worker() {
    killed_under_load(1, 25);
}

#[test]
fn killed_under_load_three_workers() {
    killed_under_load(3, 25);
}

/// Killed while others wait for it, because it must not lose anything and reads nothing.
#[test]
fn killed_while_others_wait_for_it() {
    let _alone = alone();
    let rig = Rig::rings(&["a", "x"], "slots = 64\noverflow = \"backpressure\"\n", "");
    let mut a = rig.attach("a");
    for _ in 0..5 {
        let x = rig.attach("x");
        while a.tx.push(&frame(0xff, 1, b"until it is full")) {
            a.tx.publish();
            std::thread::sleep(Duration::from_micros(100));
        }
        assert!(!a.tx.wait(1, Some(Duration::from_millis(100))).unwrap(), "held back");
        drop(x);
        assert!(a.tx.wait(63, Some(Duration::from_secs(2))).unwrap(), "the sender goes on");
    }
    rig.books();
}

#[test]
fn a_thousand_attachments() {
    let _alone = alone();
    let rig = rig(1, "");
    let once = |i: u32| {
        let want = AttachOptions { slots: Some(16 << (i % 3)), ..AttachOptions::default() };
        let port = Port::attach(&rig.socket(), "x", &want).unwrap_or_else(|e| panic!("{i}: {e}"));
        let (link, mut tx, rx) = port.split();
        for dst in [0xff, 1, 2] {
            tx[0].push(&frame(dst, 0x66, &i.to_be_bytes()));
        }
        tx[0].publish();
        // Which of them goes first makes no difference.
        if i.is_multiple_of(2) {
            drop((tx, rx, link));
        } else {
            drop((link, rx, tx));
        }
        soon(Duration::from_secs(20), "the port is free", || port_is_free(&rig));
    };
    let base = fds();
    let (mut most, mut early) = (0, 0);
    undisturbed(&rig, 2000, || {
        for i in 0..1000 {
            once(i);
            if i == 100 {
                early = rss_kb();
            }
            most = most.max(fds());
        }
    });
    let late = rss_kb();
    assert!(late < early + 16 * 1024, "resident memory went from {early} kB to {late} kB");
    assert!(most < base + 100, "{most} descriptors at one time, {base} at first");
    fds_back_to(base, Duration::from_secs(8));
    nothing_lost(&rig);
}

#[cfg(test)]
fn port_is_free(rig: &Rig) -> bool {
    port(rig, "x").pid.is_none()
}

/// The memory of a client that went does not wait for the next change of the configuration.
#[test]
fn memory_is_given_back() {
    let _alone = alone();
    let rig = rig(1, "");
    let base = fds();
    for _ in 0..3 {
        drop(rig.attach("x"));
    }
    soon(Duration::from_secs(20), "the port is free", || port_is_free(&rig));
    fds_back_to(base, Duration::from_secs(5));
}

#[cfg(test)]
fn group(n: u8, buckets: &str) -> Group {
    let text = format!("name = \"g{n}\"\naddress = \"01:00:5e:00:01:{n:02x}\"\nbuckets = [{buckets}]\n");
    parse_group("test", &text).unwrap()
}

#[cfg(test)]
fn mirror(from: &str, to: &str) -> Mirror {
    parse_mirror("test", &format!("from = [{from:?}]\nto = {to:?}\n")).unwrap()
}

/// Ports, mirrors and groups come and go under traffic between ports that they also refer to.
#[cfg(test)]
fn reconfigured(workers: usize) {
    let _alone = alone();
    let rig = rig(workers, "");
    let base = fds();
    let d = &rig.daemon;
    let mut refused = 0;
    undisturbed(&rig, 2000, || {
        for i in 0..150u32 {
            let name = format!("t{}", i % 3);
            let kind = if i % 4 == 0 { "null" } else { "ring" };
            let cfg = parse_port("test", &format!("name = {name:?}\nkind = {kind:?}\n")).unwrap();
            d.attach_port("vale0", cfg, i % 2 == 0).unwrap();
            let client: Option<Client> = (kind == "ring" && i % 3 != 0).then(|| rig.attach(&name));
            d.with("vale0", |s| s.add_mirror(mirror("a", &name))).unwrap().unwrap();
            let g = group(i as u8, &format!("{{ port = {name:?} }}, {{ port = \"b\" }}"));
            d.with("vale0", |s| s.add_group(g)).unwrap().unwrap();
            std::thread::sleep(Duration::from_millis(u64::from(i % 5)));
            refused += u32::from(d.detach_port("vale0", &name).is_err());
            d.with("vale0", |s| s.remove_group(&format!("g{}", i as u8))).unwrap().unwrap();
            d.detach_port("vale0", &name).unwrap();
            drop(client);
        }
    });
    assert_eq!(refused, 150, "a port that a group uses is not detached");
    nothing_lost(&rig);
    fds_back_to(base, Duration::from_secs(8));
    assert_eq!(rig.stats().ports.len(), 3);
}

#[test]
fn reconfigured_one_worker() {
    reconfigured(1);
}

#[test]
fn reconfigured_three_workers() {
    reconfigured(3);
}
