//! ping and iperf3, and what they say.

use std::fs;
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::netns::{Background, Netns};
use super::{Daemon, drops, settle, wait_for};

/// What ping counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ping {
    pub sent: u64,
    pub received: u64,
    pub duplicates: u64,
}

impl Ping {
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.contains("packets transmitted"))?;
        let number = |part: &str| part.trim().trim_start_matches('+').split(' ').next()?.parse().ok();
        let of = |word: &str| line.split(',').find(|part| part.contains(word)).and_then(number);
        Some(Self {
            sent: of("transmitted")?,
            received: of("received")?,
            duplicates: of("duplicates").unwrap_or(0),
        })
    }
}

/// `ping ARGS..` to its end.
#[track_caller]
pub fn ping(from: &Netns, args: &[&str]) -> Ping {
    let words = [&["ping"], args].concat();
    let output = from.run(&words);
    let text = both(&output);
    Ping::parse(&text).unwrap_or_else(|| panic!("ping {args:?} in {}: {text}", from.name()))
}

/// `count` pings with `size` bytes of payload: each is answered, once. `more` are further arguments of ping.
#[track_caller]
pub fn ping_exact(from: &Netns, to: &str, count: u32, size: u32, more: &[&str]) {
    let (count_text, size_text) = (count.to_string(), size.to_string());
    let args = ["-n", "-q", "-c", &count_text, "-i", "0.01", "-W", "10", "-s", &size_text];
    let got = ping(from, &[&args[..], more, &[to]].concat());
    let want = Ping { sent: count.into(), received: count.into(), duplicates: 0 };
    assert_eq!(got, want, "ping {to} with {size} bytes from {}", from.name());
}

/// A ping that goes on until its `finish`.
pub struct PingRun(Background);

/// Starts pinging every `interval` seconds.
#[track_caller]
pub fn ping_start(from: &Netns, to: &str, interval: &str) -> PingRun {
    PingRun(from.spawn(&["ping", "-n", "-i", interval, "-W", "10", to]))
}

impl PingRun {
    /// Ends it. Every request before the last one answered was answered, once: what was still under way
    /// when it ended proves nothing. Returns how many were answered.
    #[track_caller]
    pub fn finish_without_loss(self) -> u64 {
        let text = self.0.end(Signal::SIGINT);
        let sequence = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        let answered = |line: &&str| line.contains("bytes from");
        let mut got: Vec<u64> = text.lines().filter(answered).filter_map(sequence).collect();
        got.sort_unstable();
        let last = got.last().copied().unwrap_or(0);
        assert!(last > 0, "nothing was answered:\n{text}");
        let odd: Vec<u64> = (1..=last).filter(|n| got.iter().filter(|g| *g == n).count() != 1).collect();
        assert!(odd.is_empty(), "of {last} pings these were lost or came twice: {odd:?}");
        last
    }
}

/// What iperf3 measured, as the receiver counted it.
#[derive(Debug, Clone)]
pub struct Iperf {
    pub bits_per_second: f64,
    pub bytes: u64,
    pub packets: u64,
    pub lost: u64,
}

impl Iperf {
    /// What the JSON of a TCP client says.
    #[track_caller]
    pub fn tcp(json: &Value) -> Self {
        Self::read(&json["end"]["sum_received"], false)
    }

    /// Of a UDP client.
    #[track_caller]
    pub fn udp(json: &Value) -> Self {
        Self::read(&json["end"]["sum"], true)
    }

    #[track_caller]
    fn read(sum: &Value, packets: bool) -> Self {
        let number = |key: &str| sum[key].as_u64().unwrap_or_else(|| panic!("no {key} in {sum}"));
        let of_packets = |key: &str| if packets { number(key) } else { 0 };
        Self {
            bits_per_second: sum["bits_per_second"].as_f64().expect("rate"),
            bytes: number("bytes"),
            packets: of_packets("packets"),
            lost: of_packets("lost_packets"),
        }
    }
}

/// An iperf3 server that waits for one client.
#[track_caller]
pub fn iperf3_server(at: &Netns) -> Background {
    let mut server = at.spawn(&["iperf3", "-s", "-1", "-p", PORT]);
    wait_for("the iperf3 server to listen", || {
        assert!(server.runs(), "the iperf3 server ended: {}", server.printed());
        // The process's own view of its namespace; 0A is LISTEN.
        let port = format!(":{:04X} ", PORT.parse::<u16>().expect("a port"));
        let table =
            |file: &str| fs::read_to_string(format!("/proc/{}/net/{file}", server.pid())).unwrap_or_default();
        let text = table("tcp") + &table("tcp6");
        text.lines().any(|line| line.contains(&port) && line.contains(" 0A ")).then_some(())
    });
    server
}

const PORT: &str = "5301";

#[track_caller]
fn iperf3_json(from: &Netns, args: &[&str]) -> Value {
    let words = [&["iperf3", "--json", "-p", PORT, "-c"], args].concat();
    let output = from.run(&words);
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{words:?}: {e}: {}", both(&output)));
    assert!(output.status.success() && json["error"].is_null(), "{words:?}: {}", both(&output));
    json
}

/// TCP for so many seconds.
#[track_caller]
pub fn iperf3_tcp(from: &Netns, to: &Netns, address: &str, seconds: u32) -> Iperf {
    let _server = iperf3_server(to);
    Iperf::tcp(&iperf3_json(from, &[address, "-t", &seconds.to_string()]))
}

/// UDP at a rate such as `200M` for so many seconds.
#[track_caller]
pub fn iperf3_udp(from: &Netns, to: &Netns, address: &str, rate: &str, seconds: u32) -> Iperf {
    let _server = iperf3_server(to);
    // As roomy a socket buffer as a stock kernel allows: the receiver may be descheduled for a while.
    Iperf::udp(&iperf3_json(from, &[address, "-u", "-b", rate, "-w", "200K", "-t", &seconds.to_string()]))
}

/// How often datagrams may be sent until the kernels lose few of them.
const TRIES: u32 = 5;

/// UDP through the switch, of which the switch loses nothing, neither silently nor by its own count. What the
/// kernels on either side of the switch drop (a full device queue, a full socket) they count; it is taken off. It must be
/// below 1 in 100, in one of several tries: where the machine was away for a tenth of a second, it is not.
#[track_caller]
pub fn udp_without_loss(daemon: &Daemon, from: (&Netns, &str), to: (&Netns, &str), rate: &str, seconds: u32) {
    let outside = || from.0.device_counter(from.1, "tx_dropped") + to.0.socket_overflows();
    for left in (0..TRIES).rev() {
        let (dropped_before, outside_before) = (drops(&daemon.stats()), outside());
        let got = iperf3_udp(from.0, to.0, to.1, rate, seconds);
        let (dropped, outside) = (drops(&settle(daemon)) - dropped_before, outside() - outside_before);
        assert_eq!(dropped, 0, "the switch dropped at {rate}: {got:?}\n{}", daemon.stats());
        assert!(got.lost <= outside, "lost without a trace ({outside} lost outside the switch): {got:?}");
        assert!(got.packets > 0, "nothing was sent at {rate}: {got:?}");
        if got.lost > 0 {
            println!("{} of {} datagrams were lost outside the switch", got.lost, got.packets);
        }
        if got.lost * 100 <= got.packets {
            return;
        }
        assert!(left > 0, "too much is lost before the switch, {TRIES} times: {got:?}");
    }
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
