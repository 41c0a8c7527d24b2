//! Ports on existing network devices (`kind = "packet"`): here the ends of veth pairs.

use crate::harness::{Daemon, Netns, assert_books, iperf3_tcp, need, ping_exact, udp_without_loss, veth};

/// Two hosts, each with a cable into the namespace where the switch's packet ports are.
struct Cables {
    left: Netns,
    right: Netns,
    middle: Netns,
}

fn cables(mtu: u32) -> Cables {
    let cables =
        Cables { left: Netns::new("left"), right: Netns::new("right"), middle: Netns::new("middle") };
    let mtu = mtu.to_string();
    for (host, device, address) in
        [(&cables.left, "sw0", "10.77.1.1/24"), (&cables.right, "sw1", "10.77.1.2/24")]
    {
        veth(host, "eth0", &cables.middle, device);
        cables.middle.run_ok(&["ip", "link", "set", device, "mtu", &mtu]);
        host.run_ok(&["ip", "link", "set", "eth0", "mtu", &mtu]);
        host.run_ok(&["ip", "addr", "add", address, "dev", "eth0"]);
        host.run_ok(&[
            "ip",
            "addr",
            "add",
            &address.replace("10.77.1.", "fd77:1::").replace("/24", "/64"),
            "dev",
            "eth0",
        ]);
    }
    cables
}

fn packet_port(name: &str, device: &str, netns: &Netns) -> String {
    let netns = netns.name();
    format!(
        "[[switch.port]]\nname = \"{name}\"\nkind = \"packet\"\ninterface = \"{device}\"\nnetns = \"{netns}\"\n"
    )
}

const SWITCH: &str = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n";

fn start(cables: &Cables) -> Daemon {
    let ports = packet_port("l", "sw0", &cables.middle) + &packet_port("r", "sw1", &cables.middle);
    let daemon = Daemon::start(&(SWITCH.to_owned() + &ports));
    cables.left.wait_ready("eth0");
    cables.right.wait_ready("eth0");
    daemon
}

#[test]
fn packet_ports_join_two_cables() {
    if !need("packet_ports_join_two_cables", &["ip", "ping", "iperf3"]) {
        return;
    }
    let cables = cables(1500);
    let daemon = start(&cables);
    for size in [64, 1472] {
        ping_exact(&cables.left, "10.77.1.2", 20, size, &["-M", "do"]);
        ping_exact(&cables.right, "10.77.1.1", 20, size, &["-M", "do"]);
    }
    ping_exact(&cables.left, "fd77:1::2", 20, 1452, &["-M", "do"]);
    ping_exact(&cables.left, "10.77.1.2", 20, 8972, &[]);
    // A veth pair leaves checksums and segmentation to the receiver: data arriving at all shows that the port
    // carried them on.
    let tcp = iperf3_tcp(&cables.left, &cables.right, "10.77.1.2", 5);
    let back = iperf3_tcp(&cables.right, &cables.left, "fd77:1::1", 2);
    println!("TCP: {tcp:?}\nback: {back:?}");
    assert!(tcp.bytes > 0 && back.bytes > 0);
    udp_without_loss(&daemon, (&cables.left, "eth0"), (&cables.right, "10.77.1.2"), "200M", 5);
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn packet_ports_without_offloads() {
    if !need("packet_ports_without_offloads", &["ip", "ping", "iperf3", "ethtool"]) {
        return;
    }
    let cables = cables(1500);
    for (netns, device) in
        [(&cables.left, "eth0"), (&cables.right, "eth0"), (&cables.middle, "sw0"), (&cables.middle, "sw1")]
    {
        netns.run_ok(&["ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off"]);
    }
    let daemon = start(&cables);
    ping_exact(&cables.left, "10.77.1.2", 20, 1472, &["-M", "do"]);
    let tcp = iperf3_tcp(&cables.left, &cables.right, "10.77.1.2", 2);
    assert!(tcp.bytes > 0);
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn packet_ports_carry_jumbo_frames() {
    if !need("packet_ports_carry_jumbo_frames", &["ip", "ping"]) {
        return;
    }
    let cables = cables(9000);
    let daemon = start(&cables);
    for size in [64, 4000, 8972] {
        ping_exact(&cables.left, "10.77.1.2", 20, size, &["-M", "do"]);
    }
    ping_exact(&cables.right, "fd77:1::1", 20, 8952, &["-M", "do"]);
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn a_packet_port_and_a_tap_port_meet() {
    if !need("a_packet_port_and_a_tap_port_meet", &["ip", "ping", "iperf3"]) {
        return;
    }
    let cables = cables(1500);
    let tap = Netns::new("tap");
    let tap_port = format!(
        "[[switch.port]]\nname = \"t\"\nkind = \"tap\"\nifname = \"vc0\"\nnetns = \"{}\"\naddresses = [\"10.77.1.3/24\"]\n",
        tap.name()
    );
    let daemon = Daemon::start(&(SWITCH.to_owned() + &packet_port("l", "sw0", &cables.middle) + &tap_port));
    cables.left.wait_ready("eth0");
    tap.wait_ready("vc0");
    for size in [64, 1472] {
        ping_exact(&cables.left, "10.77.1.3", 20, size, &["-M", "do"]);
        ping_exact(&tap, "10.77.1.1", 20, size, &["-M", "do"]);
    }
    // Segments and checksums left undone on one side must arrive done, or be handed on undone, on the other.
    let there = iperf3_tcp(&cables.left, &tap, "10.77.1.3", 2);
    let back = iperf3_tcp(&tap, &cables.left, "10.77.1.1", 2);
    println!("veth to tap: {there:?}\ntap to veth: {back:?}");
    assert!(there.bytes > 0 && back.bytes > 0);
    assert_books(&daemon);
    daemon.stop();
}
