//! Clients that send what no client should.

use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use valecast_hypervisor_glue::vfio_user::wire::{HEADER, Header, MAX_DATA, MAX_MESSAGE, NO_REPLY};
use zerocopy::IntoBytes;

use crate::peer::*;

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn bad_requests_are_answered_and_the_next_is_found() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let ram = guest_memory(0x1000);
    let fd = [ram.as_raw_fd()];
    let good = access(0, 0, 4);
    let cases: [(u16, Vec<u8>, &[RawFd], Errno); 30] = [
        (0, vec![], &[], Errno::ENOTSUP),
        (6, vec![0; 16], &[], Errno::ENOTSUP),
        (11, vec![0; 16], &[], Errno::ENOTSUP),
        (14, vec![], &[], Errno::ENOTSUP),
        (16, vec![0; 8], &[], Errno::ENOTSUP),
        (0xffff, vec![1; 999], &[], Errno::ENOTSUP),
        (DMA_MAP, vec![0; 31], &[], Errno::EINVAL),
        (DMA_UNMAP, vec![0; 23], &[], Errno::EINVAL),
        (DMA_UNMAP, unmap(0, 0x1000, 1).as_bytes().to_vec(), &[], Errno::ENOTSUP),
        (DMA_UNMAP, unmap(0, 0x1000, 4).as_bytes().to_vec(), &[], Errno::EINVAL),
        (DMA_UNMAP, unmap(0, 0x1000, 0).as_bytes().to_vec(), &[], Errno::ENOENT),
        (GET_INFO, vec![], &[], Errno::EINVAL),
        (GET_INFO, vec![0; 16], &[], Errno::EINVAL),
        (REGION_INFO, vec![0; 32], &[], Errno::EINVAL),
        (IRQ_INFO, vec![0; 15], &[], Errno::EINVAL),
        (SET_IRQS, vec![0; 19], &[], Errno::EINVAL),
        (READ, vec![0; 15], &[], Errno::EINVAL),
        (READ, good.as_bytes().to_vec(), &fd, Errno::EINVAL),
        (READ, access(0, 0, 0).as_bytes().to_vec(), &[], Errno::EINVAL),
        (READ, access(0, 4095, 2).as_bytes().to_vec(), &[], Errno::EINVAL),
        (READ, access(0, u64::MAX, 2).as_bytes().to_vec(), &[], Errno::EINVAL),
        (READ, access(0, 0, u32::MAX).as_bytes().to_vec(), &[], Errno::EINVAL),
        (READ, access(2, 0, 1).as_bytes().to_vec(), &[], Errno::EINVAL),
        (READ, access(u32::MAX, 0, 1).as_bytes().to_vec(), &[], Errno::EINVAL),
        (READ, access(CONFIG, 255, 2).as_bytes().to_vec(), &[], Errno::EINVAL),
        (WRITE, access(0, 0, 4).as_bytes().to_vec(), &[], Errno::EINVAL),
        (WRITE, write_body(0, 4093, &[0; 4]), &[], Errno::EINVAL),
        (WRITE, [good.as_bytes(), &[0; 5]].concat(), &[], Errno::EINVAL),
        (MULTI, vec![0; 7], &[], Errno::EINVAL),
        (RESET, vec![], &fd, Errno::EINVAL),
    ];
    for (command, body, fds, why) in cases {
        assert_eq!(
            rig.call(&mut peer, command, &body, fds),
            Err(why),
            "command {command}, {} bytes",
            body.len()
        );
        // Silent as well: no answer, and the stream goes on.
        peer.send(command, NO_REPLY, &body, fds);
        assert_eq!(rig.read(&mut peer, 0, 0, 4), Ok(vec![0; 4]));
    }
    assert_eq!(rig.counters().refused.get(), 60);
    assert_eq!(rig.counters().broken.get(), 0);
}

#[test]
fn answers_and_unknown_kinds_of_message_do_nothing() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    peer.send(RESET, 1, &[], &[]);
    rig.serve();
    assert_eq!(peer.waiting(), 0, "an answer to nothing");
    let id = peer.send(RESET, 2, &[], &[]);
    rig.serve();
    assert_eq!(peer.answer(id, RESET), Err(Errno::EINVAL));
    assert_eq!(rig.server.session().device().calls.resets, 0);
}

