//! select(2), by way of poll.

use std::ffi::c_int;

use nix::libc::{self, fd_set, pollfd, sigset_t};

use crate::wait::{Entries, Until};
use crate::{table, wait};

/// Descriptors that a set can hold.
const SIZE: c_int = libc::FD_SETSIZE as c_int;

fn has(set: *mut fd_set, fd: c_int) -> bool {
    // SAFETY: sets are null or sets, and `fd` is below their size.
    !set.is_null() && unsafe { libc::FD_ISSET(fd, set) }
}

/// select(2) with netmap descriptors in the sets. `None` if there are none, or if it is not for us to judge.
///
/// # Safety
/// Sets must be null or sets, and `mask` null or a signal set.
pub unsafe fn select(
    n: c_int,
    sets: [*mut fd_set; 3],
    until: impl FnOnce() -> Option<Until>,
    mask: *const sigset_t,
) -> Option<c_int> {
    if !(0..=SIZE).contains(&n) {
        return None;
    }
    let events = [
        libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND,
        libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND,
        libc::POLLPRI,
    ];
    let mut list = Entries::new();
    let mut ours = false;
    for fd in 0..n {
        let wanted = sets.iter().zip(events).filter(|(s, _)| has(**s, fd)).fold(0, |a, (_, e)| a | e);
        if wanted != 0 {
            ours |= table::get(fd).is_some();
            list.push(pollfd { fd, events: wanted, revents: 0 });
        }
    }
    if !ours {
        return None;
    }
    let fds = list.get();
    // SAFETY: as the caller says.
    let rc = unsafe { wait::poll(fds, until, mask) }?;
    if rc < 0 {
        return Some(rc);
    }
    if fds.iter().any(|p| p.revents & libc::POLLNVAL != 0) {
        return Some(crate::real::fail(libc::EBADF));
    }
    let readable = libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND | libc::POLLHUP | libc::POLLERR;
    let shown = [readable, events[1] | libc::POLLERR, libc::POLLPRI];
    let mut bits = 0;
    for p in fds {
        for ((set, asked), shown) in sets.iter().zip(events).zip(shown) {
            if p.events & asked == 0 {
                continue;
            }
            if p.revents & shown != 0 {
                bits += 1;
            } else {
                // SAFETY: the set holds the descriptor, as found above.
                unsafe { libc::FD_CLR(p.fd, *set) };
            }
        }
    }
    Some(bits)
}
