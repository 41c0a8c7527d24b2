//! The control state as the data path sees it.

use valecast_config::Direction;

use super::{PortState, Switch};
use crate::mac;
use crate::tables::{Bucket, GroupEntry, PortEntry, PortId, Tables, VlanPolicy};

impl Switch {
    pub(super) fn id(&self, name: &str) -> Option<PortId> {
        self.ports.get(name).map(|p| p.id)
    }

    pub(super) fn build(&self) -> Tables {
        let mut ports: Vec<Option<PortEntry>> = Vec::new();
        ports.resize_with(self.ids.len(), || None);
        for (name, p) in &self.ports {
            ports[usize::from(p.id)] = Some(self.port_entry(name, p));
        }
        let flood = ports.iter().flatten().filter(|p| p.floods).map(|p| p.id).collect();
        let group_statics = self.statics.keys().any(|(mac, _)| mac.is_multicast());
        let mut tables =
            Tables { version: self.next_version(), ports, flood, group_statics, ..Tables::default() };
        for g in self.groups.values() {
            let buckets =
                g.cfg.buckets.iter().filter_map(|b| {
                    Some(Bucket { port: self.id(&b.port)?, set_dst: b.set_dst.map(|m| m.0) })
                });
            let ingress = match &g.cfg.ingress {
                None => None,
                // A group whose ingress port is gone matches nothing.
                Some(name) => match self.id(name) {
                    Some(id) => Some(id),
                    None => continue,
                },
            };
            let meter = g.cfg.meter.as_ref().and_then(|m| self.meters.get(m)).map(|m| m.meter.clone());
            let entry = GroupEntry { ingress, buckets: buckets.collect(), meter, hits: g.hits.clone() };
            tables.add_group(mac::bits(g.cfg.address), entry);
        }
        tables
    }

    fn port_entry(&self, name: &str, p: &PortState) -> PortEntry {
        let mirrors = |want: Direction| {
            self.mirrors
                .iter()
                .filter(|m| m.from.iter().any(|f| f == name))
                .filter(|m| m.direction == want || m.direction == Direction::Both)
                .filter_map(|m| self.id(&m.to))
                .collect()
        };
        let egress = p.attached.as_ref().map(|a| a.egress.clone());
        let caps = egress.as_ref().map_or(NOTHING, |e| e.caps());
        let mirror_only = self.mirrors.iter().any(|m| m.to == name);
        let mut allowed: Vec<_> = p.cfg.allowed_macs.iter().map(|m| mac::bits(*m)).collect();
        allowed.sort_unstable();
        PortEntry {
            id: p.id,
            floods: egress.is_some() && !mirror_only && p.cfg.flood,
            may_flood: p.cfg.flood,
            egress,
            caps,
            overflow: p.cfg.overflow,
            vlan: VlanPolicy::from(&p.cfg.vlan),
            learn: p.cfg.learn,
            mac_limit: p.cfg.mac_limit,
            allowed: (!allowed.is_empty()).then(|| allowed.into_boxed_slice()),
            limit: p.limit.clone(),
            mirror_in: mirrors(Direction::In),
            mirror_out: mirrors(Direction::Out),
            stats: p.stats.clone(),
        }
    }
}

const NOTHING: crate::port::Caps = crate::port::Caps { vnet: false, max_frame: 0, max_run: 0, queues: 1 };