#[test]
fn messages_arrive_in_any_pieces() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let (id, write) = peer.message(WRITE, 0, &write_body(0, 0x100, &[1, 2, 3]));
    let (id2, read) = peer.message(READ, 0, access(0, 0x100, 3).as_bytes());
    for byte in write.iter().chain(&read) {
        peer.raw(&[*byte], &[]);
        rig.serve();
    }
    peer.answer(id, WRITE).unwrap();
    assert_eq!(peer.answer(id2, READ).unwrap()[16..], [1, 2, 3]);
    // Many messages, cut at every third byte across their borders.
    let mut all = Vec::new();
    let ids: Vec<u16> = (0..50u8)
        .map(|k| {
            let (id, m) = peer.message(WRITE, 0, &write_body(0, u64::from(k), &[k]));
            all.extend(m);
            id
        })
        .collect();
    for piece in all.chunks(35) {
        peer.raw(piece, &[]);
        rig.serve();
    }
    for id in ids {
        peer.answer(id, WRITE).unwrap();
    }
}

#[test]
fn messages_that_are_too_long_are_skipped() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    // The longest that is taken ...
    assert_eq!(rig.call(&mut peer, 99, &vec![0; MAX_MESSAGE - HEADER], &[]), Err(Errno::ENOTSUP));
    // ... one byte more, and much more.
    for size in [MAX_MESSAGE + 1, 10 * MAX_MESSAGE + 7] {
        let ram = guest_memory(0x1000);
        let (id, message) = peer.message(WRITE, 0, &vec![0xff; size - HEADER]);
        let (mut at, mut first) = (0, true);
        while at < message.len() {
            if std::mem::take(&mut first) {
                peer.raw(&message[..100], &[ram.as_raw_fd()]);
                at = 100;
            }
            at += peer.some(&message[at..]);
            rig.serve();
        }
        assert_eq!(peer.answer(id, WRITE), Err(Errno::E2BIG));
        assert_eq!(rig.read(&mut peer, 0, 0, 2), Ok(vec![0, 0]));
    }
    assert_eq!(MAX_DATA, 65536, "documented");
}

#[test]
fn a_stream_that_cannot_be_followed_is_cut() {
    for size in [0, 1, 15] {
        let mut rig = Rig::new();
        let mut peer = rig.client();
        let id = peer.send(READ, 0, access(0, 0, 1).as_bytes(), &[]);
        let header = Header {
            id: 1.into(),
            command: 9.into(),
            size: u32::into(size),
            flags: 0.into(),
            error: 0.into(),
        };
        peer.raw(header.as_bytes(), &[]);
        rig.serve();
        assert!(!peer.receive(), "cut");
        peer.answer(id, READ).unwrap();
        assert_eq!(rig.counters().broken.get(), 1);
        let mut next = rig.client();
        assert_eq!(rig.read(&mut next, 0, 0, 1), Ok(vec![0]));
    }
}

#[test]
fn descriptors_go_to_the_message_they_came_with() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let (a, b) = (guest_memory(0x1000), guest_memory(0x1000));
    poke(&a, 0, &[0xaa; 8]);
    poke(&b, 0, &[0xbb; 8]);
    // As at QEMU's start: one after the other without waiting, with and without memory.
    let ids: Vec<u16> =
        [(0u64, None), (0x1000, Some(&a)), (0x2000, None), (0x3000, Some(&b)), (0x4000, None)]
            .into_iter()
            .map(|(at, fd)| {
                let fds: Vec<RawFd> = fd.map(AsRawFd::as_raw_fd).into_iter().collect();
                peer.send(DMA_MAP, 0, map(at, 0x1000, 0, 3).as_bytes(), &fds)
            })
            .collect();
    rig.serve();
    for id in ids {
        peer.answer(id, DMA_MAP).unwrap();
    }
    // Header and body apart, the descriptor with the body.
    let (id, m) = peer.message(DMA_MAP, 0, map(0x5000, 0x1000, 0, 3).as_bytes());
    peer.raw(&m[..HEADER], &[]);
    peer.raw(&m[HEADER..], &[a.as_raw_fd()]);
    rig.serve();
    peer.answer(id, DMA_MAP).unwrap();
    rig.enable(&mut peer);
    let guard = crossbeam::epoch::pin();
    let memory = rig.server.session().bus().memory(&guard);
    let first = |at| {
        let mut byte = [0];
        memory.read(at, &mut byte).ok().map(|()| byte[0])
    };
    let seen: Vec<_> = (0..6).map(|k| first(k * 0x1000)).collect();
    assert_eq!(seen, [None, Some(0xaa), None, Some(0xbb), None, Some(0xaa)]);
}

