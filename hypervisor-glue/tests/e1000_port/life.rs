//! VMs that come and go, reset, and are not let in.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use valecast_config::parse_port;
use valecast_hypervisor_glue::e1000::guest::Options;

use crate::rig::{Client, DEADLINE, Rig, frame};

const VM: &str = "kind = \"e1000\"";
const RING: &str = "kind = \"ring\"";

/// Sends to `dst` until told to stop.
fn flood(mut client: Client, dst: u8) -> impl FnOnce() -> Client {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let thread = thread::spawn(move || {
        let mut n = 0;
        while !told.load(Ordering::Relaxed) {
            client.send(&frame(dst, 1, n, 60 + n as usize % 1400));
            n += 1;
        }
        client
    });
    move || {
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap()
    }
}

/// A monitor is killed amid traffic in both directions, time and again; the next one finds a fresh card.
#[test]
fn killed_and_started_again() {
    let csb = format!("{VM}\ncsb = true");
    let rig = Rig::new("workers = 2", &[("vm", &csb), ("a", RING)]);
    let stop = flood(rig.client("a"), 0xff);
    for round in 0..12u32 {
        let mut vm = rig.vm("vm", Options { csb: round % 2 == 1, ..Options::default() });
        assert_eq!(rig.counter("vm", "vms"), u64::from(round) + 1, "counters outlive VMs");
        for n in 0..30 {
            vm.send(&frame(0xfd, 2, 1000 * round + n, 300));
        }
        rig.until("the guest is heard", "vm", |p| p.in_frames == u64::from(30 * (round + 1)));
        let _ = vm.receive(5);
        // The socket goes without a word.
        vm.client.shutdown().unwrap();
        drop(vm);
        rig.until("it has gone", "vm", |p| p.state == "waiting" && p.pid.is_none());
    }
    stop();
    rig.books();
}

#[test]
fn resets_under_load() {
    let vm_keys = format!("{VM}\noverflow = \"backpressure\"");
    let rig = Rig::new("", &[("vm", &vm_keys), ("a", RING)]);
    let stop = flood(rig.client("a"), 0xff);
    let mut vm = rig.vm("vm", Options { descriptors: 16, ..Options::default() });
    for round in 0..20 {
        let _ = vm.receive(20);
        if round % 2 == 0 { vm.reboot() } else { vm.restart() }
    }
    assert!(!vm.receive(1).is_empty());
    // A receiver that must not lose anything and is not there any more holds nobody up.
    drop(vm);
    let mut a = stop();
    rig.until("it has gone", "vm", |p| p.state == "waiting");
    a.send(&frame(0xff, 1, 0, 60));
    rig.books();
}

#[test]
fn one_vm_at_a_time_and_only_whom_the_port_lets() {
    let me = nix::unistd::geteuid().as_raw();
    let other = format!("{VM}\nallow_users = [\"{}\"]", me.wrapping_add(1));
    let mine = format!("{VM}\nallow_users = [\"{me}\"]");
    let rig = Rig::new("", &[("other", &other), ("mine", &mine)]);
    assert!(vfio_user::Client::new(&rig.vm_socket("other")).is_err());
    assert_eq!(rig.counter("other", "vms_turned_away"), 1);
    assert_eq!(rig.port("other").state, "waiting");
    let first = rig.vm("mine", Options::default());
    assert!(vfio_user::Client::new(&rig.vm_socket("mine")).is_err());
    assert_eq!((rig.counter("mine", "vms"), rig.counter("mine", "vms_turned_away")), (1, 1));
    drop(first);
    rig.until("it has gone", "mine", |p| p.state == "waiting");
    drop(rig.vm("mine", Options::default()));
}

/// Whoever connects and says nothing does not keep VMs out for long.
#[test]
fn silence_is_not_waited_for() {
    let rig = Rig::new("", &[("vm", VM)]);
    let mut silent = UnixStream::connect(rig.vm_socket("vm")).unwrap();
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "hung up");
    drop(rig.vm("vm", Options::default()));
}

