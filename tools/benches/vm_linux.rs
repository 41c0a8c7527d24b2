//! VM ports with Linux guests in QEMU, whose processor is emulated (TCG): the driver modes of the paper's Figure 1 with our
//! own driver, and virtio-net. What differs between rows is the port and the driver; what a row comes to is mostly
//! what the emulated processor can do.
//!
//! `cargo xtask bench vm` runs it after the bare guests, where `cargo xtask guests` was run before. `--seconds N` per load.

#[path = "../tests/e2e/harness/mod.rs"]
mod harness;

use std::path::Path;

use harness::guests::{Guest, Qemu, VIRTIO, VLAN, iperf3_serve, iperf3_to, need_guests, up, vm_socket};
use harness::{Daemon, Netns, iperf3_server, settle};
use serde_json::Value;

/// Payloads of UDP: a frame of 64 bytes with its FCS, and one of 1506.
const SIZES: [u32; 2] = [18, 1460];
/// Round trips of a row.
const TRIPS: u32 = 300;
const GUEST: &str = "10.77.0.2";
const HOST: &str = "10.77.0.3";

/// A row of the tables.
struct Mode {
    name: &'static str,
    /// Parameters of our driver, whose `itr` is in microseconds (100 units of ITR are 25.6 of them); `None`: virtio-net.
    driver: Option<&'static str>,
    /// The ports' `tx_idle_polls`.
    polls: u32,
}

const fn card(name: &'static str, parameters: &'static str, polls: u32) -> Mode {
    Mode { name, driver: Some(parameters), polls }
}

/// The paper's rows, and two for a processor that needs longer for a frame and pauses longer than one of silicon: interrupts
/// as far apart as eight long frames take, and ports that look for frames ten times as long before they ask for a kick.
const MODES: [Mode; 8] = [
    card("itr=0 BASE", "csb=0 sc=0 itr=0", 1000),
    card("itr=100", "csb=0 sc=0 itr=26", 1000),
    card("itr=100 SC", "csb=0 sc=1 itr=26", 1000),
    card("itr=3200 SC", "csb=0 sc=1 itr=820", 1000),
    card("itr=0 CSB", "csb=1 itr=0", 1000),
    card("itr=100 CSB", "csb=1 itr=26", 1000),
    card("itr=0 CSB, 10000 polls", "csb=1 itr=0", 10_000),
    Mode { name: "vhost-user", driver: None, polls: 0 },
];

/// What one load came to, per second and per packet sent (`interrupts` of the sender) or received.
struct Load {
    sent: f64,
    received: f64,
    kicks: f64,
    interrupts: f64,
    rx_interrupts: f64,
}

fn config(kind: &str, netns: &str, polls: u32) -> String {
    let card = |name: &str| match kind {
        "e1000" => {
            format!(
                "[[switch.port]]\nname = {name:?}\nkind = \"e1000\"\ncsb = true\ntx_idle_polls = {polls}\n"
            )
        }
        _ => format!("[[switch.port]]\nname = {name:?}\nkind = {kind:?}\n"),
    };
    format!(
        "run_dir = \"{{run}}\"\n[[switch]]\nname = \"vale0\"\n{}{}[[switch.port]]\nname = \"host\"\nkind = \"tap\"\n\
         ifname = \"vc0\"\nnetns = {netns:?}\naddresses = [\"{HOST}/24\"]\n",
        card("a"),
        card("b"),
    )
}

/// A load of datagrams from guest `a` to an iperf3 that serves already.
fn load(daemon: &Daemon, a: &mut Guest, kind: &str, to: &str, size: u32, seconds: u32) -> Load {
    let [kicks, interrupts] =
        if kind == "e1000" { ["tx_kicks", "interrupts_signalled"] } else { ["kicks", "calls"] };
    let read = || {
        settle(daemon);
        [("a", kicks), ("a", interrupts), ("b", interrupts)].map(|(port, n)| daemon.device_counter(port, n))
    };
    let before = read();
    let json = iperf3_to(a, to, &format!("-u -b 0 -l {size} -t {seconds}"));
    let after = read();
    let sum = &json["end"]["sum"];
    let number = |v: &Value, key: &str| v[key].as_f64().unwrap_or(0.0);
    let (packets, lost, took) = (number(sum, "packets"), number(sum, "lost_packets"), number(sum, "seconds"));
    let per = |i: usize, of: f64| (after[i] - before[i]) as f64 / of.max(1.0);
    let arrived = packets - lost;
    Load {
        sent: packets / took,
        received: arrived / took,
        kicks: per(0, packets),
        interrupts: per(1, packets),
        rx_interrupts: per(2, arrived),
    }
}

