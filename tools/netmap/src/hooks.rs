//! The C library's functions, as programs call them. Each looks whether a netmap descriptor is meant, and otherwise goes
//! on to the C library's own.
//!
//! `open`, `ioctl` and `fcntl` have variable arguments in C. On the machines that this runs on (x86-64, AArch64, RISC-V,
//! all under Linux) those are passed as fixed ones are, so that declaring one argument that may be absent is sound: it is
//! handed on, and only looked at where the call has it.

#![allow(clippy::missing_safety_doc)] // All are as the C library's functions of the same names.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

use nix::libc::{self, epoll_event, fd_set, nfds_t, off_t, pollfd, sigset_t, size_t, timespec, timeval};
use valecast_ring::netmap::abi::{NIOCCONFIG, NIOCCTRL, NIOCGINFO, NIOCREGIF, NIOCRXSYNC, NIOCTXSYNC};

use crate::file::{File, is_device};
use crate::wait::Until;
use crate::{ctrl, epoll, legacy, real, select, sync, table, wait};

fn result(r: Result<(), i32>) -> c_int {
    match r {
        Ok(()) => 0,
        Err(e) => real::fail(e),
    }
}

fn open_device(flags: c_int) -> c_int {
    File::open(flags).unwrap_or_else(real::fail)
}

macro_rules! open {
    ($($name:ident)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
            // SAFETY: as the caller says.
            if unsafe { is_device(path) } {
                return open_device(flags);
            }
            // SAFETY: as the caller says. With 64-bit offsets all of them are one.
            unsafe { real::open(path, flags, mode) }
        }
    )*};
}
open!(open open64 __open_2 __open64_2);

macro_rules! openat {
    ($($name:ident)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
            // SAFETY: as the caller says.
            if unsafe { is_device(path) } {
                return open_device(flags);
            }
            // SAFETY: as the caller says.
            unsafe { real::openat(dir, path, flags, mode) }
        }
    )*};
}
openat!(openat openat64 __openat_2 __openat64_2);

fn closed(fd: c_int) {
    epoll::forget(fd);
    if table::is_empty() {
        return;
    }
    let held = table::get(fd);
    table::remove(fd);
    if let Some(f) = held
        && f.lifeline() == fd
        && let Some(other) = table::another(&f)
    {
        f.use_lifeline(other);
    }
}

/// `close`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if !(table::is_empty() && epoll::is_empty()) {
        closed(fd);
    }
    // SAFETY: as the caller says.
    unsafe { real::close(fd) }
}

fn closed_range(first: c_uint, last: c_uint) {
    if table::is_empty() && epoll::is_empty() {
        return;
    }
    for fd in first..=last.min(table::MAX_FD as c_uint - 1) {
        if table::is_netmap(fd as c_int) || !epoll::is_empty() {
            closed(fd as c_int);
        }
    }
}

/// `close_range`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    /// `CLOSE_RANGE_CLOEXEC`: nothing is closed yet.
    const LATER: c_int = 4;
    if flags & LATER == 0 && first <= last {
        closed_range(first, last);
    }
    // SAFETY: as the caller says.
    unsafe { real::close_range(first, last, flags) }
}

/// `closefrom`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    closed_range(first.max(0) as c_uint, c_uint::MAX);
    // SAFETY: as the caller says.
    unsafe { real::closefrom(first) }
}

fn duplicated(old: c_int, new: c_int) -> c_int {
    if new >= 0 && new != old && !table::is_empty() {
        closed(new);
        table::duplicate(old, new);
    }
    new
}

/// `dup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: as the caller says.
    duplicated(fd, unsafe { real::dup(fd) })
}

/// `dup2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    // SAFETY: as the caller says.
    duplicated(old, unsafe { real::dup2(old, new) })
}

/// `dup3`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    // SAFETY: as the caller says.
    duplicated(old, unsafe { real::dup3(old, new, flags) })
}

