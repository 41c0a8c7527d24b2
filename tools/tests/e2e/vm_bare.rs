//! Bare guests at e1000 and vhost-user ports: a payload of our own without an operating system, in our own monitor under KVM, and in
//! QEMU with an emulated processor.

use std::process::Stdio;

use crate::harness::guests::{bare, need_guests, vm_socket};
use crate::harness::{Daemon, skip_aloud, wait_for};
use valecast_bench::vm::{Counted, Job, Role, Socket, Vm, VmError, have_kvm};

const CONFIG: &str = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n\
    [[switch.port]]\nname = \"a\"\nkind = \"e1000\"\ncsb = true\nmac = \"52:54:00:e1:00:01\"\n\
    [[switch.port]]\nname = \"b\"\nkind = \"e1000\"\ncsb = true\nmac = \"52:54:00:e1:00:02\"\n";
const MACS: [[u8; 6]; 2] = [[0x52, 0x54, 0, 0xe1, 0, 1], [0x52, 0x54, 0, 0xe1, 0, 2]];
const MEMORY: usize = 16 << 20;

fn card(d: &Daemon, port: &str) -> Result<Vm, VmError> {
    Vm::start(Socket::VfioUser(&vm_socket(d, port)), MEMORY, None)
}

fn virtio(d: &Daemon, port: &str) -> Vm {
    Vm::start(Socket::VhostUser(&vm_socket(d, port)), MEMORY, None).expect("a guest starts")
}

/// With the CSB where there is one.
fn job(role: Role, to: [u8; 6], from: [u8; 6]) -> Job {
    let (len, batch, polls, descriptors) = (60, 1, 100, 256);
    Job { role, len, batch, polls, descriptors, csb: true, to, from, ..Job::default() }
}

fn need_kvm(test: &str) -> bool {
    match have_kvm() {
        Ok(()) => true,
        // KVM is the machine's gift: where it is not, nobody can bring it.
        Err(why) => skip_aloud(test, &format!("bare guests need KVM: {why}")),
    }
}

#[test]
fn a_bare_guest_tests_the_card() {
    if !need_kvm("a_bare_guest_tests_the_card") {
        return;
    }
    let d = Daemon::start(CONFIG);
    let vm = card(&d, "a").unwrap();
    let ended = vm.test();
    assert!(ended.is_ok(), "{ended:?}; the guest said:\n{}", vm.console());
    assert!(vm.console().contains(" tests, 0 failed"), "{}", vm.console());
    assert_counted(&d);
    // A card outlives its guest, whatever that did.
    drop(vm);
    let again = wait_for("the port's next guest", || card(&d, "a").ok());
    drop(again);
}

/// What the guest did wrong was seen, and has its name.
#[track_caller]
fn assert_counted(d: &Daemon) {
    for wrong in ["dma_errors", "tx_dma_dropped", "tx_endless", "bad_ring", "csb_errors"] {
        assert!(d.device_counter("a", wrong) > 0, "{wrong} was not counted");
    }
}

#[test]
fn a_bare_guest_tests_the_card_in_qemu() {
    if !need_guests("a_bare_guest_tests_the_card_in_qemu", &[]) {
        return;
    }
    let Some(elf) = valecast_guest_bare::elf() else {
        skip_aloud("a_bare_guest_tests_the_card_in_qemu", "bare guests are x86-64 only");
        return;
    };
    let d = Daemon::start(CONFIG);
    let kernel = d.run_dir().join("payload");
    std::fs::write(&kernel, elf).unwrap();
    let mut command = bare(&kernel, &vm_socket(&d, "a"));
    let out = command.stdin(Stdio::null()).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    // 1 is 0 from the guest.
    assert_eq!(out.status.code(), Some(1), "{said}\n{complained}");
    assert!(said.contains(" tests, 0 failed"), "{said}");
    assert_counted(&d);
    // The daemon lives, and the port waits for the next.
    wait_for("the port's state", || (d.device_counter("a", "vms") == 1).then_some(()));
    d.stop();
}

#[test]
fn bare_guests_exchange_frames_in_every_mode() {
    if !need_kvm("bare_guests_exchange_frames_in_every_mode") {
        return;
    }
    let d = Daemon::start(CONFIG);
    let (a, b) = (card(&d, "a").unwrap(), card(&d, "b").unwrap());
    for (itr, send_combining, csb) in [(0, false, false), (100, true, false), (0, false, true)] {
        let job = |role, to, from| Job { itr, send_combining, csb, ..job(role, to, from) };
        let there = b.begin(&job(Role::Receive, MACS[0], MACS[1])).unwrap();
        let here = a.begin(&job(Role::Send, MACS[1], MACS[0])).unwrap();
        wait_for("frames", || (b.counted().received >= 2000).then_some(()));
        a.end(here).unwrap();
        b.end(there).unwrap();
        let did = a.counted();
        let per_frame = did.tx_kicks as f64 / did.sent as f64;
        match (send_combining, csb) {
            (false, false) => assert_eq!(did.tx_kicks, did.sent),
            // The paper's section 3.2: an interrupt's worth of frames per kick.
            (true, _) => assert!(per_frame < 0.2, "{did:?}"),
            (_, true) => assert!(per_frame < 0.5, "{did:?}"),
        }
    }
}

