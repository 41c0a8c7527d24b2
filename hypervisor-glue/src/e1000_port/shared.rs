//! What the thread that serves the guest's accesses and the workers share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use valecast_ring::notify;

use super::bell::Bell;
use super::memory::Mapped;
use super::timer::Timer;
use crate::e1000::device::{Device, Effects, Settings};
use crate::vfio_user::Bus;

/// How much later (ns) the timer may be while a worker looks at the card each turn, which is in time by itself. Drivers
/// restart short delays with every frame, and the timer would go off for each.
const SLACK: u64 = 200_000;

/// A card, the bus that it is plugged into, and the ways to wake those who wait.
pub struct Shared {
    /// The card.
    pub device: Arc<Device>,
    /// Its bus.
    pub bus: Bus,
    /// For the worker that takes the guest's frames.
    pub transmit: Bell,
    /// For workers that wait for receive buffers.
    pub room: Bell,
    /// For the serving thread: interrupts that are due later.
    pub timer: Timer,
    /// A worker looks at the card each turn, unless others hold it up.
    polled: AtomicBool,
    /// Moderated interrupts that the timer raised.
    pub timed: AtomicU64,
    /// Longest packet for the guest; 0: the chip's longest.
    pub mtu: AtomicU32,
}

impl Shared {
    /// A card that is plugged into nothing yet.
    ///
    /// # Errors
    /// No descriptors.
    pub fn new(settings: Settings, bus: Bus) -> io::Result<Self> {
        Ok(Self {
            device: Arc::new(Device::new(settings)),
            bus,
            transmit: Bell::new()?,
            room: Bell::new()?,
            timer: Timer::new()?,
            polled: AtomicBool::new(false),
            timed: AtomicU64::new(0),
            mtu: AtomicU32::new(0),
        })
    }

    /// Hands the card's interrupt line to the bus, after a change. Threads change it under each other's eyes: the last to
    /// hand it on has looked again after that, so what the bus has is right in the end.
    pub fn hand_on_line(&self) {
        loop {
            let line = self.device.line();
            self.bus.interrupt().set_level(line);
            if self.device.line() == line {
                return;
            }
        }
    }

    /// The worker looks at the card each turn from now on.
    pub fn polled(&self) {
        // ORDERING: Relaxed; as long as nobody sees it the timer is only more exact than it need be.
        if !self.polled.load(Ordering::Relaxed) {
            self.polled.store(true, Ordering::Relaxed);
        }
    }

    /// It does not any more.
    pub fn parked(&self) {
        self.polled.store(false, Ordering::Relaxed);
        self.set_timer();
    }

    /// Sees to it that an interrupt that is due later comes.
    fn set_timer(&self) {
        // ORDERING: this fence pairs with itself: who delays an interrupt has done so and looks at `polled` here, who parks
        // has said so and looks for delays here. One of the two sees the other.
        notify::settle();
        if let Some(due) = self.device.due() {
            let slack = if self.polled.load(Ordering::Relaxed) { SLACK } else { 0 };
            self.timer.bring_forward(due.saturating_add(slack));
        }
    }

    /// After frames: the line rose, or will.
    pub fn told(&self, rose: bool) {
        if rose {
            self.hand_on_line();
        } else {
            self.set_timer();
        }
    }

    /// After an access.
    pub fn accessed(&self, e: Effects) {
        self.hand_on_line();
        self.set_timer();
        let (transmit, room) = (e.transmit && self.transmit.wanted(), e.room && self.room.wanted());
        if !transmit && !room {
            return;
        }
        let guard = crossbeam::epoch::pin();
        // SAFETY: no bursts are made here.
        let mem = unsafe { Mapped::new(self.bus.memory(&guard)) };
        // Before the bells: who asks again meanwhile is woken by them and asks once more.
        if transmit {
            self.device.disarm_transmit(&mem);
            self.transmit.ring();
        }
        if room {
            self.device.disarm_room(&mem);
            self.room.ring();
        }
    }

    /// The timer went off.
    pub fn tick(&self, now: u64) {
        self.timer.fired();
        if self.device.tick(now) {
            // ORDERING: Relaxed; a count.
            self.timed.fetch_add(1, Ordering::Relaxed);
            self.hand_on_line();
        }
        self.set_timer();
    }
}
