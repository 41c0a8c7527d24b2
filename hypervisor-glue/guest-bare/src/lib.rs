//! A virtual machine's payload without an operating system: the driver of [`valecast_guest`] with just enough around
//! it to run by itself, as an ELF file with a PVH entry (QEMU's `-kernel` takes it, and so does our own monitor).
//!
//! The payload's source is in `payload/`: `boot.s` (page tables, gates, down to CPL 3), `main.rs` and its modules (the
//! card, jobs, tests). The build script compiles it for the host's own target, without `std` or start files, with the
//! compiler that builds everything else: no other toolchain is needed.

/// The file; `None` on machines other than x86-64.
pub fn elf() -> Option<&'static [u8]> {
    let all: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/payload"));
    (!all.is_empty()).then_some(all)
}
