//! Survives clients that shorten the file behind their guest's memory.
//!
//! Touching a page past the end of a mapped file raises SIGBUS, which would end the daemon and with it everybody
//! else's network. Memory that can be sealed against shrinking needs none of this (QEMU's memory-backend-memfd is
//! sealed by itself). For the rest the handler here puts anonymous memory in place of the whole mapping: the
//! client has lost its guest's memory, and its port says so. A SIGBUS anywhere else goes to whoever handled it before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Mappings of files that cannot be sealed, of all ports together.
const SLOTS: usize = 4096;

/// One watched range. `version` is odd while it changes; a signal handler cannot wait for that and need not:
/// the range that it looks for is in use and so does not change.
struct Slot {
    taken: AtomicBool,
    version: AtomicU32,
    start: AtomicUsize,
    len: AtomicUsize,
    hit: AtomicBool,
}

static SLOT: [Slot; SLOTS] = [const {
    Slot {
        taken: AtomicBool::new(false),
        version: AtomicU32::new(0),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        hit: AtomicBool::new(false),
    }
}; SLOTS];

static BEFORE: OnceLock<SigAction> = OnceLock::new();

/// While it lives, a SIGBUS in its range is survived.
#[derive(Debug)]
pub struct Watch(usize);

impl Watch {
    /// Watches `len` bytes from `start`, a mapping of its own.
    ///
    /// `ENOSPC`: more such mappings than there are slots; otherwise what sigaction says.
    pub fn new(start: *const u8, len: usize) -> Result<Self, Errno> {
        install()?;
        let free = |s: &&Slot| !s.taken.swap(true, Ordering::AcqRel);
        let index = SLOT.iter().position(|s| free(&s)).ok_or(Errno::ENOSPC)?;
        SLOT[index].hit.store(false, Ordering::Relaxed);
        SLOT[index].set(start as usize, len);
        Ok(Self(index))
    }

    /// Whether memory was lost.
    pub fn hit(&self) -> bool {
        SLOT[self.0].hit.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let slot = &SLOT[self.0];
        slot.set(0, 0);
        slot.taken.store(false, Ordering::Release);
    }
}

impl Slot {
    /// Only the holder of the slot calls this.
    fn set(&self, start: usize, len: usize) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // ORDERING: a reader that sees a new field sees the odd version before it ...
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        // ... and one that sees the next even version sees both fields.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The range, if it is not being changed.
    fn get(&self) -> Option<(usize, usize)> {
        let before = self.version.load(Ordering::Acquire);
        let range = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(range)
    }
}

fn install() -> Result<(), Errno> {
    static DONE: OnceLock<Result<(), Errno>> = OnceLock::new();
    *DONE.get_or_init(|| {
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESTART;
        let ours = SigAction::new(SigHandler::SigAction(on_sigbus), flags, SigSet::empty());
        // SAFETY: `on_sigbus` does only what a signal handler may: atomics, mmap, sigaction.
        let before = unsafe { sigaction(Signal::SIGBUS, &ours) }?;
        let _ = BEFORE.set(before);
        Ok(())
    })
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid `info`, and for SIGBUS it holds an address.
    let at = unsafe { (*info).si_addr() } as usize;
    for slot in &SLOT {
        let Some((start, len)) = slot.get() else { continue };
        if at.wrapping_sub(start) >= len || !slot.taken.load(Ordering::Relaxed) {
            continue;
        }
        let page = start & !4095;
        // SAFETY: the range is one whole mapping of ours that nobody holds references into; its pages keep
        // their addresses and only what is behind them changes, in one step.
        let new = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                len + (start - page),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if new != libc::MAP_FAILED {
            slot.hit.store(true, Ordering::Relaxed);
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Not ours: what would have happened without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    match BEFORE.get().map(SigAction::handler) {
        Some(SigHandler::SigAction(f)) => f(signal, info, context),
        Some(SigHandler::Handler(f)) => f(signal),
        _ => {
            let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
            // SAFETY: the default action; on return the access faults again and ends the process.
            let _ = unsafe { sigaction(Signal::SIGBUS, &default) };
        }
    }
}