const MIXED: &str = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n\
    [[switch.port]]\nname = \"a\"\nkind = \"e1000\"\ncsb = true\nmac = \"52:54:00:e1:00:01\"\noverflow = \"backpressure\"\n\
    [[switch.port]]\nname = \"c\"\nkind = \"vhost-user\"\noverflow = \"backpressure\"\n\
    [[switch.port]]\nname = \"d\"\nkind = \"vhost-user\"\noverflow = \"backpressure\"\n";

/// A guest and its address.
type End<'a> = (&'a Vm, [u8; 6]);

/// `from` sends to `to` until so many frames have come; what the sender counted, and the receiver.
fn exchange((from, a): End<'_>, (to, b): End<'_>, frames: u64) -> (Counted, Counted) {
    let there = to.begin(&job(Role::Receive, a, b)).expect("a job begins");
    let here = from.begin(&job(Role::Send, b, a)).expect("a job begins");
    wait_for("frames", || (to.counted().received >= frames).then_some(()));
    from.end(here).expect("a job ends");
    to.end(there).expect("a job ends");
    (from.counted(), to.counted())
}

/// A frame there and back, so often.
fn ping((from, a): End<'_>, (to, b): End<'_>, trips: u64) {
    let there = to.begin(&job(Role::Echo, a, b)).expect("a job begins");
    let here = from.begin(&job(Role::Ping, b, a)).expect("a job begins");
    wait_for("round trips", || (from.counted().round_trips >= trips).then_some(()));
    from.end(here).expect("a job ends");
    to.end(there).expect("a job ends");
    assert!(to.counted().received >= trips, "{:?}", to.counted());
}

#[test]
fn bare_guests_exchange_frames_over_virtio() {
    if !need_kvm("bare_guests_exchange_frames_over_virtio") {
        return;
    }
    let d = Daemon::start(MIXED);
    let (c, e) = (virtio(&d, "c"), virtio(&d, "d"));
    let ends = [(&c, MACS[0]), (&e, MACS[1])];
    for (from, to, port) in [(ends[0], ends[1], "c"), (ends[1], ends[0], "d")] {
        let before = d.device_counter(port, "tx_by_reference");
        let (did, got) = exchange(from, to, 100_000);
        assert!(did.tx_kicks * 2 < did.sent, "far fewer kicks than frames: {did:?}");
        assert!(did.vectors * 2 < did.sent && got.vectors * 2 < got.received, "interrupts: {did:?} {got:?}");
        // What left is what came: all of it, where receivers are waited for.
        let left = d.device_counter(port, "tx_by_reference") - before;
        assert!(left >= got.received && left <= did.sent, "{left} left; {did:?} {got:?}");
    }
    ping(ends[0], ends[1], 200);
    for port in ["c", "d"] {
        for wrong in ["bad_descriptors", "memory_errors", "refused", "broken", "lost_calls"] {
            assert_eq!(d.device_counter(port, wrong), 0, "{port}: {wrong}");
        }
        // Each job sets the rings up anew.
        assert_eq!(d.device_counter(port, "starts"), 3, "{port}");
        assert!(d.device_counter(port, "calls") > 0, "{port}");
    }
    // The doorbells that the guests rang woke the workers, or came while they were awake already.
    assert!(d.device_counter("c", "kicks") > 0);
    drop((c, e));
    wait_for("a port's next guest", || Some(virtio(&d, "c")));
    d.stop();
}

#[test]
fn bare_guests_of_both_kinds_exchange_frames() {
    if !need_kvm("bare_guests_of_both_kinds_exchange_frames") {
        return;
    }
    let d = Daemon::start(MIXED);
    let (a, c) = (card(&d, "a").unwrap(), virtio(&d, "c"));
    // The card takes what is for its own address.
    let (a, c) = ((&a, MACS[0]), (&c, MACS[1]));
    for (from, to) in [(a, c), (c, a)] {
        let (did, got) = exchange(from, to, 50_000);
        assert!(did.tx_kicks * 2 < did.sent, "far fewer kicks than frames: {did:?}");
        assert!(got.received <= did.sent, "{did:?} {got:?}");
    }
    ping(a, c, 100);
    ping(c, a, 100);
    d.stop();
}
