//! What the register side and the data side of one device share.
//!
//! Registers are atomics, so that a worker looks at them without a lock. Three locks, each taken once per burst or
//! register access: the interrupt logic; the transmit head, so that nothing is written into a ring that the guest has
//! taken back; the receive side, which several workers deliver to.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::counters::Counters;
use super::csb_host::HostCsb;
use super::dma::Dma;
use super::interrupt::{Figures, Interrupts};
use super::regs::{self, cause, rctl, status};
use super::rx::RxState;
use super::stats::Stats;

/// How a device is made. What a guest sees of it, address and CSB, is fixed for its life; the rest [`Device::adjust`]
/// changes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its address, in the EEPROM.
    pub mac: [u8; 6],
    /// Whether it offers the CSB.
    pub csb: bool,
    /// Least time (ns) between interrupts.
    pub itr_floor: u64,
    /// Whether interrupts are delayed and throttled at all.
    pub moderation: bool,
    /// Empty polls before the transmit side sleeps; the guest may ask for more in the CSB.
    pub tx_idle_polls: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mac: [0x52, 0x54, 0, 0xe1, 0, 1],
            csb: false,
            itr_floor: 0,
            moderation: true,
            tx_idle_polls: 1,
        }
    }
}

/// What a register access asks its caller to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// The interrupt line was asserted: tell the guest.
    pub interrupt: bool,
    /// There may be frames to send: wake the worker.
    pub transmit: bool,
    /// There may be room to receive: wake those who wait for it.
    pub room: bool,
}

/// The transmit head, apart from the register: which life of the ring it belongs to.
#[derive(Debug, Default)]
pub(super) struct TxHead {
    /// Grows whenever the guest sets up the ring, moves its head, disables or resets.
    pub life: u32,
}

/// A ring as its registers say.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingRegs {
    pub base: u64,
    pub len: u32,
    pub head: u32,
    pub tail: u32,
}

impl RingRegs {
    /// Descriptors from head to tail.
    pub fn pending(&self) -> u32 {
        if self.tail >= self.head { self.tail - self.head } else { self.len - self.head + self.tail }
    }
}

/// One e1000, as workers and register accesses share it.
pub struct Device {
    settings: Settings,
    tx_idle_polls: AtomicU32,
    regs: Box<[AtomicU32]>,
    irq: Mutex<Interrupts>,
    tx: Mutex<TxHead>,
    rx: Mutex<RxState>,
    /// Statistics registers.
    pub stats: Stats,
    /// Counts for the owner.
    pub counters: Counters,
    link: AtomicBool,
    phy_loopback: AtomicBool,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is kept under these locks is ever left half done by a panic of its own.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    /// As after power on, with the link up.
    pub fn new(settings: Settings) -> Self {
        let d = Self {
            settings,
            tx_idle_polls: settings.tx_idle_polls.into(),
            regs: (0..regs::END / 4).map(|_| AtomicU32::new(0)).collect(),
            irq: Mutex::new(Interrupts::new(settings.itr_floor, settings.moderation)),
            tx: Mutex::default(),
            rx: Mutex::default(),
            stats: Stats::default(),
            counters: Counters::default(),
            link: AtomicBool::new(true),
            phy_loopback: AtomicBool::new(false),
        };
        d.reset(settings.mac);
        d
    }

    /// How it was made.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Other limits on interrupts and polls, under a living guest.
    pub fn adjust(&self, to: Settings) {
        self.irq().limit(to.itr_floor, to.moderation);
        // ORDERING: Relaxed; a figure by itself.
        self.tx_idle_polls.store(to.tx_idle_polls, Ordering::Relaxed);
    }

    /// See [`Settings::tx_idle_polls`].
    pub fn tx_idle_polls(&self) -> u32 {
        self.tx_idle_polls.load(Ordering::Relaxed)
    }

    /// What a register holds, for those that hold anything.
    pub fn reg(&self, at: u32) -> u32 {
        // ORDERING: Acquire pairs with `set_reg`: who sees a tail sees the ring's address.
        self.regs.get(at as usize / 4).map_or(0, |r| r.load(Ordering::Acquire))
    }

    pub(super) fn set_reg(&self, at: u32, v: u32) {
        if let Some(r) = self.regs.get(at as usize / 4) {
            // ORDERING: Release; see `reg`.
            r.store(v, Ordering::Release);
        }
    }

