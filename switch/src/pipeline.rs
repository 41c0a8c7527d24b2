//! One burst from its source to its receivers: take, plan, deliver, complete.

use crate::deliver::{Outcome, deliver};
use crate::frame::Burst;
use crate::plan::{Context, Plan};
use crate::port::Ingress;
use crate::route::LastRoute;
use crate::tables::PortId;

/// The memory that bursts are worked on in, one after another. Each thread that forwards has its own.
#[derive(Default)]
pub struct Pipeline {
    burst: Burst,
    plan: Plan,
    outcome: Outcome,
}

/// What became of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Frames that the source gave.
    pub taken: usize,
    /// Frames that are done with; the rest stays with the source.
    pub done: usize,
    /// When (ns) the first frame that is left conforms to the meter it waits for.
    pub hold_until: Option<u64>,
}

impl Pipeline {
    /// Takes up to `max` frames from `ingress`, whose last route is `last`, and forwards them as `cx` says.
    #[inline]
    pub fn serve<I: Ingress + ?Sized>(
        &mut self,
        cx: Context<'_>,
        ingress: &mut I,
        last: &mut LastRoute,
        max: usize,
    ) -> Served {
        self.burst.clear();
        ingress.take(&mut self.burst, max, cx.now);
        let taken = self.burst.taken();
        if taken == 0 {
            return Served { taken, done: 0, hold_until: None };
        }
        self.plan.make(cx, &mut self.burst, last);
        deliver(cx, &self.burst, &mut self.plan, &mut self.outcome);
        let done = self.outcome.consumed;
        if done > 0 {
            ingress.complete(&self.burst, done);
        }
        let waits = done == usize::from(self.plan.cut);
        Served { taken, done, hold_until: self.plan.hold_until.filter(|_| waits) }
    }

    /// Ports that the last burst was for.
    pub fn touched(&self) -> &[PortId] {
        &self.plan.touched
    }

    /// Full receivers that hold back the rest of the last burst.
    pub fn blocked_on(&self) -> &[PortId] {
        &self.outcome.blocked_on
    }
}
