//! The guest's one device, which lives in the daemon: how its registers and its interrupt are reached.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use kvm_ioctls::VmFd;
use memmap2::MmapRaw;
use valecast_guest::mailbox::{self, Mailbox};
use valecast_guest::regs;
use vmm_sys_util::eventfd::EventFd;

use super::client::Client;
use super::monitor::borrowed;

/// What a machine has for its card.
pub struct Slot<'a> {
    /// The machine.
    pub vm: &'a VmFd,
    /// Its memory, from guest address 0 on.
    pub memory: &'a Arc<MmapRaw>,
    /// The file of it.
    pub file: &'a File,
    /// Interrupts it.
    pub raise: &'a EventFd,
}

/// A card at a port.
pub trait Card: Send {
    /// What the guest is told it has.
    fn kind(&self) -> mailbox::Card;
    /// Gives it memory and an interrupt.
    fn plug(&mut self, slot: &Slot<'_>) -> io::Result<()>;
    /// The guest reads a register.
    fn read(&mut self, at: u64, data: &mut [u8]) -> io::Result<()>;
    /// The guest writes one.
    fn write(&mut self, at: u64, data: &[u8]) -> io::Result<()>;
}

impl Card for Client {
    fn kind(&self) -> mailbox::Card {
        mailbox::Card::E1000
    }

    fn plug(&mut self, slot: &Slot<'_>) -> io::Result<()> {
        self.plug(slot.file.as_fd(), slot.memory.len() as u64, borrowed(slot.raise))
    }

    fn read(&mut self, at: u64, data: &mut [u8]) -> io::Result<()> {
        // Who reads why there was an interrupt is done with it as far as the card goes.
        if at == u64::from(regs::ICR) { self.read_and_unmask(at, data) } else { self.read(at, data) }
    }

    fn write(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        self.post(at, data)
    }
}

/// The page shared with the guest; `memory` has more than [`mailbox::MEMORY`] bytes (`Machine::new` checks that).
pub fn mailbox(memory: &MmapRaw) -> &Mailbox {
    // SAFETY: inside memory, which stays mapped while it is borrowed; page-aligned; atomics only.
    unsafe { &*memory.as_ptr().add(mailbox::AT as usize).cast::<Mailbox>() }
}
