//! INTx and MSI, through the socket and from workers.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use valecast_hypervisor_glue::vfio_user::Identity;

use crate::peer::*;
use crate::scratch::IDENTITY;

const INTX: (u32, u32, u32) = (0, 0, 1);
const MSI: (u32, u32, u32) = (1, 0, 1);
const TRIGGER_FD: u32 = 0x24;
const OFF: u32 = 0x21;
const MASK: u32 = 0x09;
const UNMASK: u32 = 0x11;
const UNMASK_FD: u32 = 0x14;

fn level(rig: &mut Rig, peer: &mut Peer, up: bool) {
    rig.write(peer, 0, 0x18, &[up.into(), 0, 0, 0]).unwrap();
}

#[test]
fn a_line_is_signalled_once_until_unmasked() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let fd = eventfd();
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fd.as_raw_fd()]).unwrap();
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 1);
    level(&mut rig, &mut peer, false);
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 0, "masked since the first");
    rig.set_irqs(&mut peer, UNMASK, INTX, &[], &[]).unwrap();
    assert_eq!(signals(&fd), 1, "still up");
    level(&mut rig, &mut peer, false);
    rig.set_irqs(&mut peer, UNMASK, INTX, &[], &[]).unwrap();
    assert_eq!(signals(&fd), 0, "down");
    rig.set_irqs(&mut peer, MASK, INTX, &[], &[]).unwrap();
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 0, "masked by message");
    // With data: 0 leaves it, 1 unmasks it.
    rig.set_irqs(&mut peer, 0x12, INTX, &[0], &[]).unwrap();
    assert_eq!(signals(&fd), 0);
    rig.set_irqs(&mut peer, 0x12, INTX, &[1], &[]).unwrap();
    assert_eq!(signals(&fd), 1);
    rig.set_irqs(&mut peer, OFF, (0, 0, 0), &[], &[]).unwrap();
    level(&mut rig, &mut peer, false);
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 0, "switched off");
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fd.as_raw_fd()]).unwrap();
    assert_eq!(signals(&fd), 1, "wired while up");
    assert_eq!(rig.server.session().bus().interrupt().signals(), 4);
}

#[test]
fn the_command_register_silences_a_line() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let fd = eventfd();
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fd.as_raw_fd()]).unwrap();
    rig.write(&mut peer, CONFIG, 4, &[0, 4]).unwrap();
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 0);
    assert_eq!(
        rig.read(&mut peer, CONFIG, 6, 1).unwrap()[0] & 8,
        8,
        "the status register shows it all the same"
    );
    rig.write(&mut peer, CONFIG, 4, &[0, 0]).unwrap();
    assert_eq!(signals(&fd), 1);
}

#[test]
fn the_end_of_an_interrupt_comes_by_eventfd() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let (fd, resample) = (eventfd(), eventfd());
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fd.as_raw_fd()]).unwrap();
    rig.set_irqs(&mut peer, UNMASK_FD, INTX, &[], &[resample.as_raw_fd()]).unwrap();
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 1);
    resample.write(1).unwrap();
    rig.serve();
    assert_eq!(signals(&fd), 1, "unmasked while up");
    level(&mut rig, &mut peer, false);
    resample.write(1).unwrap();
    rig.serve();
    assert_eq!(signals(&fd), 0);
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 1);
    // Taken away again: what it says is not heard any more.
    rig.set_irqs(&mut peer, UNMASK_FD, INTX, &[], &[]).unwrap();
    resample.write(1).unwrap();
    rig.serve();
    assert_eq!(signals(&fd), 0);
    drop(peer);
    rig.serve();
    // The client is gone with its descriptors in use; the next one is served as usual.
    resample.write(1).unwrap();
    let mut next = rig.client();
    assert_eq!(rig.read(&mut next, 0, 0, 1), Ok(vec![0]));
}

#[test]
fn a_message_is_signalled_each_time_the_level_rises() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let fd = eventfd();
    rig.set_irqs(&mut peer, TRIGGER_FD, MSI, &[], &[fd.as_raw_fd()]).unwrap();
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 0, "not a bus master yet");
    rig.enable(&mut peer);
    assert_eq!(signals(&fd), 1);
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 0, "up already");
    for _ in 0..3 {
        level(&mut rig, &mut peer, false);
        level(&mut rig, &mut peer, true);
    }
    assert_eq!(signals(&fd), 3, "nothing to unmask");
    assert_eq!(rig.set_irqs(&mut peer, UNMASK, MSI, &[], &[]), Err(Errno::ENOTTY));
    let line = eventfd();
    assert_eq!(rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[line.as_raw_fd()]), Err(Errno::EINVAL));
    rig.set_irqs(&mut peer, OFF, (1, 0, 0), &[], &[]).unwrap();
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[line.as_raw_fd()]).unwrap();
    assert_eq!((signals(&fd), signals(&line)), (0, 1));
}

