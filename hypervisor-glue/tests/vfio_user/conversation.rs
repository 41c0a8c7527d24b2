//! Good requests, as QEMU makes them and as it could.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use valecast_hypervisor_glue::vfio_user::wire::{DeviceInfo, IrqInfo, NO_REPLY, RegionInfo, Version};
use valecast_hypervisor_glue::vfio_user::{Server, ServerError};
use zerocopy::{FromBytes, IntoBytes};

use crate::peer::*;
use crate::scratch::session;

/// What QEMU 11.1 says of itself.
const QEMU: &[u8] = b"{\"capabilities\":{\"max_msg_fds\":16,\"max_dma_maps\":65535,\"pgsizes\":4096,\
    \"max_data_xfer_size\":1048576,\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":268435456},\
    \"write_multiple\":true}}\0";

#[test]
fn agrees_on_a_version() {
    let mut rig = Rig::new();
    let mut peer = rig.connect();
    let answer = rig.call(&mut peer, VERSION, &version(0, 0, QEMU), &[]).unwrap();
    let (v, text) = Version::read_from_prefix(&answer).unwrap();
    assert_eq!((v.major.get(), v.minor.get()), (0, 0));
    let (nul, text) = text.split_last().unwrap();
    assert_eq!(*nul, 0);
    let said: serde_json::Value = serde_json::from_slice(text).unwrap();
    let said = &said["capabilities"];
    assert_eq!(said["write_multiple"], true);
    assert_eq!(said["max_msg_fds"], 16);
    assert_eq!(said["max_data_xfer_size"], 65536);
    assert_eq!(said["pgsizes"], 4096);
    let client = rig.server.session().client().unwrap().clone();
    assert_eq!((client.max_msg_fds, client.write_multiple), (Some(16), Some(true)));
    assert_eq!(rig.call(&mut peer, VERSION, &version(0, 0, QEMU), &[]), Err(Errno::EINVAL), "once only");
}

#[test]
fn speaks_no_other_version_and_nothing_before_it() {
    let mut rig = Rig::new();
    let mut peer = rig.connect();
    for bad in [
        version(1, 0, b"{}\0"),
        version(0, 0, b"{}"),
        version(0, 0, b"{\0"),
        version(0, 0, b"[1]\0\0"),
        version(0, 0, b"{\"capabilities\":{\"max_msg_fds\":-1}}\0"),
        version(0, 0, &vec![b' '; 20_000]),
        vec![0, 0, 0],
    ] {
        assert_eq!(rig.call(&mut peer, VERSION, &bad, &[]), Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(rig.call(&mut peer, RESET, &[], &[]), Err(Errno::EPROTO));
    let answer = rig.call(&mut peer, VERSION, &version(0, 7, b""), &[]).unwrap();
    assert_eq!(answer[..4], [0, 0, 1, 0], "0.1 is what there is");
    rig.call(&mut peer, RESET, &[], &[]).unwrap();
}

#[test]
fn tells_what_the_device_has() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let asked = DeviceInfo { argsz: 16.into(), flags: 0.into(), regions: 0.into(), irqs: 0.into() };
    let info = rig.call(&mut peer, GET_INFO, asked.as_bytes(), &[]).unwrap();
    let info = DeviceInfo::read_from_bytes(&info).unwrap();
    assert_eq!((info.argsz.get(), info.flags.get()), (16, 3));
    assert_eq!((info.regions.get(), info.irqs.get()), (9, 5));
    let mut sizes = Vec::new();
    for index in 0..9u32 {
        let asked = RegionInfo {
            argsz: 32.into(),
            flags: 0.into(),
            index: index.into(),
            cap_offset: 0.into(),
            size: 0.into(),
            offset: 0.into(),
        };
        let info = rig.call(&mut peer, REGION_INFO, asked.as_bytes(), &[]).unwrap();
        let info = RegionInfo::read_from_bytes(&info).unwrap();
        assert_eq!((info.argsz.get(), info.index.get(), info.cap_offset.get()), (32, index, 0));
        assert_eq!(info.flags.get(), if info.size.get() > 0 { 3 } else { 0 });
        sizes.push(info.size.get());
    }
    assert_eq!(sizes, [4096, 64, 0, 0, 0, 0, 0, 256, 0]);
    let mut irqs = Vec::new();
    for index in 0..5u32 {
        let asked = IrqInfo { argsz: 16.into(), flags: 0.into(), index: index.into(), count: 0.into() };
        let info = rig.call(&mut peer, IRQ_INFO, asked.as_bytes(), &[]).unwrap();
        let info = IrqInfo::read_from_bytes(&info).unwrap();
        assert_eq!(info.index.get(), index);
        irqs.push((info.flags.get(), info.count.get()));
    }
    assert_eq!(irqs, [(7, 1), (9, 1), (0, 0), (0, 0), (0, 0)], "INTx masks itself; one MSI; no others");
    for (command, past) in [(REGION_INFO, 9u32), (IRQ_INFO, 5)] {
        let mut body = [0u8; 32];
        body[0] = 32;
        body[8..12].copy_from_slice(&past.to_ne_bytes());
        assert_eq!(rig.call(&mut peer, command, &body, &[]), Err(Errno::EINVAL));
    }
}

#[test]
fn registers_are_read_and_written() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    rig.write(&mut peer, 0, 0x100, &[1, 2, 3, 4]).unwrap();
    assert_eq!(rig.read(&mut peer, 0, 0x102, 4), Ok(vec![3, 4, 0, 0]));
    rig.write(&mut peer, 1, 4, &[0x77]).unwrap();
    assert_eq!(rig.read(&mut peer, 1, 0, 2), Ok(vec![0x77; 2]));
    assert_eq!(rig.read(&mut peer, 0, 0, 4096).unwrap().len(), 4096);
    let counters = rig.counters();
    assert_eq!((counters.reads.get(), counters.writes.get(), counters.posted.get()), (3, 2, 0));
    rig.call(&mut peer, RESET, &[], &[]).unwrap();
    assert_eq!(rig.read(&mut peer, 0, 0x100, 4), Ok(vec![0; 4]));
}

