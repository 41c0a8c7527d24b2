//! epoll(7) with netmap descriptors: they are remembered here instead of in the kernel, and looked at in each wait.
//!
//! An edge is a ring that shows more than when it was last reported.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc::{self, epoll_event, pollfd, sigset_t};

use crate::lock::Short;
use crate::wait::{Entries, Until};
use crate::{real, table, wait};

/// A netmap descriptor in an epoll set.
#[derive(Clone, Copy)]
struct Entry {
    ep: c_int,
    fd: c_int,
    event: epoll_event,
    /// What it was told last: the tails of all its rings, mixed.
    told: u64,
    /// `EPOLLONESHOT`, and told.
    spent: bool,
}

/// [`Entry::told`] of a descriptor that was said to be lost. No tails mixed are as large.
const LOST: u64 = u64::MAX - 1;

impl Entry {
    fn has_edges(&self) -> bool {
        self.event.events & libc::EPOLLET as u32 != 0
    }

    /// Whether it will never be told of again.
    fn is_over(&self) -> bool {
        self.spent || self.has_edges() && self.told == LOST
    }
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static LOCK: Short = Short::new();
static ENTRIES: Guarded = Guarded(std::cell::UnsafeCell::new(Vec::new()));

struct Guarded(std::cell::UnsafeCell<Vec<Entry>>);
// SAFETY: only reached by `with`, under the lock.
unsafe impl Sync for Guarded {}

fn with<T>(f: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
    LOCK.with(|| {
        // SAFETY: the lock is held, and `f` gets nothing by which it could come here again.
        let entries = unsafe { &mut *ENTRIES.0.get() };
        let result = f(entries);
        COUNT.store(entries.len() as u32, Ordering::Relaxed);
        result
    })
}

/// Whether there are none.
#[inline]
pub fn is_empty() -> bool {
    COUNT.load(Ordering::Relaxed) == 0
}

/// A descriptor was closed: an epoll set, or a member of some.
pub fn forget(fd: c_int) {
    if !is_empty() {
        with(|all| all.retain(|e| e.ep != fd && e.fd != fd));
    }
}

/// epoll_ctl(2) for a netmap descriptor.
///
/// # Safety
/// `event` must be null or point to an event.
pub unsafe fn control(ep: c_int, op: c_int, fd: c_int, event: *const epoll_event) -> c_int {
    // SAFETY: as the caller says.
    let event = unsafe { event.as_ref() }.copied();
    let done = with(|all| {
        let at = all.iter().position(|e| e.ep == ep && e.fd == fd);
        match (op, at, event) {
            (libc::EPOLL_CTL_ADD, None, Some(event)) => {
                all.push(Entry { ep, fd, event, told: u64::MAX, spent: false });
                Ok(())
            }
            (libc::EPOLL_CTL_ADD, Some(_), _) => Err(libc::EEXIST),
            (libc::EPOLL_CTL_MOD, Some(i), Some(event)) => {
                all[i] = Entry { event, told: u64::MAX, spent: false, ..all[i] };
                Ok(())
            }
            (libc::EPOLL_CTL_DEL, Some(i), _) => {
                all.remove(i);
                Ok(())
            }
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, None, _) => Err(libc::ENOENT),
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, _, None) => Err(libc::EFAULT),
            _ => Err(libc::EINVAL),
        }
    });
    match done {
        Ok(()) => 0,
        Err(e) => real::fail(e),
    }
}

/// What poll calls an entry's events.
fn events(e: &Entry) -> i16 {
    (e.event.events & 0x7fff) as i16 & (libc::POLLIN | libc::POLLOUT | libc::POLLRDNORM | libc::POLLWRNORM)
}

/// Something that changes whenever a ring of the descriptor shows more.
fn shown(f: &crate::file::File) -> u64 {
    if f.is_lost() {
        return LOST;
    }
    let Some(b) = f.bound() else { return 0 };
    b.tx.iter().chain(&b.rx).fold(0u64, |a, r| a.wrapping_mul(0x0001_0000_01b3) ^ u64::from(r.tail()))
        & !(1 << 63)
}

