//! One burst from its source to its receivers: take, plan, deliver, complete.

use valecast_config::Overflow;

use crate::clock;
use crate::deliver::{Outcome, count_full, count_in, count_out, deliver};
use crate::frame::{Burst, Entry, HeadKey, MAX_BURST};
use crate::plan::{Context, Plan};
use crate::port::ring::{Across, Desk};
use crate::port::{Ingress, Tally};
use crate::route::{Gait, Known, LastRoute};
use crate::tables::PortId;

/// Frames that went one way make a row of so many.
const ROW: usize = 32;
/// What ends a row is looked at in a burst of so many, lest one strange frame in each burst sends all behind it the long way.
const BRIEF: usize = 8;

/// The memory that bursts are worked on in, one after another. Each thread that forwards has its own.
pub struct Pipeline {
    burst: Burst,
    plan: Plan,
    outcome: Outcome,
    /// Every frame of a burst, as it is.
    all: Box<[Entry]>,
    /// Receivers of the last burst, if it needed no plan.
    direct: Vec<PortId>,
    desk: Desk,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            burst: Burst::default(),
            plan: Plan::default(),
            outcome: Outcome::default(),
            all: (0..MAX_BURST as u16).map(|i| Entry { orig: i, frame: i }).collect(),
            direct: Vec::new(),
            desk: Desk::default(),
        }
    }
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
        self.direct.clear();
        if let Some(served) = self.across(cx, ingress, last, max) {
            return served;
        }
        self.burst.clear();
        let max = if last.gait == Gait::Interrupted { max.min(BRIEF) } else { max };
        ingress.take(&mut self.burst, max, cx.now);
        let taken = self.burst.taken();
        if taken == 0 {
            return Served { taken, done: 0, hold_until: None };
        }
        if let Some(served) = self.direct(cx, last) {
            last.gait = Gait::Steady;
            if served.done > 0 {
                ingress.complete(&self.burst, served.done);
            }
            return served;
        }
        self.plan.make(cx, &mut self.burst, last);
        deliver(cx, &self.burst, &mut self.plan, &mut self.outcome);
        last.gait = if self.plan.touched.len() == 1 { Gait::Steady } else { Gait::Mixed };
        let done = self.outcome.consumed;
        if done > 0 {
            ingress.complete(&self.burst, done);
        }
        let waits = done == usize::from(self.plan.cut);
        Served { taken, done, hold_until: self.plan.hold_until.filter(|_| waits) }
    }

    /// Frames from one client's ring that go straight into another's, as the last burst's did: from the first on up to one of
    /// which that cannot be said, which comes next time. What [`Pipeline::direct`] or [`Plan::make`] and [`deliver`] would
    /// do to them comes to this. `None` if there are none.
    #[inline]
    fn across<I: Ingress + ?Sized>(
        &mut self,
        cx: Context<'_>,
        ingress: &mut I,
        last: &mut LastRoute,
        max: usize,
    ) -> Option<Served> {
        let Context { tables: t, fdb, port, lane, worker, now } = cx;
        let known = Known { tables: t.version, addresses: fdb.generation(), secs: clock::secs(now) };
        last.check(known);
        let (&[(to, longest)], true, None) = (&last.to[..], last.gait == Gait::Steady, last.group) else {
            return None;
        };
        let mut key = last.head()?;
        let dest = t.port(to)?;
        let egress = dest.egress.as_ref()?.ring()?;
        let ingress = ingress.ring()?;
        if port.limit.is_some() || !port.mirror_in.is_empty() {
            return None;
        }
        let way = Across { to: egress, lane, longest, max };
        let crossed = ingress.cross(way, &mut self.desk, |heads| {
            let alike = key.alike(heads);
            if alike == heads.len() {
                return alike;
            }
            let many = alike + self.plan.same_way(cx, dest, &heads[alike..], known);
            if many > alike {
                key = HeadKey::of(&heads[many - 1]);
            }
            many
        });
        last.follow(key);
        let (taken, bytes) = (crossed.frames, crossed.bytes);
        last.gait = match crossed.otherwise {
            false => Gait::Steady,
            true if taken < ROW => Gait::Mixed,
            true => Gait::Interrupted,
        };
        if taken == 0 {
            let nothing = Served { taken, done: 0, hold_until: None };
            return (!crossed.any).then_some(nothing);
        }
        count_out(dest, worker, lane, Tally { frames: taken as u64, bytes, tx_error: 0 });
        count_in(port.stats.block(worker), lane, (taken, bytes), 0, taken as u64);
        self.direct.push(to);
        Some(Served { taken, done: taken, hold_until: None })
    }

    /// The burst that the last one promised: all frames go where their source's last ones went, as they are. No
    /// plan is made then; what [`Plan::make`] and [`deliver`] would do comes to this.
    #[inline]
    fn direct(&mut self, cx: Context<'_>, last: &mut LastRoute) -> Option<Served> {
        let Context { tables: t, fdb, port, lane, worker, now } = cx;
        let taken = self.burst.taken();
        last.check(Known { tables: t.version, addresses: fdb.generation(), secs: clock::secs(now) });
        let head = last.head()?;
        if port.limit.is_some() || !port.mirror_in.is_empty() || self.burst.is_odd() {
            return None;
        }
        let fits = |&(to, max): &(PortId, usize)| {
            // Of several receivers, one that must not lose anything would hold back the others, too.
            let alone = last.to.len() == 1;
            self.burst.bound() <= max && (alone || t.port(to).is_some_and(|d| d.overflow == Overflow::Drop))
        };
        if last.to.is_empty() || !last.to.iter().all(fits) || self.burst.alike(head, 0) < taken {
            return None;
        }
        self.outcome.blocked_on.clear();
        let list = &self.all[..taken];
        let mut done = taken;
        for &(to, _) in &last.to {
            let (dest, egress) = t.port(to).and_then(|d| Some((d, d.egress.as_ref()?)))?;
            let got = egress.claim(&self.burst, list, lane);
            if got > 0 {
                count_out(dest, worker, lane, egress.put(&self.burst, &list[..got], lane, now));
            }
            if got < taken {
                if dest.overflow == Overflow::Backpressure {
                    done = got;
                    self.outcome.blocked_on.push(to);
                } else {
                    count_full(dest, worker, taken - got);
                }
            }
            self.direct.push(to);
        }
        if let Some(g) = last.group {
            t.groups[g].hits[worker].add(done as u64);
        }
        let copies = (done * last.to.len()) as u64;
        count_in(port.stats.block(worker), lane, (done, self.burst.bytes(done)), 0, copies);
        Some(Served { taken, done, hold_until: None })
    }

    /// Memory for a burst that needs no plan, between two others.
    pub fn memory(&mut self) -> &mut Burst {
        &mut self.burst
    }

    /// Ports that the last burst was for.
    pub fn touched(&self) -> &[PortId] {
        if self.direct.is_empty() { &self.plan.touched } else { &self.direct }
    }

    /// Full receivers that hold back the rest of the last burst.
    pub fn blocked_on(&self) -> &[PortId] {
        &self.outcome.blocked_on
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "pipeline_across_tests.rs"]
mod across_tests;