#[test]
fn many_posted_writes_are_one_batch() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let before = rig.counters().receives.get();
    let mut batch = Vec::new();
    for k in 0..1000u32 {
        batch.extend(peer.message(WRITE, NO_REPLY, &write_body(0, 0x100, &k.to_le_bytes())).1);
    }
    let (id, read) = peer.message(READ, 0, access(0, 0x100, 4).as_bytes());
    batch.extend(read);
    peer.raw(&batch, &[]);
    rig.serve();
    assert_eq!(peer.waiting(), 1, "only the read is answered");
    assert_eq!(peer.answer(id, READ).unwrap()[16..], 999u32.to_le_bytes());
    assert_eq!(rig.counters().posted.get(), 1000);
    assert_eq!(rig.counters().receives.get() - before, 1);
}

#[test]
fn several_writes_in_one_message() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let multi = |writes: &[(u32, u64, &[u8])]| {
        let mut body = (writes.len() as u64).to_ne_bytes().to_vec();
        for (region, offset, data) in writes {
            let mut word = [0xee; 8];
            word[..data.len().min(8)].copy_from_slice(&data[..data.len().min(8)]);
            body.extend_from_slice(access(*region, *offset, data.len() as u32).as_bytes());
            body.extend_from_slice(&word);
        }
        body
    };
    let body = multi(&[(0, 0x200, &[1, 2, 3, 4]), (1, 0, &[9]), (0, 0x202, &[5; 8])]);
    assert_eq!(rig.call(&mut peer, MULTI, &body, &[]).unwrap(), 3u64.to_ne_bytes());
    assert_eq!(rig.read(&mut peer, 0, 0x200, 11), Ok(vec![1, 2, 5, 5, 5, 5, 5, 5, 5, 5, 0]));
    assert_eq!(rig.read(&mut peer, 1, 0, 1), Ok(vec![9]));
    peer.send(MULTI, NO_REPLY, &multi(&[(0, 0x300, &[7]), (0, 0x301, &[8])]), &[]);
    assert_eq!(rig.read(&mut peer, 0, 0x300, 2), Ok(vec![7, 8]));
    assert_eq!(rig.counters().writes.get(), 5);
    for bad in [
        multi(&[(0, 0, &[1; 9])]),
        multi(&[(0, 4090, &[1; 8])]),
        multi(&[(0, 0, &[])]),
        (u64::MAX).to_ne_bytes().to_vec(),
        body[..body.len() - 1].to_vec(),
    ] {
        assert_eq!(rig.call(&mut peer, MULTI, &bad, &[]), Err(Errno::EINVAL));
    }
}

