//! Ports to look after at the end of a turn, each once.

use crate::tables::PortId;

/// Receivers that got frames since they were last looked after.
#[derive(Default)]
pub(super) struct Receivers {
    pub list: Vec<PortId>,
    /// By port number: whether it is on the list.
    listed: Vec<bool>,
}

impl Receivers {
    #[inline]
    pub fn add(&mut self, port: PortId) {
        let at = usize::from(port);
        if self.listed.len() <= at {
            self.listed.resize(at + 1, false);
        }
        if !self.listed[at] {
            self.listed[at] = true;
            self.list.push(port);
        }
    }

    pub fn remove(&mut self, port: PortId) {
        if let Some(l) = self.listed.get_mut(usize::from(port)) {
            *l = false;
            self.list.retain(|p| *p != port);
        }
    }

    pub fn clear(&mut self) {
        for p in self.list.drain(..) {
            self.listed[usize::from(p)] = false;
        }
    }
}
