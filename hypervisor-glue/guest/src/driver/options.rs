//! How a driver is told to behave.

use crate::csb;
use crate::regs::ctrl;

/// How a driver sets up its card.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where its memory begins.
    pub base: u64,
    /// Descriptors per ring, a multiple of 8.
    pub descriptors: u32,
    /// Bytes of a receive buffer: 256, 512, 1024 or 2048.
    pub buffer: usize,
    /// Bits of RCTL besides EN, BAM and the buffer size.
    pub rctl: u32,
    /// Bits of CTRL.
    pub ctrl: u32,
    /// ITR.
    pub itr: u32,
    /// TIDV and TADV; descriptors let reports wait if TIDV is not 0.
    pub tx_delay: (u32, u32),
    /// RDTR and RADV.
    pub rx_delay: (u32, u32),
    /// Legacy descriptors instead of data descriptors.
    pub legacy: bool,
    /// Send Combining: no write of TDT while a transmit interrupt is awaited.
    pub send_combining: bool,
    /// The CSB.
    pub csb: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base: 0x10_0000,
            descriptors: 64,
            buffer: 2048,
            rctl: 0,
            ctrl: ctrl::SLU,
            itr: 0,
            tx_delay: (0, 0),
            rx_delay: (0, 0),
            legacy: false,
            send_combining: false,
            csb: false,
        }
    }
}

/// Bytes of a transmit buffer; longer frames take several.
pub const TX_BUFFER: usize = 2048;

impl Options {
    /// Bytes of memory from `base` on that the driver uses.
    pub fn memory(&self) -> usize {
        let n = self.descriptors as usize;
        csb::PAGE + 2 * 16 * n + n * TX_BUFFER + n * self.buffer
    }
}