    /// All registers as after power on; `mac` becomes the first receive address.
    pub(super) fn reset(&self, mac: [u8; 6]) {
        let mut tx = self.tx_head();
        let mut rx = self.rx_state();
        tx.life = tx.life.wrapping_add(1);
        rx.restart();
        for r in regs::TABLE {
            (0..r.words).for_each(|i| self.set_reg(r.at + 4 * i, r.reset));
        }
        let [a, b, c, d, e, f] = mac;
        self.set_reg(regs::RA, u32::from_le_bytes([a, b, c, d]));
        self.set_reg(regs::RA + 4, u32::from(u16::from_le_bytes([e, f])) | regs::RAH_AV);
        self.irq().reset();
        self.stats.reset();
    }

    pub(super) fn irq(&self) -> MutexGuard<'_, Interrupts> {
        lock(&self.irq)
    }

    pub(super) fn tx_head(&self) -> MutexGuard<'_, TxHead> {
        lock(&self.tx)
    }

    pub(super) fn rx_state(&self) -> MutexGuard<'_, RxState> {
        lock(&self.rx)
    }

    /// Raises causes; whether the line was asserted.
    pub fn raise(&self, causes: u32, now: u64) -> bool {
        causes != 0 && self.irq().set(causes, now)
    }

    /// Time went by; whether the line was asserted.
    pub fn tick(&self, now: u64) -> bool {
        self.irq().tick(now)
    }

    /// When [`Device::tick`] has something to do.
    pub fn due(&self) -> Option<u64> {
        self.irq().due()
    }

    /// Whether the interrupt line is asserted.
    pub fn line(&self) -> bool {
        self.irq().line()
    }

    /// How often it was.
    pub fn interrupts(&self) -> Figures {
        self.irq().figures()
    }

    /// Whether the link is up.
    pub fn link(&self) -> bool {
        // ORDERING: Relaxed; nothing hangs on it.
        self.link.load(Ordering::Relaxed)
    }

    /// Plugs the cable in or out; whether the line was asserted.
    pub fn set_link(&self, up: bool, now: u64) -> bool {
        // ORDERING: Relaxed; as above.
        self.link.swap(up, Ordering::Relaxed) != up && self.raise(cause::LSC, now)
    }

    /// STATUS.
    pub(super) fn status(&self) -> u32 {
        status::FIXED | if self.link() { status::LU } else { 0 }
    }

    pub(super) fn set_phy_loopback(&self, on: bool) {
        // ORDERING: Relaxed; as above.
        self.phy_loopback.store(on, Ordering::Relaxed);
    }

    /// Whether what the guest sends comes back to it.
    pub fn loops_back(&self) -> bool {
        let mode = self.reg(regs::RCTL) & rctl::LBM;
        // ORDERING: Relaxed; as above.
        mode == 1 << 6 || mode == rctl::LBM || self.phy_loopback.load(Ordering::Relaxed)
    }

    /// A ring, if it is set up and makes sense. `tail` stands in for the register when the CSB has it.
    pub(super) fn ring(&self, first: u32, tail: Option<u32>) -> Option<RingRegs> {
        let at = |r: u32| self.reg(first + r - regs::TDBAL);
        let ring = RingRegs {
            base: u64::from(at(regs::TDBAH)) << 32 | u64::from(at(regs::TDBAL)),
            len: at(regs::TDLEN) / 16,
            head: at(regs::TDH),
            tail: tail.unwrap_or_else(|| at(regs::TDT)),
        };
        if ring.len == 0 {
            return None;
        }
        if ring.head >= ring.len || ring.tail >= ring.len {
            self.counters.bad_ring.add(1);
            return None;
        }
        Some(ring)
    }

    /// Whether the guest has mapped a CSB. Not whether it is in use, which only guest memory tells.
    pub fn uses_csb(&self) -> bool {
        self.settings.csb && (self.reg(crate::csb::REG_CSBAL) != 0 || self.reg(crate::csb::REG_CSBAH) != 0)
    }

    /// A kick has come and the worker will be woken: with the CSB in use no more are needed until it asks again.
    pub fn disarm_transmit<M: Dma + ?Sized>(&self, mem: &M) {
        if let Some(c) = self.csb(mem) {
            c.disarm_tx();
        }
    }

    /// The CSB, if it is mapped and in use.
    pub(super) fn csb<'m, M: Dma + ?Sized>(&self, mem: &'m M) -> Option<HostCsb<'m>> {
        if !self.settings.csb {
            return None;
        }
        let high = u64::from(self.reg(crate::csb::REG_CSBAH));
        let base = high << 32 | u64::from(self.reg(crate::csb::REG_CSBAL));
        if base == 0 {
            return None;
        }
        match HostCsb::map(mem, base) {
            Some(c) => c.on().then_some(c),
            None => {
                self.counters.csb_errors.add(1);
                None
            }
        }
    }
}
