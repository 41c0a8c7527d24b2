//! The guests themselves, with QEMU's own cards in place of the switch's: what fails here is not the switch's fault.

mod harness;

use harness::guests::{Guest, Qemu, carry_tcp, guest_ping_exact, need_guests, up};

const MODULES: &str = "llc,stp,mrp,garp,8021q,e1000";

#[test]
fn guests_boot_talk_and_boot_again() {
    if !need_guests("guests_boot_talk_and_boot_again", &[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let cable = dir.path().join("cable");
    let end =
        |server: &str| format!("stream,id=n0,server={server},addr.type=unix,addr.path={}", cable.display());
    let card = |name: &str, server: &str, mac: &str| {
        let device = format!("e1000,netdev=n0,mac={mac},romfile=");
        Qemu::new(name, MODULES).with(&["-netdev", &end(server), "-device", &device])
    };
    let (a, b) = (card("a", "on", "52:54:00:00:00:01"), card("b", "off", "52:54:00:00:00:02"));
    let [mut a, mut b] = Guest::boot([&|| Guest::start(&a), &|| {
        harness::wait_for("the cable", || cable.exists().then_some(()));
        Guest::start(&b)
    }]);
    assert_eq!(a.run("echo out; echo err >&2; exit 7").status, 7);
    assert_eq!(a.run("printf 'out '; echo err >&2").output, "out err\n");
    let long = a.ok("seq 1 20000");
    assert_eq!((long.lines().count(), long.lines().last()), (20_000, Some("20000")));
    up(&mut a, "10.77.0.1/24");
    up(&mut b, "10.77.0.2/24");
    guest_ping_exact(&mut a, "10.77.0.2", 20, 1472, "");
    let tcp = carry_tcp(&mut a, &mut b, "10.77.0.2", "-t 1");
    assert!(tcp.bytes > 0, "{tcp:?}");
    println!("TCP: {tcp:?}");
    let boot = a.ok("cat /proc/sys/kernel/random/boot_id");
    a.reboot();
    assert_ne!(a.ok("cat /proc/sys/kernel/random/boot_id"), boot);
    b.kill();
}
