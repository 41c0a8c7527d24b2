//! Ports to look after at the end of a turn, each once.

use crate::tables::{PortId, Tables};

/// Receivers that got frames since they were last looked after.
#[derive(Default)]
pub(crate) struct Receivers {
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

    /// Wakes those who sleep and have what they wait for; the others may be `patient`. Comes after a
    /// [`valecast_ring::notify::settle`].
    #[inline]
    pub fn wake(&mut self, t: &Tables, patient: &mut Self) {
        for p in &self.list {
            if let Some(e) = t.port(*p).and_then(|d| d.egress.as_ref()) {
                e.wake();
            }
            patient.add(*p);
        }
        self.clear();
    }

    /// Wakes those who sleep and have some of what they wait for, after the same.
    pub fn wake_patient(&mut self, t: &Tables) {
        for p in &self.list {
            if let Some(e) = t.port(*p).and_then(|d| d.egress.as_ref()) {
                e.wake_patient();
            }
        }
        self.clear();
    }

    fn clear(&mut self) {
        for p in self.list.drain(..) {
            self.listed[usize::from(p)] = false;
        }
    }
}
