//! The CSB, and interrupt moderation: who tells whom, and how seldom.

use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::time::Instant;

use valecast_hypervisor_glue::csb::Csb;
use valecast_hypervisor_glue::e1000::dma::Dma;
use valecast_hypervisor_glue::e1000::guest::Options;
use valecast_switch::clock::now_ns;

use crate::rig::{DEADLINE, Rig, frame};
use crate::talk::stream;

const VM: &str = "kind = \"e1000\"\ncsb = true";
const RING: &str = "kind = \"ring\"";
const WITH: Options = Options {
    base: 0x10_0000,
    descriptors: 64,
    buffer: 2048,
    rctl: 0,
    ctrl: 0x40,
    itr: 0,
    tx_delay: (0, 0),
    rx_delay: (0, 0),
    legacy: false,
    send_combining: false,
    csb: true,
};

#[test]
fn the_card_says_whether_it_knows_the_csb() {
    let rig = Rig::new("", &[("with", VM), ("without", "kind = \"e1000\"")]);
    for (port, id) in [("with", 0x1101u16), ("without", 0x001e)] {
        let mut vm = rig.vm(port, Options::default());
        let mut b = [0; 4];
        vm.client.region_read(7, 0x2c, &mut b).unwrap();
        assert_eq!(b, [0x86, 0x80, id as u8, (id >> 8) as u8], "{port}");
        vm.client.region_read(7, 0, &mut b).unwrap();
        assert_eq!(b, [0x86, 0x80, 0x0e, 0x10]);
    }
}

/// While the switch is awake the guest never writes TDT, and it writes at most once for each sleep.
#[test]
fn kicks_vanish_while_the_switch_is_awake() {
    let keys = format!("{VM}\ntx_idle_polls = 1000000");
    let rig = Rig::new("spin = \"10s\"", &[("vm", &keys), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", WITH));
    assert_eq!(rig.port("vm").mode.as_deref(), Some("csb"));
    vm.send(&frame(0xff, 2, 0, 60));
    client.wait();
    let need = |vm: &crate::vm::Vm| {
        let w = vm.ram.word32(WITH.base + offset_of!(Csb, host_need_txkick) as u64).unwrap();
        w.load(Ordering::SeqCst)
    };
    assert_eq!(need(&vm), 0, "the switch has taken a frame and is awake");
    let before = rig.counter("vm", "tx_kicks");
    assert!(before <= 2, "the start's, and one before the switch had looked: {before}");
    for n in 0..2000 {
        vm.send(&frame(1, 2, n, 60));
        assert_eq!(client.wait()[14..18], n.to_be_bytes());
    }
    let (kicks, sleeps) = (rig.counter("vm", "tx_kicks"), rig.counter("vm", "csb_tx_sleeps"));
    // Only a machine that stands still for ten seconds lets the worker sleep.
    assert!(kicks - before <= sleeps, "{kicks} kicks, {sleeps} sleeps");
    assert_eq!(vm.driver.did().tx_kicks + 1, kicks, "the start's is none of the driver's");
}

/// The switch sleeps after each frame: one kick wakes it, and none is lost.
#[test]
fn a_sleeping_switch_is_kicked() {
    let keys = format!("{VM}\ntx_idle_polls = 0");
    let rig = Rig::new("spin = \"1us\"", &[("vm", &keys), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", WITH));
    for n in 0..50 {
        let sleeps = rig.counter("vm", "csb_tx_sleeps");
        vm.send(&frame(0xff, 2, n, 60));
        assert_eq!(client.wait()[14..18], n.to_be_bytes());
        rig.until("the switch sleeps", "vm", |p| p.device["csb_tx_sleeps"] > sleeps);
    }
    let (kicks, sleeps) = (rig.counter("vm", "tx_kicks"), rig.counter("vm", "csb_tx_sleeps"));
    assert!((50..=sleeps + 2).contains(&kicks), "{kicks} kicks, {sleeps} sleeps");
}

#[test]
fn both_directions_from_guest_to_guest() {
    let small = Options { descriptors: 32, ..WITH };
    let rig = stream("", VM, WITH, small, 3000, 1514);
    let count = |port, name| rig.counter(port, name);
    let (tx, tx_sleeps) = (count("vm1", "tx_kicks"), count("vm1", "csb_tx_sleeps"));
    assert!(tx <= tx_sleeps + 2, "{tx} kicks, {tx_sleeps} sleeps");
    // Each wait for buffers asks for one write of RDT; what is late stays asked for once more.
    let (rx, rx_sleeps) = (count("vm2", "rx_kicks"), count("vm2", "csb_rx_sleeps"));
    assert!(rx <= 2 * rx_sleeps + 2, "{rx} kicks, {rx_sleeps} sleeps");
    assert_eq!(count("vm1", "csb_errors") + count("vm2", "csb_errors"), 0);
}

/// A guest that looks for frames by itself is not interrupted.
#[test]
fn a_guest_that_is_awake_is_not_interrupted() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", WITH));
    let need = offset_of!(Csb, guest_need_rxkick) as u64 + WITH.base;
    vm.ram.word32(need).unwrap().store(0, Ordering::SeqCst);
    let before = rig.counter("vm", "interrupts");
    for n in 0..40 {
        client.send(&frame(0xff, 1, n, 60));
        rig.until("the frame is there", "vm", |p| p.device["csb_causes_spared"] > u64::from(n));
    }
    assert_eq!(rig.counter("vm", "interrupts"), before);
    // Before it sleeps it looks once more, so nothing stays behind.
    assert_eq!(vm.poll().len(), 40);
    client.send(&frame(0xff, 1, 99, 60));
    assert_eq!(vm.receive(1)[0], frame(0xff, 1, 99, 60));
}

/// The floor of the interrupt rate holds over the whole run, and no interrupt is lost for it.
#[test]
fn interrupts_are_moderated_and_late_ones_come() {
    const ITR: u64 = 40_000;
    let keys = format!("kind = \"e1000\"\nitr = {ITR}");
    let rig = Rig::new("", &[("vm", &keys), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", Options::default()));
    let (start, end) = (now_ns(), Instant::now() + DEADLINE);
    let mut n = 0;
    // Until one that would have come too soon was seen.
    while n < 20 || rig.counter("vm", "interrupts_timed") < 3 {
        client.send(&frame(0xff, 1, n, 60));
        assert_eq!(vm.receive(1)[0][14..18], n.to_be_bytes());
        n += 1;
        assert!(Instant::now() < end, "none was put off in {n}");
    }
    let raised = rig.counter("vm", "interrupts");
    let most = (now_ns() - start) / (ITR * 256) + 2;
    assert!(raised <= most, "{raised} interrupts, at most {most}");
    assert!(rig.counter("vm", "interrupts_moderated") >= 3);
}

#[test]
fn without_moderation_nothing_is_put_off() {
    let rig = Rig::new("", &[("vm", "kind = \"e1000\"\nitr = 65535\nmoderation = false"), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", Options { itr: 65535, ..Options::default() }));
    for n in 0..200 {
        client.send(&frame(0xff, 1, n, 60));
        assert_eq!(vm.receive(1)[0][14..18], n.to_be_bytes());
    }
    assert_eq!(rig.counter("vm", "interrupts_moderated"), 0);
    assert_eq!(rig.counter("vm", "interrupts_timed"), 0);
}
