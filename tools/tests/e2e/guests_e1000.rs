//! Two stock guests with the stock e1000 driver on ports of kind `e1000`, and all that they do with each other.

use crate::harness::guests::{
    Guest, Qemu, VLAN, bytes_per_frame, carrier, carry_tcp, carry_udp, counter, guest_ping_exact,
    need_guests, udp_losses, up, vale0, vm_socket,
};
use crate::harness::{Daemon, assert_books, drops, settle};

const PORTS: [(&str, &str); 2] =
    [("a", "kind = \"e1000\"\nmtu = 9000"), ("b", "kind = \"e1000\"\nmtu = 9000")];

fn boot(daemon: &Daemon) -> [Guest; 2] {
    let guest = |name: &str| {
        let qemu = Qemu::new(name, &format!("{VLAN},e1000")).vfio_user(&vm_socket(daemon, name));
        Guest::start(&qemu)
    };
    let [mut a, mut b] = Guest::boot([&|| guest("a"), &|| guest("b")]);
    up(&mut a, "10.77.0.1/24");
    up(&mut b, "10.77.0.2/24");
    [a, b]
}

#[test]
fn two_stock_guests_talk() {
    if !need_guests("two_stock_guests_talk", &[]) {
        return;
    }
    let daemon = vale0("", &PORTS);
    let [mut a, mut b] = boot(&daemon);
    for guest in [&mut a, &mut b] {
        assert!(guest.ok("ethtool -i eth0").contains("driver: e1000\n"));
    }
    pings(&mut a, &mut b);
    tcp(&daemon, &mut a, &mut b);
    udp(&daemon, &mut a, &mut b);
    vlans(&mut a, &mut b);
    multicast(&daemon, &mut a, &mut b);
    jumbo(&daemon, &mut a, &mut b);
    ethtool(&daemon, &mut a, &mut b);
    for guest in [&mut a, &mut b] {
        guest.healthy();
    }
    assert_books(&daemon);
    daemon.stop();
}

fn pings(a: &mut Guest, b: &mut Guest) {
    for size in [0, 18, 56, 1472] {
        guest_ping_exact(a, "10.77.0.2", 20, size, "");
        guest_ping_exact(b, "10.77.0.1", 20, size, "");
    }
    // In fragments.
    let text = a.ok("ping -n -q -c 10 -i 0.05 -s 8000 10.77.0.2");
    assert!(text.contains(" 10 received"), "{text}");
    a.ok("ip addr add fd77::1/64 dev eth0 nodad");
    b.ok("ip addr add fd77::2/64 dev eth0 nodad");
    guest_ping_exact(a, "fd77::2", 10, 1452, "");
}

/// With segmentation by the card large segments go through the switch whole; without it, none do.
fn tcp(daemon: &Daemon, a: &mut Guest, b: &mut Guest) {
    let sent = || ["tx_frames", "tx_by_reference"].map(|what| daemon.device_counter("a", what));
    let before = sent();
    let whole = bytes_per_frame(daemon, "a", || {
        let run = carry_tcp(a, b, "10.77.0.2", "-n 8M");
        println!("TCP: {run:?}");
        assert!(run.bytes > 1 << 20, "{run:?}");
    });
    assert!(whole > 2000, "segments did not enter whole: {whole} bytes");
    let [frames, by_reference] = std::array::from_fn(|i| sent()[i] - before[i]);
    println!("{by_reference} of {frames} frames were copied once");
    // Those to be padded are not.
    assert!(by_reference * 10 > frames * 9, "{by_reference} of {frames} frames were copied once");
    // The stock driver segments no IPv6.
    assert!(carry_tcp(a, b, "fd77::2", "-n 8M").bytes > 1 << 20);
    a.ok("ethtool -K eth0 tso off");
    let cut = bytes_per_frame(daemon, "a", || {
        let run = carry_tcp(a, b, "10.77.0.2", "-n 8M");
        println!("TCP without TSO: {run:?}");
        assert!(run.bytes > 1 << 20, "{run:?}");
    });
    assert!(cut <= 1514, "{cut} bytes per frame without segmentation by the card");
    // Neither checksums nor pieces by the card.
    a.ok("ethtool -K eth0 tx off sg off");
    b.ok("ethtool -K eth0 rx on");
    assert!(carry_tcp(a, b, "10.77.0.2", "-n 8M").bytes > 1 << 20);
    a.ok("ethtool -K eth0 tx on sg on tso on");
    // And back.
    assert!(carry_tcp(b, a, "10.77.0.1", "-n 8M").bytes > 1 << 20);
}

