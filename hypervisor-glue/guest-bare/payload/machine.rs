//! The machine: the card's registers, memory, and interrupts.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use valecast_guest::dma::{Access, Dma, Span};
use valecast_guest::driver::Bus;
use valecast_guest::mailbox::MEMORY;

unsafe extern "C" {
    /// Interrupts of the card that `boot.s` took.
    #[link_name = "interrupts"]
    static INTERRUPTS: AtomicU32;
    /// Halts until there were more interrupts than these.
    #[link_name = "halt"]
    fn halt(seen: u32);
}

const LOCAL_APIC: u64 = 0xfee0_0000;
const EOI: u64 = LOCAL_APIC + 0xb0;
const SPURIOUS: u64 = LOCAL_APIC + 0xf0;
const IO_APIC: u64 = 0xfec0_0000;
const VECTOR: u32 = 0x21;

fn mmio_write(at: u64, v: u32) {
    // SAFETY: mapped by `boot.s`, and no memory of ours.
    unsafe { (at as *mut u32).write_volatile(v) };
}

/// Memory beyond the payload: guest-physical addresses are ours.
#[derive(Clone, Copy)]
pub struct Ram {
    end: u64,
}

// SAFETY: `boot.s` maps all memory at its own address; nothing else uses what is beyond `MEMORY`.
unsafe impl Dma for Ram {
    #[inline]
    fn span(&self, addr: u64, len: usize, _: Access) -> Option<Span> {
        if addr < MEMORY || addr >= self.end {
            return None;
        }
        Some(Span { ptr: NonNull::new(addr as *mut u8)?, len: len.min((self.end - addr) as usize) })
    }
}

/// The card's registers.
pub struct Registers(u64);

impl Bus for Registers {
    fn read(&mut self, at: u32) -> u32 {
        // SAFETY: mapped by `boot.s`, and no memory of ours.
        unsafe { ((self.0 + u64::from(at)) as *const u32).read_volatile() }
    }

    fn write(&mut self, at: u32, v: u32) {
        mmio_write(self.0 + u64::from(at), v);
    }
}

/// All of it.
pub struct Machine {
    pub card: Registers,
    pub ram: Ram,
    seen: u32,
}

fn taken() -> u32 {
    // SAFETY: an aligned word of `boot.s`. ORDERING: Acquire: what the device wrote before it interrupted.
    unsafe { INTERRUPTS.load(Ordering::Acquire) }
}

impl Machine {
    /// With interrupts of all pins that PCI devices have.
    pub fn new(bar0: u64, end: u64) -> Self {
        mmio_write(SPURIOUS, 0x1ff);
        for pin in 16..24 {
            mmio_write(IO_APIC, 0x11 + 2 * pin);
            mmio_write(IO_APIC + 0x10, 0);
            mmio_write(IO_APIC, 0x10 + 2 * pin);
            mmio_write(IO_APIC + 0x10, 1 << 15 | VECTOR);
        }
        Self { card: Registers(bar0), ram: Ram { end }, seen: 0 }
    }

    /// How many interrupts there were, if some came since the last [`Machine::end_of_interrupt`].
    #[inline]
    pub fn interrupted(&self) -> Option<u32> {
        Some(taken()).filter(|n| *n != self.seen)
    }

    /// Those up to the `n`th are served, for all that came before the card was asked why; if the line is up again, there
    /// is another.
    pub fn end_of_interrupt(&mut self, n: u32) {
        self.seen = n;
        mmio_write(EOI, 0);
    }

    /// Interrupts taken so far.
    pub fn interrupts(&self) -> u64 {
        u64::from(taken())
    }

    /// Halts until there is an interrupt.
    pub fn halt(&self) {
        // SAFETY: `boot.s` changes nothing but flags.
        unsafe { halt(self.seen) };
    }
}

/// The processor's clock.
pub fn ticks() -> u64 {
    // SAFETY: allowed at CPL 3.
    unsafe { core::arch::x86_64::_rdtsc() }
}
