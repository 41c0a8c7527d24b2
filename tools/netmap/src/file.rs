//! One netmap descriptor, as this process knows it.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use nix::libc;
use valecast_ring::netmap::call::{MAP, Token};
use valecast_ring::netmap::kring::{Kring, MemHeader};

use crate::caller;
use crate::lock::Short;
use crate::table;

/// What the table keeps, and what is known of the descriptor. All of it may be looked at at any time.
pub struct File {
    pub(crate) refs: AtomicU32,
    pub(crate) in_use: AtomicU32,
    pub(crate) next: AtomicPtr<File>,
    /// One of the descriptors, to hear by it that the daemon is gone.
    fd: AtomicI32,
    /// The daemon's socket and the token; set once, before anybody else sees the file.
    known: AtomicPtr<Known>,
    /// Its rings, once they are registered.
    bound: AtomicPtr<Bound>,
    /// Taken while rings are registered or looked for.
    binding: Short,
    /// Not 0: nothing more will come from the daemon.
    gone: AtomicU32,
    /// Where the program's CSB entries are, once it has any.
    pub(crate) csb: [AtomicU64; 2],
    /// See [`crate::kloop`].
    pub(crate) kloop: AtomicU32,
}

struct Known {
    path: PathBuf,
    token: Token,
}

impl Default for File {
    fn default() -> Self {
        Self {
            refs: AtomicU32::new(0),
            in_use: AtomicU32::new(0),
            next: AtomicPtr::new(std::ptr::null_mut()),
            fd: AtomicI32::new(-1),
            known: AtomicPtr::new(std::ptr::null_mut()),
            bound: AtomicPtr::new(std::ptr::null_mut()),
            binding: Short::new(),
            gone: AtomicU32::new(0),
            csb: [const { AtomicU64::new(0) }; 2],
            kloop: AtomicU32::new(0),
        }
    }
}

/// One ring of a descriptor.
pub struct Ring {
    /// Its books.
    pub kring: &'static Kring,
    /// The `netmap_ring`.
    pub ring: *mut u8,
    /// Becomes readable when the other side has moved.
    pub wait: Option<OwnedFd>,
    /// Wakes the other side.
    pub kick: Option<OwnedFd>,
}

/// The region of a descriptor and its rings.
pub struct Bound {
    base: *mut u8,
    len: usize,
    memfd: OwnedFd,
    pub header: &'static MemHeader,
    pub tx: Vec<Ring>,
    pub rx: Vec<Ring>,
    /// The `NR_*` flags it was registered with.
    pub flags: u64,
    /// Bytes that buffer 0 is from the beginning.
    pub bufs: usize,
    /// Bytes from one buffer to the next.
    pub stride: usize,
    /// Buffers.
    pub nbufs: u32,
}

// SAFETY: the pointers are into a mapping that lives as long as this; access is by atomics or raw copies.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

impl Drop for Bound {
    fn drop(&mut self) {
        // SAFETY: mapped in `bind`, and whoever holds a reference into it holds the file.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

impl Bound {
    /// Something in the region, if it lies in there whole.
    pub fn at(&self, offset: u64, len: usize) -> Option<*mut u8> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(len)?;
        // SAFETY: inside the mapping, as just checked.
        (end <= self.len).then(|| unsafe { self.base.add(offset) })
    }

    /// The books at this offset.
    pub fn kring(&self, offset: u64) -> Option<&'static Kring> {
        if offset == 0 || !offset.is_multiple_of(align_of::<Kring>() as u64) {
            return None;
        }
        // SAFETY: the whole struct lies in the mapping and consists of atomics. It lives as long as the mapping,
        // which outlives whoever asks: see `Held`.
        self.at(offset, size_of::<Kring>()).map(|p| unsafe { &*p.cast::<Kring>() })
    }

    /// The buffer `idx`, if there is one.
    #[inline]
    pub fn buf(&self, idx: u32) -> Option<*mut u8> {
        // SAFETY: the switch made the region with so many buffers of `stride` bytes, which `bind` has checked.
        (idx >= valecast_ring::abi::FIRST_BUF && idx < self.nbufs)
            .then(|| unsafe { self.base.add(self.bufs + idx as usize * self.stride) })
    }

    /// Whether the port has been taken away.
    pub fn is_dead(&self) -> bool {
        self.header.dead.load(Ordering::Acquire) != 0
    }

