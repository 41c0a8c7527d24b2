//! The C library's own functions, found behind ours.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::libc::{self, epoll_event, fd_set, nfds_t, off_t, pollfd, sigset_t, size_t, timespec, timeval};

/// Where a function is, once it was looked for.
struct Found(AtomicPtr<c_void>);

impl Found {
    const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Its address, or null if this C library has none.
    fn get(&self, name: &CStr) -> *mut c_void {
        let p = self.0.load(Ordering::Relaxed);
        if !p.is_null() {
            return p;
        }
        // SAFETY: the name is a C string; RTLD_NEXT asks for the next library after this one.
        let p = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        self.0.store(p, Ordering::Relaxed);
        p
    }
}

macro_rules! real {
    ($($name:ident $text:literal ($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {$(
        /// # Safety
        /// As for the C library's function of this name.
        #[inline]
        pub unsafe fn $name($($arg: $type),*) -> $ret {
            static AT: Found = Found::new();
            let p = AT.get($text);
            if p.is_null() {
                set_errno(libc::ENOSYS);
                // SAFETY: an error is what every such function may return: -1, as an int or a pointer.
                return unsafe { std::mem::transmute_copy::<isize, $ret>(&-1isize) };
            }
            // SAFETY: the C library's function of this name has this signature; the caller vouches for the arguments.
            unsafe {
                let f = std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) -> $ret>(p);
                f($($arg),*)
            }
        }
    )*};
}

real! {
    close c"close" (fd: c_int) -> c_int;
    close_range c"close_range" (first: c_uint, last: c_uint, flags: c_int) -> c_int;
    closefrom c"closefrom" (first: c_int) -> c_void_unit;
    dup c"dup" (fd: c_int) -> c_int;
    dup2 c"dup2" (old: c_int, new: c_int) -> c_int;
    dup3 c"dup3" (old: c_int, new: c_int, flags: c_int) -> c_int;
    poll c"poll" (fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int;
    ppoll c"ppoll" (fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    select c"select" (n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, t: *mut timeval) -> c_int;
    pselect c"pselect" (n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, t: *const timespec, mask: *const sigset_t) -> c_int;
    epoll_ctl c"epoll_ctl" (ep: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    epoll_wait c"epoll_wait" (ep: c_int, events: *mut epoll_event, n: c_int, timeout: c_int) -> c_int;
    epoll_pwait c"epoll_pwait" (ep: c_int, events: *mut epoll_event, n: c_int, timeout: c_int, mask: *const sigset_t) -> c_int;
    epoll_pwait2 c"epoll_pwait2" (ep: c_int, events: *mut epoll_event, n: c_int, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    mmap c"mmap" (addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, off: off_t) -> *mut c_void;
    open c"open" (path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    openat c"openat" (dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    ioctl c"ioctl" (fd: c_int, request: std::ffi::c_ulong, arg: *mut c_void) -> c_int;
    fcntl c"fcntl" (fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int;
}

/// What a function without a result returns.
#[allow(non_camel_case_types)]
type c_void_unit = ();

/// Sets `errno`.
pub fn set_errno(e: c_int) {
    nix::errno::Errno::set_raw(e);
}

/// `errno`.
pub fn errno() -> c_int {
    nix::errno::Errno::last_raw()
}

/// Sets `errno` and returns -1.
pub fn fail(e: c_int) -> c_int {
    set_errno(e);
    -1
}
