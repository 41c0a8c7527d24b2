//! Joining rings to the switch and parting them from it.

use std::sync::Arc;

use super::super::features::{Features, PROTOCOL};
use super::super::queue::{Parts, Queue};
use super::super::regions::Regions;
use super::super::vring::Vring;
use super::{Pair, Plug, Refusal, Session};
use crate::event::Bell;

impl<P: Plug> Session<P> {
    /// The rings stay joined, if they stay where they are.
    pub(super) fn memory_changes(
        &mut self,
        change: impl FnOnce(&mut Regions) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        change(&mut self.regions)?;
        let moved = self.vrings.iter().any(|v| {
            v.live.as_ref().is_some_and(|q| {
                let guard = crossbeam::epoch::pin();
                let at = v.resolve(self.regions.snapshot(&guard), |a| self.regions.guest(a));
                at.map_or(true, |(places, _)| places != q.parts.places)
            })
        });
        if moved {
            self.part();
        }
        self.dirty = true;
        Ok(())
    }

    /// Changes how the guest is interrupted, under the workers' hands: QEMU does so whenever the guest masks an interrupt.
    pub(super) fn set_call(&mut self, index: u32, bell: Option<Bell>) -> Result<(), Refusal> {
        let v = self.find(index)?;
        v.call.publish(bell);
        if let Some(q) = &v.live {
            // What was published meanwhile may have been told to the old one.
            q.call(&crossbeam::epoch::pin());
        }
        Ok(())
    }

    pub(super) fn part(&mut self) {
        if self.plugged {
            self.plug.part();
            self.plugged = false;
        }
        self.vrings.iter_mut().for_each(Vring::parted);
        self.dirty = true;
    }

    /// Joins what is ready to the switch, if anything has changed since the last call.
    pub fn settle(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let always = self.features & PROTOCOL == 0;
        let ready: Vec<usize> = (0..usize::from(self.shape.pairs))
            .filter(|p| self.vrings[2 * p..2 * p + 2].iter().all(|v| v.is_ready(always)))
            .collect();
        let joined: Vec<usize> =
            (0..usize::from(self.shape.pairs)).filter(|p| self.vrings[2 * p].live.is_some()).collect();
        if ready == joined {
            return;
        }
        self.part();
        self.dirty = false;
        let pairs: Vec<Pair> = ready.iter().filter_map(|p| self.pair(*p)).collect();
        if pairs.is_empty() {
            return;
        }
        if self.plug.join(&pairs, self.mtu.or(self.shape.mtu)) {
            self.plugged = true;
            self.counters.starts.add(1);
        }
    }

    fn pair(&mut self, pair: usize) -> Option<Pair> {
        let receive = self.queue(2 * pair)?;
        let transmit = self.queue(2 * pair + 1)?;
        self.vrings[2 * pair].live = Some(receive.clone());
        self.vrings[2 * pair + 1].live = Some(transmit.clone());
        Some(Pair { receive, transmit })
    }

    fn queue(&mut self, index: usize) -> Option<Arc<Queue>> {
        let guard = crossbeam::epoch::pin();
        let v = &self.vrings[index];
        let at = v.resolve(self.regions.snapshot(&guard), |a| self.regions.guest(a));
        let (places, used) = match at {
            Ok(found) => found,
            Err(why) => {
                tracing::warn!("ring {index} cannot be used: {why}");
                return None;
            }
        };
        Some(Arc::new(Queue::new(Parts {
            number: index as u16,
            size: v.size,
            places,
            base: (v.base, used),
            features: Features(self.features),
            memory: self.regions.cell(),
            kick: v.kick.clone().flatten(),
            call: v.call.clone(),
            error: v.error.clone(),
            counters: self.counters.clone(),
        })))
    }
}