/// epoll_wait(2) on a set with netmap descriptors. `None` if it has none.
///
/// # Safety
/// `out` must be valid for `max` events, and `mask` null or a signal set.
pub unsafe fn wait(
    ep: c_int,
    out: *mut epoll_event,
    max: c_int,
    until: impl FnOnce() -> Option<Until>,
    mask: *const sigset_t,
) -> Option<c_int> {
    let members = || with(|all| all.iter().filter(|e| e.ep == ep).copied().collect::<Vec<_>>());
    if max <= 0 || members().is_empty() {
        return None;
    }
    let Some(until) = until() else { return Some(real::fail(libc::EINVAL)) };
    loop {
        let mut all = members();
        let mut n = 0;
        for e in all.iter_mut().filter(|e| !e.is_over()) {
            let Some(f) = table::get(e.fd) else { continue };
            let ready = wait::look(&f, events(e));
            let edge = shown(&f);
            let stale = e.has_edges() && e.told == edge && ready & libc::POLLERR == 0;
            if ready == 0 || stale || n == max {
                continue;
            }
            e.told = edge;
            e.spent = e.event.events & libc::EPOLLONESHOT as u32 != 0;
            let event = epoll_event { events: u32::from(ready as u16), u64: e.event.u64 };
            // SAFETY: fewer than `max` were written.
            unsafe { out.add(n as usize).write(event) };
            n += 1;
        }
        remember(&all);
        if n < max {
            // SAFETY: what is left of the caller's array.
            let more = unsafe { real::epoll_wait(ep, out.add(n as usize), max - n, 0) };
            if more < 0 && n == 0 && real::errno() != libc::EINTR {
                return Some(-1);
            }
            n += more.max(0);
        }
        if n > 0 || until.is_over() {
            if n == 0 && lost_some(&all) {
                continue;
            }
            return Some(n);
        }
        let (mut on, mut most, mut quiet) = (Entries::new(), None, true);
        on.push(pollfd { fd: ep, events: libc::POLLIN, revents: 0 });
        let awake: Vec<Entry> = all.into_iter().filter(|e| !e.is_over()).collect();
        for e in &awake {
            if let Some(f) = table::get(e.fd) {
                let calm = wait::arm(&f, events(e), false, &mut on, &mut most);
                // With edges, what was told already is no reason to stay awake.
                quiet &= calm || e.has_edges() && e.told == shown(&f) && !ahead(&f);
            }
        }
        let rc = match quiet {
            // SAFETY: as the caller says.
            true => unsafe { wait::sleep(on.get(), until.left(most), mask) },
            false => 0,
        };
        let errno = real::errno();
        for e in &awake {
            if let Some(f) = table::get(e.fd) {
                wait::disarm(&f, events(e));
                let ended = |q: &pollfd| {
                    q.fd == f.lifeline() && q.revents & (libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR) != 0
                };
                if on.get().iter().any(ended) {
                    f.lost();
                }
            }
        }
        if rc < 0 {
            return Some(real::fail(errno));
        }
    }
}

/// Whether a sync would show more.
fn ahead(f: &crate::file::File) -> bool {
    let Some(b) = f.bound() else { return false };
    b.tx.iter().chain(&b.rx).any(|r| crate::sync::tail_ahead(b, r) != r.tail())
}

/// Before a wait ends with nothing: is one of them lost that was not known to be?
fn lost_some(all: &[Entry]) -> bool {
    let mut news = false;
    for e in all.iter().filter(|e| !e.spent) {
        if let Some(f) = table::get(e.fd)
            && !f.is_lost()
        {
            news |= !f.check();
        }
    }
    news
}

fn remember(seen: &[Entry]) {
    with(|all| {
        for e in all.iter_mut() {
            if let Some(s) = seen.iter().find(|s| s.ep == e.ep && s.fd == e.fd && s.event.u64 == e.event.u64)
            {
                (e.told, e.spent) = (s.told, s.spent);
            }
        }
    });
}
