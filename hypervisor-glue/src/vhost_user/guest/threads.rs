//! Guest and worker on a thread each, which sleep whenever they may: nothing is left lying.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;

/// Frames that go round.
const FRAMES: u64 = 60_000;
/// A thread that sleeps for so long (ms) was not woken.
const LOST: u16 = 20_000;

fn sleep(on: &EventFd, who: &str) {
    let mut fds = [PollFd::new(on.as_fd(), PollFlags::POLLIN)];
    assert!(poll(&mut fds, PollTimeout::from(LOST)).unwrap() > 0, "{who} was not woken");
    count(on);
}

/// The worker: what comes goes back, and what there is no room for waits.
fn mirror(port: &mut Port, kicks: &[Arc<EventFd>; 2], over: &AtomicBool) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    while !over.load(Ordering::SeqCst) {
        if held.is_empty() {
            held = port.take(32);
        }
        if held.is_empty() {
            if port.tx.arm() {
                sleep(&kicks[1], "the worker");
            }
            port.tx.disarm();
            continue;
        }
        let (n, _) = port.deliver(&held);
        held.drain(..n);
        if n == 0 && port.rx.arm_room(0) {
            sleep(&kicks[0], "the worker, without room,");
        }
    }
}

/// Ends the worker, however the guest ends.
struct End<'a>(&'a AtomicBool, &'a [Arc<EventFd>; 2]);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        // The worker may sleep.
        for k in self.1 {
            let _ = k.write(1);
        }
    }
}

/// The guest: sends and receives as long as it can, then sleeps. How often it slept.
fn guest(memory: &Memory, driver: &mut Driver, doorbells: &mut Doorbells, call: &EventFd) -> u64 {
    let (mut sent, mut got, mut slept) = (0, 0, 0);
    while got < FRAMES {
        let moved = memory.with(|m| {
            let mut moved = 0;
            while sent < FRAMES && driver.send(doorbells, m, &frame(sent, 60)).unwrap() {
                (sent, moved) = (sent + 1, moved + 1);
            }
            let look = driver.poll(doorbells, m, 64, |f| {
                let mut b = vec![0; f.len];
                f.copy(m, &mut b).unwrap();
                assert_eq!(b, frame(got, 60));
                got += 1;
            });
            moved + look.unwrap()
        });
        if moved == 0 && memory.with(|m| driver.may_sleep(m)).unwrap() {
            slept += 1;
            sleep(call, "the guest");
            memory.with(|m| driver.awake(m)).unwrap();
        }
    }
    slept
}

#[test]
fn two_threads_lose_neither_frames_nor_wakes() {
    let Rig { memory, mut driver, mut doorbells, mut port, .. } = Rig::new(16);
    let (kicks, call) = (doorbells.0.clone(), port.call.clone());
    let over = AtomicBool::new(false);
    let slept = std::thread::scope(|s| {
        let guest = s.spawn(|| {
            let _end = End(&over, &kicks);
            guest(&memory, &mut driver, &mut doorbells, &call)
        });
        mirror(&mut port, &kicks, &over);
        guest.join().unwrap()
    });
    let did = driver.did();
    assert_eq!((did.sent, did.received), (FRAMES, FRAMES));
    assert!(did.tx_kicks < FRAMES, "{did:?}, slept {slept} times");
}
