//! A ring of slots between two threads, as plain as can be: what the memory allows, without the checks of a switch.
//!
//! The only unsafe code of the raw probes. Each [`Ring`] has one producer and one consumer; buffers and descriptors
//! between `tail` and `head` belong to the consumer, the others to the producer, and the indices hand them over.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Slots of a ring.
pub const SLOTS: u32 = 1024;
/// From one buffer to the next: a little more than 2 KiB, so that not all buffers begin in the same cache sets.
const STRIDE: usize = 2048 + 64;
const MASK: u32 = SLOTS - 1;

#[repr(align(128))]
struct Index(AtomicU32);

#[repr(align(128))]
struct Ring {
    head: Index,
    tail: Index,
    lens: Box<[UnsafeCell<u64>]>,
    buffers: *mut u8,
}

// SAFETY: producer and consumer touch disjoint slots at any time: which, the two indices say, published with Release
// and read with Acquire. There is one of each (`pair` makes them, neither can be cloned).
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

fn layout() -> Layout {
    Layout::array::<u8>(STRIDE * SLOTS as usize).and_then(|l| l.align_to(4096)).unwrap_or(Layout::new::<u8>())
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout by `pair`, and nobody holds a slot any more.
        unsafe { dealloc(self.buffers, layout()) };
    }
}

/// The filling end.
pub struct Producer {
    ring: Arc<Ring>,
    head: u32,
    tail: u32,
}

/// The emptying end.
pub struct Consumer {
    ring: Arc<Ring>,
    head: u32,
    tail: u32,
}

/// A ring's two ends.
pub fn pair() -> (Producer, Consumer) {
    // SAFETY: the layout's size is not zero.
    let buffers = unsafe { alloc_zeroed(layout()) };
    if buffers.is_null() {
        handle_alloc_error(layout());
    }
    let ring = Arc::new(Ring {
        head: Index(AtomicU32::new(0)),
        tail: Index(AtomicU32::new(0)),
        lens: (0..SLOTS).map(|_| UnsafeCell::new(0)).collect(),
        buffers,
    });
    (Producer { ring: ring.clone(), head: 0, tail: 0 }, Consumer { ring, head: 0, tail: 0 })
}