/// What is lost, is lost with a count.
fn udp(daemon: &Daemon, a: &mut Guest, b: &mut Guest) {
    let before = (drops(&daemon.stats()), udp_losses(b));
    let run = carry_udp(a, b, "10.77.0.2", "-k 400 -b 4M -l 1400 -w 200K");
    let counted = drops(&settle(daemon)) - before.0 + udp_losses(b) - before.1;
    println!("UDP: {run:?}, {counted} lost by count");
    assert!(run.packets > 100 && run.lost <= counted, "{run:?}, but only {counted} were counted as lost");
}

/// Tags are inserted and stripped, and filtered by the card's table.
fn vlans(a: &mut Guest, b: &mut Guest) {
    for (n, guest) in [(1, &mut *a), (2, &mut *b)] {
        for vlan in [7, 8] {
            guest.ok(&format!("ip link add link eth0 name v{vlan} type vlan id {vlan}"));
            guest.ok(&format!("ip addr add 10.{vlan}.0.{n}/24 dev v{vlan}; ip link set v{vlan} up"));
        }
    }
    guest_ping_exact(a, "10.7.0.2", 20, 1000, "");
    guest_ping_exact(b, "10.8.0.1", 20, 1472, "");
    // A tag that one of them does not have.
    b.ok("ip link del v8");
    let text = a.run("ping -n -q -c 3 -i 0.1 -W 1 10.8.0.2").output;
    assert!(text.contains(" 0 received"), "{text}");
    guest_ping_exact(a, "10.7.0.2", 5, 1472, "");
}

fn multicast(daemon: &Daemon, a: &mut Guest, b: &mut Guest) {
    b.ok("echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts");
    let group = "ping -n -q -c 10 -i 0.05 -W 5 -t 1 -I eth0 239.1.2.3";
    b.ok("ip addr add 239.1.2.3/32 dev eth0 autojoin");
    let text = a.ok(group);
    assert!(text.contains(" 10 received"), "{text}");
    b.ok("ip addr del 239.1.2.3/32 dev eth0");
    let before = daemon.device_counter("b", "rx_filtered");
    let text = a.run(group).output;
    assert!(text.contains(" 0 received"), "{text}");
    let filtered = daemon.device_counter("b", "rx_filtered") - before;
    assert!(filtered >= 10, "the card filtered {filtered} of 10 frames to a group that nobody is in");
}

fn jumbo(daemon: &Daemon, a: &mut Guest, b: &mut Guest) {
    for guest in [&mut *a, &mut *b] {
        guest.ok("ip link set eth0 mtu 9000");
        carrier(guest);
    }
    for size in [1473, 4000, 8972] {
        guest_ping_exact(a, "10.77.0.2", 10, size, "");
        guest_ping_exact(b, "10.77.0.1", 10, size, "");
    }
    a.ok("ethtool -K eth0 tso off");
    let long = bytes_per_frame(daemon, "a", || {
        let run = carry_tcp(a, b, "10.77.0.2", "-n 8M");
        println!("TCP, jumbo frames: {run:?}");
    });
    assert!(long > 2000 && long <= 9014, "{long} bytes per frame");
    a.ok("ethtool -K eth0 tso on");
}

/// The driver's own tests of the card, and its books beside ours.
fn ethtool(daemon: &Daemon, a: &mut Guest, b: &mut Guest) {
    let report = a.run("ethtool -t eth0 offline");
    println!("{}", report.output);
    assert!(report.output.contains("The test result is PASS"), "{}", report.output);
    carrier(a);
    assert!(a.ok("ethtool -t eth0 online").contains("The test result is PASS"));
    guest_ping_exact(a, "10.77.0.2", 5, 1000, "");
    assert!(a.ok("ethtool eth0").contains("Speed: 1000Mb/s"));
    settle(daemon);
    let (sent, got) = (counter(b, "tx_packets"), daemon.device_counter("b", "tx_frames"));
    assert!(sent >= got && got > 0, "b says that it sent {sent} frames, its card {got}");
    let (received, gave) = (counter(b, "rx_packets"), daemon.device_counter("b", "rx_frames"));
    assert!(received > 0 && gave > 0, "b says that it received {received} frames, its card {gave}");
    assert_eq!((counter(b, "rx_crc_errors"), counter(b, "rx_csum_offload_errors")), (0, 0));
}
