//! One ring as the front end has described it so far.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::queue::{Call, Queue};
use super::ring::{Places, Ring};
use super::session::Refusal;
use crate::event::Bell;
use crate::memory::Snapshot;
use crate::sys::published::Published;

/// Most entries of a split ring.
pub const MAX_SIZE: u32 = 1 << 15;

/// See the [module](self).
pub struct Vring {
    /// Entries; 0: not said yet.
    pub size: u16,
    /// Where it lies, in the front end's own addresses.
    pub places: Option<Places>,
    /// Next index of the available ring.
    pub base: u16,
    /// Next index of the used ring; none: as the ring itself says.
    pub used: Option<u16>,
    /// A kick was set (with no descriptor: it is to be polled), which starts the ring.
    pub kick: Option<Option<Arc<OwnedFd>>>,
    /// How the guest is interrupted; changes while the ring is in use.
    pub call: Arc<Call>,
    /// Rung when the ring is broken.
    pub error: Option<Arc<Bell>>,
    /// The front end has enabled it.
    pub enabled: bool,
    /// Joined to the switch.
    pub live: Option<Arc<Queue>>,
}

impl Default for Vring {
    fn default() -> Self {
        Self {
            size: 0,
            places: None,
            base: 0,
            used: None,
            kick: None,
            call: Arc::new(Published::new(None)),
            error: None,
            enabled: false,
            live: None,
        }
    }
}

impl Vring {
    /// Whether it is all there. Without protocol features rings are enabled from the start.
    pub fn is_ready(&self, always_enabled: bool) -> bool {
        self.size > 0 && self.places.is_some() && self.kick.is_some() && (self.enabled || always_enabled)
    }

    /// Takes the number of entries.
    pub fn set_size(&mut self, n: u32) -> Result<(), Refusal> {
        if !n.is_power_of_two() || n > MAX_SIZE {
            return Err(Refusal::new(format!("num: {n} entries; a power of two up to {MAX_SIZE} is due")));
        }
        self.size = n as u16;
        Ok(())
    }

    /// Takes the places.
    pub fn set_places(&mut self, p: Places) -> Result<(), Refusal> {
        for (what, at, align) in
            [("descriptor", p.descriptors, 16), ("available", p.available, 2), ("used", p.used, 4)]
        {
            if !at.is_multiple_of(align) {
                return Err(Refusal::new(format!("{what}: {at:#x} is no multiple of {align}")));
            }
        }
        self.places = Some(p);
        Ok(())
    }

    /// Where it lies, as guest addresses, and the base of the used ring.
    pub fn resolve(
        &self,
        memory: &Snapshot,
        guest: impl Fn(u64) -> Option<u64>,
    ) -> Result<(Places, u16), String> {
        let Some(p) = self.places else { return Err("it has no addresses".into()) };
        let at = |what: &str, a: u64| {
            guest(a).ok_or_else(|| format!("its {what} at {a:#x} is in no memory region of the front end"))
        };
        let places = Places {
            descriptors: at("descriptor table", p.descriptors)?,
            available: at("available ring", p.available)?,
            used: at("used ring", p.used)?,
        };
        let ring = Ring::resolve(memory, &places, self.size).map_err(|e| e.to_string())?;
        Ok((places, self.used.unwrap_or_else(|| ring.published())))
    }

    /// It is parted from the switch: goes on from where that was.
    pub fn parted(&mut self) {
        if let Some(q) = self.live.take() {
            let done = q.published();
            self.base = q.available_index(done);
            self.used = Some(q.used_index(done));
        }
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.kick = None;
        self.call.publish(None);
        self.error = None;
    }
}
