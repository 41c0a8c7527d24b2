//! poll(2) where netmap descriptors are among those waited for.
//!
//! Rings are synced; if none is ready, the switch is asked for a call (the CSB protocol: flag, fence, look again) and
//! the kernel waits on what it rings, together with the program's other descriptors. As in netmap, every poll flushes
//! what was put into transmit rings, whatever is waited for, unless the descriptor was registered with `NR_NO_TX_POLL`.

use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::libc::{self, pollfd, sigset_t, timespec};
use valecast_ring::netmap::abi::flag;
use valecast_ring::netmap::kring::kind;

use crate::file::{Bound, File, Ring};
use crate::sync::{self, Synced};
use crate::{real, table};

const IN: i16 = libc::POLLIN | libc::POLLRDNORM;
const OUT: i16 = libc::POLLOUT | libc::POLLWRNORM;
/// How long to sleep at most where a call may be missed: somebody else takes calls of the same ring, too.
const SHARED: Duration = Duration::from_millis(10);
/// How long to sleep at most for a monitor: nobody calls it.
const MONITOR: Duration = Duration::from_millis(1);
/// How long to wait for more room when there is some: a little more than a busy switch takes to tell of it.
const LINGER: Duration = Duration::from_micros(300);
/// How long rings are looked at before going to sleep on them, which costs about as much.
const SPIN: Duration = Duration::from_micros(20);
/// Entries that need no allocation.
const FEW: usize = 64;

/// Memory for `n` entries: on the stack if they are few, since poll may be called where allocating is not safe.
pub struct Entries {
    few: [pollfd; FEW],
    many: Vec<pollfd>,
    len: usize,
}

impl Entries {
    pub fn new() -> Self {
        Self { few: [pollfd { fd: -1, events: 0, revents: 0 }; FEW], many: Vec::new(), len: 0 }
    }

    pub fn push(&mut self, p: pollfd) {
        if self.many.is_empty() && self.len < FEW {
            self.few[self.len] = p;
        } else {
            if self.many.is_empty() {
                self.many.extend_from_slice(&self.few[..self.len]);
            }
            self.many.push(p);
        }
        self.len += 1;
    }

    pub fn get(&mut self) -> &mut [pollfd] {
        if self.many.is_empty() { &mut self.few[..self.len] } else { &mut self.many }
    }
}

/// The rings of one direction that poll looks at.
fn rings(b: &Bound, events: i16, out: bool) -> &[Ring] {
    match (out, events & OUT != 0, events & IN != 0) {
        (true, true, _) => &b.tx,
        (false, _, true) => &b.rx,
        _ => &[],
    }
}

/// Syncs what `events` asks for; what is ready.
pub fn look(f: &File, events: i16) -> i16 {
    // ORDERING: Relaxed; set by whoever registered, before anybody polls.
    let csb = f.csb[0].load(Ordering::Relaxed) != 0;
    let Ok(b) = f.bind() else { return libc::POLLERR };
    if csb || f.is_lost() {
        return libc::POLLERR;
    }
    let mut ready = 0;
    let want_out = events & OUT != 0;
    if want_out || b.flags & flag::NO_TX_POLL == 0 {
        for r in &b.tx {
            if !want_out && r.head() == r.kring.hwcur.load(Ordering::Relaxed) {
                continue;
            }
            match sync::sync(f, b, r, true) {
                Ok(Synced::Reset) | Err(_) => ready |= libc::POLLERR,
                Ok(_) if want_out && r.cur() != r.tail() => ready |= events & OUT,
                Ok(_) => {}
            }
        }
    }
    for r in rings(b, events, false) {
        match sync::sync(f, b, r, false) {
            Ok(Synced::Reset) | Err(_) => ready |= libc::POLLERR,
            Ok(_) if r.cur() != r.tail() => ready |= events & IN,
            Ok(_) => {}
        }
    }
    ready
}

/// Whether all that is ready is little room in rings toward a switch. A VALE of the kernel has sent everything when poll
/// returns; here a worker is at it, and a program that took every slot as it comes would send in crumbs.
fn is_thin(f: &File, events: i16) -> bool {
    let Some(b) = f.bound() else { return false };
    let thin = |r: &Ring| {
        r.kring.kind.load(Ordering::Relaxed) == kind::SWITCH_TX
            && sync::distance(r.cur() % r.slots(), r.tail(), r.slots()) < plenty(r)
    };
    !rings(b, events, true).is_empty() && rings(b, events, true).iter().all(thin)
}

