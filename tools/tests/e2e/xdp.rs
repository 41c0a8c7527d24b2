//! Ports on existing network devices through AF_XDP (`kind = "xdp"`): here the ends of veth pairs.

use crate::harness::{
    Daemon, Netns, assert_books, ip, iperf3_tcp, need, ping_exact, udp_without_loss, veth, wait_for,
};

/// Two hosts, each with a cable into the namespace where the switch's ports are.
struct Cables {
    left: Netns,
    right: Netns,
    middle: Netns,
}

fn cables(mtu: u32) -> Cables {
    let cables =
        Cables { left: Netns::new("left"), right: Netns::new("right"), middle: Netns::new("middle") };
    let mtu = mtu.to_string();
    for (host, device, last) in [(&cables.left, "sw0", "1"), (&cables.right, "sw1", "2")] {
        veth(host, "eth0", &cables.middle, device);
        cables.middle.run_ok(&["ip", "link", "set", device, "mtu", &mtu]);
        host.run_ok(&["ip", "link", "set", "eth0", "mtu", &mtu]);
        for address in [format!("10.78.1.{last}/24"), format!("fd78:1::{last}/64")] {
            host.run_ok(&["ip", "addr", "add", &address, "dev", "eth0"]);
        }
    }
    cables
}

fn port(name: &str, device: &str, netns: &Netns, more: &str) -> String {
    let netns = netns.name();
    format!(
        "[[switch.port]]\nname = \"{name}\"\nkind = \"xdp\"\ninterface = \"{device}\"\nnetns = \"{netns}\"\n{more}\n"
    )
}

const SWITCH: &str = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n";

fn config(cables: &Cables, more: &str) -> String {
    SWITCH.to_owned() + &port("l", "sw0", &cables.middle, more) + &port("r", "sw1", &cables.middle, more)
}

fn start(cables: &Cables, more: &str) -> Daemon {
    let daemon = Daemon::start(&config(cables, more));
    cables.left.wait_ready("eth0");
    cables.right.wait_ready("eth0");
    daemon
}

fn port_text(daemon: &Daemon, port: &str, key: &str) -> String {
    let answer = daemon.ctl(&["ports"]);
    let ports = answer["ports"].as_array().expect("ports");
    let found = ports.iter().find(|p| p["name"] == port).expect("the port");
    found[key].as_str().unwrap_or_else(|| panic!("no {key} in {found}")).to_owned()
}

