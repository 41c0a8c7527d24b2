//! What stands between the switch and a port with a `capacity`, or with `faults`: a port wrapping a port.
//!
//! Workers copy frames into the [`entrance`], a bounded queue. One worker owns the [`outlet`]: it lets them go one after
//! another at the line's rate ([`pacer`]), decides what goes wrong with each ([`fate`]), and delivers those whose time
//! has come to the port proper. A frame is counted as out, or as dropped, when it leaves the outlet: until then it is
//! neither, and the books balance once the queue is empty.

pub mod entrance;
pub mod fate;
pub mod outlet;
pub mod pacer;

use std::sync::Arc;

use valecast_config::{Faults, Port};

pub use entrance::Entrance;
pub use outlet::Outlet;

use super::{Egress, OpenError};
use crate::counters::PortStats;

/// What a line is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Bits per second; `None`: as fast as frames come.
    pub capacity: Option<u64>,
    /// Bytes that may wait.
    pub queue: u64,
    /// What goes wrong.
    pub faults: Option<Faults>,
}

impl Settings {
    /// Those of a port; `None` if it needs no line.
    pub fn of(port: &Port) -> Option<Self> {
        (port.capacity.is_some() || port.faults.is_some()).then(|| Self::any(port))
    }

    /// Those of a port that has a line already.
    pub fn any(port: &Port) -> Self {
        Self { capacity: port.capacity, queue: port.queue_bytes(), faults: port.faults.clone() }
    }

    /// Most memory that it takes, in bytes.
    pub fn memory(&self) -> u64 {
        let slots = entrance::slots(self.queue) as u64;
        let on_the_way = match (self.capacity, &self.faults) {
            (Some(rate), Some(f)) => u128::from(rate) * f.delay.as_nanos() / 8_000_000_000,
            _ => 0,
        };
        (self.queue + slots * entrance::ITEM).saturating_add(u64::try_from(on_the_way).unwrap_or(u64::MAX))
    }
}

/// Puts a line before `inner`, whose counters are `stats`.
///
/// # Errors
/// The system gives no more descriptors.
pub fn wrap(
    inner: Arc<dyn Egress>,
    settings: &Settings,
    stats: Arc<PortStats>,
) -> Result<(Arc<Entrance>, Box<Outlet>), OpenError> {
    let entrance = Entrance::new(inner, settings)?;
    let outlet = Outlet::new(&entrance, settings, stats);
    Ok((Arc::new(entrance), Box::new(outlet)))
}

#[cfg(test)]
mod tests;