#[test]
fn clients_can_test_their_wires() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let fd = eventfd();
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fd.as_raw_fd()]).unwrap();
    rig.set_irqs(&mut peer, 0x21, INTX, &[], &[]).unwrap();
    rig.set_irqs(&mut peer, 0x22, INTX, &[1], &[]).unwrap();
    rig.set_irqs(&mut peer, 0x22, INTX, &[0], &[]).unwrap();
    assert_eq!(signals(&fd), 2);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut rig = Rig::of(&Identity { msi: false, ..IDENTITY });
    let mut peer = rig.client();
    let fd = eventfd();
    let raw = fd.as_raw_fd();
    let (r, w) = nix::unistd::pipe().unwrap();
    let file = tempfile::tempfile().unwrap();
    type Case<'a> = (u32, (u32, u32, u32), &'a [u8], &'a [i32]);
    let cases: [Case<'_>; 17] = [
        (TRIGGER_FD, MSI, &[], &[raw]),
        (TRIGGER_FD, (0, 1, 1), &[], &[raw]),
        (TRIGGER_FD, (0, 0, 2), &[], &[raw, raw]),
        (TRIGGER_FD, (0, u32::MAX, 2), &[], &[raw]),
        (TRIGGER_FD, INTX, &[], &[raw, raw]),
        (TRIGGER_FD, (0, 0, 0), &[], &[raw]),
        (TRIGGER_FD, (5, 0, 1), &[], &[raw]),
        (TRIGGER_FD, INTX, &[], &[w.as_raw_fd()]),
        (TRIGGER_FD, INTX, &[], &[r.as_raw_fd()]),
        (TRIGGER_FD, INTX, &[], &[file.as_raw_fd()]),
        (0x20, INTX, &[], &[]),
        (0x27, INTX, &[], &[]),
        (0x31, INTX, &[], &[]),
        (0x22, INTX, &[], &[]),
        (0x21, INTX, &[], &[raw]),
        (0xffff_ffff, INTX, &[], &[]),
        (UNMASK, (3, 0, 0), &[], &[]),
    ];
    for (flags, which, data, fds) in cases {
        let got = rig.set_irqs(&mut peer, flags, which, data, fds);
        assert_eq!(got, Err(Errno::EINVAL), "flags {flags:#x} for {which:?}");
    }
    assert_eq!(rig.set_irqs(&mut peer, 0x0c, INTX, &[], &[raw]), Err(Errno::ENOTTY), "mask by eventfd");
    rig.set_irqs(&mut peer, OFF, (3, 0, 0), &[], &[]).unwrap();
    level(&mut rig, &mut peer, true);
    assert_eq!(signals(&fd), 0, "nothing of this has been wired");
}

/// The client shares the open file: it can take O_NONBLOCK away and fill the counter to the brim at any time.
#[test]
fn a_full_eventfd_blocks_nobody() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let fd = eventfd();
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fd.as_raw_fd()]).unwrap();
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    fd.write(u64::MAX - 1).unwrap();
    let bus = rig.server.session().bus().clone();
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        bus.interrupt().set_level(true);
        done.send((bus.interrupt().signals(), bus.interrupt().lost()))
    });
    assert_eq!(wait.recv_timeout(std::time::Duration::from_secs(30)), Ok((1, 0)), "it waits for the client");
}

/// A worker raises the line while the client unmasks and rewires it: no interrupt is lost.
#[test]
fn no_interrupt_is_lost_between_threads() {
    const ROUNDS: u64 = 3000;
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let fds = [eventfd(), eventfd()];
    rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fds[0].as_raw_fd()]).unwrap();
    let bus = rig.server.session().bus().clone();
    let (go, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if go.swap(false, Ordering::SeqCst) {
                    bus.interrupt().set_level(true);
                } else {
                    std::thread::yield_now();
                }
            }
        });
        for round in 0..ROUNDS {
            go.store(true, Ordering::SeqCst);
            let fd = &fds[usize::from(round % 7 == 0)];
            if round % 7 < 2 {
                rig.set_irqs(&mut peer, TRIGGER_FD, INTX, &[], &[fd.as_raw_fd()]).unwrap();
            } else {
                rig.set_irqs(&mut peer, UNMASK, INTX, &[], &[]).unwrap();
            }
            // Any of the two descriptors may get it, but one must.
            let mut wait = fds.each_ref().map(|f| PollFd::new(f.as_fd(), PollFlags::POLLIN));
            let n = poll(&mut wait, PollTimeout::from(20_000u16)).unwrap();
            if n == 0 {
                stop.store(true, Ordering::Relaxed);
                panic!("round {round}: lost");
            }
            bus.interrupt().set_level(false);
            let _ = (signals(&fds[0]), signals(&fds[1]));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