    /// Bytes of the region, and what to map.
    pub fn memory(&self) -> (c_int, usize) {
        (self.memfd.as_raw_fd(), self.len)
    }
}

impl File {
    /// Opens `/dev/netmap`: the new descriptor.
    pub fn open(flags: c_int) -> Result<c_int, i32> {
        prepare();
        let path = caller::socket_path();
        let sock = caller::dial(&path, flags & libc::O_CLOEXEC != 0)?;
        if flags & libc::O_NONBLOCK != 0 {
            // SAFETY: a flag of our own descriptor.
            unsafe { libc::fcntl(sock.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        }
        let token = caller::token(std::os::fd::AsFd::as_fd(&sock))?;
        if sock.as_raw_fd() as usize >= table::MAX_FD {
            return Err(libc::EMFILE);
        }
        let fd = sock.into_raw_fd();
        table::put(fd, Self::over(fd, path, token));
        Ok(fd)
    }

    fn over(fd: c_int, path: PathBuf, token: Token) -> &'static Self {
        let f = table::fresh();
        f.fd.store(fd, Ordering::Relaxed);
        f.gone.store(0, Ordering::Relaxed);
        f.known.store(Box::into_raw(Box::new(Known { path, token })), Ordering::Release);
        f
    }

    /// Recognises a descriptor that came from elsewhere: inherited over exec, or received.
    pub fn recognise(fd: c_int) -> Option<table::Held> {
        if fd < 0 {
            return None;
        }
        let is = |option, value| {
            let (mut got, mut len) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
            // SAFETY: an int's worth of an option is asked for.
            let rc = unsafe {
                libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut got).cast(), &raw mut len)
            };
            rc == 0 && got == value
        };
        if !is(libc::SO_DOMAIN, libc::AF_UNIX) || !is(libc::SO_TYPE, libc::SOCK_SEQPACKET) {
            return None;
        }
        // SAFETY: the descriptor is open, as the options just told.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let path = caller::peer(borrowed)?;
        let token = caller::token(borrowed).ok()?;
        prepare();
        table::put(fd, Self::over(fd, path, token));
        table::get(fd)
    }

    /// What this file holds goes; nobody uses it any more.
    pub(crate) fn release(&self) {
        let known = self.known.swap(std::ptr::null_mut(), Ordering::AcqRel);
        let bound = self.bound.swap(std::ptr::null_mut(), Ordering::AcqRel);
        for w in &self.csb {
            w.store(0, Ordering::Relaxed);
        }
        self.kloop.store(0, Ordering::Relaxed);
        // SAFETY: both were made by `Box::into_raw`, and the last user is gone.
        unsafe {
            if !known.is_null() {
                drop(Box::from_raw(known));
            }
            if !bound.is_null() {
                drop(Box::from_raw(bound));
            }
        }
    }

    fn known(&self) -> Option<&Known> {
        // SAFETY: set before the file was in the table, and released after its last user.
        unsafe { self.known.load(Ordering::Acquire).as_ref() }
    }

    /// Takes a request to the daemon.
    pub fn call(
        &self,
        reqtype: u16,
        name: &[u8; 64],
        body: &[u8],
    ) -> Result<(Box<valecast_ring::netmap::call::Answer>, Vec<OwnedFd>), i32> {
        let known = self.known().ok_or(libc::ENXIO)?;
        caller::call(&known.path, &known.token, reqtype, name, body)
    }

    /// Its rings, if this process knows them.
    #[inline]
    pub fn bound(&self) -> Option<&Bound> {
        // SAFETY: set once, and released after the file's last user.
        unsafe { self.bound.load(Ordering::Acquire).as_ref() }
    }

    /// Its rings; whoever registered them, perhaps in another process, told the daemon.
    pub fn bind(&self) -> Result<&Bound, i32> {
        if let Some(b) = self.bound() {
            return Ok(b);
        }
        self.binding.with(|| {
            if self.bound().is_none() {
                let b = self.learn()?;
                self.bound.store(Box::into_raw(Box::new(b)), Ordering::Release);
            }
            self.bound().ok_or(libc::ENXIO)
        })
    }

    fn learn(&self) -> Result<Bound, i32> {
        let (answer, fds) = self.call(MAP, &[0; 64], &[])?;
        if answer.errno != 0 {
            return Err(answer.errno);
        }
        let mut fds = fds.into_iter();
        let memfd = fds.next().ok_or(libc::ENXIO)?;
        let len = usize::try_from(answer.total).map_err(|_| libc::ENOMEM)?;
        let base = map(&memfd, len)?;
        // A place holder for the header, until the real one is known to lie inside.
        static NONE: MemHeader = MemHeader {
            dead: AtomicU32::new(1),
            nbufs: AtomicU32::new(0),
            stride: AtomicU32::new(0),
            pad: AtomicU32::new(0),
            bufs: AtomicU64::new(0),
        };
        let mut b = Bound {
            base,
            len,
            memfd,
            header: &NONE,
            tx: Vec::new(),
            rx: Vec::new(),
            flags: answer.flags,
            bufs: 0,
            stride: 0,
            nbufs: 0,
        };
        let header = b.at(answer.header, size_of::<MemHeader>()).ok_or(libc::ENXIO)?;
        // SAFETY: the whole struct lies in the mapping, aligned as the switch places it, and consists of atomics.
        b.header = unsafe { &*header.cast::<MemHeader>() };
        b.bufs = b.header.bufs.load(Ordering::Relaxed) as usize;
        b.stride = b.header.stride.load(Ordering::Relaxed) as usize;
        b.nbufs = b.header.nbufs.load(Ordering::Relaxed);
        let end = b.stride.checked_mul(b.nbufs as usize).and_then(|n| n.checked_add(b.bufs));
        if end.is_none_or(|end| end > b.len) {
            return Err(libc::ENXIO);
        }
        let told = answer.rings.get(..usize::from(answer.nrings)).ok_or(libc::ENXIO)?;
        for r in told {
            let kring = b.kring(r.kring).ok_or(libc::ENXIO)?;
            let slots = kring.slots.load(Ordering::Relaxed) as usize;
            let bytes = size_of::<valecast_ring::abi::RingHeader>() + 16 * slots;
            let ring = b.at(kring.ring.load(Ordering::Relaxed), bytes).ok_or(libc::ENXIO)?;
            let mut bell = |bit: u32| if r.bells & bit != 0 { fds.next() } else { None };
            let (wait, kick) = (bell(1), bell(2));
            let ring = Ring { kring, ring, wait, kick };
            if r.dir == 0 { b.tx.push(ring) } else { b.rx.push(ring) }
        }
        Ok(b)
    }

    /// The descriptor to hear by that the daemon is gone.
    pub fn lifeline(&self) -> c_int {
        self.fd.load(Ordering::Relaxed)
    }

    /// Another descriptor serves as lifeline, as that one is closed.
    pub fn use_lifeline(&self, fd: c_int) {
        self.fd.store(fd, Ordering::Relaxed);
    }

    /// The daemon is gone.
    pub fn lost(&self) {
        self.gone.store(1, Ordering::Relaxed);
    }

    /// Whether the port or the daemon is gone, as far as is known.
    pub fn is_lost(&self) -> bool {
        self.gone.load(Ordering::Relaxed) != 0 || self.bound().is_some_and(Bound::is_dead)
    }

    /// Asks whether the daemon is still there.
    pub fn check(&self) -> bool {
        let mut p = libc::pollfd { fd: self.lifeline(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one entry.
        let n = unsafe { crate::real::poll(&raw mut p, 1, 0) };
        if n > 0 && p.revents & (libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR) != 0 {
            self.lost();
        }
        !self.is_lost()
    }
}

fn map(memfd: &OwnedFd, len: usize) -> Result<*mut u8, i32> {
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping, where the kernel likes; the switch has sealed the memory against shrinking.
    let p = unsafe {
        crate::real::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            memfd.as_raw_fd(),
            0,
        )
    };
    if p == libc::MAP_FAILED { Err(libc::ENOMEM) } else { Ok(p.cast()) }
}

/// Once: children have to learn who they are.
fn prepare() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    extern "C" fn child() {
        crate::lock::forget_pid();
    }
    ONCE.call_once(|| {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::pthread_atfork(None, None, Some(child)) };
        let _ = crate::lock::pid();
    });
}

/// Whether a path is the device's.
///
/// # Safety
/// `path` must be null or a C string.
pub unsafe fn is_device(path: *const std::ffi::c_char) -> bool {
    const DEVICE: &[u8] = b"/dev/netmap\0";
    if path.is_null() {
        return false;
    }
    // SAFETY: a C string ends at the latest where it differs, so nothing beyond its end is read.
    DEVICE.iter().enumerate().all(|(i, b)| unsafe { *path.add(i) } as u8 == *b)
}