#[test]
fn xdp_ports_join_two_cables() {
    if !need("xdp_ports_join_two_cables", &["ip", "ping", "iperf3"]) {
        return;
    }
    let cables = cables(1500);
    let daemon = start(&cables, "");
    assert_eq!(port_text(&daemon, "l", "mode"), "copy", "what veth has");
    for size in [64, 1472] {
        ping_exact(&cables.left, "10.78.1.2", 20, size, &["-M", "do"]);
        ping_exact(&cables.right, "10.78.1.1", 20, size, &["-M", "do"]);
    }
    ping_exact(&cables.left, "fd78:1::2", 20, 1452, &["-M", "do"]);
    ping_exact(&cables.left, "10.78.1.2", 20, 8972, &[]);
    // Nobody told the hosts to compute checksums: data arriving shows that the switch did.
    let tcp = iperf3_tcp(&cables.left, &cables.right, "10.78.1.2", 3);
    let back = iperf3_tcp(&cables.right, &cables.left, "fd78:1::1", 2);
    println!("TCP: {tcp:?}\nback: {back:?}");
    assert!(tcp.bytes > 0 && back.bytes > 0);
    udp_without_loss(&daemon, (&cables.left, "eth0"), (&cables.right, "10.78.1.2"), "100M", 3);
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn xdp_ports_without_offloads() {
    if !need("xdp_ports_without_offloads", &["ip", "ping", "iperf3", "ethtool"]) {
        return;
    }
    for mode in ["copy", "generic"] {
        let cables = cables(1500);
        for host in [&cables.left, &cables.right] {
            let off = ["ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off", "txvlan", "off"];
            host.run_ok(&off);
        }
        let daemon = start(&cables, &format!("mode = \"{mode}\"\nfill_checksums = false"));
        assert_eq!(port_text(&daemon, "r", "mode"), mode);
        ping_exact(&cables.left, "10.78.1.2", 20, 1472, &["-M", "do"]);
        let tcp = iperf3_tcp(&cables.left, &cables.right, "10.78.1.2", 2);
        assert!(tcp.bytes > 0);
        udp_without_loss(&daemon, (&cables.left, "eth0"), (&cables.right, "10.78.1.2"), "100M", 2);
        assert_books(&daemon);
        daemon.stop();
    }
}

#[test]
fn xdp_ports_carry_jumbo_frames() {
    if !need("xdp_ports_carry_jumbo_frames", &["ip", "ping"]) {
        return;
    }
    for mtu in [3500, 9000] {
        let cables = cables(mtu);
        let daemon = start(&cables, "");
        for size in [64, 2000, mtu - 28] {
            ping_exact(&cables.left, "10.78.1.2", 20, size, &["-M", "do"]);
        }
        ping_exact(&cables.right, "fd78:1::1", 20, mtu - 48, &["-M", "do"]);
        assert_books(&daemon);
        daemon.stop();
    }
}

#[test]
fn an_xdp_port_and_a_tap_port_meet() {
    if !need("an_xdp_port_and_a_tap_port_meet", &["ip", "ping", "iperf3"]) {
        return;
    }
    let cables = cables(1500);
    let tap = Netns::new("tap");
    let tap_port = format!(
        "[[switch.port]]\nname = \"t\"\nkind = \"tap\"\nifname = \"vc0\"\nnetns = \"{}\"\naddresses = [\"10.78.1.3/24\"]\n",
        tap.name()
    );
    let daemon = Daemon::start(&(SWITCH.to_owned() + &port("l", "sw0", &cables.middle, "") + &tap_port));
    cables.left.wait_ready("eth0");
    tap.wait_ready("vc0");
    for size in [64, 1472] {
        ping_exact(&cables.left, "10.78.1.3", 20, size, &["-M", "do"]);
        ping_exact(&tap, "10.78.1.1", 20, size, &["-M", "do"]);
    }
    // From the TAP come large segments, from the cable checksums that were left undone.
    let there = iperf3_tcp(&cables.left, &tap, "10.78.1.3", 2);
    let back = iperf3_tcp(&tap, &cables.left, "10.78.1.1", 2);
    println!("veth to tap: {there:?}\ntap to veth: {back:?}");
    assert!(there.bytes > 0 && back.bytes > 0);
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn an_xdp_port_gives_its_interface_back() {
    if !need("an_xdp_port_gives_its_interface_back", &["ip", "ping"]) {
        return;
    }
    let cables = cables(1500);
    let daemon = start(&cables, "");
    cables.middle.run_ok(&["ip", "addr", "add", "10.78.1.9/24", "dev", "sw0"]);
    let there = || cables.left.run(&["ping", "-c", "1", "-W", "1", "10.78.1.9"]).status.success();
    assert!(!there(), "the switch has the interface");
    // Replaced by itself with other sizes, and with the other port in place.
    daemon.reload(&config(&cables, "slots = 256"));
    wait_for("the ports to be replaced", || {
        let stats = daemon.stats();
        stats["ports"].as_array()?.iter().all(|p| p["memory"] == 1 << 20).then_some(())
    });
    ping_exact(&cables.left, "10.78.1.2", 20, 64, &[]);
    daemon.ctl(&["detach", "vale0:l"]);
    wait_for("the host to answer again", || there().then_some(()));
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn an_xdp_port_outlives_its_interface() {
    if !need("an_xdp_port_outlives_its_interface", &["ip", "ping"]) {
        return;
    }
    let cables = cables(1500);
    let daemon = start(&cables, "");
    ping_exact(&cables.left, "10.78.1.2", 20, 64, &[]);
    cables.middle.run_ok(&["ip", "link", "set", "sw1", "down"]);
    wait_for("the port to be down", || (port_text(&daemon, "r", "state") == "down").then_some(()));
    cables.left.run(&["ping", "-c", "3", "-i", "0.01", "-W", "1", "10.78.1.2"]);
    cables.middle.run_ok(&["ip", "link", "set", "sw1", "up"]);
    wait_for("the port to be up", || (port_text(&daemon, "r", "state") == "up").then_some(()));
    cables.right.wait_ready("eth0");
    ping_exact(&cables.left, "10.78.1.2", 20, 64, &[]);
    ip(&["-n", cables.middle.name(), "link", "del", "sw1"]);
    wait_for("the port to be gone", || (port_text(&daemon, "r", "state") == "gone").then_some(()));
    cables.left.run(&["ping", "-c", "3", "-i", "0.01", "-W", "1", "10.78.1.2"]);
    // Nothing to do is nothing done: a worker that polls a dead socket would use all of a second.
    let before = daemon.cpu_seconds();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let used = daemon.cpu_seconds() - before;
    assert!(used < 0.5, "{used} s of processor time in an idle second");
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn refusals_name_what_to_do() {
    if !need("refusals_name_what_to_do", &["ip"]) {
        return;
    }
    let cables = cables(1500);
    let daemon = start(&cables, "");
    let attach = |words: &[&str]| daemon.try_ctl_on("vale0", &[&["attach"], words].concat()).unwrap_err();
    let netns = format!("netns={}", cables.middle.name());
    let missing = attach(&["vale0:x", "kind=xdp", "interface=none", &netns]);
    assert!(missing.contains("cannot find interface none"), "{missing}");
    let taken = attach(&["vale0:x", "kind=xdp", "interface=sw0", &netns]);
    assert!(taken.contains("another AF_XDP socket has this queue"), "{taken}");
    daemon.ctl(&["detach", "vale0:l"]);
    let native = attach(&["vale0:x", "kind=xdp", "interface=sw0", "mode=native", &netns]);
    assert!(native.contains("`mode = \"native\"` is refused"), "{native}");
    assert_books(&daemon);
    daemon.stop();
}
