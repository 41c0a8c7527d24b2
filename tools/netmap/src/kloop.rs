//! CSB mode: the program tells its indices by way of entries in its own memory, and one of its threads, inside
//! `NETMAP_REQ_SYNC_KLOOP_START`, syncs its rings by them until `NETMAP_REQ_SYNC_KLOOP_STOP` (`netmap_kloop.c`).

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use nix::libc::{self, pollfd};
use valecast_ring::abi::{CsbAtok, CsbKtoa};
use valecast_ring::netmap::abi::opt;

use crate::ctrl::Options;
use crate::file::{Bound, File, Ring};
use crate::{real, sync, user};

/// States of a file: a loop runs; it is to end.
const RUNNING: u32 = 1;
const STOPPING: u32 = 2;

/// The two entries of one ring, in the program's memory.
#[derive(Clone, Copy)]
struct Entry {
    atok: *mut u8,
    ktoa: *mut u8,
}

fn word<'a>(entry: *mut u8, field: usize) -> &'a AtomicU32 {
    // SAFETY: entries were found to be readable and writable when CSB mode was entered, the program keeps them as
    // long as the descriptor, and they are 64 bytes apart, of which the fields are aligned words.
    unsafe { &*entry.add(field).cast::<AtomicU32>() }
}

impl Entry {
    fn of(f: &File, i: usize) -> Self {
        let at = |n: usize| f.csb[n].load(Ordering::Acquire) as usize + i * size_of::<CsbAtok>();
        Self { atok: at(0) as *mut u8, ktoa: at(1) as *mut u8 }
    }

    /// The program's head and cur: head first, which it stores last.
    fn read(self) -> (u32, u32) {
        let head = word(self.atok, std::mem::offset_of!(CsbAtok, head)).load(Ordering::Acquire);
        (head, word(self.atok, std::mem::offset_of!(CsbAtok, cur)).load(Ordering::Acquire))
    }

    fn write(self, hwcur: u32, hwtail: u32) {
        word(self.ktoa, std::mem::offset_of!(CsbKtoa, hwcur)).store(hwcur, Ordering::Release);
        word(self.ktoa, std::mem::offset_of!(CsbKtoa, hwtail)).store(hwtail, Ordering::Release);
    }

    fn wants_kick(self) -> bool {
        word(self.atok, std::mem::offset_of!(CsbAtok, appl_need_kick)).load(Ordering::Relaxed) != 0
    }

    fn need_kick(self, on: bool) {
        word(self.ktoa, std::mem::offset_of!(CsbKtoa, kern_need_kick)).store(on.into(), Ordering::Relaxed);
    }
}

fn rings(b: &Bound) -> impl Iterator<Item = (&Ring, bool)> {
    b.tx.iter().map(|r| (r, true)).chain(b.rx.iter().map(|r| (r, false)))
}

/// Checks the entries at `at` and fills them in.
pub fn init_csb(f: &File, b: &Bound, [atok, ktoa]: [u64; 2]) -> Result<(), i32> {
    let n = rings(b).count();
    if atok == 0 || ktoa == 0 || atok % 4 != 0 || ktoa % 4 != 0 {
        return Err(libc::EFAULT);
    }
    for at in [atok, ktoa] {
        let mut now = vec![0u8; n * size_of::<CsbAtok>()];
        user::bytes(at, &mut now)?;
        user::put_bytes(at, &now)?;
    }
    f.csb[1].store(ktoa, Ordering::Release);
    f.csb[0].store(atok, Ordering::Release);
    for (i, (r, _)) in rings(b).enumerate() {
        let (e, k) = (Entry::of(f, i), r.kring);
        let a = |field, v| word(e.atok, field).store(v, Ordering::Relaxed);
        a(std::mem::offset_of!(CsbAtok, cur), k.rcur.load(Ordering::Relaxed));
        a(std::mem::offset_of!(CsbAtok, head), k.rhead.load(Ordering::Relaxed));
        a(std::mem::offset_of!(CsbAtok, appl_need_kick), 1);
        a(std::mem::offset_of!(CsbAtok, sync_flags), 1);
        e.write(k.hwcur.load(Ordering::Relaxed), k.hwtail.load(Ordering::Relaxed));
        e.need_kick(true);
    }
    Ok(())
}

/// Where a ring's kicks come from and go to: descriptors of the program.
#[derive(Clone, Copy, Default)]
struct Events {
    kick: i32,
    call: i32,
}

/// Runs until it is stopped.
pub fn start(f: &File, sleep_us: u32, options: &mut Options) -> Result<(), i32> {
    let b = f.bind()?;
    if sleep_us > 1_000_000 || f.csb[0].load(Ordering::Acquire) == 0 {
        return Err(libc::EINVAL);
    }
    let before = f.kloop.fetch_or(RUNNING, Ordering::AcqRel);
    if before & RUNNING != 0 {
        return Err(libc::EBUSY);
    }
    let events = settings(b, options);
    let result = events.and_then(|events| run(f, b, sleep_us, &events));
    f.kloop.store(0, Ordering::Release);
    result
}

