//! The DMA table and what workers see of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::epoch::pin;
use nix::errno::Errno;
use valecast_hypervisor_glue::vfio_user::memory::{DmaTable, MAX_BYTES, MAX_MAPS, Nearby};
use valecast_hypervisor_glue::vfio_user::sys::published::Published;
use valecast_hypervisor_glue::vfio_user::{Direction, Fault, Snapshot};

use crate::peer::{guest_memory, map, peek, poke};

const RW: u32 = 3;

fn table() -> (DmaTable, Arc<Published<Snapshot>>) {
    let cell = Arc::new(Published::new(Snapshot::default()));
    let mut table = DmaTable::new(Arc::clone(&cell));
    table.set_master(true);
    (table, cell)
}

#[test]
fn bad_maps_are_refused_and_change_nothing() {
    let (mut t, cell) = table();
    let ram = guest_memory(0x4000);
    t.map(&map(0x4000, 0x2000, 0, RW), Some(&ram)).unwrap();
    for (m, why) in [
        (map(0x4000, 0x2000, 0, RW), Errno::EEXIST),
        (map(0x3000, 0x2000, 0, RW), Errno::EEXIST),
        (map(0x5000, 0x1000, 0, RW), Errno::EEXIST),
        (map(0x5000, 0x2000, 0, RW), Errno::EEXIST),
        (map(0x2000, 0x4000, 0, RW), Errno::EEXIST),
        (map(0x8000, 0, 0, RW), Errno::EINVAL),
        (map(0x8001, 0x1000, 0, RW), Errno::EINVAL),
        (map(0x8000, 0x1001, 0, RW), Errno::EINVAL),
        (map(0x8000, 0x1000, 0, 7), Errno::EINVAL),
        (map(0x8000, 0x1000, 0x4000, RW), Errno::EINVAL),
        (map(0x8000, 0x5000, 0, RW), Errno::EINVAL),
        (map(0x8000, 0x1000, u64::MAX, RW), Errno::EINVAL),
        (map(u64::MAX - 0xfff, 0x1000, 0, RW), Errno::EINVAL),
        (map(0x8000, !0xfff, 0, RW), Errno::EINVAL),
        (map(0x8000, MAX_BYTES, 0, RW), Errno::ENOSPC),
    ] {
        assert_eq!(t.map(&m, Some(&ram)), Err(why), "{m:?}");
    }
    let (pipe, _other) = nix::unistd::pipe().unwrap();
    assert_eq!(t.map(&map(0x8000, 0x1000, 0, RW), Some(&pipe)), Err(Errno::EINVAL));
    assert_eq!(cell.load(&pin()).maps(), 1);
    t.map(&map(0x6000, 0x1000, 0, RW), Some(&ram)).unwrap();
    t.map(&map(0x3000, 0x1000, 0, RW), Some(&ram)).unwrap();
    assert_eq!(cell.load(&pin()).shared_bytes(), 0x4000);
}

#[test]
fn maps_are_limited() {
    let (mut t, _cell) = table();
    for k in 0..MAX_MAPS as u64 {
        t.map(&map(k * 0x1000, 0x1000, 0, RW), None).unwrap();
    }
    assert_eq!(t.map(&map(1 << 40, 0x1000, 0, RW), None), Err(Errno::ENOSPC));
    assert_eq!(t.clear(), MAX_MAPS as u64 * 0x1000);
    t.map(&map(1 << 40, 0x1000, 0, RW), None).unwrap();
}

