//! The four rings between an AF_XDP socket and the kernel: each has one producer and one consumer, and their
//! places are free-running counts.
//!
//! The other side is the kernel. Even so slots are reached by masked counts only, so that no count
//! whatsoever leads out of a ring.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use nix::libc;

/// A ring that is mapped; the pointers point into the mapping.
struct Ring<T> {
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    flags: *const AtomicU32,
    slots: *mut T,
    size: u32,
    _map: MmapRaw,
}

// SAFETY: the pointers point into the mapping, which goes along.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps a ring of `size` slots; `page` is its place in the socket's file.
    fn map(socket: &impl AsRawFd, page: u64, at: &libc::xdp_ring_offset, size: u32) -> std::io::Result<Self> {
        let len = at.desc as usize + size as usize * size_of::<T>();
        let map = MmapOptions::new().offset(page).len(len).populate().map_raw(socket.as_raw_fd())?;
        let base = map.as_mut_ptr();
        // SAFETY: the kernel said where these are in a mapping of this length, and aligns them for itself.
        unsafe {
            Ok(Self {
                producer: base.add(at.producer as usize).cast(),
                consumer: base.add(at.consumer as usize).cast(),
                flags: base.add(at.flags as usize).cast(),
                slots: base.add(at.desc as usize).cast(),
                size,
                _map: map,
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: an aligned word of the mapping, which both sides use as an atomic.
        unsafe { &*self.producer }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.consumer }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as above.
        unsafe { &*self.flags }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn slot(&self, count: u32) -> *mut T {
        // SAFETY: the size is a power of two, so the masked count is inside the ring.
        unsafe { self.slots.add((count & (self.size - 1)) as usize) }
    }
}

/// A ring that this side fills.
pub struct Producer<T> {
    ring: Ring<T>,
    /// Counts: filled, published, and consumed when last looked.
    filled: u32,
    published: u32,
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    /// Maps a new ring.
    pub fn map(
        socket: &impl AsRawFd,
        page: u64,
        at: &libc::xdp_ring_offset,
        size: u32,
    ) -> std::io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, page, at, size)?, filled: 0, published: 0, consumed: 0 })
    }

    /// Puts `value` into the next slot. There must be room: users of this ring never have more values than it
    /// has slots.
    #[inline]
    pub fn push(&mut self, value: T) {
        debug_assert!(
            self.filled.wrapping_sub(self.ring.consumer().load(Ordering::Relaxed)) < self.ring.size
        );
        // SAFETY: a slot of the ring that the kernel has done with, and reads again only once published.
        unsafe { self.ring.slot(self.filled).write(value) };
        self.filled = self.filled.wrapping_add(1);
    }

    /// Shows the kernel what was pushed.
    #[inline]
    pub fn publish(&mut self) {
        // ORDERING: Release: the slots, and the frames they point to, are seen before the count.
        self.ring.producer().store(self.filled, Ordering::Release);
        self.published = self.filled;
    }

    /// Slots that the kernel has not taken yet.
    #[inline]
    pub fn pending(&mut self) -> u32 {
        // ORDERING: Acquire: what the kernel read from slots it has given back, it has read.
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.published.wrapping_sub(self.consumed)
    }

    /// The value that the kernel took last, if it took any since `pending` was called.
    pub fn last_taken(&self) -> Option<T> {
        let now = self.ring.consumer().load(Ordering::Acquire);
        // SAFETY: a slot of the ring, which only this side writes to.
        (now != self.consumed).then(|| unsafe { self.ring.slot(now.wrapping_sub(1)).read() })
    }

    /// Whether the kernel wants to be called after a publication.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        // ORDERING: the kernel raises its flag and looks at the count again; this side stores the count and
        // looks at the flag. With a full fence on either side one of them sees the other.
        fence(Ordering::SeqCst);
        self.ring.needs_wakeup()
    }
}

/// A ring that the kernel fills.
pub struct Consumer<T> {
    ring: Ring<T>,
    /// Counts: released, and produced when last looked.
    released: u32,
    produced: u32,
}

impl<T: Copy> Consumer<T> {
    /// Maps a new ring.
    pub fn map(
        socket: &impl AsRawFd,
        page: u64,
        at: &libc::xdp_ring_offset,
        size: u32,
    ) -> std::io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, page, at, size)?, released: 0, produced: 0 })
    }

    /// Values waiting.
    #[inline]
    pub fn pending(&mut self) -> u32 {
        // ORDERING: Acquire pairs with the kernel's publication of slots and of the frames they point to.
        self.produced = self.ring.producer().load(Ordering::Acquire);
        self.produced.wrapping_sub(self.released)
    }

    /// Waiting value `i`, which is less than what `pending` said.
    #[inline]
    pub fn get(&self, i: u32) -> T {
        // SAFETY: a slot of the ring, which the kernel writes again only once it is released.
        unsafe { self.ring.slot(self.released.wrapping_add(i)).read() }
    }

    /// Gives the first `n` slots back.
    #[inline]
    pub fn release(&mut self, n: u32) {
        self.released = self.released.wrapping_add(n);
        // ORDERING: Release: the slots have been read before the kernel may write them.
        self.ring.consumer().store(self.released, Ordering::Release);
    }
}
