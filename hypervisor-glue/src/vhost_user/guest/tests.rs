//! Driver and queues with each other, one step at a time.

use valecast_guest::virtio::{BUFFER, MAX_FRAME};

use super::*;

#[test]
fn frames_are_sent_whole_and_in_order_round_and_round() {
    let mut r = Rig::new(8);
    let mut n = 0u64;
    // Twice round all indices.
    while n < 140_000 {
        let mut sent = Vec::new();
        for _ in 0..1 + n % 9 {
            let f = frame(n, 14 + (n as usize * 37) % 1500);
            if !r.send(&f) {
                assert_eq!(sent.len(), 8, "the ring is full and not before");
                break;
            }
            sent.push(f);
            n += 1;
        }
        assert_eq!(r.turn(64), sent);
    }
    assert_eq!(r.driver.did().sent, n);
    let c = &r.port.counters;
    assert_eq!((c.tx_by_reference.get(), c.bad_descriptors.get(), c.memory_errors.get()), (n, 0, 0));
}

#[test]
fn who_is_awake_is_not_kicked() {
    let mut r = Rig::new(64);
    for n in 0..30_000u64 {
        assert!(r.send(&frame(n, 60)));
        if n % 32 == 31 {
            assert_eq!(r.kicks(TRANSMIT), 0, "after {n}");
            assert_eq!(r.port.take(64).len(), 32);
        }
    }
    while !r.asleep {
        r.turn(64);
    }
    assert_eq!(r.kicks(TRANSMIT), 0);
    for n in 0..20 {
        assert!(r.send(&frame(n, 60)));
    }
    assert_eq!(r.kicks(TRANSMIT), 1, "once, by the first of them");
    assert_eq!(r.driver.did().tx_kicks, 1);
}

#[test]
fn a_queue_of_frames_is_shown_at_once() {
    let mut r = Rig::new(16);
    while !r.asleep {
        r.turn(64);
    }
    let f = frame(3, 200);
    r.guest(|d, _, m| d.fill(m, &f)).unwrap();
    assert_eq!(r.guest(|d, _, m| d.queue_filled(m, 200, 5)), Ok(5));
    assert_eq!(r.guest(|d, _, m| d.queue_filled(m, 200, 100)), Ok(11), "as many as there is room for");
    assert_eq!(r.guest(|d, _, m| d.queue_filled(m, 200, 1)), Ok(0));
    assert!(r.turn(64).is_empty(), "nothing was shown");
    r.guest(|d, bus, m| d.flush(bus, m)).unwrap();
    assert_eq!(r.turn(64), vec![f; 16], "one kick woke the worker");
    assert_eq!(r.driver.did().tx_kicks, 1);
}

#[test]
fn a_guest_without_room_is_interrupted_when_half_of_it_is_free() {
    let mut r = Rig::new(16);
    // Past the end of the indices.
    for lap in 0..10_000u64 {
        while r.send(&frame(lap, 60)) {}
        assert_eq!((r.interrupts(), r.driver.tx_room()), (0, 0));
        assert_eq!((r.port.take(7).len(), r.interrupts()), (7, 0), "lap {lap}: seven are not half");
        assert_eq!((r.port.take(1).len(), r.interrupts()), (1, 1), "lap {lap}");
        assert_eq!((r.port.take(8).len(), r.interrupts()), (8, 0), "lap {lap}: it was told");
        assert_eq!(r.guest(|d, bus, m| d.interrupt(bus, m, |_| {})), Ok(0));
        assert_eq!(r.driver.tx_room(), 16);
    }
}

#[test]
fn frames_are_received_whole_over_as_many_buffers_as_they_take() {
    let mut r = Rig::new(16);
    for n in 0..9000u64 {
        let sizes = [60, MAX_FRAME, MAX_FRAME + 1, 1500, MAX_FRAME + BUFFER, MAX_FRAME + BUFFER + 1, 8000];
        let burst: Vec<_> =
            (0..1 + n % 3).map(|k| frame(n + k, sizes[(n + 3 * k) as usize % sizes.len()])).collect();
        let (took, tally) = r.port.deliver(&burst);
        assert_eq!((took, tally.frames, tally.tx_error), (burst.len(), took as u64, 0));
        assert_eq!(r.poll(64), burst);
    }
    assert_eq!(r.port.counters.bad_descriptors.get(), 0);
}

