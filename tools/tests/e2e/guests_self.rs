//! The guests themselves and our driver in them, with QEMU's own cards in place of the switch's: what fails here is not
//! the switch's fault.

use std::path::Path;

use crate::harness::guests::{
    Guest, Qemu, VLAN, carrier, carry_tcp, carry_udp, counter, guest_ping_exact, need_guests, up,
};

/// Two guests, each with an e1000 of QEMU's, and a cable between them; the modules of each.
fn pair(dir: &Path, a: &str, b: &str) -> [Guest; 2] {
    let cable = dir.join("cable");
    let card = |name: &str, modules: &str, server: &str, mac: &str| {
        let end = format!("stream,id=n0,server={server},addr.type=unix,addr.path={}", cable.display());
        let device = format!("e1000,netdev=n0,mac={mac},romfile=");
        Qemu::new(name, &format!("{VLAN},{modules}")).with(&["-netdev", &end, "-device", &device])
    };
    let (a, b) = (card("a", a, "on", "52:54:00:00:00:01"), card("b", b, "off", "52:54:00:00:00:02"));
    let [mut a, mut b] = Guest::boot([&|| Guest::start(&a), &|| {
        crate::harness::wait_for("the cable", || cable.exists().then_some(()));
        Guest::start(&b)
    }]);
    up(&mut a, "10.77.0.1/24");
    up(&mut b, "10.77.0.2/24");
    [a, b]
}

#[test]
fn guests_boot_talk_and_boot_again() {
    if !need_guests("guests_boot_talk_and_boot_again", &[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = pair(dir.path(), "e1000", "e1000");
    assert_eq!(a.run("echo out; echo err >&2; exit 7").status, 7);
    assert_eq!(a.run("printf 'out '; echo err >&2").output, "out err\n");
    let long = a.ok("seq 1 20000");
    assert_eq!((long.lines().count(), long.lines().last()), (20_000, Some("20000")));
    guest_ping_exact(&mut a, "10.77.0.2", 20, 1472, "");
    let tcp = carry_tcp(&mut a, &mut b, "10.77.0.2", "-n 8M");
    assert!(tcp.bytes > 0, "{tcp:?}");
    println!("TCP: {tcp:?}");
    let boot = a.ok("cat /proc/sys/kernel/random/boot_id");
    a.reboot();
    assert_ne!(a.ok("cat /proc/sys/kernel/random/boot_id"), boot);
    b.kill();
}

/// Everything that the driver does without the CSB, against another's model of the card.
#[test]
fn our_driver_drives_anothers_card() {
    if !need_guests("our_driver_drives_anothers_card", &[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = pair(dir.path(), "valecast_e1000:sc=1:itr=100", "valecast_e1000");
    assert!(a.ok("ethtool -i eth0").contains("send combining"));
    for size in [10, 300, 1472] {
        guest_ping_exact(&mut a, "10.77.0.2", 20, size, "");
    }
    // With segmentation and checksums by the card, then without.
    for offload in ["on", "off"] {
        for guest in [&mut a, &mut b] {
            guest.ok(&format!("ethtool -K eth0 tso {offload} tx {offload} rx {offload} sg {offload}"));
        }
        let (tcp, udp) = (
            carry_tcp(&mut a, &mut b, "10.77.0.2", "-n 8M"),
            carry_udp(&mut b, &mut a, "10.77.0.1", "-k 300 -b 5M"),
        );
        println!("offloads {offload}: {tcp:?}, {udp:?}");
        assert!(tcp.bytes > 1 << 20 && udp.packets > 0, "{tcp:?} {udp:?}");
    }
    assert!(counter(&mut a, "tx_segmented") > 0 && counter(&mut a, "sc_deferred") > 0);
    assert!(counter(&mut a, "tdt_writes") < counter(&mut a, "tx_packets"));
    for guest in [&mut a, &mut b] {
        guest.ok("ethtool -K eth0 tso on tx on rx on sg on; ip link set eth0 mtu 9000");
        carrier(guest);
    }
    guest_ping_exact(&mut a, "10.77.0.2", 20, 8972, "");
    // Tags by the card, then by the kernel.
    for (n, guest) in [(1, &mut a), (2, &mut b)] {
        guest.ok(&format!("ip link add link eth0 name v7 type vlan id 7; ip addr add 10.78.0.{n}/24 dev v7; ip link set v7 up"));
    }
    guest_ping_exact(&mut a, "10.78.0.2", 20, 1000, "");
    b.ok("ethtool -K eth0 rxvlan off");
    assert!(b.ok("ethtool -k eth0").contains("tx-vlan-offload: off"));
    guest_ping_exact(&mut a, "10.78.0.2", 20, 1000, "");
    // Cycles under load, then out and in again.
    b.ok("ping -f -q 10.77.0.1 >/dev/null 2>&1 & echo");
    for _ in 0..10 {
        a.ok("ip link set eth0 down; ip link set eth0 up");
    }
    carrier(&mut a);
    guest_ping_exact(&mut a, "10.77.0.2", 20, 1000, "");
    a.ok("rmmod valecast_e1000; insmod /lib/modules/$(uname -r)/valecast_e1000.ko");
    b.ok("killall ping");
    up(&mut a, "10.77.0.1/24");
    guest_ping_exact(&mut a, "10.77.0.2", 20, 1000, "");
    for guest in [&mut a, &mut b] {
        assert_eq!((counter(guest, "tx_timeouts"), counter(guest, "rx_errors")), (0, 0));
        guest.healthy();
    }
}
