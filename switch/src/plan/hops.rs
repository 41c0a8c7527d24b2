//! The short way for common frames: untagged, from a port that lets everything in, to known addresses behind ports that
//! take them as they are.

use super::{Context, Plan};
use crate::clock;
use crate::fdb::{Learned, key};
use crate::flows::Place;
use crate::frame::{Burst, HEAD};
use crate::mac;
use crate::route::{Known, LastRoute};
use crate::tables::{PortEntry, PortId, VlanPolicy};

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
        last_src: &mut u64,
        last: &mut LastRoute,
    ) -> (usize, Option<(PortId, usize)>) {
        let Context { tables: t, fdb, .. } = cx;
        let heads = burst.heads(from);
        let heads = &heads[..heads.len().min(BLOCK)];
        // A head with a tag is another matter.
        let many = heads.iter().position(|h| h[12..14] == [0x81, 0]).unwrap_or(heads.len());
        let heads = &heads[..many];
        let mut places = [Place::default(); BLOCK];
        let mut to = [UNKNOWN; BLOCK];
        let (places, to) = (&mut places[..many], &mut to[..many]);
        // All lines are asked for before the first is looked at: those of the flows, and then those of the forwarding
        // table that are needed for the others.
        if let Some(looks) = self.flows.looks() {
            places.iter_mut().zip(heads).for_each(|(place, head)| *place = looks.place(head));
            for ((to, place), head) in to.iter_mut().zip(&*places).zip(heads) {
                *to = looks.find(*place, head).unwrap_or(UNKNOWN);
            }
        }
        if let Some(&one) = to.first()
            && to.iter().fold(0, |differ, to| differ | (to ^ one)) == 0
            && let Some(dest) = t.port(one).filter(|d| d.takes_untagged())
        {
            // Nearly always, then.
            let max = dest.caps.max_frame;
            self.place_run(burst, one, from as u16..(from + many) as u16, max);
            return (from + many, Some((one, max)));
        }
        for (head, _) in heads.iter().zip(&*to).filter(|(_, to)| **to == UNKNOWN) {
            fdb.prefetch(key(mac::src(head), 0));
            fdb.prefetch(key(mac::dst(head), 0));
        }
        let mut run = from;
        let mut going: Option<(PortId, usize)> = None;
        let mut moved = false;
        let mut i = from;
        for ((place, to), head) in places.iter().zip(&*to).zip(heads) {
            let to = match *to {
                UNKNOWN => {
                    let Some(p) = ask(cx, head, last_src, &mut moved) else { break };
                    self.flows.note(*place, head, p);
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
            if moved {
                break;
            }
        }
        if moved {
            // The frames behind it may be to the address that is elsewhere now.
            self.flows.forget();
            last.spoil();
        }
        if let Some((p, max)) = going {
            self.place_run(burst, p, run as u16..i as u16, max);
        }
        (i, going)
    }
}

impl Plan {
    /// Of how many of `heads`, from the first on, the frames are known to go to `dest`, as they are. Frames shorter than a head
    /// have no business here.
    #[inline(never)]
    pub(crate) fn same_way(
        &mut self,
        cx: Context<'_>,
        dest: &PortEntry,
        heads: &[[u8; HEAD]],
        known: Known,
    ) -> usize {
        let port = cx.port;
        if port.allowed.is_some() || !matches!(port.vlan, VlanPolicy::Open) || !dest.takes_untagged() {
            return 0;
        }
        self.flows.begin(known, cx.fdb.seed(), port.id);
        let Some(looks) = self.flows.looks() else { return 0 };
        let goes = |place, head: &[u8; HEAD]| looks.goes(place, head, dest.id) && head[12..14] != [0x81, 0];
        if let [head] = heads {
            return usize::from(goes(looks.place(head), head));
        }
        let mut places = [Place::default(); BLOCK];
        let mut done = 0;
        for heads in heads.chunks(BLOCK) {
            places.iter_mut().zip(heads).for_each(|(place, head)| *place = looks.place(head));
            let many = places.iter().zip(heads).take_while(|(place, head)| goes(**place, head)).count();
            done += many;
            if many < heads.len() {
                break;
            }
        }
        done
    }
}

/// Learns from a frame and looks its destination up; `None` if it is no common one. `moved` is set if its source was elsewhere.
fn ask(cx: Context<'_>, head: &[u8; HEAD], last_src: &mut u64, moved: &mut bool) -> Option<PortId> {
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
        match fdb.learn(src_key, port.id, secs, port.mac_limit) {
            // Each such frame is to be counted.
            Learned::Refused => return None,
            Learned::Moved => *moved = true,
            Learned::Yes => {}
        }
        *last_src = src_key;
    }
    fdb.lookup(key(dst, 0), secs).filter(|to| *to != port.id)
}