#[test]
fn what_was_found_last_is_no_more_than_that() {
    let (mut t, cell) = table();
    let ram = guest_memory(0x4000);
    poke(&ram, 0x1ffe, &[1, 2, 3, 4]);
    // Two maps side by side, one apart that is for reading only, and one that is not shared.
    t.map(&map(0x1000, 0x1000, 0x1000, RW), Some(&ram)).unwrap();
    t.map(&map(0x2000, 0x1000, 0x2000, RW), Some(&ram)).unwrap();
    t.map(&map(0x8000, 0x1000, 0, 1), Some(&ram)).unwrap();
    t.map(&map(0xa000, 0x1000, 0, RW), None).unwrap();
    let guard = pin();
    let memory = cell.load(&guard);
    let read = |near: &mut Nearby<'_>, address| {
        let mut two = [0; 2];
        near.whole(address, 2).is_some_and(|s| s.read(0, &mut two)).then_some(two)
    };
    let mut near = Nearby::new(memory, Direction::Read);
    near.prefetch(0x1000);
    // In turn, so that each is looked for after another was found.
    for _ in 0..2 {
        assert_eq!(read(&mut near, 0x1ffe), Some([1, 2]));
        assert_eq!(read(&mut near, 0x2000), Some([3, 4]));
        assert_eq!(read(&mut near, 0x1fff), None, "in two maps");
        assert_eq!(read(&mut near, 0x8ffe), Some([0, 0]));
        for nowhere in [0, 0xfff, 0x3000, 0x2fff, 0x8fff, 0xa000, u64::MAX - 1, u64::MAX] {
            assert_eq!(read(&mut near, nowhere), None, "{nowhere:#x}");
            near.prefetch(nowhere);
        }
    }
    assert!(near.whole(0x1000, usize::MAX).is_none());
    let mut near = Nearby::new(memory, Direction::Write);
    assert!(near.whole(0x8000, 2).is_none(), "for reading only");
    assert!(near.whole(0x2000, 0x1000).is_some_and(|s| s.write(0xfff, &[5])));
    near.prefetch(0x2fff);
    assert_eq!(peek(&ram, 0x2fff, 1), [5]);
    t.set_master(false);
    assert_eq!(read(&mut Nearby::new(cell.load(&guard), Direction::Read), 0x1000), None);
}

#[test]
fn unmapping_takes_whole_maps() {
    let (mut t, cell) = table();
    for at in [0x1000, 0x2000, 0x8000] {
        t.map(&map(at, 0x1000, 0, RW), Some(&guest_memory(0x1000))).unwrap();
    }
    assert_eq!(t.unmap(0x1000, 0x1800), Err(Errno::EINVAL));
    assert_eq!(t.unmap(0x4000, 0x1000), Err(Errno::ENOENT));
    assert_eq!(t.unmap(0x1000, 0), Err(Errno::ENOENT));
    assert_eq!(t.unmap(0x1000, u64::MAX), Err(Errno::EINVAL));
    assert_eq!(t.unmap(0, 0x4000), Ok(0x2000));
    assert_eq!(cell.load(&pin()).maps(), 1);
    assert_eq!(t.unmap(0x8000, 0x1000), Ok(0x1000));
}

#[test]
fn translation_stays_inside_one_map() {
    let (mut t, cell) = table();
    let ram = guest_memory(0x4000);
    t.map(&map(0x1000, 0x1000, 0x3000, RW), Some(&ram)).unwrap();
    t.map(&map(0x2000, 0x1000, 0x1000, 1), Some(&ram)).unwrap();
    t.map(&map(0x3000, 0x1000, 0, 2), Some(&ram)).unwrap();
    t.map(&map(0x5000, 0x1000, 0, RW), None).unwrap();
    let guard = pin();
    let s = cell.load(&guard);
    let len = |at, len, d| s.translate(at, len, d).map(|p| p.len());
    assert_eq!(len(0x1ff0, 0x100, Direction::Write), Ok(0x10));
    assert_eq!(len(0x1ff0, u64::MAX, Direction::Read), Ok(0x10));
    assert_eq!(len(0x2000, 8, Direction::Read), Ok(8));
    assert_eq!(len(0x2000, 8, Direction::Write), Err(Fault::Denied(0x2000)));
    assert_eq!(len(0x3000, 8, Direction::Read), Err(Fault::Denied(0x3000)));
    assert_eq!(len(0xfff, 8, Direction::Read), Err(Fault::Unmapped(0xfff)));
    assert_eq!(len(0x4000, 8, Direction::Read), Err(Fault::Unmapped(0x4000)));
    assert_eq!(len(u64::MAX, 8, Direction::Read), Err(Fault::Unmapped(u64::MAX)));
    assert_eq!(len(0x5000, 8, Direction::Read), Err(Fault::NotShared(0x5000)));
    assert_eq!(s.whole(0x1ff0, 0x11, Direction::Read).map(|_| ()), Err(Fault::Unmapped(0x2000)));
    assert_eq!(s.whole(0x1ff0, 0x10, Direction::Read).map(|p| p.len()), Ok(0x10));
    let text = Fault::NotShared(0x5000).to_string();
    assert!(text.contains("memory-backend-memfd") && text.contains("share=on"), "{text}");

    poke(&ram, 0x3ffc, &[1, 2, 3, 4]);
    poke(&ram, 0x1000, &[5, 6, 7, 8]);
    let mut word = [0; 8];
    s.read(0x1ffc, &mut word).unwrap();
    assert_eq!(word, [1, 2, 3, 4, 5, 6, 7, 8], "over the border of two maps");
    assert_eq!(s.write(0x1ffc, &[9; 8]), Err(Fault::Denied(0x2000)));
    assert_eq!(peek(&ram, 0x3ffc, 4), [9; 4], "up to the fault");
    s.write(0x3ff8, &[7; 8]).unwrap();
    assert_eq!(peek(&ram, 0xff8, 8), [7; 8]);
    assert_eq!(s.read(u64::MAX - 3, &mut word), Err(Fault::Unmapped(u64::MAX - 3)));
}

