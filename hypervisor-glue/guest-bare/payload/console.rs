//! Where text goes: a place in memory that our own monitor watches (there are hosts whose guests cannot use ports at
//! CPL 3), or a serial port; and the port that ends a test.

use core::arch::asm;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

/// The place, or 0 for the serial port.
static PLACE: AtomicU64 = AtomicU64::new(0);

/// Prints to a place that the monitor watches.
pub fn use_place(at: u64) {
    // ORDERING: Relaxed: there is one thread.
    PLACE.store(at, Ordering::Relaxed);
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let place = PLACE.load(Ordering::Relaxed);
        for b in s.bytes() {
            if place == 0 {
                out8(0x3f8, b);
            } else {
                // SAFETY: mapped by `boot.s`, and no memory of ours.
                unsafe { (place as *mut u8).write_volatile(b) };
            }
        }
        Ok(())
    }
}

/// Writes a byte to a port.
pub fn out8(port: u16, v: u8) {
    // SAFETY: port writes reach no memory of ours.
    unsafe { asm!("out dx, al", in("dx") port, in("al") v, options(nomem, nostack, preserves_flags)) };
}

/// Prints a line.
pub fn line(text: fmt::Arguments<'_>) {
    // `Serial` cannot fail.
    let _ = Serial.write_fmt(text);
    let _ = Serial.write_str("\n");
}

/// Ends the virtual machine; QEMU's exit status becomes `2 * code + 1`.
pub fn exit(code: u8) -> ! {
    out8(0xf4, code);
    loop {
        core::hint::spin_loop();
    }
}
