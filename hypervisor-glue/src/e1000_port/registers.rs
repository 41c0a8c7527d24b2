//! The guest's accesses, as the bus brings them.

use std::sync::Arc;

use valecast_switch::clock::now_ns;

use super::shared::Shared;
use crate::e1000::chip::Chip;
use crate::e1000::device::Effects;
use crate::e1000::{pci, regs};
use crate::vfio_user::{Bar, Command, Device, Identity, Peer};

/// Something may have changed for everybody who waits.
const ALL: Effects = Effects { interrupt: false, transmit: true, room: true };

/// Who may plug the card in.
pub type Gate = Box<dyn Fn(&Peer) -> bool + Send>;

/// The register side of a port's card, with the thread that serves it.
pub struct Registers {
    chip: Chip,
    shared: Arc<Shared>,
    gate: Gate,
    /// There is a VM.
    plugged: bool,
}

impl Registers {
    /// Of the card in `shared`.
    pub fn new(shared: Arc<Shared>, gate: Gate) -> Self {
        let chip = Chip::new(shared.device.clone());
        Self { chip, shared, gate, plugged: false }
    }

    /// Whether the card is plugged into a VM, which is so from its monitor's first message on.
    pub fn is_plugged(&self) -> bool {
        self.plugged
    }
}

/// What the card says of itself in PCI configuration space.
pub fn identity(csb: bool) -> Identity {
    let [base, sub, interface] = pci::CLASS;
    let bars = [Some(Bar::Memory(regs::BAR0_SIZE)), Some(Bar::Io(pci::BAR1_SIZE)), None, None, None, None];
    Identity {
        vendor: pci::VENDOR,
        device: pci::DEVICE,
        subsystem_vendor: pci::SUBSYSTEM_VENDOR,
        subsystem: pci::subsystem(csb),
        class: u32::from_be_bytes([0, base, sub, interface]),
        revision: pci::REVISION,
        bars,
        msi: false,
    }
}

impl Device for Registers {
    fn admit(&mut self, peer: &Peer) -> Result<(), String> {
        if (self.gate)(peer) {
            return Ok(());
        }
        Err(format!("user {} is in neither allow_users nor allow_groups", peer.uid))
    }

    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        let now = now_ns();
        match bar {
            0 => self.chip.read_bar0(offset, data, now),
            _ => self.chip.read_bar1(offset, data, now),
        }
        // Reading ICR lowers the line.
        self.shared.accessed(Effects::default());
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        let now = now_ns();
        let effects = match bar {
            0 => self.chip.write_bar0(offset, data, now),
            _ => self.chip.write_bar1(offset, data, now),
        };
        self.shared.accessed(effects);
    }

    fn reset(&mut self) {
        self.chip.reset();
        self.shared.accessed(ALL);
    }

    fn command(&mut self, _command: Command) {
        // With bus mastering on, what could not be reached can be now.
        self.shared.accessed(ALL);
    }

    fn memory_changed(&mut self) {
        let guard = crossbeam::epoch::pin();
        let unshared = self.shared.bus.memory(&guard).unshared();
        drop(guard);
        // A guest whose frames cannot be reached sees that at once: its cable is out.
        let _ = self.shared.device.set_link(!unshared, now_ns());
        self.shared.accessed(ALL);
    }

    fn attached(&mut self) {
        self.plugged = true;
    }

    fn detached(&mut self) {
        self.plugged = false;
        let _ = self.shared.device.set_link(true, now_ns());
    }
}