#[test]
fn words_are_atomic_where_aligned_and_writable() {
    let (mut t, cell) = table();
    let ram = guest_memory(0x2000);
    t.map(&map(0, 0x1000, 0, RW), Some(&ram)).unwrap();
    t.map(&map(0x1000, 0x1000, 0x1000, 1), Some(&ram)).unwrap();
    let guard = pin();
    let s = cell.load(&guard);
    let page = s.whole(0, 0x1000, Direction::Write).unwrap();
    page.atomic_u32(0x40).unwrap().store(0x0403_0201, Ordering::Release);
    page.atomic_u8(0x44).unwrap().store(5, Ordering::Release);
    assert_eq!(peek(&ram, 0x40, 5), [1, 2, 3, 4, 5]);
    assert!(page.atomic_u64(0x44).is_none() && page.atomic_u32(0x41).is_none());
    assert!(page.atomic_u64(0xff8).is_some() && page.atomic_u64(0x1000).is_none());
    assert!(page.atomic_u32(0xffe).is_none() && page.atomic_u32(usize::MAX).is_none());
    let mut byte = [0];
    assert!(
        page.read(0xfff, &mut byte) && !page.read(0x1000, &mut byte) && !page.read(usize::MAX, &mut byte)
    );
    let rom = s.whole(0x1000, 0x1000, Direction::Read).unwrap();
    assert!(rom.atomic_u32(0).is_none() && rom.as_mut_ptr().is_none() && !rom.write(0, &[1]));
    assert!(rom.read(0, &mut byte));
}

#[test]
fn memory_that_is_not_shared_is_noticed() {
    let (mut t, cell) = table();
    let unshared = || cell.load(&pin()).unshared();
    assert!(!unshared(), "no memory at all is another matter");
    t.map(&map(0xf000_0000, 0x1000, 0, 1), None).unwrap();
    assert!(!unshared(), "a ROM");
    t.map(&map(0, 0x1000, 0, RW), None).unwrap();
    assert!(unshared());
    t.map(&map(0x1000, 0x1000, 0, RW), Some(&guest_memory(0x1000))).unwrap();
    assert!(!unshared());
}

/// What QEMU does below 1 MiB while the device runs: the same addresses are unmapped and mapped elsewhere. A worker sees
/// the one or the other or a fault, never a mixture, and never touches what is unmapped.
#[test]
fn tables_change_under_the_workers() {
    const CHANGES: u64 = 400;
    let (mut t, cell) = table();
    let files: Vec<OwnedFd> = (1..=4u8)
        .map(|tag| {
            let fd = guest_memory(0x2000);
            poke(&fd, 0, &[tag; 0x2000]);
            fd
        })
        .collect();
    let (stop, reads, faults) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut guard = pin();
                let mut bytes = vec![0; 0x2000];
                while !stop.load(Ordering::Relaxed) {
                    guard.repin();
                    let done = cell.load(&guard).read(0x1000, &mut bytes);
                    let count = if done.is_ok() { &reads } else { &faults };
                    count.fetch_add(1, Ordering::Relaxed);
                    assert!(done.is_err() || bytes.iter().all(|b| *b == bytes[0] && *b != 0));
                }
            });
        }
        for k in 0..CHANGES {
            t.map(&map(0x1000, 0x2000, 0, RW), Some(&files[k as usize % 4])).unwrap();
            let seen = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) == seen {
                std::thread::yield_now();
            }
            t.unmap(0x1000, 0x2000).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) >= CHANGES);
}

#[test]
fn unmapped_means_that_no_worker_uses_it() {
    let cell = Arc::new(Published::new(1));
    // Other tests pin as well, but not for ever.
    while !cell.settle() {}
    let guard = pin();
    let other = Arc::clone(&cell);
    // On another thread, since this one is pinned.
    let settled = std::thread::spawn(move || {
        other.publish(2);
        other.settle()
    });
    assert!(!settled.join().unwrap(), "somebody may still read the old value");
    drop(guard);
    while !cell.settle() {}
}
