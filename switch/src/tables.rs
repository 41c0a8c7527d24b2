//! What the data path looks things up in: a snapshot that is never changed, only replaced whole.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use valecast_config::{Overflow, Vlan};

use crate::counters::PortStats;
use crate::mac::MacBits;
use crate::meter::Meter;
use crate::port::Egress;

/// Number of a port in its switch.
pub type PortId = u16;

/// What the data path knows of a port.
pub struct PortEntry {
    /// Its number.
    pub id: PortId,
    /// Where frames go; `None` while nobody is attached.
    pub egress: Option<Arc<dyn Egress>>,
    /// What its egress can do.
    pub caps: crate::port::Caps,
    /// What to do when it is full.
    pub overflow: Overflow,
    /// Its VLANs.
    pub vlan: VlanPolicy,
    /// Learn source addresses.
    pub learn: bool,
    /// Most learned addresses, 0 for any number.
    pub mac_limit: u32,
    /// Allowed source addresses, if not all.
    pub allowed: Option<Box<[MacBits]>>,
    /// Ingress limit.
    pub limit: Option<Arc<Meter>>,
    /// Ports that get a copy of what enters here.
    pub mirror_in: Vec<PortId>,
    /// Ports that get a copy of what leaves here.
    pub mirror_out: Vec<PortId>,
    /// Floods leave here: attached, not a mere mirror, and configured so.
    pub floods: bool,
    /// What comes in here may be flooded.
    pub may_flood: bool,
    /// Counters.
    pub stats: Arc<PortStats>,
}

impl PortEntry {
    /// Whether untagged frames of VLAN 0 leave here as they are, and nowhere else with them.
    #[inline]
    pub fn takes_untagged(&self) -> bool {
        matches!(self.vlan, VlanPolicy::Open) && self.egress.is_some() && self.mirror_out.is_empty()
    }
}

/// Which VLANs a port carries, as bits.
#[derive(Clone, Debug)]
pub enum VlanPolicy {
    /// All of them, untagged frames in VLAN 0.
    Open,
    /// One, untagged on the wire.
    Access(u16),
    /// Some, tagged; `native` untagged.
    Trunk(Box<[u64; 64]>, u16),
}

impl From<&Vlan> for VlanPolicy {
    fn from(v: &Vlan) -> Self {
        match v {
            Vlan::Access(id) => Self::Access(*id),
            Vlan::Trunk { allowed: None, native: 0 } => Self::Open,
            Vlan::Trunk { allowed, native } => {
                let mut bits = Box::new([0u64; 64]);
                match allowed {
                    None => bits.fill(u64::MAX),
                    Some(ids) => ids.iter().for_each(|id| bits[usize::from(id >> 6) & 63] |= 1 << (id & 63)),
                }
                bits[usize::from(native >> 6) & 63] |= 1 << (native & 63);
                Self::Trunk(bits, *native)
            }
        }
    }
}

/// How a copy's tag differs from the original's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagOp {
    /// Not at all.
    Keep,
    /// A tag with this id is put in.
    Push(u16),
    /// The tag is taken out.
    Pop,
}

impl VlanPolicy {
    /// The VLAN of a frame that enters with this tag; `None`: not carried here.
    #[inline]
    pub fn classify(&self, tag: Option<u16>) -> Option<u16> {
        match (self, tag) {
            (Self::Open, t) => Some(t.unwrap_or(0)),
            (Self::Access(id), None | Some(0)) => Some(*id),
            (Self::Access(_), Some(_)) => None,
            (Self::Trunk(_, native), None | Some(0)) => Some(*native),
            (Self::Trunk(bits, _), Some(t)) => has(bits, t).then_some(t),
        }
    }