macro_rules! fcntl {
    ($($name:ident)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int {
            // SAFETY: as the caller says.
            let rc = unsafe { real::fcntl(fd, cmd, arg) };
            match cmd {
                libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicated(fd, rc),
                _ => rc,
            }
        }
    )*};
}
fcntl!(fcntl fcntl64);

/// `ioctl`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    let number = request as c_uint;
    let ours = matches!(number, NIOCTXSYNC | NIOCRXSYNC | NIOCCTRL | NIOCREGIF | NIOCGINFO | NIOCCONFIG);
    if !ours && table::is_empty() {
        // SAFETY: as the caller says.
        return unsafe { real::ioctl(fd, request, arg) };
    }
    let held = table::get(fd).or_else(|| if ours { File::recognise(fd) } else { None });
    let Some(f) = held else {
        // SAFETY: as the caller says.
        return unsafe { real::ioctl(fd, request, arg) };
    };
    match number {
        NIOCTXSYNC => result(sync::ioctl(&f, true)),
        NIOCRXSYNC => result(sync::ioctl(&f, false)),
        NIOCCTRL => result(ctrl::request(&f, arg as u64)),
        NIOCREGIF => result(legacy::request(&f, arg as u64, false)),
        NIOCGINFO => result(legacy::request(&f, arg as u64, true)),
        // The kernel does these itself, for every descriptor.
        n if [libc::FIOCLEX, libc::FIONCLEX, libc::FIONBIO, libc::FIOASYNC]
            .map(|n| n as c_uint)
            .contains(&n) =>
        {
            // SAFETY: as the caller says.
            unsafe { real::ioctl(fd, request, arg) }
        }
        // Switches have no private configuration, and the device no other requests.
        _ => real::fail(libc::EOPNOTSUPP),
    }
}

macro_rules! mmap {
    ($($name:ident)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            addr: *mut c_void,
            len: size_t,
            prot: c_int,
            flags: c_int,
            fd: c_int,
            off: off_t,
        ) -> *mut c_void {
            // SAFETY: as the caller says.
            unsafe { map(addr, len, prot, flags, fd, off) }
        }
    )*};
}
mmap!(mmap mmap64);

unsafe fn map(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    off: off_t,
) -> *mut c_void {
    let anonymous = fd < 0 || flags & libc::MAP_ANONYMOUS != 0;
    let mut held = if anonymous || table::is_empty() { None } else { table::get(fd) };
    if held.is_none() {
        // SAFETY: as the caller says.
        let p = unsafe { real::mmap(addr, len, prot, flags, fd, off) };
        if p != libc::MAP_FAILED || anonymous || real::errno() != libc::ENODEV {
            return p;
        }
        // A socket cannot be mapped, unless it is one of ours.
        held = File::recognise(fd);
        if held.is_none() {
            real::set_errno(libc::ENODEV);
            return p;
        }
    }
    let memory = held.as_ref().map_or(Err(libc::ENODEV), |f| f.bind().map(|b| b.memory()));
    match memory {
        Ok((memfd, size)) => {
            let end = usize::try_from(off).ok().and_then(|o| o.checked_add(len));
            if end.is_none_or(|end| end > size) {
                real::set_errno(libc::EINVAL);
                return libc::MAP_FAILED;
            }
            // SAFETY: as the caller says, for the memory behind its descriptor.
            unsafe { real::mmap(addr, len, prot, flags, memfd, off) }
        }
        Err(e) => {
            real::set_errno(e);
            libc::MAP_FAILED
        }
    }
}

/// `poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    if !table::is_empty() && !fds.is_null() && n > 0 {
        // SAFETY: as the caller says.
        let done = unsafe {
            let list = std::slice::from_raw_parts_mut(fds, n as usize);
            wait::poll(list, || Some(Until::millis(timeout)), std::ptr::null())
        };
        if let Some(rc) = done {
            return rc;
        }
    }
    // SAFETY: as the caller says.
    unsafe { real::poll(fds, n, timeout) }
}

