//! Guests come and go, and so does the daemon: reboots, links that go down and up, machines that are killed and started
//! again, and machines whose memory no port can reach.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::harness::guests::{
    Guest, Qemu, Uml, VIRTIO, carrier, carry_tcp, guest_ping_exact, need_guests, up, vale0, vm_socket,
};
use crate::harness::{Daemon, assert_books, wait_for};
use nix::sys::signal::Signal;

/// What QEMU 11 says when it ends because a connection did while the guest wrote to its card: it notes a second error over
/// the first, and checks that nobody does.
const QEMUS_FAULT: &str = "error_setv: Assertion";
/// How often it may do so.
const TRIES: u32 = 10;

const PORTS: [(&str, &str); 2] = [("a", "kind = \"e1000\""), ("b", "kind = \"e1000\"")];

fn qemu(daemon: &Daemon, name: &str) -> Qemu {
    Qemu::new(name, "e1000").vfio_user(&vm_socket(daemon, name))
}

/// What `ctl ports` says of a port, under a key.
fn port(daemon: &Daemon, name: &str, key: &str) -> serde_json::Value {
    let ports = daemon.ctl(&["ports"]);
    let list = ports["ports"].as_array().or_else(|| ports.as_array()).expect("ports");
    let found = list.iter().find(|p| p["name"] == name);
    found.unwrap_or_else(|| panic!("no port {name} in {ports}"))[key].clone()
}

#[track_caller]
fn wait_for_state(daemon: &Daemon, name: &str, state: &str) {
    wait_for(&format!("port {name} to be {state}"), || (port(daemon, name, "state") == state).then_some(()));
}

#[test]
fn guests_come_and_go() {
    if !need_guests("guests_come_and_go", &[]) {
        return;
    }
    let daemon = vale0("", &PORTS);
    wait_for_state(&daemon, "a", "waiting");
    let [mut a, mut b] =
        Guest::boot([&|| Guest::start(&qemu(&daemon, "a")), &|| Guest::start(&qemu(&daemon, "b"))]);
    wait_for_state(&daemon, "a", "up");
    assert_eq!(port(&daemon, "a", "pid"), a.pid());
    up(&mut a, "10.77.0.1/24");
    up(&mut b, "10.77.0.2/24");
    guest_ping_exact(&mut a, "10.77.0.2", 10, 1000, "");

    // The link goes down and up while frames come.
    b.ok("ping -f -q 10.77.0.1 >/dev/null 2>&1 & echo");
    for _ in 0..10 {
        a.ok("ip link set eth0 down; ip link set eth0 up");
    }
    carrier(&mut a);
    guest_ping_exact(&mut a, "10.77.0.2", 10, 1000, "");

    // The guest boots again: firmware, then a driver that finds the card as another left it.
    a.reboot();
    up(&mut a, "10.77.0.1/24");
    guest_ping_exact(&mut a, "10.77.0.2", 10, 1000, "");
    assert_eq!(port(&daemon, "a", "pid"), a.pid(), "a reboot is no new VM");

    // The machine dies in the middle of traffic, and another takes its place.
    a.kill();
    wait_for_state(&daemon, "a", "waiting");
    let mut a = Guest::start(&qemu(&daemon, "a"));
    a.wait_ready();
    up(&mut a, "10.77.0.1/24");
    b.ok("killall ping");
    guest_ping_exact(&mut a, "10.77.0.2", 10, 1000, "");
    assert_eq!(port(&daemon, "a", "pid"), a.pid());

    // A second machine at a socket that has one is turned away, and the first does not notice.
    let mut second = Guest::start(&qemu(&daemon, "a"));
    wait_for("QEMU to give up", || (!second.runs()).then_some(()));
    drop(second);
    guest_ping_exact(&mut a, "10.77.0.2", 10, 1000, "");
    for guest in [&mut a, &mut b] {
        guest.healthy();
    }
    assert_books(&daemon);

    // The daemon goes first.
    daemon.stop();
    for guest in [&mut a, &mut b] {
        survives(guest);
    }
}

