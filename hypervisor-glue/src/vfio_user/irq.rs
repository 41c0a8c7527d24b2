//! The device's interrupt: a level that workers and registers set, and how the client wants to hear of it.
//!
//! INTx is one level-triggered line. On a signal it counts as masked until the client unmasks it (a message, or an
//! eventfd that KVM writes at the guest's end of interrupt); if the level is still up then, it is signalled again.
//! MSI is one vector, signalled each time the level rises. Never both: the client picks.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::epoch::pin;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{read, write};

use super::sys::published::Published;
use super::wire::SetIrqs;

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

/// The device asserts its interrupt.
const LEVEL: u32 = 1;
/// INTx: signalled or masked, and not unmasked since.
const MASKED: u32 = 2;
/// INTx: disabled by the PCI command register.
const DISABLED: u32 = 4;
/// The device may master the bus, which an MSI is an act of.
const MASTER: u32 = 8;

/// Where signals go.
#[derive(Debug, Default)]
struct Wires {
    intx: Option<OwnedFd>,
    msi: Option<OwnedFd>,
    msi_on: bool,
}

/// Signals given, since the start.
#[derive(Debug, Default)]
struct Counts {
    signals: AtomicU64,
    lost: AtomicU64,
}

/// The interrupt of one device, shared by its workers and the server's thread. Nothing here blocks.
#[derive(Debug)]
pub struct Interrupt {
    // ORDERING: every access is SeqCst. Who raises the level sets LEVEL and then looks at the wires and MASKED; who
    // changes those does so and then looks at LEVEL. One of the two sees the other's change.
    state: AtomicU32,
    wires: Published<Wires>,
    counts: Counts,
    has_msi: bool,
}

impl Interrupt {
    /// Low, not wired.
    pub fn new(has_msi: bool) -> Self {
        Self {
            state: AtomicU32::new(0),
            wires: Published::new(Wires::default()),
            counts: Counts::default(),
            has_msi,
        }
    }

    /// Sets the level: (interrupt causes & mask) != 0.
    pub fn set_level(&self, up: bool) {
        if up {
            let before = self.state.fetch_or(LEVEL, Ordering::SeqCst);
            self.deliver(before & LEVEL == 0);
        } else {
            self.state.fetch_and(!LEVEL, Ordering::SeqCst);
        }
    }

    /// The level now.
    pub fn level(&self) -> bool {
        self.state.load(Ordering::SeqCst) & LEVEL != 0
    }

    /// Signals given to the client.
    pub fn signals(&self) -> u64 {
        self.counts.signals.load(Ordering::Relaxed)
    }

    /// Signals that the client's eventfd did not take: its counter is full.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// From the PCI command register: INTx disable, bus master.
    pub(super) fn set_command(&self, disabled: bool, master: bool) {
        let bits = if disabled { DISABLED } else { 0 } | if master { MASTER } else { 0 };
        let change = |s| Some((s & !(DISABLED | MASTER)) | bits);
        let before = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).unwrap_or(bits);
        self.deliver(master && before & MASTER == 0);
    }

    /// Signals if it is time to. `edge`: the level has risen, or an MSI could not be sent until now.
    fn deliver(&self, edge: bool) {
        let guard = pin();
        let wires = self.wires.load(&guard);
        if wires.msi_on {
            let state = self.state.load(Ordering::SeqCst);
            if edge && state & (LEVEL | MASTER) == LEVEL | MASTER {
                self.signal(wires.msi.as_ref());
            }
            return;
        }
        if wires.intx.is_none() {
            return;
        }
        let fire = |s: u32| (s & (LEVEL | MASKED | DISABLED) == LEVEL).then_some(s | MASKED);
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fire).is_ok() {
            self.signal(wires.intx.as_ref());
        }
    }

    fn signal(&self, fd: Option<&OwnedFd>) {
        let Some(fd) = fd else { return };
        let count = match write(fd, &1u64.to_ne_bytes()) {
            Ok(_) => &self.counts.signals,
            Err(_) => &self.counts.lost,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn mask(&self) {
        self.state.fetch_or(MASKED, Ordering::SeqCst);
    }

    pub(super) fn unmask(&self) {
        self.state.fetch_and(!MASKED, Ordering::SeqCst);
        self.deliver(false);
    }

    fn rewire(&self, wires: Wires) {
        self.wires.publish(wires);
        self.deliver(true);
    }

    fn vectors(&self, index: u32) -> u32 {
        match index {
            INTX => 1,
            MSI => self.has_msi.into(),
            _ => 0,
        }
    }
}

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

    /// Flags and vectors of one kind; `EINVAL` if there is no such kind.
    pub fn info(&self, index: u32) -> Result<(u32, u32), Errno> {
        let flags = match index {
            INTX => INFO_EVENTFD | INFO_MASKABLE | INFO_AUTOMASKED,
            MSI => INFO_EVENTFD | INFO_NORESIZE,
            _ if index < KINDS => 0,
            _ => return Err(Errno::EINVAL),
        };
        Ok((flags, self.interrupt.vectors(index)))
    }

    /// Written by whoever sees the guest's end of interrupt; to be polled, and [`resampled`](Self::resampled) then.
    pub fn resample(&self) -> Option<&Arc<OwnedFd>> {
        self.resample.as_ref()
    }

    /// The resample descriptor is readable: the guest has ended its interrupt.
    pub fn resampled(&self) {
        if let Some(fd) = &self.resample {
            let mut count = [0; 8];
            if read(&**fd, &mut count) == Ok(8) {
                self.interrupt.unmask();
            }
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
        let vectors = self.interrupt.vectors(index);
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
        let fd = fds.into_iter().next().map(checked).transpose()?;
        match (index, action) {
            (INTX | MSI, TRIGGER) if off => self.switch(index, None, false),
            // -1, that is no descriptor, for a vector: it stays on but tells nobody.
            (INTX | MSI, TRIGGER) if kind == DATA_EVENTFD && count == 1 => self.switch(index, fd, true),
            (INTX | MSI, TRIGGER) => self.loop_back(asked),
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
            // A fresh line is not masked.
            self.interrupt.state.fetch_and(!MASKED, Ordering::SeqCst);
        } else {
            self.msi_on = on;
            wires.msi = fd;
            wires.msi_on = on;
        }
        self.interrupt.rewire(wires);
        Ok(())
    }

    /// A client that tests its wiring: signals as if the device had.
    fn loop_back(&self, asked: bool) -> Result<(), Errno> {
        if asked {
            let guard = pin();
            let wires = self.interrupt.wires.load(&guard);
            self.interrupt.signal(wires.intx.as_ref().or(wires.msi.as_ref()));
        }
        Ok(())
    }

    /// The client is gone, or resets the device's wiring.
    pub fn clear(&mut self) {
        self.resample = None;
        self.intx_on = false;
        self.msi_on = false;
        self.interrupt.rewire(Wires::default());
        self.interrupt.state.fetch_and(!MASKED, Ordering::SeqCst);
    }
}

/// Descriptors come from a stranger: a pipe or a full counter must not block a worker. An eventfd is an anonymous
/// inode (no file type), as are others that refuse the write; all are made non-blocking.
fn checked(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode).intersection(SFlag::S_IFMT);
    if !kind.is_empty() {
        return Err(Errno::EINVAL);
    }
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    tracing::trace!(fd = fd.as_raw_fd(), "eventfd taken");
    Ok(fd)
}