#[test]
fn who_looks_for_frames_is_not_interrupted_and_who_sleeps_is_once() {
    let mut r = Rig::new(64);
    // As it begins: nobody looks.
    assert_eq!((r.port.deliver(&[frame(0, 60), frame(1, 60)]).0, r.interrupts()), (2, 1));
    assert_eq!((r.port.deliver(&[frame(2, 60)]).0, r.interrupts()), (1, 0), "it was told");
    assert_eq!(r.guest(|d, bus, m| d.interrupt(bus, m, |_| {})), Ok(3));
    r.guest(|d, _, m| d.awake(m)).unwrap();
    for n in 0..100_000u64 {
        assert_eq!(r.port.deliver(&[frame(n, 60), frame(n, 90)]).0, 2);
        assert_eq!(r.poll(64).len(), 2);
    }
    assert_eq!(r.interrupts(), 0, "the index comes round without one");
    assert_eq!(r.guest(|d, _, m| d.may_sleep(m)), Ok(true));
    assert_eq!((r.port.deliver(&[frame(0, 60)]).0, r.interrupts()), (1, 1));
    assert_eq!(r.guest(|d, _, m| d.may_sleep(m)), Ok(false), "a frame is there");
    assert_eq!((r.port.deliver(&[frame(0, 60)]).0, r.interrupts()), (1, 0), "so it stays awake");
}

#[test]
fn a_receiver_that_is_full_is_kicked_for_when_it_has_room() {
    let mut r = Rig::new(16);
    let many: Vec<_> = (0..20).map(|n| frame(n, 60)).collect();
    assert_eq!(r.port.deliver(&many).0, 16);
    assert_eq!(r.kicks(RECEIVE), 0);
    assert!(r.port.rx.arm_room(0), "no room: who delivers may sleep");
    assert_eq!(r.poll(5), many[..5]);
    assert_eq!(r.kicks(RECEIVE), 1);
    assert_eq!(r.poll(5), many[5..10]);
    assert_eq!((r.kicks(RECEIVE), r.driver.did().rx_kicks), (0, 1), "it was told");
    assert_eq!(r.port.deliver(&many).0, 10);
}

#[test]
fn frames_that_are_too_long_and_rings_that_are_none_are_refused() {
    let mut r = Rig::new(4);
    assert_eq!(r.guest(|d, bus, m| d.send(bus, m, &[0; MAX_FRAME + 1])), Err(Fault::TooLong(MAX_FRAME + 1)));
    assert!(r.send(&[7; MAX_FRAME]));
    assert_eq!(r.turn(4), [[7; MAX_FRAME]]);
    let start = |o| Memory::new(1 << 20).with(|m| Driver::start(m, o).err());
    let good = Options { base: BASE, entries: 8, offered: offered() };
    assert_eq!(start(good), None);
    for entries in [0, 1, 12, 8192] {
        assert_eq!(start(Options { entries, ..good }), Some(Fault::Entries(entries)));
    }
    assert_eq!(start(Options { offered: 1 << 32, ..good }), Some(Fault::Features(1 << 29 | 1 << 15)));
    assert!(matches!(start(Options { base: BASE + (1 << 20), ..good }), Some(Fault::Unmapped(_))));
}

/// The guest writes something else into its transmit ring.
fn scribble(r: &Rig, at: u64, bytes: &[u8]) {
    r.memory.with(|m| m.write(at, bytes)).unwrap();
}

#[test]
fn chains_that_make_no_sense_cost_a_guest_their_frames_and_no_others() {
    let mut r = Rig::new(8);
    let p = r.driver.setup().queues[1];
    for n in 0..5 {
        assert!(r.send(&frame(n, 60)));
    }
    // The second's buffer is nowhere, the third is for writing to, the fourth is shorter than a header.
    scribble(&r, p.descriptors + 16, &(1u64 << 40).to_le_bytes());
    scribble(&r, p.descriptors + 2 * 16 + 12, &[2]);
    scribble(&r, p.descriptors + 3 * 16 + 8, &11u32.to_le_bytes());
    assert_eq!(r.turn(8), [frame(0, 60), frame(4, 60)]);
    let c = &r.port.counters;
    assert_eq!((c.memory_errors.get(), c.bad_descriptors.get()), (1, 2));
    // All came back, and the driver mends them with its next frames.
    assert_eq!(r.guest(|d, _, m| d.reclaim(m)), Ok(5));
    for n in 0..8 {
        assert!(r.send(&frame(n, 61)));
    }
    assert_eq!(r.turn(8), (0..8).map(|n| frame(n, 61)).collect::<Vec<_>>());
}

#[test]
fn an_index_that_makes_no_sense_stops_that_ring() {
    let mut r = Rig::new(8);
    let p = r.driver.setup().queues[1];
    assert!(r.send(&frame(0, 60)));
    scribble(&r, p.available + 2, &9u16.to_le_bytes());
    assert!(r.turn(8).is_empty() && r.port.queues[1].is_broken());
    assert_eq!(r.port.counters.memory_errors.get(), 1);
    assert!(r.turn(8).is_empty() && !r.port.queues[0].is_broken());
    assert_eq!(r.port.deliver(&[frame(1, 60)]).0, 1, "the other one goes on");
    assert_eq!(r.poll(8), [frame(1, 60)]);
}
