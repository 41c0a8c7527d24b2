//! Many changes under one lock, with one new table for all of them: what QuickCast's sites install.
//!
//! The changes come in parts; each part is made whole or not at all, whatever becomes of the others.

use valecast_config::{Group, Mac, Port, StaticEntry};

use super::{Switch, SwitchError};
use crate::clock;
use crate::fdb::key;
use crate::mac;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Attach a port.
    AttachPort(Port),
    /// Change the policy of a port; its kind stays.
    UpdatePort(Port),
    /// Detach a port. Its client is told; undoing this attaches the port anew, without a client.
    DetachPort(String),
    /// Add a group.
    AddGroup(Group),
    /// Change the group of the same name.
    UpdateGroup(Group),
    /// Remove a group.
    RemoveGroup(String),
    /// Add a static entry, for an address that has none.
    AddStatic(StaticEntry),
    /// Remove the static entry of an address in a VLAN.
    RemoveStatic(Mac, u16),
}

/// What was put off while changes are made.
#[derive(Debug, Default)]
pub(super) struct PutOff {
    /// The tables are older than the state.
    pub tables: std::cell::Cell<bool>,
    /// Senders may not have to wait any more.
    pub barrier: bool,
}

impl Switch {
    /// Makes the changes of each part, in order; those of a part that fails are undone. What became of each part.
    pub fn edit<'e>(&mut self, parts: impl IntoIterator<Item = &'e [Edit]>) -> Vec<Result<(), SwitchError>> {
        self.put_off = Some(PutOff::default());
        let done = parts.into_iter().map(|part| self.part(part)).collect();
        if let Some(PutOff { tables, barrier }) = self.put_off.take() {
            if tables.get() {
                self.publish();
            }
            if barrier {
                self.pass_all();
            }
        }
        done
    }

    fn part(&mut self, edits: &[Edit]) -> Result<(), SwitchError> {
        let mut undo = Vec::with_capacity(edits.len());
        for e in edits {
            let back = self.inverse(e);
            if let Err(why) = self.one(e.clone()) {
                for e in undo.into_iter().rev() {
                    if let Err(e) = self.one(e) {
                        tracing::error!(switch = self.cfg.name, "undoing a change that failed: {e}");
                    }
                }
                return Err(why);
            }
            undo.extend(back);
        }
        Ok(())
    }

    /// What undoes a change; none for a change that will fail.
    fn inverse(&self, e: &Edit) -> Option<Edit> {
        let port = |name: &str| Some(self.ports.get(name)?.cfg.clone());
        let group = |name: &str| Some(self.groups.get(name)?.cfg.clone());
        Some(match e {
            Edit::AttachPort(p) => Edit::DetachPort(p.name.clone()),
            Edit::UpdatePort(p) => Edit::UpdatePort(port(&p.name)?),
            Edit::DetachPort(name) => Edit::AttachPort(port(name)?),
            Edit::AddGroup(g) => Edit::RemoveGroup(g.name.clone()),
            Edit::UpdateGroup(g) => Edit::UpdateGroup(group(&g.name)?),
            Edit::RemoveGroup(name) => Edit::AddGroup(group(name)?),
            Edit::AddStatic(s) => Edit::RemoveStatic(s.mac, s.vlan),
            Edit::RemoveStatic(mac, vlan) => {
                let port = self.statics.get(&(*mac, *vlan))?.clone();
                Edit::AddStatic(StaticEntry { mac: *mac, port, vlan: *vlan })
            }
        })
    }

    fn one(&mut self, e: Edit) -> Result<(), SwitchError> {
        match e {
            Edit::AttachPort(p) => self.attach_port(p, false),
            Edit::UpdatePort(p) => self.update_port(p),
            Edit::DetachPort(name) => self.detach_port(&name),
            Edit::AddGroup(g) => self.add_group(g),
            Edit::UpdateGroup(g) => self.update_group(g),
            Edit::RemoveGroup(name) => self.remove_group(&name),
            Edit::AddStatic(s) => self.add_static(s),
            Edit::RemoveStatic(mac, vlan) => self.remove_static(mac, vlan),
        }
    }

    /// Adds a static entry.
    fn add_static(&mut self, s: StaticEntry) -> Result<(), SwitchError> {
        self.must_have_port(&s.port)?;
        if let Some(port) = self.statics.get(&(s.mac, s.vlan)) {
            let by = format!("a static entry to port {port:?}");
            return Err(SwitchError::InUse { kind: "address", name: s.mac.to_string(), by });
        }
        let port = self.id(&s.port).unwrap_or(u16::MAX);
        if !self.fdb.add_static(key(mac::bits(s.mac), s.vlan), port, clock::secs(clock::now_ns())) {
            return Err(SwitchError::Limit(format!(
                "no room for a static entry of {}: raise fdb_entries",
                s.mac
            )));
        }
        let group = s.mac.is_multicast();
        self.statics.insert((s.mac, s.vlan), s.port);
        // Whether group addresses are looked up at all stands in the tables.
        if group {
            self.publish();
        }
        Ok(())
    }

    fn remove_static(&mut self, mac: Mac, vlan: u16) -> Result<(), SwitchError> {
        if self.statics.remove(&(mac, vlan)).is_none() {
            return Err(self.none("static entry", &mac.to_string()));
        }
        self.fdb.remove(key(mac::bits(mac), vlan));
        if mac.is_multicast() {
            self.publish();
        }
        Ok(())
    }
}
