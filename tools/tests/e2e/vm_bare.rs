//! Bare guests at e1000 ports: a payload of our own without an operating system, in our own monitor under KVM, and in
//! QEMU with an emulated processor.

use std::process::Stdio;

use crate::harness::guests::{bare, need_guests, vm_socket};
use crate::harness::{Daemon, skip_aloud, wait_for};
use valecast_bench::vm::{Job, Role, Vm, have_kvm};

const CONFIG: &str = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n\
    [[switch.port]]\nname = \"a\"\nkind = \"e1000\"\ncsb = true\nmac = \"52:54:00:e1:00:01\"\n\
    [[switch.port]]\nname = \"b\"\nkind = \"e1000\"\ncsb = true\nmac = \"52:54:00:e1:00:02\"\n";
const MEMORY: usize = 16 << 20;

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
    let vm = Vm::start(&d.run_dir().join("vale0.a.vm"), MEMORY, None).unwrap();
    let ended = vm.test();
    assert!(ended.is_ok(), "{ended:?}; the guest said:\n{}", vm.console());
    assert!(vm.console().contains(" tests, 0 failed"), "{}", vm.console());
    assert_counted(&d);
    // A card outlives its guest, whatever that did.
    drop(vm);
    let again =
        wait_for("the port's next guest", || Vm::start(&d.run_dir().join("vale0.a.vm"), MEMORY, None).ok());
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
    let start = |port: &str| Vm::start(&d.run_dir().join(format!("vale0.{port}.vm")), MEMORY, None).unwrap();
    let (a, b) = (start("a"), start("b"));
    let macs = [[0x52, 0x54, 0, 0xe1, 0, 1], [0x52, 0x54, 0, 0xe1, 0, 2]];
    for (itr, send_combining, csb) in [(0, false, false), (100, true, false), (0, false, true)] {
        let job = |role, to: usize, from: usize| Job {
            role,
            len: 60,
            batch: 1,
            polls: 100,
            descriptors: 256,
            itr,
            send_combining,
            csb,
            to: macs[to],
            from: macs[from],
        };
        let there = b.begin(&job(Role::Receive, 0, 1)).unwrap();
        let here = a.begin(&job(Role::Send, 1, 0)).unwrap();
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
