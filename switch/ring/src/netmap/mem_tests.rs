use super::*;
use crate::layout::{Layout, RingParams, Spare};
use crate::region::HugePages;

fn mem(bufs: u32) -> Mem {
    let p = RingParams { slots: 16, buf_size: 256, ..RingParams::default() };
    let l = Layout::with_spare(p, Spare { bytes: 64 << 10, bufs }).expect("a layout");
    Mem::new(Arc::new(Region::create(l, "t", HugePages::Off).expect("a region"))).expect("its spare part")
}

#[test]
fn parts_come_back_whole() {
    let mut m = mem(64);
    let before = m.free.clone();
    let a = m.port_ring(0).unwrap();
    let b = m.ring(kind::PIPE_TX, 0, 20, None).unwrap();
    let c = m.ring(kind::PIPE_RX, 0, 20, Some(&b)).unwrap();
    let i = m.interface(&Interface {
        name: "x",
        tx: 1,
        rx: 1,
        rings: vec![a.ring, 0, 0, 0],
        ..Interface::default()
    });
    let i = i.unwrap();
    assert_eq!(m.extra(i, 1000), 44);
    assert_eq!(m.free_bufs(), 0);
    // Both ends of a pipe see the same buffers.
    for s in 0..20 {
        assert_eq!(desc(&m, &b, s), desc(&m, &c, s));
    }
    m.drop_interface(i);
    assert_eq!(m.free_bufs(), 44);
    m.drop_pipe(&b, &c);
    m.drop_ring(&a, false);
    assert_eq!((m.free_bufs(), &m.free), (64, &before));
}

#[test]
fn takes_back_what_is_there_and_nothing_twice() {
    let mut m = mem(64);
    let r = m.ring(kind::MONITOR_RX, 0, 16, None).unwrap();
    let i = m.interface(&Interface::default()).unwrap();
    assert_eq!(m.extra(i, 8), 8);
    // The program makes the list a loop, doubles a buffer, and puts nonsense into a slot.
    let head = desc(&m, &r, 0).buf_idx;
    let l = *m.region.layout();
    m.word(l.bufs() + head as usize * l.stride()).store(head, Ordering::Relaxed);
    m.word(i.ofs as usize + 32).store(head, Ordering::Relaxed);
    m.slot(r.ring, 1).store(u64::from(head), Ordering::Relaxed);
    m.slot(r.ring, 2).store(u64::from(u32::MAX), Ordering::Relaxed);
    m.drop_interface(i);
    m.drop_ring(&r, true);
    // 64, less 8 of the lost list and the two that slots 1 and 2 held.
    assert_eq!(m.free_bufs(), 64 - 8 - 2);
    let mut seen: Vec<_> = m.bufs.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), m.free_bufs());
}

#[test]
fn refuses_what_there_is_no_room_for() {
    let mut m = mem(10);
    assert!(m.ring(kind::NULL_TX, 0, 16, None).is_none());
    assert!(m.ring(kind::NULL_TX, 0, 1 << 20, None).is_none());
    assert_eq!(m.free_bufs(), 10);
    assert!(m.ring(kind::NULL_TX, 0, 10, None).is_some());
}