#[test]
fn ports_are_detached_and_attached_under_a_vm() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    let stop = flood(rig.client("a"), 0xff);
    for _ in 0..5 {
        let mut vm = rig.vm("vm", Options::default());
        let _ = vm.receive(3);
        rig.daemon.detach_port("v", "vm").unwrap();
        assert!(!rig.vm_socket("vm").exists());
        let port = parse_port("t", &format!("name = \"vm\"\n{VM}\n")).unwrap();
        rig.daemon.attach_port("v", port, false).unwrap();
        // Its monitor was hung up on.
        let mut b = [0; 4];
        assert!(vm.client.region_read(0, 8, &mut b).is_err());
    }
    stop();
    rig.books();
}

#[test]
fn the_mac_is_the_configured_one_or_made_from_names() {
    let ports = [("vm1", "kind = \"e1000\"\nmac = \"02:00:00:00:00:77\""), ("vm2", VM)];
    let rig = Rig::new("", &ports);
    let made = valecast_hypervisor_glue::e1000_port::default_mac("v", "vm2");
    for (port, mac) in [("vm1", [2, 0, 0, 0, 0, 0x77]), ("vm2", made)] {
        let mut vm = rig.vm(port, Options::default());
        let mut b = [0; 8];
        vm.client.region_read(0, 0x5400, &mut b[..4]).unwrap();
        vm.client.region_read(0, 0x5404, &mut b[4..]).unwrap();
        assert_eq!(b[..6], mac, "{port}");
    }
}

/// The port's `mtu` limits what comes to the guest, whatever it is set up for.
#[test]
fn longer_packets_than_the_mtu_are_not_delivered() {
    let keys = format!("{VM}\nmtu = 1000");
    let rig = Rig::new("", &[("vm", &keys), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", Options::default()));
    client.send(&frame(0xff, 1, 0, 1019));
    client.send(&frame(0xff, 1, 1, 1018));
    assert_eq!(vm.next(), frame(0xff, 1, 1, 1018));
    assert_eq!(rig.port("vm").out_drops["too_big"], 1);
}

/// Keys that no guest sees change under a living VM; for others the port is made anew.
#[test]
fn keys_change_under_a_living_vm() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    let (mut vm, mut client) = (rig.vm("vm", Options::default()), rig.client("a"));
    let change = |keys: &str| {
        let port = parse_port("test.toml", &format!("name = \"vm\"\n{VM}\n{keys}")).unwrap();
        rig.daemon.with("v", |s| s.replace_port(port)).unwrap().unwrap();
    };
    let mut number = 0;
    let mut crosses = |vm: &mut crate::vm::Vm, client: &mut Client, len: usize| {
        number += 1;
        let f = frame(0xff, 1, number, len);
        client.send(&f);
        f == vm.next()
    };
    assert!(crosses(&mut vm, &mut client, 1500));
    change("itr = 400\nmoderation = false\ntx_idle_polls = 9\noverflow = \"backpressure\"\nmtu = 600");
    assert_eq!(rig.port("vm").state, "up", "the VM stays");
    assert!(crosses(&mut vm, &mut client, 600 + 18), "as long as it may be");
    client.send(&frame(0xff, 1, 999, 600 + 19));
    rig.until("one byte more is too long", "vm", |p| p.out_drops.get("too_big") == Some(&1));
    change("mtu = 9000\nallow_users = [\"12345\"]");
    assert!(crosses(&mut vm, &mut client, 1500), "and back");
    let mut second = UnixStream::connect(rig.vm_socket("vm")).unwrap();
    second.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap(), 0, "it is not let in");
    assert_eq!(rig.counter("vm", "vms"), 1);
    change("csb = true");
    rig.until("another card", "vm", |p| p.state == "waiting");
    assert_eq!(rig.at_rest("vm").device["vms"], 0);
}
