//! Ringing and reading other people's eventfds without ever waiting for them.
//!
//! `O_NONBLOCK` belongs to the open file, which a front end shares with us and may change at any time: a `write` to a
//! counter that it has filled to the brim would wait for as long as it likes, with all ports of the worker. No flag of
//! the write prevents that (`pwritev2` refuses `RWF_NOWAIT` here). But the kernel's own signal never waits: it comes when an
//! asynchronous request is done that names an eventfd (`IOCB_FLAG_RESFD` of io_submit(2)). So a bell is rung by a request
//! that is done as soon as it is made, which reads nothing from /dev/null: one call, as a write is, and about 1 µs more.
//!
//! A full counter stays full, and whoever polls it is woken all the same.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::libc;

/// Requests that a context has room for; each is done before the next is made.
const REQUESTS: libc::c_long = 16;
/// `IOCB_CMD_PREAD` and `IOCB_FLAG_RESFD` (linux/aio_abi.h).
const PREAD: u16 = 0;
const RESFD: u32 = 1;
/// What the ring of a context begins with, as libaio checks it (struct aio_ring in fs/aio.c).
const MAGIC: u32 = 0xa10a_10a1;

/// `struct iocb` (linux/aio_abi.h).
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fildes: u32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

const _: () = assert!(size_of::<Request>() == 64);

/// The beginning of `struct aio_ring` (fs/aio.c): the kernel moves the tail, we the head.
#[repr(C)]
struct Ring {
    id: AtomicU32,
    entries: AtomicU32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: AtomicU32,
}

/// A thread's own way to signal.
struct Signaller {
    /// The context, which is the address of its ring.
    ring: NonNull<Ring>,
    null: File,
}

impl Signaller {
    fn new() -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one word there, the new context.
        Errno::result(unsafe { libc::syscall(libc::SYS_io_setup, REQUESTS, &raw mut context) })?;
        let ring = NonNull::new(std::ptr::with_exposed_provenance_mut::<Ring>(context as usize));
        let Some(ring) = ring.filter(|r| r.is_aligned()) else { return Err(Errno::ENOSYS.into()) };
        let made = Self { ring, null };
        if made.ring().magic.load(Ordering::Relaxed) != MAGIC {
            return Err(Errno::ENOSYS.into());
        }
        Ok(made)
    }

    fn ring(&self) -> &Ring {
        // SAFETY: the kernel has mapped a context's ring at its address, which stays until `drop`; all of it is atomics.
        unsafe { self.ring.as_ref() }
    }

    fn signal(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        let request = Request {
            opcode: PREAD,
            fildes: self.null.as_raw_fd() as u32,
            flags: RESFD,
            resfd: fd.as_raw_fd() as u32,
            ..Request::default()
        };
        let list = [&raw const request];
        let context = self.ring.as_ptr().expose_provenance();
        // SAFETY: one request, which reads no bytes and is done when the call returns, so that it need not live longer.
        let rc = unsafe { libc::syscall(libc::SYS_io_submit, context, 1 as libc::c_long, list.as_ptr()) };
        // What is done is taken off the ring, which has room for a few only.
        // ORDERING: as libaio does it: the tail with Acquire, the head with Release.
        let ring = self.ring();
        ring.head.store(ring.tail.load(Ordering::Acquire), Ordering::Release);
        Errno::result(rc).and_then(|n| if n == 1 { Ok(()) } else { Err(Errno::EAGAIN) })
    }
}

impl Drop for Signaller {
    fn drop(&mut self) {
        let context = self.ring.as_ptr().expose_provenance();
        // SAFETY: ours, and nothing is under way in it. Nobody uses the ring any more.
        unsafe { libc::syscall(libc::SYS_io_destroy, context) };
    }
}

thread_local! {
    static OWN: OnceCell<Option<Signaller>> = const { OnceCell::new() };
}

fn make() -> Option<Signaller> {
    static TOLD: Once = Once::new();
    Signaller::new()
        .inspect_err(|e| {
            TOLD.call_once(|| {
                tracing::warn!(
                    "no asynchronous requests here ({e}): a VM monitor that means harm can hold up the switch by \
                     filling its eventfds; allow io_setup and io_submit (sysctl fs.aio-max-nr, seccomp)"
                );
            });
        })
        .ok()
}

/// Adds one to an eventfd, at once, whatever its flags and its counter.
///
/// `EINVAL`: it is no eventfd.
pub fn signal(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let by_request = OWN.try_with(|own| own.get_or_init(make).as_ref().map(|s| s.signal(fd)));
    match by_request {
        Ok(Some(done)) => done,
        // No context, or the thread ends.
        _ => nix::unistd::write(fd, &1u64.to_ne_bytes()).map(drop),
    }
}

/// Takes an eventfd's count, at once; `EAGAIN` if it is 0, whatever its flags.
pub fn take(fd: BorrowedFd<'_>) -> nix::Result<u64> {
    let mut count = [0u8; 8];
    let part = libc::iovec { iov_base: count.as_mut_ptr().cast(), iov_len: count.len() };
    // SAFETY: eight bytes of our own are written to at most.
    let rc = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    match Errno::result(rc) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        // Before Linux 5.8.
        Err(Errno::EOPNOTSUPP) => nix::unistd::read(fd, &mut count).map(|_| u64::from_ne_bytes(count)),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use nix::sys::eventfd::{EfdFlags, EventFd};

    use super::*;

    /// Runs `f` in a thread of its own; `None` if it hangs.
    fn at_once<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, wait) = channel();
        std::thread::spawn(move || done.send(f()));
        wait.recv_timeout(Duration::from_secs(30)).ok()
    }

    fn blocking(count: u64) -> EventFd {
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
        if count > 0 {
            fd.write(count).unwrap();
        }
        fd
    }

    #[test]
    fn a_full_counter_that_blocks_is_rung_at_once() {
        let fd = blocking(u64::MAX - 1);
        let theirs = fd.as_fd().try_clone_to_owned().unwrap();
        // More often than a context has room for requests.
        let rung = at_once(move || (0..1000).map(|_| signal(theirs.as_fd())).collect::<Result<Vec<_>, _>>());
        assert!(rung.expect("it does not wait").is_ok());
        assert_eq!(take(fd.as_fd()), Ok(u64::MAX));
    }

    #[test]
    fn counts_and_wakes_as_a_write_does() {
        let fd = blocking(0);
        for _ in 0..40 {
            signal(fd.as_fd()).unwrap();
        }
        assert_eq!(take(fd.as_fd()), Ok(40));
        let waits = fd.as_fd().try_clone_to_owned().unwrap();
        let thread = std::thread::spawn(move || {
            let mut count = [0; 8];
            nix::unistd::read(&waits, &mut count).unwrap();
            u64::from_ne_bytes(count)
        });
        signal(fd.as_fd()).unwrap();
        assert_eq!(thread.join().unwrap(), 1);
    }

    #[test]
    fn an_empty_counter_that_blocks_is_read_at_once() {
        let fd = blocking(0);
        assert_eq!(at_once(move || take(fd.as_fd())), Some(Err(Errno::EAGAIN)));
    }

    #[test]
    fn nothing_else_is_rung() {
        let (read, write) = nix::unistd::pipe().unwrap();
        assert_eq!(signal(write.as_fd()), Err(Errno::EINVAL));
        drop(write);
        let mut one = [0];
        assert_eq!(nix::unistd::read(&read, &mut one), Ok(0), "nothing was written");
    }
}
