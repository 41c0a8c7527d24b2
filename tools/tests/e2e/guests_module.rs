//! Our driver in Linux guests, on ports that offer the CSB: plain, with Send Combining, and with the CSB. Writes of TDT
//! (kicks) are counted by the driver and by the card.

use crate::harness::guests::{
    Guest, Qemu, VLAN, bytes_per_frame, carrier, carry_tcp, carry_udp, counter, guest_ping_exact,
    need_guests, up, vale0, vm_socket,
};
use crate::harness::{Daemon, assert_books, settle, wait_for};

const PORTS: [(&str, &str); 2] = [
    ("a", "kind = \"e1000\"\ncsb = true\nmtu = 9000\ntx_idle_polls = 1000"),
    ("b", "kind = \"e1000\"\ncsb = true\nmtu = 9000"),
];

fn load(guest: &mut Guest, address: &str, parameters: &str) {
    guest.run("rmmod valecast_e1000");
    guest.ok(&format!("insmod /lib/modules/$(uname -r)/valecast_e1000.ko {parameters}"));
    up(guest, address);
}

/// What guest `a` and its card counted during some work.
#[derive(Debug)]
struct Did {
    packets: u64,
    kicks: u64,
    rx_kicks: u64,
    interrupts: u64,
}

impl Did {
    fn per_packet(&self) -> f64 {
        self.kicks as f64 / self.packets.max(1) as f64
    }
}

fn watch(daemon: &Daemon, a: &mut Guest, work: impl FnOnce(&mut Guest)) -> Did {
    let read = |a: &mut Guest| {
        settle(daemon);
        let driver = ["tx_packets", "tdt_writes", "rdt_writes", "interrupts"].map(|name| counter(a, name));
        let card = ["tx_kicks", "rx_kicks"].map(|name| daemon.device_counter("a", name));
        (driver, card)
    };
    let before = read(a);
    work(a);
    let after = read(a);
    let [packets, kicks, rx_kicks, interrupts] = [0, 1, 2, 3].map(|i| after.0[i] - before.0[i]);
    let card = [0, 1].map(|i| after.1[i] - before.1[i]);
    // A stray frame (a neighbour that is asked for) may go between two readings.
    let differ = card[0].abs_diff(kicks).max(card[1].abs_diff(rx_kicks));
    assert!(
        differ <= 3,
        "the card counted {card:?} writes of TDT and RDT, the driver {kicks} and {rx_kicks}"
    );
    Did { packets, kicks, rx_kicks, interrupts }
}