/// Room that is worth waking for.
fn plenty(r: &Ring) -> u32 {
    r.slots() / 2
}

/// Goes to sleep on a descriptor's rings: `false` if there is something after all. Adds what to wait on, and the longest
/// time to wait.
pub fn arm(f: &File, events: i16, thin: bool, on: &mut Entries, most: &mut Option<Duration>) -> bool {
    let Some(b) = f.bound() else { return true };
    let mut quiet = true;
    let mut at_most = |d: Duration| *most = Some(most.map_or(d, |m| m.min(d)));
    for out in [true, false] {
        for r in rings(b, events, out) {
            if r.kring.waiters.fetch_add(1, Ordering::AcqRel) > 0 {
                at_most(SHARED);
            }
            if r.kring.kind.load(Ordering::Relaxed) == kind::MONITOR_RX {
                at_most(MONITOR);
            }
            if let Some(wait) = &r.wait {
                drain(wait.as_raw_fd());
                on.push(pollfd { fd: wait.as_raw_fd(), events: libc::POLLIN, revents: 0 });
            }
            quiet &= sync::arm(b, r, if thin && out { plenty(r) } else { 1 });
        }
    }
    on.push(pollfd { fd: f.lifeline(), events: libc::POLLRDHUP, revents: 0 });
    quiet
}

/// Awake again; undoes [`arm`].
pub fn disarm(f: &File, events: i16) {
    let Some(b) = f.bound() else { return };
    for out in [true, false] {
        for r in rings(b, events, out) {
            let before = r.kring.waiters.fetch_sub(1, Ordering::AcqRel);
            sync::disarm(b, r, before == 1);
        }
    }
}

/// Takes all calls so far; both an eventfd and a pipe are read empty without waiting.
fn drain(fd: c_int) {
    let mut sink = [0u8; 64];
    // SAFETY: our own descriptor and our own memory.
    while unsafe { libc::read(fd, sink.as_mut_ptr().cast(), sink.len()) } == sink.len() as isize {}
}

/// Takes all calls on what was found readable.
pub fn drain_all(on: &[pollfd]) {
    on.iter().filter(|p| p.revents & libc::POLLIN != 0).for_each(|p| drain(p.fd));
}

/// When a wait ends.
#[derive(Clone, Copy)]
pub struct Until(Option<Instant>);

impl Until {
    /// Milliseconds from now; negative is never.
    pub fn millis(ms: c_int) -> Self {
        Self(u64::try_from(ms).ok().map(|ms| Instant::now() + Duration::from_millis(ms)))
    }

    /// A time from now; null is never. `None` if it is no time.
    ///
    /// # Safety
    /// `t` must be null or point to a time.
    pub unsafe fn timespec(t: *const timespec) -> Option<Self> {
        // SAFETY: as the caller says.
        let Some(t) = (unsafe { t.as_ref() }) else { return Some(Self(None)) };
        let (secs, nanos) = (u64::try_from(t.tv_sec).ok()?, u32::try_from(t.tv_nsec).ok()?);
        if nanos >= 1_000_000_000 {
            return None;
        }
        // Beyond what a clock can show is never.
        Some(Self(Instant::now().checked_add(Duration::new(secs, nanos))))
    }

    /// What is left, at most `most`.
    pub fn left(self, most: Option<Duration>) -> Option<Duration> {
        let left = self.0.map(|u| u.saturating_duration_since(Instant::now()));
        match (left, most) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        self.left(None).is_some_and(|d| d.is_zero())
    }
}

/// The kernel's wait.
///
/// # Safety
/// `mask` must be null or a signal set.
pub unsafe fn sleep(on: &mut [pollfd], left: Option<Duration>, mask: *const sigset_t) -> c_int {
    let t = left.map(|d| timespec { tv_sec: d.as_secs() as libc::time_t, tv_nsec: d.subsec_nanos().into() });
    let t = t.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the entries are a slice, the time lives here, the mask is the caller's.
    unsafe { real::ppoll(on.as_mut_ptr(), on.len() as libc::nfds_t, t, mask) }
}

