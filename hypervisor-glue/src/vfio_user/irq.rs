//! The device's interrupt: a level that workers and registers set, and where signals go.
//!
//! INTx is one level-triggered line. On a signal it counts as masked until the client unmasks it (a message, or an
//! eventfd that KVM writes at the guest's end of interrupt); if the level is still up then, it is signalled again.
//! MSI is one vector, signalled each time the level rises. Never both: the client picks.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::epoch::pin;

use super::sys::eventfd::signal;
use super::sys::published::Published;

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
pub(super) struct Wires {
    pub(super) intx: Option<OwnedFd>,
    pub(super) msi: Option<OwnedFd>,
    /// The guest uses MSI, wherever it goes.
    pub(super) msi_on: bool,
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

    /// Signals that the client's descriptor did not take: it is no eventfd.
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
            // Rewired meanwhile: the client may have cleared MASKED before it was set here, and listens elsewhere now.
            let now = self.wires.load(&guard);
            if !std::ptr::eq(now, wires) {
                self.signal(now.intx.as_ref());
            }
        }
    }

    fn signal(&self, fd: Option<&OwnedFd>) {
        let Some(fd) = fd else { return };
        let count = match signal(fd.as_fd()) {
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

    /// Other wires. Whatever INTx was masked for is over.
    pub(super) fn rewire(&self, wires: Wires) {
        self.wires.publish(wires);
        self.state.fetch_and(!MASKED, Ordering::SeqCst);
        self.deliver(true);
    }

    /// Signals as if the device had, whatever its level.
    pub(super) fn loop_back(&self) {
        let guard = pin();
        let wires = self.wires.load(&guard);
        self.signal(wires.intx.as_ref().or(wires.msi.as_ref()));
    }

    pub(super) fn has_msi(&self) -> bool {
        self.has_msi
    }
}
