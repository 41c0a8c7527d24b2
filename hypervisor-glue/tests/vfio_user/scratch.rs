//! A device with a few registers, enough to see that a guest's accesses, memory and interrupts arrive.
//!
//! BAR0 is 4 KiB of plain storage, except for: 0x10 (8 bytes): a guest address; the device reads 8 bytes there into
//! register 0x20 and writes them, each bit inverted, 8 bytes further; register 0x28 then says 1 for done, 2 for a fault.
//! 0x18 (4 bytes): the interrupt's level. BAR1 is 64 I/O ports that read as the last byte written.

use valecast_hypervisor_glue::vfio_user::{Bar, Bus, Command, Device, Identity, Session};

pub const IDENTITY: Identity = Identity {
    vendor: 0x1af4,
    device: 0x10f7,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1101,
    class: 0xff0000,
    revision: 3,
    bars: [Some(Bar::Memory(4096)), Some(Bar::Io(64)), None, None, None, None],
    msi: true,
};

/// What has been called, in short.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub resets: u32,
    pub attached: u32,
    pub detached: u32,
    pub memory: u32,
    pub interrupt: u32,
    pub commands: Vec<Command>,
}

#[derive(Debug)]
pub struct Scratch {
    pub bus: Bus,
    pub bytes: Vec<u8>,
    pub port: u8,
    pub calls: Calls,
}

/// A session around a fresh device.
pub fn session() -> Session<Scratch> {
    session_of(&IDENTITY)
}

pub fn session_of(id: &Identity) -> Session<Scratch> {
    let bus = Bus::new(id);
    let device = Scratch { bus: bus.clone(), bytes: vec![0; 4096], port: 0, calls: Calls::default() };
    Session::new(id, bus, device).expect("a possible identity")
}

impl Scratch {
    fn copy(&mut self) {
        let mut address = [0; 8];
        address.copy_from_slice(&self.bytes[0x10..0x18]);
        let address = u64::from_le_bytes(address);
        let guard = crossbeam::epoch::pin();
        let memory = self.bus.memory(&guard);
        let mut word = [0; 8];
        let done = memory.read(address, &mut word).and_then(|()| {
            let inverted = word.map(|b| !b);
            memory.write(address.wrapping_add(8), &inverted)
        });
        self.bytes[0x20..0x28].copy_from_slice(&word);
        self.bytes[0x28] = if done.is_ok() { 1 } else { 2 };
    }
}

impl Device for Scratch {
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        assert!(bar < 2 && !data.is_empty(), "the server checks this");
        match bar {
            0 => data.copy_from_slice(&self.bytes[offset as usize..][..data.len()]),
            _ => data.fill(self.port),
        }
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        assert!(bar < 2 && !data.is_empty(), "the server checks this");
        if bar == 1 {
            self.port = data[data.len() - 1];
            return;
        }
        self.bytes[offset as usize..][..data.len()].copy_from_slice(data);
        match (offset, data.len()) {
            (0x10, 8) => self.copy(),
            (0x18, 4) => self.bus.interrupt().set_level(data[0] != 0),
            _ => {}
        }
    }

    fn reset(&mut self) {
        assert!(!self.bus.interrupt().level(), "the level is down at a reset");
        self.bytes.fill(0);
        self.port = 0;
        self.calls.resets += 1;
    }

    fn command(&mut self, command: Command) {
        self.calls.commands.push(command);
    }

    fn memory_changed(&mut self) {
        self.calls.memory += 1;
    }

    fn interrupt_changed(&mut self) {
        self.calls.interrupt += 1;
    }

    fn attached(&mut self) {
        self.calls.attached += 1;
    }

    fn detached(&mut self) {
        let guard = crossbeam::epoch::pin();
        assert_eq!(self.bus.memory(&guard).maps(), 0, "memory is unmapped first");
        self.calls.detached += 1;
    }
}
