//! How the client wants to hear of the interrupt: SET_IRQS.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::irq::{Interrupt, Wires};
use super::wire::SetIrqs;
use crate::event::eventfd;
use crate::sys::eventfd::take;

/// Kinds of interrupts of a PCI device: INTx, MSI, MSI-X, errors, requests to let go.
pub const KINDS: u32 = 5;
const INTX: u32 = 0;
const MSI: u32 = 1;

const DATA_NONE: u32 = 1;
const DATA_BOOL: u32 = 2;
const DATA_EVENTFD: u32 = 4;
const DATA: u32 = DATA_NONE | DATA_BOOL | DATA_EVENTFD;
const MASK: u32 = 8;
const UNMASK: u32 = 16;
const TRIGGER: u32 = 32;

const INFO_EVENTFD: u32 = 1;
const INFO_MASKABLE: u32 = 2;
const INFO_AUTOMASKED: u32 = 4;
const INFO_NORESIZE: u32 = 8;

/// The client's side of the interrupt: what it has set up.
#[derive(Debug)]
pub struct Irqs {
    interrupt: Arc<Interrupt>,
    resample: Option<Arc<OwnedFd>>,
    intx_on: bool,
    msi_on: bool,
}

impl Irqs {
    /// Nothing set up.
    pub fn new(interrupt: Arc<Interrupt>) -> Self {
        Self { interrupt, resample: None, intx_on: false, msi_on: false }
    }

    fn vectors(&self, index: u32) -> u32 {
        match index {
            INTX => 1,
            MSI => self.interrupt.has_msi().into(),
            _ => 0,
        }
    }

    /// Flags and vectors of one kind; `EINVAL` if there is no such kind.
    pub fn info(&self, index: u32) -> Result<(u32, u32), Errno> {
        let flags = match index {
            INTX => INFO_EVENTFD | INFO_MASKABLE | INFO_AUTOMASKED,
            MSI => INFO_EVENTFD | INFO_NORESIZE,
            _ if index < KINDS => 0,
            _ => return Err(Errno::EINVAL),
        };
        Ok((flags, self.vectors(index)))
    }

    /// Written by whoever sees the guest's end of interrupt; to be polled, and [`resampled`](Self::resampled) then.
    pub fn resample(&self) -> Option<&Arc<OwnedFd>> {
        self.resample.as_ref()
    }

    /// The resample descriptor is readable: the guest has ended its interrupt.
    pub fn resampled(&self) {
        if let Some(fd) = &self.resample
            && take(fd.as_fd()).is_ok()
        {
            self.interrupt.unmask();
        }
    }

    /// SET_IRQS. `data` are the bytes behind the structure.
    ///
    /// `EINVAL`: no such vector, flags that contradict each other, descriptors that are no eventfds or not as many
    /// as vectors, MSI while INTx is on or the other way round; `ENOTTY`: masking by descriptor, or of MSI.
    pub fn set(&mut self, m: &SetIrqs, data: &[u8], fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let (index, start, count) = (m.index.get(), m.start.get(), m.count.get());
        let kind = m.flags.get() & DATA;
        let action = m.flags.get() & !DATA;
        let vectors = self.vectors(index);
        let inside = start.checked_add(count).is_some_and(|end| end <= vectors);
        // No vectors with no data: all of them off.
        let off = kind == DATA_NONE && count == 0 && start == 0;
        if index >= KINDS || !inside || (kind != DATA_EVENTFD && !fds.is_empty()) {
            return Err(Errno::EINVAL);
        }
        // One vector at most, so `count` is 0 or 1 from here on.
        let asked = match kind {
            DATA_NONE => count == 1,
            DATA_BOOL if count == 1 => *data.first().ok_or(Errno::EINVAL)? != 0,
            DATA_EVENTFD if fds.len() <= count as usize => false,
            _ => return Err(Errno::EINVAL),
        };
        let fd = fds.into_iter().next().map(eventfd).transpose()?;
        match (index, action) {
            (INTX | MSI, TRIGGER) if off => self.switch(index, None, false),
            // -1, that is no descriptor, for a vector: it stays on but tells nobody.
            (INTX | MSI, TRIGGER) if kind == DATA_EVENTFD && count == 1 => self.switch(index, fd, true),
            (INTX | MSI, TRIGGER) => {
                if asked {
                    self.interrupt.loop_back();
                }
                Ok(())
            }
            (INTX, MASK) if kind != DATA_EVENTFD && !off => {
                if asked {
                    self.interrupt.mask();
                }
                Ok(())
            }
            (INTX, UNMASK) if kind == DATA_EVENTFD && count == 1 => {
                self.resample = fd.map(Arc::new);
                Ok(())
            }
            (INTX, UNMASK) if kind != DATA_EVENTFD && !off => {
                if asked {
                    self.interrupt.unmask();
                }
                Ok(())
            }
            (INTX | MSI, MASK | UNMASK) => Err(Errno::ENOTTY),
            _ if action == TRIGGER && off => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn switch(&mut self, index: u32, fd: Option<OwnedFd>, on: bool) -> Result<(), Errno> {
        let other_on = if index == INTX { self.msi_on } else { self.intx_on };
        if other_on {
            return if on { Err(Errno::EINVAL) } else { Ok(()) };
        }
        let mut wires = Wires::default();
        if index == INTX {
            self.intx_on = on;
            if !on {
                self.resample = None;
            }
            wires.intx = fd;
        } else {
            self.msi_on = on;
            wires.msi = fd;
            wires.msi_on = on;
        }
        self.interrupt.rewire(wires);
        Ok(())
    }

    /// The client is gone, or resets the device's wiring.
    pub fn clear(&mut self) {
        self.resample = None;
        self.intx_on = false;
        self.msi_on = false;
        self.interrupt.rewire(Wires::default());
    }
}
