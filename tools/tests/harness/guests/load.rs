//! Traffic between guests, and what guests count.

use serde_json::Value;

use super::Guest;
use crate::harness::Iperf;

/// The modules that VLAN devices need.
pub const VLAN: &str = "llc,stp,mrp,garp,8021q";

/// Brings a guest's card up with an address.
#[track_caller]
pub fn up(guest: &mut Guest, address: &str) {
    guest.ok("ip link set eth0 up");
    guest.ok(&format!("ip addr add {address} dev eth0"));
    guest.until("the link to come up", "grep -q 1 /sys/class/net/eth0/carrier");
}

/// `count` pings with `size` bytes of payload in one piece: each is answered, once.
#[track_caller]
pub fn guest_ping_exact(from: &mut Guest, to: &str, count: u32, size: u32, more: &str) {
    // The first one waits for the neighbour's address, and for tables on the way.
    from.until(&format!("an answer from {to}"), &format!("ping -n -q -c 1 -W 2 {more} {to}"));
    let words = format!("ping -n -q -c {count} -i 0.02 -W 10 -M do -s {size} {more} {to}");
    let text = from.run(&words).output;
    let want = format!("{count} packets transmitted, {count} received,");
    let name = from.name().to_owned();
    assert!(
        text.contains(&want) && !text.contains("duplicates"),
        "{name}: {words}:\n{text}\n{}",
        from.said()
    );
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
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(json["error"].is_null(), "{}: {text}", from.name());
    json
}

/// TCP from one guest to another.
#[track_caller]
pub fn carry_tcp(from: &mut Guest, to: &mut Guest, address: &str, more: &str) -> Iperf {
    iperf3_serve(to);
    let json = iperf3_to(from, address, more);
    let sum = &json["end"]["sum_received"];
    let bytes = sum["bytes"].as_u64().expect("bytes");
    Iperf { bits_per_second: sum["bits_per_second"].as_f64().expect("rate"), bytes, packets: 0, lost: 0 }
}

/// UDP from one guest to another.
#[track_caller]
pub fn carry_udp(from: &mut Guest, to: &mut Guest, address: &str, more: &str) -> Iperf {
    iperf3_serve(to);
    let json = iperf3_to(from, address, &format!("-u {more}"));
    let sum = &json["end"]["sum"];
    let number = |key: &str| sum[key].as_u64().unwrap_or_else(|| panic!("no {key} in {sum}"));
    Iperf {
        bits_per_second: sum["bits_per_second"].as_f64().expect("rate"),
        bytes: number("bytes"),
        packets: number("packets"),
        lost: number("lost_packets"),
    }
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