/// Asks the loop to end, and waits until it has.
pub fn stop(f: &File) -> Result<(), i32> {
    f.bind()?;
    f.kloop.fetch_or(STOPPING, Ordering::AcqRel);
    let mut ran = false;
    while f.kloop.load(Ordering::Acquire) & RUNNING != 0 {
        ran = true;
        std::thread::sleep(Duration::from_micros(500));
    }
    // What is to end before it began ends as soon as it begins.
    let _ = ran;
    Ok(())
}

/// The options of a start.
fn settings(b: &Bound, options: &mut Options) -> Result<Vec<Events>, i32> {
    if let Some(o) = options.take(opt::SYNC_KLOOP_MODE) {
        // Who wakes whom directly is for the kernel's own threads: here, one thread does all of it either way.
        let mode: u32 = o.words(24)?;
        let bad = mode & !3 != 0;
        o.set(if bad { libc::EINVAL } else { 0 });
        if bad {
            return Err(libc::EINVAL);
        }
    }
    let n = rings(b).count();
    let Some(o) = options.take(opt::SYNC_KLOOP_EVENTFDS) else { return Ok(Vec::new()) };
    if o.head.size != 24 + 8 * n as u64 {
        o.set(libc::EINVAL);
        return Err(libc::EINVAL);
    }
    let mut all = Vec::new();
    for i in 0..n as u64 {
        let pair: [i32; 2] = o.words(24 + 8 * i)?;
        all.push(Events { kick: pair[0], call: pair[1] });
    }
    o.set(0);
    Ok(all)
}

fn stopping(f: &File) -> bool {
    f.kloop.load(Ordering::Acquire) & STOPPING != 0
}

fn run(f: &File, b: &Bound, sleep_us: u32, events: &[Events]) -> Result<(), i32> {
    let kicks = events.iter().any(|e| e.kick >= 0);
    let all: Vec<_> = rings(b).enumerate().map(|(i, (r, tx))| (Entry::of(f, i), r, tx)).collect();
    while !stopping(f) {
        all.iter().for_each(|(e, ..)| e.need_kick(false));
        let moved = round(f, b, &all, events)?;
        if moved {
            continue;
        }
        if !kicks {
            std::thread::sleep(Duration::from_micros(u64::from(sleep_us).max(1)));
            continue;
        }
        // The program kicks from here on; what it did before is seen by one look more.
        all.iter().for_each(|(e, ..)| e.need_kick(true));
        fence(Ordering::SeqCst);
        if !round(f, b, &all, events)? {
            doze(b, &all, events);
        }
    }
    Ok(())
}

/// Syncs every ring once; whether any has moved.
fn round(f: &File, b: &Bound, all: &[(Entry, &Ring, bool)], events: &[Events]) -> Result<bool, i32> {
    let mut moved = false;
    for (i, (e, r, tx)) in all.iter().enumerate() {
        let (head, cur) = e.read();
        let k = r.kring;
        let was = (k.hwcur.load(Ordering::Relaxed), k.hwtail.load(Ordering::Relaxed));
        let now = match sync::sync_at(f, b, r, head, cur, *tx) {
            // Indices that make no sense: the ring stays as it is until they do.
            Err(libc::EINVAL) => was,
            other => other?,
        };
        if now != was {
            moved = true;
            e.write(now.0, now.1);
            fence(Ordering::SeqCst);
            if e.wants_kick() && events.get(i).is_some_and(|ev| ev.call >= 0) {
                let n = 1u64.to_ne_bytes();
                // SAFETY: 8 bytes to a descriptor that the program named.
                unsafe { libc::write(events[i].call, n.as_ptr().cast(), n.len()) };
            }
        }
    }
    Ok(moved)
}

/// Sleeps until the program or the switch has something to say, but not for long: stopping makes no sound.
fn doze(b: &Bound, all: &[(Entry, &Ring, bool)], events: &[Events]) {
    let entry = |fd| pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut on: Vec<pollfd> = events.iter().filter(|e| e.kick >= 0).map(|e| entry(e.kick)).collect();
    let kicks = on.len();
    on.extend(all.iter().filter_map(|(_, r, _)| r.wait.as_ref()).map(|w| entry(w.as_raw_fd())));
    let armed = all.iter().all(|(_, r, _)| sync::arm_at(b, r));
    if armed {
        // SAFETY: a list of entries.
        unsafe { real::poll(on.as_mut_ptr(), on.len() as libc::nfds_t, 2) };
    }
    for (_, r, _) in all {
        sync::disarm(b, r, true);
    }
    for p in on[..kicks].iter().filter(|p| p.revents & libc::POLLIN != 0) {
        let mut sink = [0u8; 8];
        // SAFETY: 8 bytes of an eventfd, which is readable.
        unsafe { libc::read(p.fd, sink.as_mut_ptr().cast(), sink.len()) };
    }
    crate::wait::drain_all(&on[kicks..]);
}
