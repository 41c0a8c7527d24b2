//! Which descriptors of this process are netmap's.
//!
//! Looking one up takes no lock, so that a signal handler may do it. A [`File`]'s memory is never given back, only used
//! for the next one: whoever comes too late finds a `File` still, sees that it is not the descriptor's any more, and
//! goes. Each descriptor and each user counts one reference; with the last, what the file holds is released.

use std::ffi::c_int;
use std::ops::Deref;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::file::File;
use crate::lock::Short;

/// Descriptors above this cannot be netmap's.
pub const MAX_FD: usize = 1 << 16;

static SLOTS: [AtomicPtr<File>; MAX_FD] = [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_FD];
/// Netmap descriptors of this process.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Files to use again.
static IDLE: AtomicPtr<File> = AtomicPtr::new(std::ptr::null_mut());
static IDLE_LOCK: Short = Short::new();

/// Whether there are none: the one comparison that other programs pay.
#[inline]
pub fn is_empty() -> bool {
    COUNT.load(Ordering::Relaxed) == 0
}

fn slot(fd: c_int) -> Option<&'static AtomicPtr<File>> {
    usize::try_from(fd).ok().and_then(|fd| SLOTS.get(fd))
}

/// A file in use.
pub struct Held(&'static File);

impl Deref for Held {
    type Target = File;
    fn deref(&self) -> &File {
        self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let_go(self.0);
    }
}

fn let_go(f: &'static File) {
    // ORDERING: AcqRel: whoever releases sees all that users did.
    if f.refs.fetch_sub(1, Ordering::AcqRel) == 1 && f.in_use.swap(0, Ordering::AcqRel) == 1 {
        f.release();
        IDLE_LOCK.with(|| {
            f.next.store(IDLE.load(Ordering::Relaxed), Ordering::Relaxed);
            IDLE.store(std::ptr::from_ref(f).cast_mut(), Ordering::Relaxed);
        });
    }
}

/// The file of a descriptor.
#[inline]
pub fn get(fd: c_int) -> Option<Held> {
    let slot = slot(fd)?;
    loop {
        let p = slot.load(Ordering::Acquire);
        // SAFETY: files are never freed, so whatever was read is one.
        let f: &'static File = unsafe { p.as_ref() }?;
        f.refs.fetch_add(1, Ordering::AcqRel);
        if slot.load(Ordering::Acquire) == p {
            return Some(Held(f));
        }
        let_go(f);
    }
}

/// A file to fill in, with one reference that [`put`] or dropping takes.
pub fn fresh() -> &'static File {
    let idle = IDLE_LOCK.with(|| {
        let p = IDLE.load(Ordering::Relaxed);
        // SAFETY: files are never freed.
        let f: Option<&'static File> = unsafe { p.as_ref() };
        if let Some(f) = f {
            IDLE.store(f.next.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        f
    });
    let f = idle.unwrap_or_else(|| Box::leak(Box::default()));
    f.refs.fetch_add(1, Ordering::AcqRel);
    f.in_use.store(1, Ordering::Release);
    f
}

/// Descriptor `fd` is `f`, whose reference it takes.
pub fn put(fd: c_int, f: &'static File) {
    let Some(slot) = slot(fd) else {
        let_go(f);
        return;
    };
    COUNT.fetch_add(1, Ordering::Relaxed);
    let old = slot.swap(std::ptr::from_ref(f).cast_mut(), Ordering::AcqRel);
    // SAFETY: files are never freed.
    if let Some(old) = unsafe { old.as_ref() } {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        let_go(old);
    }
}

/// Descriptor `new` is another name of `old`.
pub fn duplicate(old: c_int, new: c_int) {
    if let Some(held) = get(old) {
        held.0.refs.fetch_add(1, Ordering::AcqRel);
        put(new, held.0);
    }
}

/// Descriptor `fd` is none any more.
pub fn remove(fd: c_int) {
    let Some(slot) = slot(fd) else { return };
    let old = slot.swap(std::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: files are never freed.
    if let Some(old) = unsafe { old.as_ref() } {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        let_go(old);
    }
}

/// Whether a descriptor is netmap's.
pub fn is_netmap(fd: c_int) -> bool {
    slot(fd).is_some_and(|s| !s.load(Ordering::Relaxed).is_null())
}

/// Another descriptor of the same file.
pub fn another(f: &File) -> Option<c_int> {
    let p = std::ptr::from_ref(f).cast_mut();
    SLOTS.iter().position(|s| s.load(Ordering::Relaxed) == p).map(|fd| fd as c_int)
}
