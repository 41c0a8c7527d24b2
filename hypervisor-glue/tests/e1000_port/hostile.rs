//! Guests and monitors that do what they should not, or at the worst moment: they lose their own frames.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use valecast_hypervisor_glue::e1000::desc::cmd;
use valecast_hypervisor_glue::e1000::dma::Dma;
use valecast_hypervisor_glue::e1000::guest::{Bus, Options, Send};
use valecast_hypervisor_glue::e1000::regs;
use valecast_hypervisor_glue::vfio_user::wire::{DmaMap, HEADER, Header, Version};
use zerocopy::{FromBytes, IntoBytes};

use crate::rig::{Rig, frame};

const VM: &str = "kind = \"e1000\"";
const RING: &str = "kind = \"ring\"";

#[test]
fn frames_at_addresses_that_are_none() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", Options::default()));
    let ring = u64::from(vm.registers().read(regs::TDBAL));
    let end = vm.ram.len();
    let all = u64::from(cmd::EOP | cmd::RS) << 24;
    let bad = [
        (end, 60),           // behind the memory
        (end - 30, 60),      // over its end
        (u64::MAX - 10, 60), // over the end of everything
        (0xffff_0000_0000, 1500),
        (0, 0xffff), // too long
        (0x1000, 5), // too short
    ];
    for (addr, len) in bad {
        let tail = vm.registers().read(regs::TDT);
        let at = ring + 16 * u64::from(tail);
        vm.ram.write(at, &addr.to_le_bytes()).unwrap();
        vm.ram.write(at + 8, &(len | all).to_le_bytes()).unwrap();
        vm.registers().write(regs::TDT, (tail + 1) % 64);
    }
    rig.until("all were looked at", "vm", |p| p.in_frames == 6);
    assert_eq!(vm.registers().read(regs::TDH), 6, "the card goes on");
    let view = rig.port("vm");
    assert_eq!((view.in_drops["bad_slot"], view.in_drops["runt"]), (5, 1), "{view:?}");
    assert_eq!((view.device["dma_errors"], view.device["tx_dma_dropped"]), (4, 4));
    assert_eq!(view.device["tx_bad_length"], 2);
    // Tails, lengths and rings that make no sense.
    for (reg, v) in [(regs::TDT, 64), (regs::TDT, u32::MAX), (regs::TDLEN, 16), (regs::TDBAH, 0xffff)] {
        let was = vm.registers().read(reg);
        vm.registers().write(reg, v);
        vm.registers().write(regs::TDT, 7);
        vm.registers().write(reg, was);
    }
    // It starts over, and all is well.
    vm.restart();
    vm.send(&frame(0xff, 2, 1, 100));
    assert_eq!(client.wait(), frame(0xff, 2, 1, 100));
    rig.books();
}

#[test]
fn buffers_at_addresses_that_are_none() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", Options::default()));
    let ring = u64::from(vm.registers().read(regs::RDBAL));
    for k in 0..8u64 {
        vm.ram.write(ring + 16 * k, &(vm.ram.len() + 4096 * k).to_le_bytes()).unwrap();
    }
    for n in 0..10 {
        client.send(&frame(0xff, 1, n, 200));
    }
    let got = vm.receive(10);
    let good = got.iter().filter(|f| f[6..12] == [2, 0, 0, 0, 0, 1]).count();
    assert!(good >= 2, "the last two came whole");
    assert_eq!(rig.counter("vm", "rx_dma_dropped"), 8);
    assert_eq!(rig.counter("vm", "rx_frames"), 2);
    // A ring that is no memory at all.
    vm.registers().write(regs::RDBAH, 1);
    for n in 0..10 {
        client.send(&frame(0xff, 1, n, 200));
    }
    rig.until("they are lost", "vm", |p| p.out_frames == 20);
    vm.restart();
    client.send(&frame(0xff, 1, 77, 200));
    assert_eq!(vm.next(), frame(0xff, 1, 77, 200));
    rig.books();
}

