//! The program's memory, read and written as the kernel would: a bad address is an error and not a crash.

use std::ffi::c_void;

use nix::libc;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Moves `len` bytes between `ours` and address `theirs` of this process.
fn transfer(ours: *mut u8, theirs: u64, len: usize, write: bool) -> Result<(), i32> {
    if len == 0 {
        return Ok(());
    }
    let local = libc::iovec { iov_base: ours.cast(), iov_len: len };
    let remote = libc::iovec { iov_base: theirs as *mut c_void, iov_len: len };
    // SAFETY: `ours` is valid for `len` bytes; what `theirs` is the kernel finds out.
    let n = unsafe {
        let me = libc::getpid();
        if write {
            libc::process_vm_writev(me, &raw const local, 1, &raw const remote, 1, 0)
        } else {
            libc::process_vm_readv(me, &raw const local, 1, &raw const remote, 1, 0)
        }
    };
    if n == len as isize {
        return Ok(());
    }
    match nix::errno::Errno::last_raw() {
        // A sandbox may forbid the call; then the program's word has to do.
        libc::ENOSYS | libc::EPERM if n < 0 && theirs != 0 => {
            let (from, to) =
                if write { (ours.cast_const(), theirs as *mut u8) } else { (theirs as *const u8, ours) };
            // SAFETY: as the program says, there are `len` bytes at `theirs`.
            unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
            Ok(())
        }
        _ => Err(libc::EFAULT),
    }
}

/// A structure at `at`.
pub fn get<T: FromBytes + IntoBytes + FromZeros>(at: u64) -> Result<T, i32> {
    let mut t = T::new_zeroed();
    transfer(t.as_mut_bytes().as_mut_ptr(), at, size_of::<T>(), false)?;
    Ok(t)
}

/// Bytes at `at`.
pub fn bytes(at: u64, to: &mut [u8]) -> Result<(), i32> {
    transfer(to.as_mut_ptr(), at, to.len(), false)
}

/// Writes a structure at `at`.
pub fn put<T: IntoBytes + Immutable>(at: u64, v: &T) -> Result<(), i32> {
    put_bytes(at, v.as_bytes())
}

/// Writes bytes at `at`.
pub fn put_bytes(at: u64, v: &[u8]) -> Result<(), i32> {
    transfer(v.as_ptr().cast_mut(), at, v.len(), true)
}
