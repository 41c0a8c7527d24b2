//! Causes, mask, delays and throttle: when the interrupt line is asserted.
//!
//! ```text
//! frame sent or received -> delay (TIDV/TADV, RDTR/RADV) -> cause (ICR) -> mask (IMS) -> throttle (ITR) -> line
//! ```
//! Manual, sections 3.2.7 (receive), 3.4.3 (transmit) and 13.4.17 ff. A delay of 0 is none; the absolute one counts
//! only beside the other. The throttle spaces *assertions*: the first comes at once, the next no sooner than the
//! interval after it. The interval is ITR's, but never below the port's floor.

use super::regs::cause;

/// ITR's unit in ns.
pub const ITR_UNIT: u64 = 256;
/// The delays' unit in ns.
pub const DELAY_UNIT: u64 = 1024;

/// Two timers for one cause: from the last frame, and from the first.
#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    relative: Option<u64>,
    absolute: Option<u64>,
}

impl Delay {
    fn start(&mut self, relative: u32, absolute: u32, now: u64) {
        let after = |units: u32| now.saturating_add(u64::from(units) * DELAY_UNIT);
        self.relative = Some(after(relative));
        if absolute != 0 && self.absolute.is_none() {
            self.absolute = Some(after(absolute));
        }
    }

    fn due(&self) -> Option<u64> {
        match (self.relative, self.absolute) {
            (Some(r), Some(a)) => Some(r.min(a)),
            (r, a) => r.or(a),
        }
    }

    /// Whether it ran out; stopped then.
    fn fired(&mut self, now: u64) -> bool {
        let fired = self.due().is_some_and(|d| d <= now);
        if fired {
            *self = Self::default();
        }
        fired
    }

    fn stop(&mut self) -> bool {
        std::mem::take(self).due().is_some()
    }
}

/// How often the line rose, and how often it would have without the throttle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Times the line was asserted.
    pub raised: u64,
    /// Times its assertion was put off.
    pub moderated: u64,
}

/// The interrupt logic. Methods that may assert the line return whether they did.
#[derive(Debug)]
pub struct Interrupts {
    causes: u32,
    mask: u32,
    line: bool,
    /// When it was last asserted.
    last: Option<u64>,
    put_off: bool,
    tx: Delay,
    rx: Delay,
    interval: u64,
    floor: u64,
    moderation: bool,
    figures: Figures,
}

impl Interrupts {
    /// `floor`: least time (ns) between assertions, whatever the guest asks for. Without `moderation` there are
    /// neither throttle nor delays.
    pub fn new(floor: u64, moderation: bool) -> Self {
        Self {
            causes: 0,
            mask: 0,
            line: false,
            last: None,
            put_off: false,
            tx: Delay::default(),
            rx: Delay::default(),
            interval: 0,
            floor,
            moderation,
            figures: Figures::default(),
        }
    }

    /// Other limits, from the next interrupt on.
    pub fn limit(&mut self, floor: u64, moderation: bool) {
        (self.floor, self.moderation) = (floor, moderation);
    }

    /// As after power on; what was counted stays.
    pub fn reset(&mut self) {
        *self = Self { figures: self.figures, ..Self::new(self.floor, self.moderation) };
    }

    /// Adds causes.
    pub fn set(&mut self, causes: u32, now: u64) -> bool {
        self.causes |= causes & cause::ALL;
        self.settle(now)
    }

    /// Frames were sent whose descriptors ask for a report. `delayed`: all of them let it wait (IDE).
    pub fn sent(&mut self, delayed: bool, tidv: u32, tadv: u32, now: u64) -> bool {
        if delayed && tidv != 0 && self.moderation {
            self.tx.start(tidv, tadv, now);
            return self.settle(now);
        }
        self.tx.stop();
        self.set(cause::TXDW, now)
    }

    /// Frames were received.
    pub fn received(&mut self, rdtr: u32, radv: u32, now: u64) -> bool {
        if rdtr != 0 && self.moderation {
            self.rx.start(rdtr, radv, now);
            return self.settle(now);
        }
        self.rx.stop();
        self.set(cause::RXT0, now)
    }

    /// RDTR's flush bit, or a small packet: whatever waits is told of now.
    pub fn flush_receive(&mut self, now: u64) -> bool {
        if self.rx.stop() {
            self.causes |= cause::RXT0;
        }
        self.settle(now)
    }

    /// TIDV's flush bit.
    pub fn flush_transmit(&mut self, now: u64) -> bool {
        if self.tx.stop() {
            self.causes |= cause::TXDW;
        }
        self.settle(now)
    }

    /// ITR, in its own unit.
    pub fn set_interval(&mut self, itr: u32, now: u64) -> bool {
        self.interval = u64::from(itr) * ITR_UNIT;
        self.settle(now)
    }

    /// The throttle lets nothing through before.
    fn open_at(&self) -> u64 {
        let spacing = if self.moderation { self.interval.max(self.floor) } else { 0 };
        self.last.map_or(0, |l| l.saturating_add(spacing))
    }

    /// Adds to the mask.
    pub fn unmask(&mut self, bits: u32, now: u64) -> bool {
        self.mask |= bits & cause::ALL;
        self.settle(now)
    }

    /// Takes from the mask.
    pub fn mask(&mut self, bits: u32, now: u64) {
        self.mask &= !bits;
        self.settle(now);
    }

    /// The mask.
    pub fn masked(&self) -> u32 {
        self.mask
    }

    /// ICR, without the side effect of reading it.
    pub fn peek(&self) -> u32 {
        let asserted = if self.causes & self.mask != 0 { cause::INT_ASSERTED } else { 0 };
        self.causes | asserted
    }

    /// A read of ICR: tells and forgets.
    pub fn take(&mut self, now: u64) -> u32 {
        self.settle(now);
        let v = self.peek();
        self.clear(u32::MAX, now);
        v
    }

    /// A write of ICR.
    pub fn clear(&mut self, bits: u32, now: u64) {
        self.causes &= !bits;
        self.settle(now);
    }

    /// Time went by.
    pub fn tick(&mut self, now: u64) -> bool {
        self.settle(now)
    }

    /// When [`Interrupts::tick`] has something to do.
    pub fn due(&self) -> Option<u64> {
        let throttle = (self.causes & self.mask != 0 && !self.line).then(|| self.open_at());
        [throttle, self.tx.due(), self.rx.due()].into_iter().flatten().min()
    }

    /// Whether the line is asserted.
    pub fn line(&self) -> bool {
        self.line
    }

    /// What was counted.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    fn settle(&mut self, now: u64) -> bool {
        if self.tx.fired(now) {
            self.causes |= cause::TXDW;
        }
        if self.rx.fired(now) {
            self.causes |= cause::RXT0;
        }
        if self.causes & self.mask == 0 {
            (self.line, self.put_off) = (false, false);
            return false;
        }
        if self.line {
            return false;
        }
        if now < self.open_at() {
            self.figures.moderated += u64::from(!std::mem::replace(&mut self.put_off, true));
            return false;
        }
        (self.line, self.put_off) = (true, false);
        self.last = Some(now);
        self.figures.raised += 1;
        true
    }
}

#[cfg(test)]
#[path = "interrupt_tests.rs"]
mod tests;