/// `__poll_chk`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, size: size_t) -> c_int {
    overflow(n, size);
    // SAFETY: as the caller says.
    unsafe { poll(fds, n, timeout) }
}

/// A program built to find such mistakes has one.
fn overflow(n: nfds_t, size: size_t) {
    if (size / size_of::<pollfd>()) < n as usize {
        std::process::abort();
    }
}

/// `ppoll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    t: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    if !table::is_empty() && !fds.is_null() && n > 0 {
        // SAFETY: as the caller says.
        let done = unsafe {
            let list = std::slice::from_raw_parts_mut(fds, n as usize);
            wait::poll(list, || Until::timespec(t), mask)
        };
        if let Some(rc) = done {
            return rc;
        }
    }
    // SAFETY: as the caller says.
    unsafe { real::ppoll(fds, n, t, mask) }
}

/// `__ppoll_chk`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    t: *const timespec,
    mask: *const sigset_t,
    size: size_t,
) -> c_int {
    overflow(n, size);
    // SAFETY: as the caller says.
    unsafe { ppoll(fds, n, t, mask) }
}

/// `select`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    t: *mut timeval,
) -> c_int {
    if !table::is_empty() {
        // SAFETY: as the caller says.
        let done = unsafe {
            let time =
                t.as_ref().map(|t| timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_usec.saturating_mul(1000) });
            let until = || Until::timespec(time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref));
            select::select(n, [r, w, e], until, std::ptr::null())
        };
        if let Some(rc) = done {
            return rc;
        }
    }
    // SAFETY: as the caller says.
    unsafe { real::select(n, r, w, e, t) }
}

/// `pselect`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    t: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    if !table::is_empty() {
        // SAFETY: as the caller says.
        let done = unsafe { select::select(n, [r, w, e], || Until::timespec(t), mask) };
        if let Some(rc) = done {
            return rc;
        }
    }
    // SAFETY: as the caller says.
    unsafe { real::pselect(n, r, w, e, t, mask) }
}

/// `epoll_ctl`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_ctl(ep: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    if !table::is_empty() && table::get(fd).is_some() {
        // SAFETY: as the caller says.
        return unsafe { epoll::control(ep, op, fd, event) };
    }
    // SAFETY: as the caller says.
    unsafe { real::epoll_ctl(ep, op, fd, event) }
}

/// `epoll_wait`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(ep: c_int, events: *mut epoll_event, n: c_int, timeout: c_int) -> c_int {
    if !epoll::is_empty() {
        // SAFETY: as the caller says.
        let done = unsafe { epoll::wait(ep, events, n, || Some(Until::millis(timeout)), std::ptr::null()) };
        if let Some(rc) = done {
            return rc;
        }
    }
    // SAFETY: as the caller says.
    unsafe { real::epoll_wait(ep, events, n, timeout) }
}

/// `epoll_pwait`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait(
    ep: c_int,
    events: *mut epoll_event,
    n: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    if !epoll::is_empty() {
        // SAFETY: as the caller says.
        let done = unsafe { epoll::wait(ep, events, n, || Some(Until::millis(timeout)), mask) };
        if let Some(rc) = done {
            return rc;
        }
    }
    // SAFETY: as the caller says.
    unsafe { real::epoll_pwait(ep, events, n, timeout, mask) }
}

/// `epoll_pwait2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait2(
    ep: c_int,
    events: *mut epoll_event,
    n: c_int,
    t: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    if !epoll::is_empty() {
        // SAFETY: as the caller says.
        let done = unsafe { epoll::wait(ep, events, n, || Until::timespec(t), mask) };
        if let Some(rc) = done {
            return rc;
        }
    }
    // SAFETY: as the caller says.
    unsafe { real::epoll_pwait2(ep, events, n, t, mask) }
}
