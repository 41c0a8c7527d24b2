//! The example with two network namespaces, as written in `examples/`, and what a user does with it.

use std::path::Path;
use std::process::Command;

use crate::harness::{
    Daemon, Netns, assert_books, iperf3_tcp, need, ping_exact, ping_start, udp_without_loss,
};

const EXAMPLE: &str = include_str!("../../../examples/two-namespaces.toml");

/// The namespaces of the example, made and removed by its script.
struct Script;

impl Script {
    fn up() -> Self {
        Self::run("up");
        Self
    }

    fn run(verb: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/two-namespaces.sh");
        let output = Command::new(script).arg(verb).output().expect("run the example's script");
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        Self::run("down");
        for name in ["red", "blue", "green"] {
            assert!(!Path::new("/run/netns").join(name).exists(), "`down` left the namespace {name}");
        }
    }
}

/// Starts the example, the sockets in the test's own folder.
fn start(toml: &str) -> (Daemon, Netns, Netns) {
    let daemon = Daemon::start(&format!("run_dir = \"{{run}}\"\n{toml}"));
    let (red, blue) = (Netns::existing("red"), Netns::existing("blue"));
    red.wait_ready("vc0");
    blue.wait_ready("vc0");
    (daemon, red, blue)
}

#[test]
fn the_example_pings_in_all_sizes() {
    if !need("the_example_pings_in_all_sizes", &["ip", "ping"]) {
        return;
    }
    let _script = Script::up();
    let (daemon, red, blue) = start(EXAMPLE);
    // Up to a full frame in one piece; beyond that in fragments.
    for size in [64, 512, 1472] {
        ping_exact(&red, "10.77.0.2", 20, size, &["-M", "do"]);
        ping_exact(&blue, "10.77.0.1", 20, size, &["-M", "do"]);
    }
    for size in [64, 512, 1452] {
        ping_exact(&red, "fd77::2", 20, size, &["-M", "do"]);
        ping_exact(&blue, "fd77::1", 20, size, &["-M", "do"]);
    }
    for size in [2000, 4000, 8972] {
        ping_exact(&red, "10.77.0.2", 20, size, &[]);
        ping_exact(&red, "fd77::2", 20, size, &[]);
    }
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn the_example_with_jumbo_frames() {
    if !need("the_example_with_jumbo_frames", &["ip", "ping"]) {
        return;
    }
    let _script = Script::up();
    let (daemon, red, blue) = start(&EXAMPLE.replace("ifname =", "mtu = 9000\nifname ="));
    for size in [64, 1473, 4000, 8972] {
        ping_exact(&red, "10.77.0.2", 20, size, &["-M", "do"]);
        ping_exact(&blue, "10.77.0.1", 20, size, &["-M", "do"]);
    }
    for size in [64, 1453, 8952] {
        ping_exact(&red, "fd77::2", 20, size, &["-M", "do"]);
    }
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn the_example_carries_tcp_and_udp() {
    if !need("the_example_carries_tcp_and_udp", &["ip", "iperf3"]) {
        return;
    }
    let _script = Script::up();
    let (daemon, red, blue) = start(EXAMPLE);
    let tcp = iperf3_tcp(&red, &blue, "10.77.0.2", 10);
    let back = iperf3_tcp(&blue, &red, "10.77.0.1", 2);
    let tcp6 = iperf3_tcp(&red, &blue, "fd77::2", 2);
    println!("TCP: {tcp:?}\nback: {back:?}\nIPv6: {tcp6:?}");
    assert!(tcp.bytes > 0 && back.bytes > 0 && tcp6.bytes > 0);
    udp_without_loss(&daemon, (&red, "vc0"), (&blue, "10.77.0.2"), "200M", 10);
    udp_without_loss(&daemon, (&red, "vc0"), (&blue, "fd77::2"), "100M", 2);
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn a_third_namespace_attaches_while_the_others_talk() {
    if !need("a_third_namespace_attaches_while_the_others_talk", &["ip", "ping"]) {
        return;
    }
    let _script = Script::up();
    let (daemon, red, blue) = start(EXAMPLE);
    let green = Netns::existing("green");
    let talk = ping_start(&red, "10.77.0.2", "0.01");
    daemon.wait_for_frames("a", 50);

    let third = ["kind=tap", "netns=green", "ifname=vc0", r#"addresses=["10.77.0.3/24"]"#];
    daemon.ctl(&[&["attach", "vale0:c"], &third[..]].concat());
    green.wait_ready("vc0");
    ping_exact(&green, "10.77.0.1", 20, 64, &[]);
    ping_exact(&blue, "10.77.0.3", 20, 1472, &["-M", "do"]);
    daemon.wait_for_frames("a", 50);

    daemon.ctl(&["detach", "vale0:c"]);
    assert!(!green.run(&["ip", "link", "show", "vc0"]).status.success(), "the device outlived its port");
    daemon.wait_for_frames("a", 50);
    assert!(talk.finish_without_loss() >= 50);
    assert_books(&daemon);
    daemon.stop();
}
