//! What is sent ends up in the file, or waits, or is counted.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::load;
use super::super::tests::{Dir, burst_of, frames, put};
use super::*;

#[test]
fn a_full_queue_takes_no_more_and_tells_of_room() {
    let dir = Dir::new("full");
    let path = dir.at("full.pcapng");
    let o = open("p", &path).unwrap();
    let sent = frames(1000, 100);
    let (b, list) = burst_of(&sent);
    let caps = o.egress.caps();
    assert!(!caps.vnet && caps.max_run <= QUEUE);
    // Claimed and not put, so that the writer can do nothing about it.
    let mut claimed = Vec::new();
    loop {
        let n = o.egress.claim(&b, &list, 0);
        if n == 0 {
            break;
        }
        claimed.push(n);
    }
    assert_eq!(claimed.iter().sum::<usize>(), QUEUE);
    assert!(o.egress.arm_room(0));
    o.egress.unclaim(&b, &list[..claimed.pop().unwrap()], 0);
    let rung = |ms: u16| {
        let fds = o.egress.room_fds();
        let mut p = [PollFd::new(fds[0], PollFlags::POLLIN)];
        poll(&mut p, PollTimeout::from(ms)).unwrap() > 0
    };
    assert!(rung(0));
    assert!(!o.egress.arm_room(0) || claimed.is_empty());
    let mut total = 0;
    for n in claimed {
        total += o.egress.put(&b, &list[..n], 0, 1).frames;
    }
    valecast_ring::notify::settle();
    o.egress.wake_patient();
    // Everything is written before the port is gone.
    drop(o);
    assert_eq!(load::load(&path).unwrap().frames.len() as u64, total);
}

#[test]
fn nothing_is_lost_between_busy_workers_and_a_sleeping_one() {
    let dir = Dir::new("busy");
    let path = dir.at("busy.pcap");
    let o = open("p", &path).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|s| {
        for _ in 0..3 {
            let e = o.egress.clone();
            s.spawn(move || {
                use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
                let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
                epoll
                    .add(e.room_fds()[0], EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 1))
                    .unwrap();
                let sent = frames(1000, 200);
                let (b, list) = burst_of(&sent);
                for _ in 0..40 {
                    let mut rest = &list[..];
                    while !rest.is_empty() {
                        let n = e.claim(&b, rest, 0);
                        e.put(&b, &rest[..n], 0, 1);
                        rest = &rest[n..];
                        if n == 0 && e.arm_room(0) {
                            valecast_ring::notify::settle();
                            e.wake_patient();
                            let mut events = [EpollEvent::empty(); 1];
                            let n = epoll.wait(&mut events, 5000u16).unwrap();
                            assert!(n > 0 && Instant::now() < deadline, "a wake-up was lost");
                        }
                    }
                }
                valecast_ring::notify::settle();
                e.wake_patient();
            });
        }
    });
    drop(o);
    assert_eq!(load::load(&path).unwrap().frames.len(), 3 * 40 * 1000);
}

#[test]
fn idle_time_makes_the_file_readable() {
    let dir = Dir::new("flush");
    let path = dir.at("flush.pcap");
    let o = open("p", &path).unwrap();
    put(&o.egress, &frames(3, 60), 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while load::load(&path).is_err() {
        assert!(Instant::now() < deadline, "never flushed");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(load::load(&path).unwrap().frames.len(), 3);
}

#[test]
fn a_full_disk_is_counted() {
    if !Path::new("/dev/full").exists() {
        eprintln!("SKIPPED: no /dev/full here");
        return;
    }
    let o = open("p", Path::new("/dev/full")).unwrap();
    let sent = frames(1000, 1000);
    let (b, list) = burst_of(&sent);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let n = o.egress.claim(&b, &list, 0);
        let t = o.egress.put(&b, &list[..n], 0, 1);
        valecast_ring::notify::settle();
        o.egress.wake_patient();
        if t.tx_error > 0 {
            assert_eq!(t.tx_error, n as u64);
            break;
        }
        assert!(Instant::now() < deadline);
    }
}
