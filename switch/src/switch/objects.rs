//! Groups, meters, mirrors, static entries and limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use valecast_config::{Action, Group, Meter as MeterCfg, Mirror, StaticEntry};

use super::{GroupState, MeterState, Switch, SwitchError};
use crate::clock;
use crate::fdb::{FdbEntry, key};
use crate::mac;
use crate::meter::Meter;

impl Switch {
    fn exists(&self, kind: &'static str, name: &str) -> SwitchError {
        SwitchError::Exists { switch: self.cfg.name.clone(), kind, name: name.to_owned() }
    }

    pub(super) fn none(&self, kind: &'static str, name: &str) -> SwitchError {
        SwitchError::Missing {
            switch: self.cfg.name.clone(),
            kind,
            name: name.to_owned(),
            hint: String::new(),
        }
    }

    pub(super) fn must_have_port(&self, name: &str) -> Result<(), SwitchError> {
        if self.ports.contains_key(name) { Ok(()) } else { Err(self.none("port", name)) }
    }

    /// Adds a meter.
    pub fn add_meter(&mut self, cfg: MeterCfg) -> Result<(), SwitchError> {
        if self.meters.contains_key(&cfg.name) {
            return Err(self.exists("meter", &cfg.name));
        }
        let meter = Arc::new(Meter::new(cfg.rate, cfg.burst, cfg.mode));
        self.meters.insert(cfg.name.clone(), MeterState { cfg, meter });
        Ok(())
    }

    /// Changes a meter; its bucket starts full.
    pub fn update_meter(&mut self, cfg: MeterCfg) -> Result<(), SwitchError> {
        if self.meters.remove(&cfg.name).is_none() {
            return Err(self.none("meter", &cfg.name));
        }
        self.add_meter(cfg)?;
        self.publish();
        Ok(())
    }

    /// Removes a meter that no group uses.
    pub fn remove_meter(&mut self, name: &str) -> Result<(), SwitchError> {
        if let Some(g) = self.groups.values().find(|g| g.cfg.meter.as_deref() == Some(name)) {
            let by = format!("group {:?}", g.cfg.name);
            return Err(SwitchError::InUse { kind: "meter", name: name.to_owned(), by });
        }
        self.meters.remove(name).map(|_| ()).ok_or_else(|| self.none("meter", name))
    }

    fn check_group(&self, g: &Group) -> Result<(), SwitchError> {
        let (have, most) = (g.buckets.len(), self.cfg.max_buckets);
        if have == 0 || have > most {
            return Err(SwitchError::Limit(format!(
                "group {:?} has {have} buckets: 1 to {most} are allowed (max_buckets)",
                g.name
            )));
        }
        for b in &g.buckets {
            self.must_have_port(&b.port)?;
        }
        if let Some(p) = &g.ingress {
            self.must_have_port(p)?;
        }
        if let Some(m) = &g.meter
            && !self.meters.contains_key(m)
        {
            return Err(self.none("meter", m));
        }
        let twin = self
            .groups
            .values()
            .find(|o| o.cfg.name != g.name && o.cfg.address == g.address && o.cfg.ingress == g.ingress);
        match twin {
            Some(o) => Err(SwitchError::InUse {
                kind: "group address",
                name: g.address.to_string(),
                by: format!("group {:?}", o.cfg.name),
            }),
            None => Ok(()),
        }
    }

    /// Adds a group.
    pub fn add_group(&mut self, g: Group) -> Result<(), SwitchError> {
        if self.groups.contains_key(&g.name) {
            return Err(self.exists("group", &g.name));
        }
        let most = self.cfg.max_groups;
        if self.groups.len() >= most {
            return Err(SwitchError::Limit(format!(
                "group {:?}: the table is full, {most} entries (max_groups)",
                g.name
            )));
        }
        self.check_group(&g)?;
        let hits = (0..self.forwarders()).map(|_| Default::default()).collect();
        self.groups.insert(g.name.clone(), GroupState { cfg: g, hits });
        self.publish();
        Ok(())
    }

