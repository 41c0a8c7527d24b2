//! Stock guests with the stock virtio-net driver on ports of kind `vhost-user`: QEMU's, and User-Mode Linux.

use crate::harness::guests::{
    Guest, Qemu, Uml, VIRTIO, VLAN, bytes_per_frame, carry_tcp, carry_udp, guest_ping_exact, need_guests,
    udp_losses, up, vale0, vm_socket,
};
use crate::harness::{Daemon, assert_books, drops, settle};

const PORTS: [(&str, &str); 2] = [("a", "kind = \"vhost-user\""), ("b", "kind = \"vhost-user\"")];

/// Addresses for both; whether they have IPv6 (Debian's User-Mode Linux has none).
fn addresses(a: &mut Guest, b: &mut Guest) -> bool {
    up(a, "10.78.0.1/24");
    up(b, "10.78.0.2/24");
    let has = [(1, a), (2, b)].map(|(n, guest)| {
        let has = guest.run("test -e /proc/net/if_inet6").status == 0;
        if has {
            guest.ok(&format!("ip addr add fd78::{n}/64 dev eth0 nodad"));
        }
        has
    });
    has == [true, true]
}

/// Both ways, small and large, with and without segmentation by the card, tagged and to many.
fn talk(daemon: &Daemon, a: &mut Guest, b: &mut Guest) {
    let six = addresses(a, b);
    for size in [0, 18, 56, 1472] {
        guest_ping_exact(a, "10.78.0.2", 20, size, "");
        guest_ping_exact(b, "10.78.0.1", 20, size, "");
    }
    if six {
        guest_ping_exact(a, "fd78::2", 10, 1452, "");
    }
    for to in ["10.78.0.2", "fd78::2"].into_iter().take(if six { 2 } else { 1 }) {
        let whole = bytes_per_frame(daemon, "a", || {
            let run = carry_tcp(a, b, to, "-n 8M");
            println!("TCP to {to}: {run:?}");
            assert!(run.bytes > 1 << 20, "{run:?}");
        });
        assert!(whole > 2000, "segments did not enter whole: {whole} bytes");
    }
    a.ok("ethtool -K eth0 tso off gso off");
    let cut = bytes_per_frame(daemon, "a", || {
        let run = carry_tcp(a, b, "10.78.0.2", "-n 8M");
        println!("TCP without TSO: {run:?}");
        assert!(run.bytes > 1 << 20, "{run:?}");
    });
    assert!(cut <= 1514, "{cut} bytes per frame without segmentation by the card");
    a.ok("ethtool -K eth0 gso on tso on");
    assert!(carry_tcp(b, a, "10.78.0.1", "-n 8M -P 4").bytes > 1 << 20);
    let before = (drops(&daemon.stats()), udp_losses(b));
    let run = carry_udp(a, b, "10.78.0.2", "-k 2000 -b 40M -l 1400 -w 200K");
    let counted = drops(&settle(daemon)) - before.0 + udp_losses(b) - before.1;
    println!("UDP: {run:?}, {counted} lost by count");
    assert!(run.packets > 100 && run.lost <= counted, "{run:?}, but only {counted} were counted as lost");
    for (n, guest) in [(1, &mut *a), (2, &mut *b)] {
        guest.ok("ip link add link eth0 name v7 type vlan id 7");
        guest.ok(&format!("ip addr add 10.7.0.{n}/24 dev v7; ip link set v7 up"));
    }
    guest_ping_exact(a, "10.7.0.2", 20, 1472, "");
    assert!(carry_tcp(a, b, "10.7.0.2", "-n 8M").bytes > 1 << 20);
    for port in ["a", "b"] {
        for bad in ["bad_descriptors", "memory_errors", "broken", "refused", "lost_calls", "rx_returned"] {
            assert_eq!(daemon.device_counter(port, bad), 0, "{bad} of {port}");
        }
        // Headers and payload of TCP lie apart: they are copied once all the same.
        let of = |what| daemon.device_counter(port, what);
        println!("{port}: {} by reference, {} gathered", of("tx_by_reference"), of("tx_gathered"));
        assert!(of("tx_by_reference") > 100 && of("tx_gathered") == 0);
    }
}

