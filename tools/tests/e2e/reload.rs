//! A new configuration while frames flow (SIGHUP).

use crate::harness::{Daemon, Netns, assert_books, need, ping_exact, ping_start, port_count, wait_for};

fn tap(name: &str, netns: &Netns, address: &str) -> String {
    let netns = netns.name();
    format!(
        "[[switch.port]]\nname = \"{name}\"\nkind = \"tap\"\nifname = \"vc0\"\nnetns = \"{netns}\"\naddresses = [\"{address}\"]\n"
    )
}

fn ifindex(netns: &Netns) -> String {
    netns.run_ok(&["cat", "/sys/class/net/vc0/ifindex"])
}

fn wait_for_ports(daemon: &Daemon, count: usize) {
    wait_for(&format!("{count} ports"), || (port_count(&daemon.ctl(&["ports"])) == count).then_some(()));
}

#[test]
fn reload_leaves_unchanged_ports_alone() {
    if !need("reload_leaves_unchanged_ports_alone", &["ip", "ping"]) {
        return;
    }
    let (red, blue, green) = (Netns::new("red"), Netns::new("blue"), Netns::new("green"));
    let two = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n".to_owned()
        + &tap("a", &red, "10.77.2.1/24")
        + &tap("b", &blue, "10.77.2.2/24");
    let three = two.clone() + &tap("c", &green, "10.77.2.3/24");

    let daemon = Daemon::start(&two);
    red.wait_ready("vc0");
    blue.wait_ready("vc0");
    let devices = (ifindex(&red), ifindex(&blue));
    let talk = ping_start(&red, "10.77.2.2", "0.002");
    daemon.wait_for_frames("a", 200);

    daemon.reload(&three);
    wait_for_ports(&daemon, 3);
    green.wait_ready("vc0");
    ping_exact(&green, "10.77.2.1", 10, 64, &[]);
    daemon.wait_for_frames("a", 200);

    // A broken file changes nothing, and the daemon says what is wrong with it.
    daemon.reload(&three.replacen("kind = \"tap\"", "kind = \"tapp\"", 1));
    wait_for("the daemon to name the mistake", || daemon.stderr().contains("tapp").then_some(()));
    assert_eq!(port_count(&daemon.ctl(&["ports"])), 3);
    ping_exact(&green, "10.77.2.2", 10, 64, &[]);
    daemon.wait_for_frames("a", 200);

    // A port that is gone from the file goes.
    daemon.reload(&two);
    wait_for_ports(&daemon, 2);
    assert!(!green.run(&["ip", "link", "show", "vc0"]).status.success(), "the device outlived its port");
    daemon.wait_for_frames("a", 200);

    assert!(talk.finish_without_loss() >= 400);
    assert_eq!((ifindex(&red), ifindex(&blue)), devices, "an unchanged port was made anew");
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn an_unchanged_file_changes_nothing() {
    if !need("an_unchanged_file_changes_nothing", &["ip", "ping"]) {
        return;
    }
    let (red, blue) = (Netns::new("red"), Netns::new("blue"));
    let toml = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n".to_owned()
        + &tap("a", &red, "10.77.3.1/24")
        + &tap("b", &blue, "10.77.3.2/24");
    let daemon = Daemon::start(&toml);
    red.wait_ready("vc0");
    blue.wait_ready("vc0");
    let devices = (ifindex(&red), ifindex(&blue));
    let talk = ping_start(&red, "10.77.3.2", "0.002");
    for _ in 0..10 {
        daemon.wait_for_frames("a", 50);
        daemon.reload(&toml);
    }
    daemon.wait_for_frames("a", 50);
    assert!(talk.finish_without_loss() >= 250);
    assert_eq!((ifindex(&red), ifindex(&blue)), devices, "an unchanged port was made anew");
    assert_books(&daemon);
    daemon.stop();
}