/// Counts the process's descriptors, so it runs where no other test opens any: in a process of its own.
#[test]
fn descriptors_are_closed_whatever_happens() {
    if std::env::var_os("VALECAST_TEST_FDS").is_none() {
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hostile::descriptors_are_closed_whatever_happens"])
            .env("VALECAST_TEST_FDS", "1")
            .output()
            .unwrap();
        assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
        return;
    }
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let ram = guest_memory(0x1000);
    let fd = ram.as_raw_fd();
    let before = open_fds();
    assert_eq!(rig.call(&mut peer, DMA_MAP, map(0, 0x1000, 0, 3).as_bytes(), &[fd, fd]), Err(Errno::EINVAL));
    assert_eq!(rig.call(&mut peer, RESET, &[], &[fd; 17]), Err(Errno::EMFILE), "more than announced");
    assert_eq!(
        rig.call(&mut peer, 77, &[], &[fd; 253]),
        Err(Errno::EMFILE),
        "as many as the kernel lets through"
    );
    assert_eq!(rig.set_irqs(&mut peer, 0x24, (0, 0, 1), &[], &[fd]), Err(Errno::EINVAL));
    assert_eq!(open_fds(), before);
    // One byte at a time, each with descriptors: never more than a message's worth is held.
    let (id, m) = peer.message(DMA_MAP, 0, map(0, 0x1000, 0, 3).as_bytes());
    for byte in &m {
        peer.raw(&[*byte], &[fd; 10]);
        rig.serve();
        assert!(open_fds() <= before + 32, "{} held", open_fds() - before);
    }
    assert_eq!(peer.answer(id, DMA_MAP), Err(Errno::EMFILE));
    assert_eq!(open_fds(), before);
    rig.call(&mut peer, DMA_MAP, map(0, 0x1000, 0, 3).as_bytes(), &[fd]).unwrap();
    assert_eq!(open_fds(), before, "a mapping needs no descriptor");
    // The process runs out: what came is closed, the message refused.
    let mut hogs = Vec::new();
    let (_, most) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let limit = open_fds() as u64 + 20;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, most).unwrap();
    while let Ok(hog) = nix::unistd::dup(&ram) {
        hogs.push(hog);
    }
    hogs.truncate(hogs.len() - 3);
    let id = peer.send(SET_IRQS, 0, &[0; 20], &[fd; 8]);
    rig.serve();
    assert_eq!(peer.answer(id, SET_IRQS), Err(Errno::EMFILE));
    let held = hogs.len();
    drop(hogs);
    assert_eq!(open_fds(), before, "{held} were in use");
}

#[test]
fn a_client_that_does_not_listen_is_not_listened_to() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let mut ids = Vec::new();
    let (mut queued, mut taken) = (Vec::new(), 0);
    for _ in 0..2000 {
        let (id, m) = peer.message(READ, 0, access(0, 0, 4096).as_bytes());
        ids.push(id);
        queued.extend(m);
    }
    // Sends all it can and reads nothing: the server stops.
    let mut still = 0;
    while still < 3 && taken < queued.len() {
        let n = peer.some(&queued[taken..]);
        taken += n;
        still = if n == 0 { still + 1 } else { 0 };
        rig.serve();
    }
    let done = rig.counters().reads.get();
    assert!(done < 2000, "{done} answers of 4 KiB fit nowhere");
    rig.serve();
    assert_eq!(rig.counters().reads.get(), done, "and stays stopped");
    for id in ids {
        while peer.waiting() == 0 {
            taken += peer.some(&queued[taken..]);
            rig.serve();
        }
        assert_eq!(peer.answer(id, READ).unwrap().len(), 16 + 4096);
    }
}
