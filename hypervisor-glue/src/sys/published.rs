//! A value that the control side replaces whole while workers read it without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::epoch::{Atomic, Guard, Owned, pin};

/// Looks that [`Published::settle`] takes before it gives up, 50 µs apart once the first few were in vain.
const LOOKS: u32 = 2000;

/// One shared value. Readers pin an epoch (workers hold one guard and re-pin it each turn).
#[derive(Debug)]
pub struct Published<T>(Atomic<T>);

impl<T: Send + Sync + 'static> Published<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self(Atomic::new(value))
    }

    /// The value as it is now; it lives as long as the guard stays pinned.
    pub fn load<'g>(&self, guard: &'g Guard) -> &'g T {
        // ORDERING: SeqCst, since interrupt delivery sets a flag and then looks here, while the control side
        // publishes and then looks at the flag; on x86 this is a plain load.
        let shared = self.0.load(Ordering::SeqCst, guard);
        // SAFETY: never null (made with a value, only ever swapped for another), and what was loaded is not
        // freed while the guard is pinned.
        unsafe { shared.deref() }
    }

    /// Replaces the value. Readers that loaded the old one keep it until they re-pin.
    pub fn publish(&self, value: T) {
        let guard = pin();
        let old = self.0.swap(Owned::new(value), Ordering::SeqCst, &guard);
        // SAFETY: unreachable from now on; whoever still reads it is pinned.
        unsafe { guard.defer_destroy(old) };
        guard.flush();
    }

    /// Waits until nobody can still read a value replaced before the call; false if somebody stayed pinned
    /// for about 0.1 s. The caller must not be pinned itself.
    pub fn settle(&self) -> bool {
        let over = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&over);
        pin().defer(move || tell.store(true, Ordering::Release));
        for look in 0..LOOKS {
            pin().flush();
            if over.load(Ordering::Acquire) {
                return true;
            }
            if look > 8 {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        }
        false
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut self.0, Atomic::null());
        // SAFETY: `&mut self`: nobody can load it any more; whoever did may still be pinned, so it too waits.
        unsafe {
            let guard = pin();
            let shared = last.load(Ordering::Relaxed, &guard);
            if !shared.is_null() {
                guard.defer_destroy(shared);
            }
        }
    }
}
