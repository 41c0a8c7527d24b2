//! Finds the card where firmware has put it.

use core::arch::asm;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const CARD: u32 = 0x100e_8086;

fn out32(port: u16, v: u32) {
    // SAFETY: port writes reach no memory of ours.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") v, options(nomem, nostack, preserves_flags)) };
}

fn in32(port: u16) -> u32 {
    let v: u32;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") v, options(nomem, nostack, preserves_flags)) };
    v
}

fn read(slot: u32, at: u32) -> u32 {
    out32(ADDRESS, 1 << 31 | slot << 11 | at);
    in32(DATA)
}

fn write(slot: u32, at: u32, v: u32) {
    out32(ADDRESS, 1 << 31 | slot << 11 | at);
    out32(DATA, v);
}

/// The address of the first card's registers on bus 0; the card may use memory from then on.
pub fn find() -> Option<u64> {
    let slot = (0..32).find(|slot| read(*slot, 0) == CARD)?;
    write(slot, 4, read(slot, 4) & 0xffff | 0x7);
    Some(u64::from(read(slot, 0x10) & !0xf))
}
