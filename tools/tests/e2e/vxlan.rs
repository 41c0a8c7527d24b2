//! Tunnels (`kind = "vxlan"`): with Linux's vxlan device at the other end, and with another daemon.

use crate::harness::{Daemon, Netns, assert_books, iperf3_tcp, need, ping_exact, veth, wait_for};

const VNI: u32 = 77;

/// Two hosts with a cable between them, and a host behind the first.
struct Sites {
    here: Netns,
    there: Netns,
    tap: Netns,
}

fn sites(mtu: u32) -> Sites {
    let s = Sites { here: Netns::new("here"), there: Netns::new("there"), tap: Netns::new("tap") };
    veth(&s.here, "eth0", &s.there, "eth0");
    for (netns, n) in [(&s.here, 1), (&s.there, 2)] {
        netns.run_ok(&["ip", "link", "set", "eth0", "mtu", &mtu.to_string()]);
        netns.run_ok(&["ip", "addr", "add", &format!("192.0.2.{n}/24"), "dev", "eth0"]);
        netns.run_ok(&["ip", "addr", "add", &format!("fd02::{n}/64"), "dev", "eth0", "nodad"]);
        // A real network would carry finished frames.
        let off = ["tx", "off", "tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off"];
        netns.run_ok(&[&["ethtool", "-K", "eth0"], &off[..]].concat());
    }
    s
}

fn daemon(sockets: &Netns, remote: &str, tap: &Netns, address: &str, mtu: u32) -> Daemon {
    Daemon::start(&format!(
        "run_dir = \"{{run}}\"\n[[switch]]\nname = \"vale0\"\n\
         [[switch.port]]\nname = \"t\"\nkind = \"tap\"\nifname = \"vc0\"\nnetns = \"{}\"\nmtu = {mtu}\n\
         addresses = [\"{address}\"]\n\
         [[switch.port]]\nname = \"tunnel\"\nkind = \"vxlan\"\nremote = \"{remote}\"\nvni = {VNI}\nnetns = \"{}\"\n",
        tap.name(),
        sockets.name()
    ))
}

fn linux_end(s: &Sites, remote: &str, mtu: u32) {
    let (vni, mtu) = (VNI.to_string(), mtu.to_string());
    let device = ["type", "vxlan", "id", &vni, "remote", remote, "dstport", "4789"];
    s.there.run_ok(&[&["ip", "link", "add", "vx0", "mtu", &mtu], &device[..]].concat());
    s.there.run_ok(&["ip", "addr", "add", "10.77.1.2/24", "dev", "vx0"]);
    s.there.run_ok(&["ip", "link", "set", "vx0", "up"]);
    s.there.wait_ready("vx0");
}

fn with_linux(mtu: u32, remote: &str, own: &str) {
    let over = if remote.contains(':') { 70 } else { 50 };
    let (s, inner) = (sites(mtu), mtu - over);
    linux_end(&s, own, inner);
    let daemon = daemon(&s.here, remote, &s.tap, "10.77.1.1/24", inner);
    s.tap.wait_ready("vc0");
    let mut seen = s.there.spawn(&["tcpdump", "-l", "-n", "-c", "4", "-i", "eth0", "udp port 4789"]);
    wait_for("tcpdump to listen", || seen.printed().contains("listening on").then_some(()));
    for size in [64, inner - 28] {
        ping_exact(&s.tap, "10.77.1.2", 20, size, &["-M", "do"]);
        ping_exact(&s.there, "10.77.1.1", 20, size, &["-M", "do"]);
    }
    wait_for("tcpdump to understand the frames", || {
        seen.printed().contains(&format!("VXLAN, flags [I] (0x08), vni {VNI}")).then_some(())
    });
    drop(seen);
    let out = iperf3_tcp(&s.tap, &s.there, "10.77.1.2", 2);
    let back = iperf3_tcp(&s.there, &s.tap, "10.77.1.1", 2);
    println!("MTU {mtu} to {remote}: out {out:?}, back {back:?}");
    assert!(out.bytes > 0 && back.bytes > 0);
    // What the tunnel brings in segments goes to the kernel in larger ones.
    let merged = daemon.device_counter("t", "merged_frames");
    assert!(merged > 100, "{merged} frames of {back:?}");
    assert_books(&daemon);
    daemon.stop();
}

const TOOLS: &[&str] = &["ip", "ping", "iperf3", "ethtool", "tcpdump"];

#[test]
fn linux_at_the_other_end() {
    if need("linux_at_the_other_end", TOOLS) {
        with_linux(1500, "192.0.2.2", "192.0.2.1");
    }
}

#[test]
fn linux_at_the_other_end_with_ipv6_and_jumbo_frames() {
    if need("linux_at_the_other_end_with_ipv6_and_jumbo_frames", TOOLS) {
        with_linux(9000, "fd02::2", "fd02::1");
    }
}

#[test]
fn two_daemons_with_longer_frames_than_the_network_takes() {
    if !need("two_daemons_with_longer_frames_than_the_network_takes", &["ip", "ping", "iperf3", "ethtool"]) {
        return;
    }
    let (s, far) = (sites(1500), Netns::new("far"));
    let left = daemon(&s.here, "192.0.2.2", &s.tap, "10.77.1.1/24", 1500);
    let right = daemon(&s.there, "192.0.2.1", &far, "10.77.1.2/24", 1500);
    s.tap.wait_ready("vc0");
    far.wait_ready("vc0");
    // 1472 bytes and headers are 1550 bytes in the tunnel: two fragments.
    for size in [64, 1422, 1472] {
        ping_exact(&s.tap, "10.77.1.2", 20, size, &["-M", "do"]);
    }
    let tcp = iperf3_tcp(&s.tap, &far, "10.77.1.2", 2);
    println!("{tcp:?}");
    assert!(tcp.bytes > 0);
    // A stranger's frames, and what is no frame, are counted and go nowhere.
    let send = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
                s.sendto(bytes([8, 0, 0, 0, 0, 0, 78, 0]) + bytes(60), ('192.0.2.1', 4789)); \
                s.sendto(b'hello', ('192.0.2.1', 4789))";
    if need("strangers", &["python3"]) {
        s.there.run_ok(&["python3", "-c", send]);
        wait_for("a stranger to be counted", || {
            let stats = left.stats();
            let drops = &stats["ports"].as_array().expect("ports")[1]["in_drops"];
            (drops["stranger"] == 1 && drops["malformed"] == 1).then_some(())
        });
    }
    for daemon in [left, right] {
        assert_books(&daemon);
        daemon.stop();
    }
}