    /// How a frame of `vlan` that carries `tag` leaves here; `None`: it does not.
    #[inline]
    pub fn emit(&self, vlan: u16, tag: Option<u16>) -> Option<TagOp> {
        let untagged = match self {
            Self::Open => vlan == 0,
            Self::Access(id) if *id == vlan => true,
            Self::Access(_) => return None,
            Self::Trunk(bits, native) if has(bits, vlan) => *native == vlan,
            Self::Trunk(..) => return None,
        };
        Some(match (untagged, tag) {
            (true, Some(t)) if t != 0 || !matches!(self, Self::Open) => TagOp::Pop,
            (true, _) => TagOp::Keep,
            (false, None) => TagOp::Push(vlan),
            (false, Some(0)) => TagOp::Push(vlan),
            (false, Some(_)) => TagOp::Keep,
        })
    }
}

fn has(bits: &[u64; 64], id: u16) -> bool {
    bits[usize::from(id >> 6) & 63] >> (id & 63) & 1 != 0
}

/// One output of a group.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Port.
    pub port: PortId,
    /// New destination address.
    pub set_dst: Option<[u8; 6]>,
}

/// A group: frames that match go to all buckets.
pub struct GroupEntry {
    /// Only frames from this port match.
    pub ingress: Option<PortId>,
    /// Outputs.
    pub buckets: Vec<Bucket>,
    /// Limits what passes.
    pub meter: Option<Arc<Meter>>,
    /// Frames that matched.
    pub hits: Arc<[crossbeam::utils::CachePadded<crate::counters::Count>]>,
}

/// The snapshot.
#[derive(Default)]
pub struct Tables {
    /// Its number; no two snapshots of a switch have the same.
    pub version: u64,
    /// By number.
    pub ports: Vec<Option<PortEntry>>,
    /// Numbers of the ports that floods go to.
    pub flood: Vec<PortId>,
    /// Some static entry is for a group address, so these have to be looked up as well.
    pub group_statics: bool,
    /// Groups, in no order.
    pub groups: Vec<GroupEntry>,
    /// Their places by destination address; those with an ingress port come first.
    pub by_address: HashMap<MacBits, Vec<usize>, RandomState>,
}

impl Tables {
    /// A port by number.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&PortEntry> {
        self.ports.get(usize::from(id))?.as_ref()
    }

    /// The place of the group that a frame matches.
    #[inline]
    pub fn group(&self, dst: MacBits, ingress: PortId) -> Option<usize> {
        let fits = |g: &usize| self.groups[*g].ingress.is_none_or(|p| p == ingress);
        self.by_address.get(&dst)?.iter().copied().find(fits)
    }

    /// Adds a group for frames to `dst`.
    pub fn add_group(&mut self, dst: MacBits, g: GroupEntry) {
        let same = self.by_address.entry(dst).or_default();
        // The more specific first.
        let at = if g.ingress.is_some() { 0 } else { same.len() };
        same.insert(at, self.groups.len());
        self.groups.push(g);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_go_where_they_should() {
        let access = VlanPolicy::Access(10);
        let trunk = VlanPolicy::from(&Vlan::Trunk { allowed: Some(vec![10, 20]), native: 5 });
        let open = VlanPolicy::from(&Vlan::Trunk { allowed: None, native: 0 });
        assert_eq!(access.classify(None), Some(10));
        assert_eq!(access.classify(Some(10)), None);
        assert_eq!(trunk.classify(None), Some(5));
        assert_eq!(trunk.classify(Some(20)), Some(20));
        assert_eq!(trunk.classify(Some(30)), None);
        assert_eq!(open.classify(Some(30)), Some(30));
        assert_eq!(open.classify(None), Some(0));
        assert_eq!(access.emit(10, Some(10)), Some(TagOp::Pop));
        assert_eq!(access.emit(20, Some(20)), None);
        assert_eq!(trunk.emit(10, None), Some(TagOp::Push(10)));
        assert_eq!(trunk.emit(5, None), Some(TagOp::Keep));
        assert_eq!(trunk.emit(0, None), None);
        assert_eq!(open.emit(10, None), Some(TagOp::Push(10)));
        assert_eq!(open.emit(10, Some(10)), Some(TagOp::Keep));
        assert_eq!(open.emit(0, None), Some(TagOp::Keep));
    }
}