#[test]
fn kicks_vanish_with_send_combining_and_the_csb() {
    if !need_guests("kicks_vanish_with_send_combining_and_the_csb", &[]) {
        return;
    }
    let daemon = vale0("", &PORTS);
    let guest = |name: &str| {
        let modules = format!("{VLAN},valecast_e1000:csb=0");
        Guest::start(&Qemu::new(name, &modules).vfio_user(&vm_socket(&daemon, name)))
    };
    let [mut a, mut b] = Guest::boot([&|| guest("a"), &|| guest("b")]);
    up(&mut a, "10.77.0.1/24");
    up(&mut b, "10.77.0.2/24");
    let mut run = |a: &mut Guest, way: &str| {
        assert!(a.ok("ethtool -i eth0").contains(way));
        guest_ping_exact(a, "10.77.0.2", 10, 1472, "");
        let udp = watch(&daemon, a, |a| {
            let udp = carry_udp(a, &mut b, "10.77.0.2", "-k 10000 -b 0 -l 64");
            assert!(udp.packets > 100, "{udp:?}");
        });
        let tcp = watch(&daemon, a, |a| {
            let tcp = carry_tcp(a, &mut b, "10.77.0.2", "-n 8M");
            println!("{way}: TCP {:.0} Mbit/s", tcp.bits_per_second / 1e6);
            assert!(tcp.bytes > 1 << 20, "{tcp:?}");
        });
        println!("{way}: UDP {udp:?}, TCP {tcp:?}");
        [udp, tcp]
    };
    let plain = run(&mut a, "plain");
    load(&mut a, "10.77.0.1/24", "csb=0 sc=1 itr=100");
    let combining = run(&mut a, "send combining");
    assert!(counter(&mut a, "sc_deferred") > 0);
    load(&mut a, "10.77.0.1/24", "");
    wait_for("the card to see the CSB", || (mode(&daemon, "a") == "csb").then_some(()));
    let csb = run(&mut a, "csb");
    assert!(counter(&mut a, "csb_published") > 0);
    println!(
        "kicks per packet: {:.3} plain, {:.3} Send Combining, {:.3} CSB",
        plain[0].per_packet(),
        combining[0].per_packet(),
        csb[0].per_packet()
    );
    // Each frame has its kick, unless the kernel hands over several at once. The others' come far below half.
    assert!(plain[0].per_packet() > 0.5, "{plain:?}");
    for less in [&combining[0], &csb[0]] {
        assert!(less.per_packet() * 2.0 < plain[0].per_packet(), "{less:?} {plain:?}");
    }
    assert!(csb[1].rx_kicks < plain[1].rx_kicks, "{csb:?} {plain:?}");
    assert!(csb[0].interrupts < plain[0].interrupts, "{csb:?} {plain:?}");
    let spared = daemon.device_counter("a", "csb_causes_spared");
    assert!(spared > 0, "no interrupt was spared");

    // With the CSB on both sides, all that the stock driver can do, and segmentation of IPv6.
    load(&mut b, "10.77.0.2/24", "");
    everything(&daemon, &mut a, &mut b);

    // It boots again with another driver: the block is forgotten.
    a.reboot();
    up(&mut a, "10.77.0.1/24");
    wait_for("the card to forget the CSB", || (mode(&daemon, "a") == "registers").then_some(()));
    guest_ping_exact(&mut a, "10.77.0.2", 10, 1472, "");
    for (guest, port) in [(&mut a, "a"), (&mut b, "b")] {
        assert_eq!(counter(guest, "tx_timeouts"), 0);
        guest.healthy();
        for wrong in ["dma_errors", "csb_errors", "bad_ring", "tx_bad_offload", "tx_endless"] {
            assert_eq!(daemon.device_counter(port, wrong), 0, "{wrong} of port {port}");
        }
    }
    assert_books(&daemon);
    daemon.stop();
}

fn everything(daemon: &Daemon, a: &mut Guest, b: &mut Guest) {
    for (n, guest) in [(1, &mut *a), (2, &mut *b)] {
        guest.ok(&format!("ip addr add fd77::{n}/64 dev eth0 nodad"));
        guest.ok("ip link add link eth0 name v7 type vlan id 7; ip link set v7 up");
        guest.ok(&format!("ip addr add 10.7.0.{n}/24 dev v7"));
    }
    for address in ["10.77.0.2", "fd77::2"] {
        let whole = bytes_per_frame(daemon, "a", || {
            assert!(carry_tcp(a, b, address, "-n 8M").bytes > 1 << 20);
        });
        assert!(whole > 2000, "segments to {address} did not enter whole: {whole} bytes");
    }
    // Under tags: segments are the card's to cut, tags its to insert.
    guest_ping_exact(a, "10.7.0.2", 10, 1472, "");
    assert!(carry_tcp(a, b, "10.7.0.2", "-n 8M").bytes > 1 << 20);
    assert!(carry_tcp(b, a, "10.77.0.1", "-n 8M").bytes > 1 << 20);
    assert!(counter(b, "rx_checksummed") > 0 && counter(a, "tx_segmented") > 0);
    for guest in [&mut *a, &mut *b] {
        guest.ok("ip link set eth0 mtu 9000");
        carrier(guest);
    }
    guest_ping_exact(a, "10.77.0.2", 10, 8972, "");
    // Down and up, out and in, while frames come.
    b.ok("ping -f -q 10.77.0.1 >/dev/null 2>&1 & echo");
    for _ in 0..10 {
        a.ok("ip link set eth0 down; ip link set eth0 up");
    }
    load(a, "10.77.0.1/24", "idle_polls=100");
    b.ok("killall ping");
    guest_ping_exact(a, "10.77.0.2", 10, 1472, "");
    assert_eq!((mode(daemon, "a"), mode(daemon, "b")), ("csb".to_owned(), "csb".to_owned()));
}

/// How a port's device is driven.
fn mode(daemon: &Daemon, name: &str) -> String {
    let stats = daemon.stats();
    let ports = stats["ports"].as_array().expect("ports");
    let port = ports.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no port {name}"));
    port["mode"].as_str().unwrap_or_default().to_owned()
}