/// Round trips (us), `count` more of them. Not their average: one that waited for a processor is worth ten.
fn round_trips(a: &mut Guest, to: &str, count: u32, all: &mut Vec<f64>) {
    a.until("an answer", &format!("ping -n -q -c 1 -W 2 {to}"));
    let text = a.ok(&format!("ping -n -c {count} -i 0.02 {to}"));
    let one = |line: &str| line.split_once("time=")?.1.split(' ').next()?.parse::<f64>().ok();
    all.extend(text.lines().filter_map(one).map(|ms| ms * 1e3));
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    *all.get(all.len() / 2).expect("a round trip")
}

/// A row: before, between and after its loads a third of its round trips, so that they are of different moments.
fn row(name: &str, a: &mut Guest, to: &str, mut load: impl FnMut(&mut Guest, u32) -> Load) -> String {
    let mut trips = Vec::new();
    round_trips(a, to, TRIPS / 3, &mut trips);
    let loads = SIZES.map(|size| {
        let load = load(a, size);
        round_trips(a, to, TRIPS / 3, &mut trips);
        load
    });
    line(name, &loads, median(trips))
}

fn line(name: &str, loads: &[Load], rtt: f64) -> String {
    let mut s = format!("| {name} |");
    for l in loads {
        s += &format!(
            " {:.1} | {:.1} | {:.3} | {:.3} | {:.3} |",
            l.sent / 1e3,
            l.received / 1e3,
            l.kicks,
            l.interrupts,
            l.rx_interrupts
        );
    }
    s + &format!(" {rtt:.0} |")
}

fn guest(name: &str, kind: &str, socket: &Path) -> Guest {
    Guest::start(&match kind {
        "e1000" => Qemu::new(name, &format!("{VLAN},valecast_e1000:csb=0")).vfio_user(socket),
        _ => Qemu::new(name, VIRTIO).vhost_user(socket, 1),
    })
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seconds =
        args.iter().position(|a| a == "--seconds").and_then(|i| args.get(i + 1)?.parse().ok()).unwrap_or(3);
    if !need_guests("Linux guests", &["ip", "iperf3"]) {
        return;
    }
    let (mut to_guest, mut to_host) = (Vec::new(), Vec::new());
    for kind in ["e1000", "vhost-user"] {
        let host = Netns::new("host");
        let daemon = Daemon::start(&config(kind, host.name(), 1000));
        host.wait_ready("vc0");
        let [mut a, mut b] = Guest::boot([&|| guest("a", kind, &vm_socket(&daemon, "a")), &|| {
            guest("b", kind, &vm_socket(&daemon, "b"))
        }]);
        up(&mut a, "10.77.0.1/24");
        up(&mut b, &format!("{GUEST}/24"));
        for mode in MODES.iter().filter(|m| m.driver.is_some() == (kind == "e1000")) {
            if let Some(parameters) = mode.driver {
                // Under living guests: the key is one of those that may change.
                daemon.reload(&config(kind, host.name(), mode.polls));
                for (guest, address) in [(&mut a, "10.77.0.1/24"), (&mut b, "10.77.0.2/24")] {
                    guest.ok("rmmod valecast_e1000");
                    guest.ok(&format!("insmod /lib/modules/$(uname -r)/valecast_e1000.ko {parameters}"));
                    up(guest, address);
                }
            }
            to_guest.push(row(mode.name, &mut a, GUEST, |a, size| {
                iperf3_serve(&mut b);
                load(&daemon, a, kind, GUEST, size, seconds)
            }));
            to_host.push(row(mode.name, &mut a, HOST, |a, size| {
                let _server = iperf3_server(&host);
                load(&daemon, a, kind, HOST, size, seconds)
            }));
        }
        daemon.stop();
    }
    for (way, rows) in [("guest to guest", to_guest), ("guest to host (TAP)", to_host)] {
        println!(
            "### Linux under TCG, {way}\n\n\
             | driver | 64 B sent, kpps | received | kicks / packet | TX irq / packet | RX irq / packet | 1460 B sent, kpps \
             | received | kicks / packet | TX irq / packet | RX irq / packet | round trip, us |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        );
        rows.iter().for_each(|r| println!("{r}"));
        println!();
    }
}