    /// Changes a group; its counter goes on.
    pub fn update_group(&mut self, g: Group) -> Result<(), SwitchError> {
        self.check_group(&g)?;
        match self.groups.get_mut(&g.name) {
            Some(old) => old.cfg = g,
            None => return Err(self.none("group", &g.name)),
        }
        self.publish();
        Ok(())
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &str) -> Result<(), SwitchError> {
        if self.groups.remove(name).is_none() {
            return Err(self.none("group", name));
        }
        self.publish();
        Ok(())
    }

    /// Replaces the mirrors.
    pub fn set_mirrors(&mut self, mirrors: Vec<Mirror>) -> Result<(), SwitchError> {
        for m in &mirrors {
            m.from.iter().chain([&m.to]).try_for_each(|p| self.must_have_port(p))?;
        }
        self.mirrors = mirrors;
        self.publish();
        Ok(())
    }

    /// Adds one mirror.
    pub fn add_mirror(&mut self, m: Mirror) -> Result<(), SwitchError> {
        let mut all = self.mirrors.clone();
        all.push(m);
        self.set_mirrors(all)
    }

    /// Replaces the static entries.
    pub fn set_statics(&mut self, statics: Vec<StaticEntry>) -> Result<(), SwitchError> {
        for s in &statics {
            self.must_have_port(&s.port)?;
        }
        let now = clock::secs(clock::now_ns());
        // What stays is not touched: frames under way to it must not be flooded meanwhile.
        let mut wanted: BTreeMap<_, _> = (statics.iter())
            .map(|s| ((mac::bits(s.mac), s.vlan), (self.id(&s.port).unwrap_or(u16::MAX), s.mac)))
            .collect();
        let stays = |e: &FdbEntry| wanted.get(&(e.mac, e.vlan)).is_some_and(|(port, _)| *port == e.port);
        self.fdb.retain(|e| !e.is_static || stays(e));
        for e in self.fdb.entries(now).iter().filter(|e| e.is_static) {
            wanted.remove(&(e.mac, e.vlan));
        }
        for ((bits, vlan), (port, mac)) in wanted {
            if !self.fdb.add_static(key(bits, vlan), port, now) {
                tracing::warn!(%mac, "no room for this static entry: raise fdb_entries");
            }
        }
        self.statics = statics.into_iter().map(|s| ((s.mac, s.vlan), s.port)).collect();
        self.publish();
        Ok(())
    }

    /// Applies one action of a reload.
    pub fn apply(&mut self, action: Action) -> Result<(), SwitchError> {
        match action {
            Action::AttachPort(p) => self.attach_port(p, false),
            Action::DetachPort(name) => self.detach_port(&name),
            Action::ReplacePort(p) => self.replace_port(p),
            Action::UpdatePort(p) => self.update_port(p),
            Action::AddMeter(m) => self.add_meter(m),
            Action::RemoveMeter(name) => self.remove_meter(&name),
            Action::UpdateMeter(m) => self.update_meter(m),
            Action::AddGroup(g) => self.add_group(g),
            Action::RemoveGroup(name) => self.remove_group(&name),
            Action::UpdateGroup(g) => self.update_group(g),
            Action::SetStatics(s) => self.set_statics(s),
            Action::SetMirrors(m) => self.set_mirrors(m),
            Action::SetAgeing(t) => {
                self.cfg.ageing = t;
                self.fdb.set_ageing(u32::try_from(t.as_secs()).unwrap_or(u32::MAX));
                Ok(())
            }
            Action::SetLimits { max_groups, max_buckets, memory_limit } => {
                self.cfg.max_groups = max_groups;
                self.cfg.max_buckets = max_buckets;
                self.cfg.memory_limit = memory_limit;
                Ok(())
            }
        }
    }
}
