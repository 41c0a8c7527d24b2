//! Traffic between guests, and what guests count.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Guest;
use crate::harness::{DEADLINE, Daemon, Iperf, settle};

/// The modules that VLAN devices need.
pub const VLAN: &str = "llc,stp,mrp,garp,8021q";

/// The modules of virtio-net over PCI.
pub const VIRTIO: &str = "failover,net_failover,virtio,virtio_ring,virtio_pci_legacy_dev,virtio_pci_modern_dev,\
                          virtio_pci,virtio_net";

/// A daemon with the switch `vale0`: its keys, and its ports' names and keys.
pub fn vale0(keys: &str, ports: &[(&str, &str)]) -> Daemon {
    let ports = ports.iter().map(|(name, keys)| format!("[[switch.port]]\nname = {name:?}\n{keys}\n"));
    let ports: String = ports.collect();
    Daemon::start(&format!("run_dir = \"{{run}}\"\n[[switch]]\nname = \"vale0\"\n{keys}\n{ports}"))
}

/// Brings a guest's card up with an address.
#[track_caller]
pub fn up(guest: &mut Guest, address: &str) {
    guest.ok("ip link set eth0 up");
    guest.ok(&format!("ip addr add {address} dev eth0"));
    carrier(guest);
}

/// Waits for a guest's link.
#[track_caller]
pub fn carrier(guest: &mut Guest) {
    guest.until("the link to come up", "grep -q 1 /sys/class/net/eth0/carrier");
}

/// `count` pings with `size` bytes of payload in one piece: each is answered, once. Answers are counted by the guest's
/// kernel, as ping itself does not wait long for late ones.
#[track_caller]
pub fn guest_ping_exact(from: &mut Guest, to: &str, count: u32, size: u32, more: &str) {
    // The first one waits for the neighbour's address, and for tables on the way.
    from.until(&format!("an answer from {to}"), &format!("ping -n -q -c 1 -W 2 {more} {to}"));
    let answers = "cat /proc/net/snmp6 /proc/net/snmp 2>/dev/null | awk '/^Icmp6InEchoReplies/ { n += $2 } \
                   /^Icmp: [0-9]/ { n += $11 } END { print n }'";
    let read = |from: &mut Guest| from.ok(answers).trim().parse::<u64>().expect("a number");
    let want = read(from) + u64::from(count);
    let words = format!("ping -n -q -c {count} -i 0.02 -W 10 -M do -s {size} {more} {to}");
    let text = from.run(&words).output;
    let begun = Instant::now();
    while read(from) < want && begun.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(50));
    }
    let got = read(from);
    if got != want || text.contains("duplicates") {
        let counted = from.run("ethtool -S eth0; grep -E '^(Ip|Icmp): ' /proc/net/snmp").output;
        let (name, said) = (from.name(), from.said());
        panic!("{name}: {words}: {got} answers in place of {want}\n{text}\n{counted}\n{said}");
    }
}

const PORT: u16 = 5301;

/// Starts an iperf3 server for one client.
#[track_caller]
pub fn iperf3_serve(at: &mut Guest) {
    at.ok(&format!("iperf3 -s -1 -D -p {PORT}"));
    let listens = format!("grep -q ':{PORT:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6");
    at.until("the iperf3 server to listen", &listens);
}

/// An iperf3 client to its end, with more arguments.
#[track_caller]
pub fn iperf3_to(from: &mut Guest, to: &str, more: &str) -> Value {
    let text = from.ok(&format!("iperf3 --json -p {PORT} -c {to} {more}"));
    // It may warn before (of datagrams longer than TCP's segments), in the same output.
    let json = &text[text.find('{').unwrap_or(0)..];
    let json: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(json["error"].is_null(), "{}: {text}", from.name());
    json
}

/// TCP from one guest to another.
#[track_caller]
pub fn carry_tcp(from: &mut Guest, to: &mut Guest, address: &str, more: &str) -> Iperf {
    iperf3_serve(to);
    Iperf::tcp(&iperf3_to(from, address, more))
}

/// UDP from one guest to another.
#[track_caller]
pub fn carry_udp(from: &mut Guest, to: &mut Guest, address: &str, more: &str) -> Iperf {
    iperf3_serve(to);
    Iperf::udp(&iperf3_to(from, address, &format!("-u {more}")))
}

/// All counters of `ethtool -S`.
#[track_caller]
pub fn ethtool_counters(guest: &mut Guest) -> Vec<(String, u64)> {
    let text = guest.ok("ethtool -S eth0");
    let pair = |line: &str| {
        let (name, value) = line.trim().rsplit_once(':')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// One counter of `ethtool -S`.
#[track_caller]
pub fn counter(guest: &mut Guest, name: &str) -> u64 {
    let all = ethtool_counters(guest);
    let found = all.iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("no counter {name} in {all:?}")).1
}

/// The socket that a port of the first switch (`vale0`) waits for its machine on.
pub fn vm_socket(daemon: &Daemon, port: &str) -> PathBuf {
    daemon.run_dir().join(format!("vale0.{port}.vm"))
}

/// Bytes per frame that came in at a port meanwhile.
#[track_caller]
pub fn bytes_per_frame(daemon: &Daemon, port: &str, work: impl FnOnce()) -> u64 {
    let [(bytes, frames)] = frames_of(daemon, [(port, "in")], work);
    bytes / frames.max(1)
}

/// Bytes and frames that came `in` and went `out` at ports meanwhile.
#[track_caller]
pub fn frames_of<const N: usize>(
    daemon: &Daemon,
    ports: [(&str, &str); N],
    work: impl FnOnce(),
) -> [(u64, u64); N] {
    let read = || {
        ports.map(|(port, way)| {
            let of = |what: &str| daemon.port_counter(port, &format!("{way}_{what}"));
            (of("bytes"), of("frames"))
        })
    };
    let before = read();
    work();
    settle(daemon);
    let after = read();
    std::array::from_fn(|i| (after[i].0 - before[i].0, after[i].1 - before[i].1))
}

/// Datagrams that a guest's kernel lost for want of room, in its card or in a socket.
#[track_caller]
pub fn udp_losses(guest: &mut Guest) -> u64 {
    let all = ethtool_counters(guest);
    let of = |name: &str| all.iter().find(|(n, _)| n == name).map_or(0, |(_, value)| *value);
    of("rx_no_buffer_count")
        + of("rx_missed_errors")
        + of("rx_no_memory")
        + udp_counter(guest, "RcvbufErrors")
}

/// A counter of a guest's UDP.
#[track_caller]
pub fn udp_counter(guest: &mut Guest, name: &str) -> u64 {
    let text = guest.ok("grep ^Udp: /proc/net/snmp");
    let mut rows = text.lines().map(|line| line.split(' '));
    let (names, values) = (rows.next().expect("names"), rows.next().expect("values"));
    let found = names.zip(values).find(|(n, _)| *n == name);
    found.unwrap_or_else(|| panic!("no {name}: {text}")).1.parse().expect("a number")
}