/// poll(2) with netmap descriptors among `fds`. `None` if there are none.
///
/// # Safety
/// `mask` must be null or a signal set.
pub unsafe fn poll(
    fds: &mut [pollfd],
    until: impl FnOnce() -> Option<Until>,
    mask: *const sigset_t,
) -> Option<c_int> {
    if !fds.iter().any(|p| p.fd >= 0 && table::get(p.fd).is_some()) {
        return None;
    }
    let Some(until) = until() else { return Some(real::fail(libc::EINVAL)) };
    let mut patient = true;
    loop {
        // Ours are looked at by us, all others by the kernel.
        let mut others = Entries::new();
        let (mut ready, mut foreign) = (0, 0);
        for p in fds.iter_mut() {
            p.revents = 0;
            match table::get(p.fd) {
                Some(f) => {
                    p.revents = look(&f, p.events);
                    ready += c_int::from(p.revents != 0);
                    others.push(pollfd { fd: f.lifeline(), events: libc::POLLRDHUP, revents: 0 });
                }
                None => {
                    foreign += usize::from(p.fd >= 0);
                    others.push(*p);
                }
            }
        }
        let over = ready > 0 || until.is_over();
        if foreign > 0 || ready == 0 && over {
            let list = others.get();
            // SAFETY: as the caller says.
            let n = unsafe { sleep(list, Some(Duration::ZERO), mask) };
            if n < 0 && real::errno() != libc::EINTR {
                return Some(-1);
            }
            for (p, seen) in fds.iter_mut().zip(&*list) {
                match table::get(p.fd) {
                    Some(f) if seen.revents != 0 && p.revents == 0 => {
                        f.lost();
                        p.revents = libc::POLLERR;
                        ready += 1;
                    }
                    Some(_) => {}
                    None => {
                        p.revents = if n < 0 { 0 } else { seen.revents };
                        ready += c_int::from(p.revents != 0);
                    }
                }
            }
        }
        let thin = patient
            && ready > 0
            && !until.is_over()
            && fds
                .iter()
                .filter(|p| p.revents != 0)
                .all(|p| p.revents & !OUT == 0 && table::get(p.fd).is_some_and(|f| is_thin(&f, p.events)));
        if (ready > 0 || over) && !thin {
            return Some(ready);
        }
        if foreign == 0 && spin(fds, thin) {
            continue;
        }
        let (mut on, mut most, mut quiet) = (Entries::new(), None, true);
        if thin {
            // Once, and not for long: what there is then has to do.
            patient = false;
            most = Some(LINGER);
        }
        for p in fds.iter() {
            match table::get(p.fd) {
                Some(f) => quiet &= arm(&f, p.events, thin, &mut on, &mut most),
                None => on.push(*p),
            }
        }
        let n = match quiet {
            // SAFETY: as the caller says.
            true => unsafe { sleep(on.get(), until.left(most), mask) },
            false => 0,
        };
        let e = real::errno();
        for p in fds.iter() {
            if let Some(f) = table::get(p.fd) {
                disarm(&f, p.events);
            }
        }
        if n < 0 {
            return Some(real::fail(e));
        }
        hear(fds, &mut on);
    }
}

/// Looks at the rings for a moment; whether one of them has come to have what is waited for.
fn spin(fds: &[pollfd], thin: bool) -> bool {
    let end = Instant::now() + SPIN;
    loop {
        for p in fds {
            let Some(f) = table::get(p.fd) else { continue };
            let Some(b) = f.bound() else { return false };
            for out in [true, false] {
                for r in rings(b, p.events, out) {
                    let enough = if thin && out { plenty(r) } else { 1 };
                    if sync::distance(r.cur() % r.slots(), sync::tail_ahead(b, r), r.slots()) >= enough {
                        return true;
                    }
                }
            }
        }
        if Instant::now() >= end {
            return false;
        }
        std::hint::spin_loop();
    }
}

/// Whose lifeline has ended is lost.
fn hear(fds: &[pollfd], on: &mut Entries) {
    for p in fds {
        if let Some(f) = table::get(p.fd) {
            let ended = |q: &pollfd| {
                q.fd == f.lifeline() && q.revents & (libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR) != 0
            };
            if on.get().iter().any(ended) {
                f.lost();
            }
        }
    }
}
