//! What PCI configuration space says: an 82540EM without capabilities, interrupting by INTA.

/// Intel.
pub const VENDOR: u16 = 0x8086;
/// 82540EM.
pub const DEVICE: u16 = 0x100e;
/// Revision.
pub const REVISION: u8 = 3;
/// Ethernet controller: base class, subclass, interface.
pub const CLASS: [u8; 3] = [0x02, 0x00, 0x00];
/// Vendor of the card.
pub const SUBSYSTEM_VENDOR: u16 = VENDOR;
/// A plain card: "PRO/1000 MT Desktop".
pub const SUBSYSTEM: u16 = 0x001e;
/// BAR 0: memory, 32 bits, not prefetchable; its size is [`super::regs::BAR0_SIZE`].
pub const BAR0_FLAGS: u32 = 0;
/// BAR 1: I/O.
pub const BAR1_FLAGS: u32 = 1;
/// Its bytes.
pub const BAR1_SIZE: u32 = 64;
/// Interrupt pin A.
pub const INTERRUPT_PIN: u8 = 1;

/// The subsystem id of a card that says (or not) that it knows the CSB.
pub fn subsystem(csb: bool) -> u16 {
    if csb { crate::csb::SUBDEVICE_ID } else { SUBSYSTEM }
}