/// Memory comes and goes under a worker that is at it.
#[test]
fn maps_change_under_load() {
    let rig = Rig::new("workers = 2", &[("vm", VM), ("a", RING), ("b", RING)]);
    let (mut a, mut b) = (rig.client("a"), rig.client("b"));
    let mut vm = rig.vm("vm", Options { descriptors: 128, ..Options::default() });
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let sender = thread::spawn(move || {
        let mut n = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            a.send(&frame(0xff, 1, n, 1000));
            n += 1;
        }
        a
    });
    let end = vm.ram.len();
    for round in 0..60u32 {
        for n in 0..20 {
            let f = frame(0xfe, 2, n, 1000);
            let _ = vm.try_send(&Send { bytes: &f, ..Send::default() });
        }
        vm.unmap(0, end);
        let f = frame(0xfe, 2, 0, 1000);
        let _ = vm.try_send(&Send { bytes: &f, ..Send::default() });
        // In one piece, or in two that lie elsewhere.
        if round % 2 == 0 {
            vm.map(0, end);
        } else {
            let middle = (end / 2).next_multiple_of(4096);
            vm.map(0, middle);
            vm.map(middle, end);
            vm.unmap(0, middle);
            vm.unmap(middle, end);
            vm.map(0, end);
        }
        vm.serve();
        vm.poll();
        // What was given up while there was no memory is never reported: the driver would wait for ever.
        vm.restart();
    }
    drop(stop);
    let _a = sender.join().unwrap();
    rig.books();
    while b.rx.pending() > 0 {
        b.wait();
    }
    vm.send(&frame(0xfd, 2, 12345, 1000));
    assert_eq!(b.wait(), frame(0xfd, 2, 12345, 1000));
    assert!(rig.counter("vm", "dma_unmaps") >= 60);
}

#[test]
fn bus_mastering_off_is_no_memory() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING)]);
    let (mut client, mut vm) = (rig.client("a"), rig.vm("vm", Options::default()));
    vm.client.region_write(7, 4, &[3, 0]).unwrap();
    vm.send(&frame(0xff, 2, 0, 60));
    rig.until("it is lost", "vm", |p| p.device["dma_errors"] > 0);
    vm.client.region_write(7, 4, &[7, 0]).unwrap();
    vm.restart();
    vm.send(&frame(0xff, 2, 1, 60));
    assert_eq!(client.wait(), frame(0xff, 2, 1, 60));
}

/// A message of vfio-user as bytes; the answer's body.
fn call(sock: &mut UnixStream, command: u16, body: &[u8]) -> Vec<u8> {
    let size = ((HEADER + body.len()) as u32).into();
    let header = Header { id: 1.into(), command: command.into(), size, flags: 0.into(), error: 0.into() };
    sock.write_all(&[header.as_bytes(), body].concat()).unwrap();
    let mut head = [0; HEADER];
    sock.read_exact(&mut head).unwrap();
    let head = Header::read_from_bytes(&head).unwrap();
    let mut body = vec![0; head.size.get() as usize - HEADER];
    sock.read_exact(&mut body).unwrap();
    assert_eq!(head.error.get(), 0);
    body
}

/// Stock monitors without shared memory map it without a descriptor.
#[test]
fn memory_that_is_not_shared_is_said() {
    let rig = Rig::new("", &[("vm", VM)]);
    let mut sock = UnixStream::connect(rig.vm_socket("vm")).unwrap();
    let version = Version { major: 0.into(), minor: 0.into() };
    call(&mut sock, 1, &[version.as_bytes(), b"{}\0"].concat());
    rig.until("it is there", "vm", |p| p.state == "up");
    let map = DmaMap {
        argsz: 32.into(),
        flags: 3.into(),
        offset: 0.into(),
        address: 0.into(),
        size: 0x10_0000.into(),
    };
    call(&mut sock, 2, map.as_bytes());
    assert_eq!(rig.port("vm").state, "unshared");
    // The guest sees a cable that is out: STATUS.LU is down.
    let status = |sock: &mut UnixStream| {
        let read = [8u64.to_ne_bytes().as_slice(), &0u32.to_ne_bytes(), &4u32.to_ne_bytes()].concat();
        let body = call(sock, 9, &read);
        body[16] & 2
    };
    assert_eq!(status(&mut sock), 0);
    drop(sock);
    rig.until("it has gone", "vm", |p| p.state == "waiting");
    let mut vm = rig.vm("vm", Options::default());
    assert_eq!(vm.registers().read(regs::STATUS) & 2, 2, "the next one's link is up");
}

/// The monitor shares the open file of the interrupt: it makes it blocking and fills it to the brim. The worker goes on.
#[test]
fn a_full_interrupt_blocks_nobody() {
    let rig = Rig::new("", &[("vm", VM), ("a", RING), ("b", RING)]);
    let (mut a, mut b) = (rig.client("a"), rig.client("b"));
    let mut vm = rig.vm("vm", Options::default());
    let full = vm.fill_irq();
    for n in 0..20 {
        vm.send(&frame(0xff, 1, n, 100));
        assert_eq!(a.wait(), frame(0xff, 1, n, 100));
        assert_eq!(b.wait(), frame(0xff, 1, n, 100));
        a.send(&frame(0xff, 2, n, 100));
        assert_eq!(b.wait(), frame(0xff, 2, n, 100));
    }
    assert!(rig.counter("vm", "interrupts") > 0);
    drop(vm);
    rig.until("the VM has gone", "vm", |p| p.state == "waiting");
    rig.books();
    drop(full);
}