#[test]
fn a_guest_outlives_a_daemon_that_dies() {
    if !need_guests("a_guest_outlives_a_daemon_that_dies", &[]) {
        return;
    }
    let mut daemon = vale0("", &PORTS);
    let [mut a, mut unshared] = Guest::boot([&|| Guest::start(&qemu(&daemon, "a")), &|| {
        Guest::start(&qemu(&daemon, "b").unshared())
    }]);
    // Memory that is the VM's own cannot be reached. It is said, and the guest lives.
    wait_for_state(&daemon, "b", "unshared");
    let said = daemon.stderr();
    assert!(said.contains("share"), "no word on the memory that is not shared:\n{said}");
    assert_eq!(unshared.ok("echo alive"), "alive\n");
    unshared.kill();
    wait_for_state(&daemon, "b", "waiting");

    for left in (0..TRIES).rev() {
        up(&mut a, "10.77.0.1/24");
        a.ok("ping -f -q 10.77.0.2 >/dev/null 2>&1 & echo");
        daemon.signal(Signal::SIGKILL);
        wait_for("the daemon's end", || daemon.exited());
        let Err(failed) = catch_unwind(AssertUnwindSafe(|| survives(&mut a))) else { return };
        if left == 0 || !a.said().contains(QEMUS_FAULT) {
            resume_unwind(failed);
        }
        eprintln!("QEMU ended by a fault of its own: once more");
        daemon = vale0("", &PORTS);
        a = Guest::start(&qemu(&daemon, "a"));
        a.wait_ready();
    }
}

/// A guest whose card is gone still runs, as a machine with a dead card would. What its kernel says of the card
/// is not held against it.
fn survives(guest: &mut Guest) {
    assert!(guest.runs());
    assert_eq!(guest.ok("echo alive"), "alive\n");
    guest.run("ping -c 1 -W 1 10.77.0.2");
    guest.ok("ip link set eth0 down");
    assert_eq!(guest.ok("echo alive"), "alive\n");
    let log = guest.ok("dmesg");
    assert!(!log.contains("BUG:") && !log.contains("Oops"), "{log}");
}

const VHOST_PORTS: [(&str, &str); 2] =
    [("q", "kind = \"vhost-user\"\nqueues = 2"), ("u", "kind = \"vhost-user\"")];

/// The same with virtio: QEMU with two processors and two pairs of queues, and User-Mode Linux.
#[test]
fn virtio_guests_come_and_go() {
    if !need_guests("virtio_guests_come_and_go", &[]) {
        return;
    }
    let mut daemon = vale0("", &VHOST_PORTS);
    let qemu = || {
        let two = Qemu::new("q", VIRTIO).with(&["-smp", "2"]);
        Guest::start(&two.vhost_user(&vm_socket(&daemon, "q"), 2))
    };
    let uml = || Guest::start(&Uml::new("u", &vm_socket(&daemon, "u")));
    let [mut q, mut u] = Guest::boot([&qemu, &uml]);
    up(&mut q, "10.77.0.1/24");
    up(&mut u, "10.77.0.2/24");
    q.ok("ethtool -L eth0 combined 2");
    guest_ping_exact(&mut q, "10.77.0.2", 10, 1000, "");
    assert!(carry_tcp(&mut q, &mut u, "10.77.0.2", "-t 1 -P 4").bytes > 1 << 20);
    // The driver takes queues back and gives them again while frames come.
    u.ok("ping -f -q 10.77.0.1 >/dev/null 2>&1 & echo");
    for queues in [1, 2, 1, 2] {
        q.ok(&format!("ethtool -L eth0 combined {queues}; ip link set eth0 down; ip link set eth0 up"));
    }
    guest_ping_exact(&mut q, "10.77.0.2", 10, 1000, "");
    q.reboot();
    up(&mut q, "10.77.0.1/24");
    guest_ping_exact(&mut q, "10.77.0.2", 10, 1000, "");

    q.kill();
    wait_for_state(&daemon, "q", "waiting");
    let mut q = qemu();
    q.wait_ready();
    up(&mut q, "10.77.0.1/24");
    guest_ping_exact(&mut q, "10.77.0.2", 10, 1000, "");
    u.healthy();
    u.kill();
    wait_for_state(&daemon, "u", "waiting");
    let mut u = uml();
    u.wait_ready();
    up(&mut u, "10.77.0.2/24");
    guest_ping_exact(&mut u, "10.77.0.1", 10, 1000, "");
    for guest in [&mut q, &mut u] {
        guest.healthy();
    }
    assert_books(&daemon);

    daemon.signal(Signal::SIGKILL);
    wait_for("the daemon's end", || daemon.exited());
    survives(&mut q);
}
