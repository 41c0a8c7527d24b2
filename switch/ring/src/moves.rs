//! How bytes move between buffers, and how cache lines are asked for.

/// Hints that the line at `p` will be read.
#[inline]
pub fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect on memory and never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Hints that the line at `p` will be written. A line fetched for reading would have to be asked for again at the
/// store, and stores leave a core in order: each would hold up all behind it.
#[inline]
pub fn prefetch_write(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect on memory and never faults, whatever the address. Compilers make a
    // plain read of the intrinsic unless they are told of a newer CPU, hence the instruction itself.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Copies `len` bytes of a frame. Sources and destinations are never the same buffer unless a client makes
/// its own slots share one, which then only garbles its own frames: hence moves that tolerate overlap.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes.
#[inline(always)]
pub unsafe fn copy_payload(src: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: the caller vouches for both ranges; every branch stays inside `len` bytes.
    unsafe {
        match len {
            // Behind their heads, frames of 49 to 64 bytes: a port's usual shortest.
            33..=48 => {
                let (a, b, c) = (load(src), load(src.add(16)), load(src.add(len - 16)));
                store(dst, a);
                store(dst.add(16), b);
                store(dst.add(len - 16), c);
            }
            0..=15 => std::ptr::copy(src, dst, len),
            16..=32 => {
                let (a, b) = (load(src), load(src.add(len - 16)));
                store(dst, a);
                store(dst.add(len - 16), b);
            }
            49..=64 => {
                let (a, b) = (load(src), load(src.add(16)));
                let (c, d) = (load(src.add(len - 32)), load(src.add(len - 16)));
                store(dst, a);
                store(dst.add(16), b);
                store(dst.add(len - 32), c);
                store(dst.add(len - 16), d);
            }
            _ => std::ptr::copy(src, dst, len),
        }
    }
}

/// Copies what comes before the payload: nearly always 16 bytes.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes, and they must not overlap.
#[inline(always)]
pub unsafe fn copy_head(src: *const u8, dst: *mut u8, len: usize) {
    if len == size_of::<Block>() {
        // SAFETY: the caller vouches for 16 bytes each.
        unsafe { store(dst, load(src)) }
    } else {
        // SAFETY: the caller vouches for `len` bytes each.
        unsafe { copy_odd(src, dst, len) }
    }
}

/// Apart, lest the compiler makes one call of both branches.
///
/// # Safety
/// As for [`copy_head`].
#[cold]
#[inline(never)]
unsafe fn copy_odd(src: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: the caller vouches for `len` bytes each.
    unsafe { std::ptr::copy_nonoverlapping(src, dst, len) }
}

/// What one register moves. As an array of words, blocks would travel by way of the stack.
#[cfg(target_arch = "x86_64")]
type Block = std::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Block = u128;

#[inline(always)]
unsafe fn load(p: *const u8) -> Block {
    // SAFETY: the caller vouches for 16 bytes.
    unsafe { p.cast::<Block>().read_unaligned() }
}

#[inline(always)]
unsafe fn store(p: *mut u8, v: Block) {
    // SAFETY: the caller vouches for 16 bytes.
    unsafe { p.cast::<Block>().write_unaligned(v) }
}
