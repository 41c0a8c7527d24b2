//! Guests of three kinds at one switch: a stock e1000, a stock virtio-net, and User-Mode Linux. Segments go whole
//! to those who take them and are cut for the one who does not.

use crate::harness::guests::{
    Guest, Qemu, Uml, VIRTIO, carry_tcp, carry_udp, frames_of, guest_ping_exact, need_guests, udp_losses, up,
    vale0, vm_socket,
};
use crate::harness::{Daemon, assert_books, drops, settle};

const PORTS: [(&str, &str); 3] =
    [("e", "kind = \"e1000\""), ("v", "kind = \"vhost-user\""), ("u", "kind = \"vhost-user\"")];

#[test]
fn guests_of_three_kinds_talk() {
    if !need_guests("guests_of_three_kinds_talk", &[]) {
        return;
    }
    let daemon = vale0("", &PORTS);
    let [mut e, mut v, mut u] = Guest::boot([
        &|| Guest::start(&Qemu::new("e", "e1000").vfio_user(&vm_socket(&daemon, "e"))),
        &|| Guest::start(&Qemu::new("v", VIRTIO).vhost_user(&vm_socket(&daemon, "v"), 1)),
        &|| Guest::start(&Uml::new("u", &vm_socket(&daemon, "u"))),
    ]);
    up(&mut e, "10.77.0.1/24");
    up(&mut v, "10.77.0.2/24");
    up(&mut u, "10.77.0.3/24");
    for size in [0, 56, 1472] {
        guest_ping_exact(&mut e, "10.77.0.2", 10, size, "");
        guest_ping_exact(&mut v, "10.77.0.3", 10, size, "");
        guest_ping_exact(&mut u, "10.77.0.1", 10, size, "");
    }
    tcp(&daemon, ["e", "v"], [&mut e, &mut v], "10.77.0.2", true);
    tcp(&daemon, ["u", "v"], [&mut u, &mut v], "10.77.0.2", true);
    tcp(&daemon, ["v", "e"], [&mut v, &mut e], "10.77.0.1", false);
    tcp(&daemon, ["e", "u"], [&mut e, &mut u], "10.77.0.3", true);

    // A guest that looks at checksums itself finds those right that another's card was to make.
    e.ok("ethtool -K eth0 rx on");
    v.ok("ethtool -K eth0 tso off gso off");
    let before = (drops(&settle(&daemon)), udp_losses(&mut e));
    let run = carry_udp(&mut v, &mut e, "10.77.0.1", "-k 150 -b 4M -l 1400 -w 200K");
    let counted = drops(&settle(&daemon)) - before.0 + udp_losses(&mut e) - before.1;
    assert!(run.packets > 50 && run.lost <= counted, "{run:?}, but only {counted} were counted as lost");
    let wrong = e.ok("awk '/^Tcp: [0-9]/ { print $16 }' /proc/net/snmp");
    assert_eq!(wrong.trim(), "0", "TCP checksums were wrong");
    for guest in [&mut e, &mut v, &mut u] {
        guest.healthy();
    }
    assert_books(&daemon);
    daemon.stop();
}

/// TCP whose segments come in whole at one port, and go out `whole` (or cut) at the other.
fn tcp(daemon: &Daemon, ports: [&str; 2], [from, to]: [&mut Guest; 2], address: &str, whole: bool) {
    let name = ports.join(" to ");
    let [came, went] = frames_of(daemon, [(ports[0], "in"), (ports[1], "out")], || {
        let run = carry_tcp(from, to, address, "-n 8M");
        println!("TCP from {name}: {:.0} Mbit/s", run.bits_per_second / 1e6);
        assert!(run.bytes > 1 << 20, "{run:?}");
    });
    let (came, went) = (came.0 / came.1.max(1), went.0 / went.1.max(1));
    assert!(came > 2000, "{name}: {came} bytes per frame came in");
    assert!((went > 2000) == whole, "{name}: {went} bytes per frame went out");
}
