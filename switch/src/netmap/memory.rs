//! The memory that ports' rings lie in, by number.

use std::sync::Arc;

use nix::libc;
use valecast_ring::layout::{Layout, RingParams};
use valecast_ring::netmap::mem::Mem;
use valecast_ring::region::{HugePages, Region};

use super::ports::{GLOBAL, GLOBAL_BUFS, SLOTS, What, spare};
use super::{Errno, State};

impl State {
    /// Whether a port stays when nobody has it open: its memory has the same number then each time.
    pub(super) fn is_lasting(&self, what: &What) -> bool {
        let What::Switch { switch, port, .. } = what else { return false };
        self.persistent.contains_key(port)
            || self
                .daemon
                .loaded()
                .switches
                .iter()
                .any(|s| s.name == *switch && s.ports.iter().any(|p| p.name == *port))
    }

    /// The number that a lasting port's memory has, or will have.
    pub(super) fn lasting_id(&mut self, name: &str) -> Result<u16, Errno> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let free = |n: &u16| !self.mems.contains_key(n) && self.ids.values().all(|i| i != n);
        let id = (GLOBAL + 1..u16::MAX).find(free).ok_or(libc::ENOMEM)?;
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Gives memory a number of its own.
    pub(super) fn keep_mem(&mut self, mem: Mem, id: Option<u16>) -> Result<u16, Errno> {
        let id = id.filter(|n| !self.mems.contains_key(n));
        let free = || {
            (GLOBAL + 1..u16::MAX).find(|n| !self.mems.contains_key(n) && self.ids.values().all(|i| i != n))
        };
        let id = id.or_else(free).ok_or(libc::ENOMEM)?;
        self.mems.insert(id, mem);
        Ok(id)
    }

    /// Memory that belongs to no switch.
    pub(super) fn loose_mem(&mut self, slots: u32, bufs: u32, id: Option<u16>) -> Result<u16, Errno> {
        let least = RingParams { tx_rings: 1, rx_rings: 1, slots: 16, buf_size: 2048 };
        let layout = Layout::with_spare(least, spare(slots, bufs)).map_err(|_| libc::ENOMEM)?;
        let region = Region::create(layout, "netmap", HugePages::Try).map_err(|e| {
            tracing::info!("netmap: {e}");
            libc::ENOMEM
        })?;
        let mem = Mem::new(Arc::new(region)).ok_or(libc::ENOMEM)?;
        self.keep_mem(mem, id)
    }

    /// The region that stands for netmap's global allocator.
    pub(super) fn global(&mut self) -> Result<u16, Errno> {
        if !self.mems.contains_key(&GLOBAL) {
            self.loose_mem(4 * SLOTS, GLOBAL_BUFS, Some(GLOBAL))?;
        }
        Ok(GLOBAL)
    }

    /// Memory goes with the last port in it.
    pub(super) fn drop_mem(&mut self, id: u16) {
        if self.ports.values().all(|p| p.mem != id) {
            self.mems.remove(&id);
        }
    }
}
