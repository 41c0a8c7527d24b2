//! VMs come, stop, go on, and go, at any time.

use std::os::unix::net::UnixStream;

use nix::sys::eventfd::{EfdFlags, EventFd};
use valecast_switch::frame::VnetHdr;

use crate::driver::{BASE, MEMORY, Memory};
use crate::front::{
    ADD_MEM_REG, Front, GET_VRING_BASE, Options, REM_MEM_REG, SET_MEM_TABLE, SET_VRING_CALL, USER, longs,
    receive, send, table, words,
};
use crate::rig::{Client, Rig, frame};
use crate::talk::{RING, VM};

fn echo(vm: &mut Front, client: &mut Client, n: u32) {
    let f = frame(2, 1, n, 300);
    vm.send(0, &f, VnetHdr::default(), &[]);
    assert_eq!(client.wait(), f);
    vm.sent(0);
    let f = frame(1, 2, n, 300);
    client.send(&f);
    assert_eq!(vm.wait(0).bytes, f);
}

#[test]
fn a_port_waits_for_one_vm_after_another() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    for n in 0..10 {
        assert_eq!(rig.port("vm").state, "waiting");
        let mut vm = rig.vm("vm", Options::default());
        let view = rig.port("vm");
        assert_eq!(view.pid, Some(std::process::id() as i32));
        echo(&mut vm, &mut client, n);
        // Another at the same time is turned away.
        let second = UnixStream::connect(rig.vm_socket("vm")).unwrap();
        assert_eq!(receive(&second), None);
        if n % 2 == 0 {
            // In the middle of things.
            (0..6).for_each(|k| vm.send(0, &frame(2, 1, k, 60), VnetHdr::default(), &[]));
        }
        drop(vm);
        rig.until("the port waits again", "vm", |p| p.state == "waiting");
        while client.rx.pending() > 0 {
            client.wait();
        }
    }
    assert_eq!((rig.counter("vm", "clients"), rig.counter("vm", "turned_away")), (10, 10));
    rig.books();
}

/// A stopped ring says where it was, and goes on from there: as for a guest's reboot, or a monitor's pause.
#[test]
fn rings_stop_and_go_on() {
    for base in [0, 65500] {
        let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
        let mut client = rig.client("c");
        let mut vm = rig.vm("vm", Options { base, ..Options::default() });
        for n in 0..30 {
            echo(&mut vm, &mut client, n);
            for r in [0, 1] {
                let ring = if r == 0 { &vm.pairs[0].rx } else { &vm.pairs[0].tx };
                let used = ring.used_index(&vm.memory);
                assert_eq!(vm.stop_ring(r), used, "what was taken was used");
            }
            assert_eq!(rig.port("vm").state, "waiting", "parted before the answer");
            // What is offered meanwhile is found later.
            let f = frame(2, 1, 1000 + n, 99);
            vm.send(0, &f, VnetHdr::default(), &[]);
            for r in 0..2 {
                let ring = if r == 0 { &vm.pairs[0].rx } else { &vm.pairs[0].tx };
                let (seen, next) = (ring.used_index(&vm.memory), ring.next);
                let i = r as u32;
                vm.tell(crate::front::SET_VRING_BASE, &words(&[i, seen.into()]), &[]);
                assert_ne!((r, seen), (1, next), "something is offered");
                vm.tell(SET_VRING_CALL, &longs(&[i.into()]), &[&vm.pairs[0].calls[r]]);
                vm.tell(crate::front::SET_VRING_KICK, &longs(&[i.into()]), &[&vm.pairs[0].kicks[r]]);
            }
            assert_eq!(client.wait(), f);
            vm.sent(0);
        }
        rig.books();
    }
}