#[test]
fn a_device_reads_and_writes_guest_memory() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let ram = guest_memory(0x4000);
    poke(&ram, 0x1ffc, &[1, 2, 3, 4, 5, 6, 7, 8]);
    // Two maps of one file, out of order; a word lies across their border.
    rig.call(&mut peer, DMA_MAP, map(0x11000, 0x1000, 0x2000, 3).as_bytes(), &[ram.as_raw_fd()]).unwrap();
    rig.call(&mut peer, DMA_MAP, map(0x10000, 0x1000, 0x1000, 3).as_bytes(), &[ram.as_raw_fd()]).unwrap();
    let copy = |rig: &mut Rig, peer: &mut Peer, address: u64| {
        rig.write(peer, 0, 0x10, &address.to_le_bytes()).unwrap();
        rig.read(peer, 0, 0x20, 9).unwrap()
    };
    assert_eq!(copy(&mut rig, &mut peer, 0x10ffc)[8], 2, "not before the guest lets it");
    rig.enable(&mut peer);
    assert_eq!(copy(&mut rig, &mut peer, 0x10ffc), [1, 2, 3, 4, 5, 6, 7, 8, 1]);
    assert_eq!(peek(&ram, 0x2004, 8), [1, 2, 3, 4, 5, 6, 7, 8].map(|b: u8| !b));
    let gone = rig.call(&mut peer, DMA_UNMAP, unmap(0x11000, 0x1000, 0).as_bytes(), &[]).unwrap();
    assert_eq!(gone, unmap(0x11000, 0x1000, 0).as_bytes());
    assert_eq!(copy(&mut rig, &mut peer, 0x10ffc)[8], 2);
    let all = rig.call(&mut peer, DMA_UNMAP, unmap(0, 0, 2).as_bytes(), &[]).unwrap();
    assert_eq!(all, unmap(0, 0x1000, 2).as_bytes(), "the answer says how much there was");
    let calls = &rig.server.session().device().calls;
    assert_eq!((calls.memory, calls.attached), (4, 1));
}

#[test]
fn one_client_at_a_time_and_then_the_next() {
    let mut rig = Rig::new();
    let mut first = rig.client();
    let ram = guest_memory(0x1000);
    rig.call(&mut first, DMA_MAP, map(0, 0x1000, 0, 3).as_bytes(), &[ram.as_raw_fd()]).unwrap();
    let fd = eventfd();
    rig.set_irqs(&mut first, 0x24, (0, 0, 1), &[], &[fd.as_raw_fd()]).unwrap();
    rig.enable(&mut first);
    rig.write(&mut first, 0, 0x18, &[1, 0, 0, 0]).unwrap();
    assert_eq!(signals(&fd), 1);
    let mut second = rig.connect();
    assert!(!second.receive(), "turned away at once");
    assert_eq!(rig.counters().turned_away.get(), 1);
    assert_eq!(rig.read(&mut first, 0, 0x18, 1), Ok(vec![1]), "the first does not notice");
    drop(first);
    // The end of the one and the arrival of the next in the same turn.
    let mut third = rig.client();
    assert!(rig.server.connected());
    assert_eq!(rig.read(&mut third, 0, 0x18, 1), Ok(vec![0]), "a fresh device");
    assert_eq!(rig.read(&mut third, CONFIG, 4, 2), Ok(vec![0, 0]));
    rig.write(&mut third, 0, 0x18, &[1, 0, 0, 0]).unwrap();
    assert_eq!(signals(&fd), 0, "the first one's eventfd is forgotten");
    let device = rig.server.session().device();
    assert_eq!((device.calls.attached, device.calls.detached), (2, 1));
    let guard = crossbeam::epoch::pin();
    assert_eq!(device.bus.memory(&guard).maps(), 0);
}

/// Descriptors end a receive, so each of these messages takes one of its own; the server stops receiving now and then.
#[test]
fn what_was_received_is_answered_without_more_to_come() {
    let ram = guest_memory(0x1000);
    for count in 1..=40u64 {
        let mut rig = Rig::new();
        let mut peer = rig.client();
        for k in 0..count {
            peer.send(DMA_MAP, 0, map(0x1000 * k, 0x1000, 0, 3).as_bytes(), &[ram.as_raw_fd()]);
        }
        rig.serve();
        assert_eq!(peer.waiting(), count as usize);
    }
}

#[test]
fn sockets_left_behind_are_replaced_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = Server::bind(&path, session()).unwrap();
    assert!(matches!(Server::bind(&path, session()), Err(ServerError::InUse(p)) if p == path));
    drop(server);
    assert!(!path.exists(), "a server takes its socket with it");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(Server::bind(&path, session()), Err(ServerError::NotASocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
