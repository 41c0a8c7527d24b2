//! PCI configuration space: a table of what each byte holds, what software may write, and what a 1 clears.
//!
//! Layout and bits: PCI Local Bus Specification 3.0, chapter 6.

use std::ops::Range;

/// Bytes of configuration space.
pub const SIZE: usize = 256;
/// Base address registers.
pub const BARS: usize = 6;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const CACHE_LINE: usize = 0x0c;
const LATENCY: usize = 0x0d;
const BAR0: usize = 0x10;
const SUBSYSTEM: usize = 0x2c;
const CAPABILITIES: usize = 0x34;
const LINE: usize = 0x3c;
const PIN: usize = 0x3d;
/// Where the MSI capability lies: 14 bytes.
const MSI: usize = 0x50;
const MSI_ID: u8 = 5;

const STATUS_INTX: u8 = 1 << 3;
const STATUS_CAPABILITIES: u8 = 1 << 4;

bitflags::bitflags! {
    /// The command register.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Command: u16 {
        /// The device answers at its I/O addresses.
        const IO = 1 << 0;
        /// The device answers at its memory addresses.
        const MEMORY = 1 << 1;
        /// The device may access memory and send MSIs.
        const MASTER = 1 << 2;
        /// Parity errors are reported.
        const PARITY = 1 << 6;
        /// System errors are reported.
        const SERR = 1 << 8;
        /// INTx stays silent.
        const INTX_OFF = 1 << 10;
    }
}

/// One base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Memory below 4 GiB, not prefetchable; bytes, a power of two of at least 16.
    Memory(u32),
    /// I/O ports; bytes, a power of two from 4 to 256.
    Io(u32),
}

impl Bar {
    /// Bytes.
    pub fn size(self) -> u32 {
        match self {
            Self::Memory(n) | Self::Io(n) => n,
        }
    }

    fn valid(self) -> bool {
        match self {
            Self::Memory(n) => n.is_power_of_two() && n >= 16,
            Self::Io(n) => n.is_power_of_two() && (4..=256).contains(&n),
        }
    }
}

/// What a device is, to software that looks at the bus.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor, e.g. 0x8086.
    pub vendor: u16,
    /// Device, e.g. 0x100e.
    pub device: u16,
    /// Vendor of the board.
    pub subsystem_vendor: u16,
    /// Board.
    pub subsystem: u16,
    /// Class code: base, sub, interface as 24 bits, e.g. 0x020000 for Ethernet.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// Base address registers.
    pub bars: [Option<Bar>; BARS],
    /// Offer MSI (one vector, 64-bit addresses) besides INTA.
    pub msi: bool,
}

/// The identity holds a base address register that PCI cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("BAR{index} of {size} bytes: memory takes powers of two from 16, I/O from 4 to 256")]
pub struct BadBar {
    /// Which.
    pub index: usize,
    /// Its size.
    pub size: u32,
}

/// One device's configuration space.
#[derive(Debug, Clone)]
pub struct Config {
    value: [u8; SIZE],
    writable: [u8; SIZE],
    one_clears: [u8; SIZE],
    reset: [u8; SIZE],
}

impl Config {
    /// As after power-on.
    pub fn new(id: &Identity) -> Result<Self, BadBar> {
        let mut c = Self { value: [0; SIZE], writable: [0; SIZE], one_clears: [0; SIZE], reset: [0; SIZE] };
        put(&mut c.value, 0x00, &id.vendor.to_le_bytes());
        put(&mut c.value, 0x02, &id.device.to_le_bytes());
        put(&mut c.value, 0x08, &[id.revision]);
        put(&mut c.value, 0x09, &id.class.to_le_bytes()[..3]);
        put(&mut c.value, SUBSYSTEM, &id.subsystem_vendor.to_le_bytes());
        put(&mut c.value, SUBSYSTEM + 2, &id.subsystem.to_le_bytes());
        // INTA.
        put(&mut c.value, PIN, &[1]);
        let mut command = Command::all();
        command.set(Command::IO, id.bars.iter().flatten().any(|b| matches!(b, Bar::Io(_))));
        command.set(Command::MEMORY, id.bars.iter().flatten().any(|b| matches!(b, Bar::Memory(_))));
        put(&mut c.writable, COMMAND, &command.bits().to_le_bytes());
        put(&mut c.one_clears, STATUS, &0xf900u16.to_le_bytes());
        for at in [CACHE_LINE, LATENCY, LINE] {
            put(&mut c.writable, at, &[0xff]);
        }
        for (index, bar) in id.bars.iter().enumerate() {
            let Some(bar) = bar else { continue };
            if !bar.valid() {
                return Err(BadBar { index, size: bar.size() });
            }
            let at = BAR0 + 4 * index;
            put(&mut c.writable, at, &(!(bar.size() - 1)).to_le_bytes());
            put(&mut c.value, at, &[u8::from(matches!(bar, Bar::Io(_)))]);
        }
        if id.msi {
            c.value[STATUS] |= STATUS_CAPABILITIES;
            put(&mut c.value, CAPABILITIES, &[MSI as u8]);
            // The last of the list; 64-bit addresses; one vector; off.
            put(&mut c.value, MSI, &[MSI_ID, 0, 0x80, 0]);
            put(&mut c.writable, MSI + 2, &[1]);
            put(&mut c.writable, MSI + 4, &[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        }
        c.reset = c.value;
        Ok(c)
    }

    /// As after power-on.
    pub fn reset(&mut self) {
        self.value = self.reset;
    }

    /// The command register.
    pub fn command(&self) -> Command {
        Command::from_bits_truncate(u16::from_le_bytes([self.value[COMMAND], self.value[COMMAND + 1]]))
    }

    /// Reads from `offset`; `intx` is the interrupt's level now. False, and nothing read, past the end.
    #[must_use]
    pub fn read(&self, offset: u64, into: &mut [u8], intx: bool) -> bool {
        let Some(range) = range(offset, into.len()) else { return false };
        into.copy_from_slice(&self.value[range.clone()]);
        if let Some(status) = STATUS.checked_sub(range.start).and_then(|k| into.get_mut(k)) {
            *status |= if intx { STATUS_INTX } else { 0 };
        }
        true
    }

    /// Writes at `offset` what may be written. False, and nothing written, past the end.
    #[must_use]
    pub fn write(&mut self, offset: u64, from: &[u8]) -> bool {
        let Some(range) = range(offset, from.len()) else { return false };
        for (at, new) in range.zip(from) {
            let writable = self.writable[at];
            self.value[at] = ((self.value[at] & !writable) | (new & writable)) & !(new & self.one_clears[at]);
        }
        true
    }
}

fn put(bytes: &mut [u8; SIZE], at: usize, v: &[u8]) {
    bytes[at..at + v.len()].copy_from_slice(v);
}

fn range(offset: u64, len: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(len)?;
    (end <= SIZE).then_some(start..end)
}