/// Memory is changed under the workers' hands, and the rings go on.
#[test]
fn memory_comes_and_goes() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options::default());
    let more = Memory::new();
    let region = |at: u64| longs(&[0, at, MEMORY, USER + 0x1000_0000, 0]);
    for n in 0..20 {
        assert!(vm.checked(ADD_MEM_REG, &region(BASE + MEMORY), &[&more.fd()]));
        // Overlaps.
        assert!(!vm.checked(ADD_MEM_REG, &region(BASE + MEMORY - 4096), &[&more.fd()]));
        echo(&mut vm, &mut client, n);
        let far = BASE + MEMORY + 0x5000;
        let f = frame(2, 1, n, 777);
        more.write(BASE + 0x5000, &[&[0; 12], &f[..]].concat());
        vm.pairs[0].tx.add(&vm.memory, &[(far, 12 + 777, 0)]);
        vm.kick(0);
        assert_eq!(client.wait(), f);
        vm.sent(0);
        assert!(vm.checked(REM_MEM_REG, &region(BASE + MEMORY), &[]));
        assert!(!vm.checked(REM_MEM_REG, &region(BASE + MEMORY), &[]));
        echo(&mut vm, &mut client, n);
        assert!(vm.checked(SET_MEM_TABLE, &table(), &[&vm.memory.fd()]));
    }
    assert_eq!((rig.counter("vm", "starts"), rig.counter("vm", "memory_errors")), (1, 0));
    // What is gone is not found.
    vm.pairs[0].tx.add(&vm.memory, &[(BASE + MEMORY + 0x5000, 100, 0)]);
    vm.kick(0);
    vm.sent(0);
    assert_eq!(rig.counter("vm", "memory_errors"), 1);
    rig.books();
}

/// QEMU changes the interrupt's descriptor whenever the guest masks it.
#[test]
fn interrupts_change_hands() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    let mut vm = rig.vm("vm", Options::default());
    for n in 0..100 {
        let call = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        client.send(&frame(1, 2, n, 60));
        vm.pairs[0].calls[0] = call;
        assert!(vm.checked(SET_VRING_CALL, &longs(&[0]), &[&vm.pairs[0].calls[0]]));
        assert_eq!(vm.wait(0).bytes, frame(1, 2, n, 60));
    }
    assert_eq!(rig.counter("vm", "starts"), 1);
    // A socket, as user-mode Linux has.
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(vm.checked(SET_VRING_CALL, &longs(&[0]), &[&theirs]));
    drop(theirs);
    let mut rung = [0; 8];
    vm.pairs[0].rx.arm(&vm.memory, vm.pairs[0].rx.seen);
    client.send(&frame(1, 2, 7, 60));
    std::io::Read::read_exact(&mut &ours, &mut rung).unwrap();
    assert_eq!(u64::from_ne_bytes(rung), 1);
    // None, and files are none.
    assert!(vm.checked(SET_VRING_CALL, &longs(&[1 << 8]), &[]));
    let file = tempfile::tempfile().unwrap();
    assert!(!vm.checked(SET_VRING_CALL, &longs(&[0]), &[&file]));
}

#[test]
fn users_are_admitted() {
    let keys = format!("{VM}\nallow_users = [\"65533\"]");
    let rig = Rig::new("", &[("vm", &keys)]);
    let sock = UnixStream::connect(rig.vm_socket("vm")).unwrap();
    // The connection may be closed before or after this.
    let _ = send(&sock, GET_VRING_BASE, 0, &words(&[0, 0]), &[]);
    assert_eq!(receive(&sock), None);
    rig.until("the user is turned away", "vm", |p| p.device["turned_away"] == 1);
    assert_eq!(rig.counter("vm", "messages"), 0);
}

/// The port is taken away under a VM, and another one given.
#[test]
fn the_port_goes_first() {
    let rig = Rig::new("", &[("vm", VM), ("c", RING)]);
    let mut client = rig.client("c");
    for n in 0..5 {
        let mut vm = rig.vm("vm", Options::default());
        echo(&mut vm, &mut client, n);
        (0..6).for_each(|k| vm.send(0, &frame(2, 1, k, 60), VnetHdr::default(), &[]));
        rig.daemon.detach_port("v", "vm").unwrap();
        assert!(!rig.vm_socket("vm").exists());
        assert_eq!(receive(&vm.sock), None);
        let port = valecast_config::parse_port("t", &format!("name = \"vm\"\n{VM}\n")).unwrap();
        rig.daemon.attach_port("v", port, false).unwrap();
        while client.rx.pending() > 0 {
            client.wait();
        }
    }
    rig.books();
}