/// Asks for a cache line, to be read.
#[inline(always)]
fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory that the program can see, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Asks for a cache line, to be written: away from the core that read it last.
#[inline(always)]
fn prefetch_write(p: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory that the program can see, whatever the address; a processor without this
    // one takes it for a no-op.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) p, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Copies, whole cache lines at once: the buffers are longer than any frame, so a line more does no harm.
#[inline(always)]
fn copy_lines(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    while at < len {
        // SAFETY: both buffers have STRIDE bytes and `len` is at most 2048, a multiple of the line.
        unsafe { std::ptr::copy_nonoverlapping(from.add(at), to.add(at), 64) };
        at += 64;
    }
}

impl Producer {
    /// Free slots. Looks at the consumer's index only when fewer than `want` were known of.
    #[inline(always)]
    pub fn room(&mut self, want: u32) -> u32 {
        let mut free = SLOTS - self.head.wrapping_sub(self.tail);
        if free < want {
            self.tail = self.ring.tail.0.load(Ordering::Acquire);
            free = SLOTS - self.head.wrapping_sub(self.tail);
        }
        free
    }

    /// Number of the `i`-th free slot.
    #[inline(always)]
    pub fn slot(&self, i: u32) -> u32 {
        self.head.wrapping_add(i) & MASK
    }

    #[inline(always)]
    fn at(&self, i: u32) -> *mut u8 {
        // SAFETY: a masked index is within the allocation.
        unsafe { self.ring.buffers.add(self.slot(i) as usize * STRIDE) }
    }

    /// The buffer of the `i`-th free slot (2 KiB).
    #[inline(always)]
    pub fn buffer(&mut self, i: u32) -> &mut [u8] {
        assert!(i < SLOTS - self.head.wrapping_sub(self.tail), "slot {i} is not free");
        // SAFETY: a free slot's buffer is the producer's alone, and `&mut self` lends it once.
        unsafe { std::slice::from_raw_parts_mut(self.at(i), 2048) }
    }

    /// Sets the length of the `i`-th free slot, unless it is that.
    #[inline(always)]
    pub fn set(&mut self, i: u32, len: u64) {
        // SAFETY: a masked index is within the list, and a free slot's descriptor is the producer's alone.
        unsafe {
            let at = self.ring.lens.get_unchecked(self.slot(i) as usize).get();
            if *at != len {
                *at = len;
            }
        }
    }

    /// Asks for the first line of the `i`-th buffer from here and for its descriptor, to be written.
    #[inline(always)]
    pub fn prefetch(&self, i: u32) {
        prefetch_write(self.at(i));
    }

    /// Publishes `n` slots.
    #[inline(always)]
    pub fn publish(&mut self, n: u32) {
        assert!(n <= SLOTS - self.head.wrapping_sub(self.tail), "publish beyond the free slots");
        self.head = self.head.wrapping_add(n);
        self.ring.head.0.store(self.head, Ordering::Release);
    }
}

impl Consumer {
    /// Waiting slots. Looks at the producer's index only when none were known of.
    #[inline(always)]
    pub fn pending(&mut self) -> u32 {
        let mut n = self.head.wrapping_sub(self.tail);
        if n == 0 {
            self.head = self.ring.head.0.load(Ordering::Acquire);
            n = self.head.wrapping_sub(self.tail);
        }
        n
    }

    #[inline(always)]
    fn at(&self, i: u32) -> *const u8 {
        // SAFETY: a masked index is within the allocation.
        unsafe { self.ring.buffers.add((self.tail.wrapping_add(i) & MASK) as usize * STRIDE) }
    }

    /// Length of the `i`-th waiting slot.
    #[inline(always)]
    pub fn len(&self, i: u32) -> usize {
        assert!(i < self.head.wrapping_sub(self.tail), "slot {i} holds no frame");
        // SAFETY: a masked index is within the list, and a waiting slot's descriptor is the consumer's alone.
        unsafe { *self.ring.lens.get_unchecked((self.tail.wrapping_add(i) & MASK) as usize).get() as usize }
    }

    /// The first 24 bytes of the `i`-th waiting frame, as words: addresses, then type, then the stamp.
    #[inline(always)]
    pub fn words(&self, i: u32) -> [u64; 3] {
        assert!(i < self.head.wrapping_sub(self.tail), "slot {i} holds no frame");
        // SAFETY: a waiting slot's buffer has 2 KiB, is aligned to a cache line, and is the consumer's alone.
        unsafe { self.at(i).cast::<[u64; 3]>().read() }
    }

    /// Asks for the first line of the `i`-th buffer from here.
    #[inline(always)]
    pub fn prefetch(&self, i: u32) {
        prefetch(self.at(i));
    }

    /// Copies the `i`-th waiting frame into the `j`-th free slot of `to`.
    #[inline(always)]
    pub fn copy(&self, i: u32, to: &mut Producer, j: u32) {
        let len = self.len(i).min(2048);
        to.set(j, len as u64);
        copy_lines(self.at(i), to.at(j), len);
    }

    /// Gives `n` slots back.
    #[inline(always)]
    pub fn release(&mut self, n: u32) {
        assert!(n <= self.head.wrapping_sub(self.tail), "release beyond the waiting slots");
        self.tail = self.tail.wrapping_add(n);
        self.ring.tail.0.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_in_order() {
        let ((mut p, mut c), (mut q, mut d)) = (pair(), pair());
        let middle = std::thread::spawn(move || {
            let mut moved = 0;
            while moved < 5000 {
                let n = c.pending().min(q.room(1));
                (0..n).for_each(|i| c.copy(i, &mut q, i));
                q.publish(n);
                c.release(n);
                moved += n;
            }
        });
        let (mut sent, mut got) = (0u64, 0u64);
        while got < 5000 {
            if sent < 5000 && p.room(1) > 0 {
                p.buffer(0)[..8].copy_from_slice(&sent.to_le_bytes());
                p.set(0, 60 + sent % 1000);
                p.publish(1);
                sent += 1;
            }
            let n = d.pending();
            for i in 0..n {
                assert_eq!((d.words(i)[0], d.len(i) as u64), (got, 60 + got % 1000));
                got += 1;
            }
            d.release(n);
        }
        middle.join().unwrap();
    }
}
