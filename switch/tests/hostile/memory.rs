//! What can be done with the descriptors that a client gets, and what cannot be seen through them.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl};
use nix::sys::mman::{MsFlags, ProtFlags, mprotect, msync};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use super::common::flow::undisturbed;
use super::common::proc::{alone, soon};
use super::common::raw::{Raw, Rng, request};
use super::common::{Client, frame};
use super::{port, rig, scribble, unharmed};

#[test]
fn the_memory_keeps_its_size() {
    let _alone = alone();
    let rig = rig(1);
    let raw = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    let size = raw.layout.total() as i64;
    for to in [0, 4096, size - 1, size + 1, size * 2] {
        assert_eq!(ftruncate(&raw.memfd, to), Err(Errno::EPERM), "to {to} bytes");
    }
    for seal in [SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_SHRINK] {
        assert_eq!(fcntl(&raw.memfd, FcntlArg::F_ADD_SEALS(seal)), Err(Errno::EPERM));
    }
    assert_eq!(fallocate(&raw.memfd, FallocateFlags::empty(), size, 4096), Err(Errno::EPERM));
    let collapse = FallocateFlags::FALLOC_FL_COLLAPSE_RANGE;
    assert!(fallocate(&raw.memfd, collapse, 0, 4096).is_err());
    // Opened once more, it is still the same file with the same seals.
    let again = format!("/proc/self/fd/{}", raw.memfd.as_raw_fd());
    let again = std::fs::OpenOptions::new().read(true).write(true).open(again).unwrap();
    assert_eq!(ftruncate(&again, 0), Err(Errno::EPERM));
    assert_eq!(fstat(&raw.memfd).unwrap().st_size, size);
    unharmed(&rig);
}

/// Punches holes under everything while the switch reads and writes there.
fn punches_holes(workers: usize) {
    let _alone = alone();
    let rig = rig(workers);
    let raw = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    let (size, flags) = (
        raw.layout.total() as i64,
        FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
    );
    undisturbed(&rig, 1000, || {
        std::thread::scope(|s| {
            s.spawn(|| {
                let end = Instant::now() + Duration::from_secs(2);
                let mut rng = Rng(3);
                while Instant::now() < end {
                    fallocate(&raw.memfd, flags, 0, size).unwrap();
                    let at = rng.below(size as usize / 4096) as i64 * 4096;
                    let _ = fallocate(&raw.memfd, flags, at, 4096);
                }
            });
            scribble(&raw, 9, Duration::from_secs(2));
        });
    });
    let all = raw.map.as_mut_ptr().cast::<std::ffi::c_void>();
    let all = std::ptr::NonNull::new(all).unwrap();
    // SAFETY: the client's own mapping, which nothing reads after this.
    unsafe {
        msync(all, size as usize, MsFlags::MS_SYNC | MsFlags::MS_INVALIDATE).unwrap();
        mprotect(all, size as usize, ProtFlags::PROT_NONE).unwrap();
    }
    unharmed(&rig);
    drop(raw);
    unharmed(&rig);
}

#[test]
fn punches_holes_one_worker() {
    punches_holes(1);
}

#[test]
fn punches_holes_three_workers() {
    punches_holes(3);
}

#[test]
fn a_client_gets_its_own_memory_and_bells_and_nothing_else() {
    let _alone = alone();
    let rig = rig(1);
    let (raw, other) = (
        Raw::attach(&rig.socket(), &request("mallory")).unwrap(),
        Raw::attach(&rig.socket(), &request("c")).unwrap(),
    );
    let (mine, theirs) = (fstat(&raw.memfd).unwrap(), fstat(&other.memfd).unwrap());
    assert_eq!(mine.st_size, raw.layout.total() as i64);
    assert_ne!(mine.st_ino, theirs.st_ino);
    let target = |fd: &std::os::fd::OwnedFd| {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        link.to_string_lossy().into_owned()
    };
    assert!(target(&raw.memfd).contains("memfd:"), "{}", target(&raw.memfd));
    for kick in &raw.kicks {
        assert!(target(kick).contains("[eventfd"), "{}", target(kick));
    }
    for call in &raw.calls {
        assert!(target(call).starts_with("pipe:"), "{}", target(call));
        let mode = OFlag::from_bits_truncate(fcntl(call, FcntlArg::F_GETFL).unwrap());
        assert_eq!(mode & OFlag::O_ACCMODE, OFlag::O_RDONLY, "the switch's end of a bell stays with it");
    }
}

fn marked(dst: u8, src: u8, marker: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x5a; 40];
    payload.extend_from_slice(marker);
    frame(dst, src, &payload)
}

fn drain(c: &mut Client) -> usize {
    std::iter::from_fn(|| c.recv_within(Duration::from_millis(100))).count()
}

#[test]
fn what_others_say_stays_with_them() {
    let _alone = alone();
    let (secret, gift) = (Rng(77).bytes(32), Rng(78).bytes(32));
    let rig = rig(1);
    let raw = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    let (mut a, mut b) = (rig.attach("a"), rig.attach("b"));
    a.send(&frame(0xff, 1, b"here is a"));
    b.send(&frame(0xff, 2, b"here is b"));
    drain(&mut a);
    drain(&mut b);
    for i in 0..2000u32 {
        a.send(&marked(2, 1, &secret));
        assert_eq!(b.recv(), Some(marked(2, 1, &secret)));
        b.send(&marked(1, 2, &secret));
        assert_eq!(a.recv(), Some(marked(1, 2, &secret)));
        if i % 400 == 0 {
            assert!(!raw.contains(&secret));
        }
    }
    assert!(!raw.contains(&secret), "frames between others are in its memory");
    // To an address that nobody has: flooded, and only this one.
    a.send(&marked(0x55, 1, &gift));
    assert_eq!(b.recv(), Some(marked(0x55, 1, &gift)));
    soon(Duration::from_secs(20), "what is addressed to it arrives", || raw.contains(&gift));
    assert!(!raw.contains(&secret));
    assert!(port(&rig, "mallory").out_frames >= 3);
    // Who gets the port next finds nothing of who had it.
    drop(b);
    soon(Duration::from_secs(20), "the port is free", || port(&rig, "b").pid.is_none());
    let next = Raw::attach(&rig.socket(), &request("b")).unwrap();
    assert!(!next.contains(&secret) && !next.contains(&gift));
    rig.books();
}
