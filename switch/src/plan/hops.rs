//! The short way for common frames: untagged, from a port that lets everything in, to known addresses behind ports that
//! take them as they are.

use super::{Context, Plan};
use crate::clock;
use crate::fdb::{Learned, key};
use crate::flows::Flow;
use crate::frame::{Burst, HEAD};
use crate::mac;
use crate::route::Known;
use crate::tables::PortId;

/// How many frames' addresses are looked up together.
const BLOCK: usize = 32;
/// No port has this number.
const UNKNOWN: PortId = PortId::MAX;

impl Plan {
    /// Goes on from frame `from` to the first that is otherwise, at most [`BLOCK`] frames; where it stopped, and where
    /// the last of them went.
    pub(super) fn hops(
        &mut self,
        cx: Context<'_>,
        burst: &Burst,
        from: usize,
        known: Known,
        last_src: &mut u64,
    ) -> (usize, Option<(PortId, usize)>) {
        let Context { tables: t, fdb, port, .. } = cx;
        self.flows.check(known, fdb.seed());
        // All lines are asked for before the first is looked at: those of the flows, and then those of the forwarding
        // table that are needed for the others.
        let mut looks = [(Flow::default(), UNKNOWN); BLOCK];
        let mut many = 0;
        for (look, i) in looks.iter_mut().zip(from..burst.taken()) {
            let head = burst.head(i);
            if head[12..14] == [0x81, 0] {
                break;
            }
            look.0 = self.flows.flow(head, port.id);
            many += 1;
        }
        let looks = &mut looks[..many];
        for (i, (flow, to)) in (from..).zip(&mut *looks) {
            match self.flows.find(flow) {
                Some(p) => *to = p,
                None => {
                    let head = burst.head(i);
                    fdb.prefetch(key(mac::src(head), 0));
                    fdb.prefetch(key(mac::dst(head), 0));
                }
            }
        }
        let mut run = from;
        let mut going: Option<(PortId, usize)> = None;
        let mut i = from;
        for (flow, to) in looks {
            let to = match *to {
                UNKNOWN => {
                    let Some(p) = ask(cx, burst.head(i), last_src) else { break };
                    self.flows.note(flow, p);
                    p
                }
                p => p,
            };
            if going.is_none_or(|(p, _)| p != to) {
                let Some(dest) = t.port(to).filter(|d| d.takes_untagged()) else { break };
                if let Some((p, max)) = going {
                    self.place_run(burst, p, run as u16..i as u16, max);
                }
                (run, going) = (i, Some((to, dest.caps.max_frame)));
            }
            i += 1;
        }
        if let Some((p, max)) = going {
            self.place_run(burst, p, run as u16..i as u16, max);
        }
        (i, going)
    }
}

/// Learns from a frame and looks its destination up; `None` if it is no common one.
fn ask(cx: Context<'_>, head: &[u8; HEAD], last_src: &mut u64) -> Option<PortId> {
    let Context { tables: t, fdb, port, now, .. } = cx;
    let (src, dst) = (mac::src(head), mac::dst(head));
    if mac::is_group(dst) || mac::is_group(src) {
        return None;
    }
    if !t.groups.is_empty() && t.group(dst, port.id).is_some() {
        return None;
    }
    let (secs, src_key) = (clock::secs(now), key(src, 0));
    if src_key != *last_src && port.learn {
        if fdb.learn(src_key, port.id, secs, port.mac_limit) == Learned::Refused {
            // Each such frame is to be counted.
            return None;
        }
        *last_src = src_key;
    }
    fdb.lookup(key(dst, 0), secs).filter(|to| *to != port.id)
}