#[test]
fn two_user_mode_linuxes_talk() {
    if !need_guests("two_user_mode_linuxes_talk", &[]) {
        return;
    }
    let daemon = vale0("", &PORTS);
    let guest = |name: &str| Guest::start(&Uml::new(name, &vm_socket(&daemon, name)));
    let [mut a, mut b] = Guest::boot([&|| guest("a"), &|| guest("b")]);
    talk(&daemon, &mut a, &mut b);
    for guest in [&mut a, &mut b] {
        guest.healthy();
    }
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn two_stock_virtio_guests_talk() {
    if !need_guests("two_stock_virtio_guests_talk", &[]) {
        return;
    }
    let daemon = vale0("", &PORTS);
    let guest = |name: &str| {
        let qemu = Qemu::new(name, &format!("{VLAN},{VIRTIO}")).vhost_user(&vm_socket(&daemon, name), 1);
        Guest::start(&qemu)
    };
    let [mut a, mut b] = Guest::boot([&|| guest("a"), &|| guest("b")]);
    for guest in [&mut a, &mut b] {
        assert!(guest.ok("ethtool -i eth0").contains("driver: virtio_net\n"));
    }
    talk(&daemon, &mut a, &mut b);
    for guest in [&mut a, &mut b] {
        guest.healthy();
    }
    assert_books(&daemon);
    daemon.stop();
}

/// Several queues: Linux takes as many as it has processors, each is a source of its own.
#[test]
fn a_guest_with_several_queues() {
    if !need_guests("a_guest_with_several_queues", &[]) {
        return;
    }
    let many = "kind = \"vhost-user\"\nqueues = 2\noverflow = \"backpressure\"";
    let daemon = vale0("workers = 2", &[("a", many), PORTS[1]]);
    let modules = format!("{VLAN},{VIRTIO}");
    let many = Qemu::new("a", &modules).with(&["-smp", "2"]).vhost_user(&vm_socket(&daemon, "a"), 2);
    let one = Qemu::new("b", &modules).vhost_user(&vm_socket(&daemon, "b"), 1);
    let [mut a, mut b] = Guest::boot([&|| Guest::start(&many), &|| Guest::start(&one)]);
    addresses(&mut a, &mut b);
    a.ok("ethtool -L eth0 combined 2");
    a.until("both queues", "ethtool -l eth0 | tail -1 | grep -q 2");
    guest_ping_exact(&mut a, "10.78.0.2", 20, 1472, "");
    assert!(carry_tcp(&mut a, &mut b, "10.78.0.2", "-t 2 -P 4").bytes > 1 << 20);
    assert!(carry_tcp(&mut b, &mut a, "10.78.0.1", "-t 2 -P 4").bytes > 1 << 20);
    // One pair less, and back, in the middle of things.
    for n in [1, 2, 1, 2] {
        a.ok(&format!("ethtool -L eth0 combined {n}"));
        guest_ping_exact(&mut a, "10.78.0.2", 10, 1000, "");
    }
    // The machine is reset, and another takes its place.
    a.reboot();
    up(&mut a, "10.78.0.1/24");
    guest_ping_exact(&mut a, "10.78.0.2", 10, 1472, "");
    a.kill();
    let [mut a] = Guest::boot([&|| Guest::start(&many)]);
    up(&mut a, "10.78.0.1/24");
    guest_ping_exact(&mut a, "10.78.0.2", 10, 1472, "");
    a.healthy();
    b.healthy();
    assert_eq!(daemon.device_counter("a", "bad_descriptors"), 0);
    assert_books(&daemon);
    daemon.stop();
}
