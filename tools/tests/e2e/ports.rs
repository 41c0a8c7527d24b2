//! Many ports at once: frames for all of them, 64 of them, and what they cost when nothing is sent.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::harness::{
    DEADLINE, Daemon, Netns, assert_books, need, need_root, ping_exact, port_count, settle,
};

/// So many namespaces, each with a TAP port of one switch: the nth has the address 10.77.0.n.
fn hosts(count: usize) -> (Daemon, Vec<Netns>) {
    let hosts: Vec<Netns> = (1..=count).map(|n| Netns::new(&format!("h{n}"))).collect();
    let mut toml = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n".to_owned();
    for (n, host) in (1..).zip(&hosts) {
        let netns = host.name();
        toml += &format!("[[switch.port]]\nname = \"p{n}\"\nkind = \"tap\"\nifname = \"vc0\"\n");
        toml += &format!("netns = \"{netns}\"\naddresses = [\"10.77.0.{n}/24\"]\n");
    }
    let daemon = Daemon::start(&toml);
    for host in &hosts {
        host.wait_ready("vc0");
    }
    (daemon, hosts)
}

/// Sends 20 datagrams from the first host; every other host receives each of them, once.
fn all_hear(to: Ipv4Addr, port: u16) {
    let (daemon, hosts) = hosts(4);
    let address = |n: usize| Ipv4Addr::new(10, 77, 0, n as u8 + 1);
    let listen = |n: usize| {
        hosts[n].enter(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("bind");
            if to.is_multicast() {
                socket.join_multicast_v4(&to, &address(n)).expect("join the group");
            }
            socket.set_read_timeout(Some(DEADLINE)).expect("set a timeout");
            socket
        })
    };
    let listeners: Vec<UdpSocket> = (1..hosts.len()).map(listen).collect();
    let sender = hosts[0].enter(|| UdpSocket::bind((address(0), 0)).expect("bind"));
    sender.set_broadcast(true).expect("allow broadcast");
    for n in 0..20u8 {
        sender.send_to(&[n; 100], (to, port)).expect("send");
    }
    for (listener, host) in listeners.iter().zip(&hosts[1..]) {
        for n in 0..20u8 {
            let mut buffer = [0; 2000];
            let got = listener.recv(&mut buffer);
            let got =
                got.unwrap_or_else(|e| panic!("datagram {n} to {to} never came to {}: {e}", host.name()));
            assert_eq!(buffer[..got], [n; 100], "datagram {n} to {to} at {}", host.name());
        }
        // By now all 20 have come; one more would be a duplicate.
        settle(&daemon);
        listener.set_nonblocking(true).expect("set nonblocking");
        assert!(listener.recv(&mut [0; 2000]).is_err(), "{} received more than was sent", host.name());
    }
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn all_ports_see_broadcast() {
    if need("all_ports_see_broadcast", &["ip"]) {
        all_hear(Ipv4Addr::new(10, 77, 0, 255), 7001);
    }
}

#[test]
fn all_ports_see_multicast() {
    if need("all_ports_see_multicast", &["ip"]) {
        all_hear(Ipv4Addr::new(239, 1, 1, 1), 7002);
    }
}

#[test]
fn sixty_four_taps_at_once() {
    if !need("sixty_four_taps_at_once", &["ip", "ping"]) {
        return;
    }
    let (daemon, hosts) = hosts(64);
    assert_eq!(port_count(&daemon.ctl(&["ports"])), 64);
    for (n, host) in hosts.iter().enumerate() {
        let next = format!("10.77.0.{}", (n + 1) % hosts.len() + 1);
        ping_exact(host, &next, 3, 1472, &["-M", "do"]);
    }
    assert_eq!(port_count(&daemon.stats()), 64);
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn an_idle_daemon_costs_nothing() {
    if !need("an_idle_daemon_costs_nothing", &["ip", "ping"]) {
        return;
    }
    let (daemon, hosts) = hosts(2);
    ping_exact(&hosts[0], "10.77.0.2", 100, 64, &[]);
    settle(&daemon);
    // Processor time, not the clock on the wall, is what is judged: 1 % of 3 s.
    let before = daemon.cpu_seconds();
    std::thread::sleep(Duration::from_secs(3));
    let used = daemon.cpu_seconds() - before;
    println!("idle: {:.3} % of a core", used / 3.0 * 100.0);
    assert!(used < 0.03, "an idle daemon used {used:.4} s of processor time in 3 s");
    daemon.stop();
}

#[test]
fn sigterm_leaves_nothing_behind() {
    if !need_root("sigterm_leaves_nothing_behind") {
        return;
    }
    let (daemon, hosts) = hosts(2);
    // `stop` sees to the sockets, the exit status and the daemon's last words.
    daemon.stop();
    for host in &hosts {
        let left = host.run(&["ip", "link", "show", "vc0"]);
        assert!(!left.status.success(), "{} still has its TAP device", host.name());
    }
}
