//! Two valid configurations -> the actions that lead from one to the other. Pure: nothing is applied here.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::port::Port;
use crate::qc::Qc;
use crate::valid::{Config, Group, Meter, Mirror, StaticEntry, Switch};

/// One step of a live change. Applied in the order of the list, no step refers to anything missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Attach a new port.
    AttachPort(Port),
    /// Detach the port of this name.
    DetachPort(String),
    /// Detach the port of the same name and attach this one; what refers to the name stays.
    ReplacePort(Port),
    /// Change the policy of a port (VLANs, addresses, learning, limit, overflow) that stays attached.
    UpdatePort(Port),
    /// Add a meter.
    AddMeter(Meter),
    /// Remove the meter of this name.
    RemoveMeter(String),
    /// Change the meter of the same name.
    UpdateMeter(Meter),
    /// Add a group.
    AddGroup(Group),
    /// Remove the group of this name.
    RemoveGroup(String),
    /// Change the group of the same name, address and ingress.
    UpdateGroup(Group),
    /// Replace all static entries.
    SetStatics(Vec<StaticEntry>),
    /// Replace all mirrors.
    SetMirrors(Vec<Mirror>),
    /// Set the ageing time.
    SetAgeing(#[serde(serialize_with = "crate::show::duration")] Duration),
    /// Set the limits.
    SetLimits {
        /// Most groups.
        max_groups: usize,
        /// Most buckets in a group.
        max_buckets: usize,
        /// Memory of all rings, in bytes.
        memory_limit: u64,
    },
}

/// One step of a live change to the set of switches.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigAction {
    /// Start a switch with all it holds.
    AddSwitch(Switch),
    /// Stop the switch of this name.
    RemoveSwitch(String),
    /// Change the switch of this name. A patch port attached here may have to wait for a peer in a
    /// switch that comes later in the list.
    Change(String, Vec<Action>),
    /// Other sites of QuickCast than before, or another controller.
    ChangeSites(Option<Qc>),
}

/// A difference that cannot be made while running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{} changed, which needs a restart", .keys.join(", "))]
pub struct DiffError {
    /// The keys that differ, as messages show them.
    pub keys: Vec<String>,
}

/// The actions that turn the switch `old` into `new`; none when they are the same.
///
/// # Errors
/// When a key differs that only a restart can change.
pub fn diff(old: &Switch, new: &Switch) -> Result<Vec<Action>, DiffError> {
    let fixed = [
        ("name", old.name == new.name),
        ("workers", old.workers == new.workers),
        ("cpus", old.cpus == new.cpus),
        ("inline", old.inline == new.inline),
        ("spin", old.spin == new.spin),
        ("gather", old.gather == new.gather),
        ("burst", old.burst == new.burst),
        ("fdb_entries", old.fdb_entries == new.fdb_entries),
        ("socket_mode", old.socket.mode == new.socket.mode),
        ("socket_owner", old.socket.owner == new.socket.owner),
        ("socket_group", old.socket.group == new.socket.group),
    ];
    let keys: Vec<_> = fixed.iter().filter(|(_, same)| !same).map(|(key, _)| format!("`{key}`")).collect();
    if keys.is_empty() { Ok(Steps::new(old, new).in_order()) } else { Err(DiffError { keys }) }
}

/// The actions that turn the configuration `old` into `new`; none when they are the same.
///
/// # Errors
/// When a key differs that only a restart can change; all such keys of all switches are named.
pub fn diff_config(old: &Config, new: &Config) -> Result<Vec<ConfigAction>, DiffError> {
    let mut keys = Vec::new();
    keys.extend((old.run_dir != new.run_dir).then(|| "`run_dir`".to_owned()));
    keys.extend((old.netmap != new.netmap).then(|| "`netmap`".to_owned()));
    keys.extend((old.api_listen != new.api_listen).then(|| "`api.listen`".to_owned()));
    let gone = old.switches.iter().filter(|o| !new.switches.iter().any(|n| n.name == o.name));
    let mut actions: Vec<_> = gone.map(|o| ConfigAction::RemoveSwitch(o.name.clone())).collect();
    let mut added = Vec::new();
    for switch in &new.switches {
        let Some(before) = old.switches.iter().find(|o| o.name == switch.name) else {
            added.push(ConfigAction::AddSwitch(switch.clone()));
            continue;
        };
        match diff(before, switch) {
            Ok(steps) if steps.is_empty() => {}
            Ok(steps) => actions.push(ConfigAction::Change(switch.name.clone(), steps)),
            Err(e) => keys.extend(e.keys.iter().map(|key| format!("{key} of switch {}", switch.name))),
        }
    }
    actions.append(&mut added);
    actions.extend((old.qc != new.qc).then(|| ConfigAction::ChangeSites(new.qc.clone())));
    if keys.is_empty() { Ok(actions) } else { Err(DiffError { keys }) }
}

/// What names stay, and so may be referred to at any moment of the change.
struct Steps<'s> {
    old: &'s Switch,
    new: &'s Switch,
    ports: BTreeSet<&'s str>,
    meters: BTreeSet<&'s str>,
}

impl<'s> Steps<'s> {
    fn new(old: &'s Switch, new: &'s Switch) -> Self {
        let has_port = |name: &str| new.ports.iter().any(|p| p.name == name);
        let has_meter = |name: &str| new.meters.iter().any(|m| m.name == name);
        let ports = old.ports.iter().map(|p| p.name.as_str()).filter(|name| has_port(name)).collect();
        let meters = old.meters.iter().map(|m| m.name.as_str()).filter(|name| has_meter(name)).collect();
        Self { old, new, ports, meters }
    }

    /// Removals run from what refers to what is referred to, additions the other way round. Ports are
    /// detached before others are attached, as a new one may want the interface an old one holds.
    fn in_order(&self) -> Vec<Action> {
        let (old, new) = (self.old, self.new);
        let [removed, updated_early, updated_late] = self.groups();
        let statics: Vec<_> = old.statics.iter().filter(|s| self.stays(&s.port)).cloned().collect();
        let mirrors: Vec<_> = old.mirrors.iter().filter(|m| self.mirror_stays(m)).cloned().collect();

        let mut steps = Vec::new();
        // Room first where there will be more, last where there will be less.
        let roomy = Limits::of(old).max(&Limits::of(new));
        steps.extend((roomy != Limits::of(old)).then(|| roomy.action()));
        steps.extend(removed);
        steps.extend(updated_early);
        let gone = old.meters.iter().filter(|m| !self.meters.contains(m.name.as_str()));
        steps.extend(gone.map(|m| Action::RemoveMeter(m.name.clone())));
        steps.extend((statics.len() != old.statics.len()).then(|| Action::SetStatics(statics.clone())));
        steps.extend((mirrors.len() != old.mirrors.len()).then(|| Action::SetMirrors(mirrors.clone())));
        self.ports(&mut steps);
        for meter in &new.meters {
            match old.meters.iter().find(|m| m.name == meter.name) {
                None => steps.push(Action::AddMeter(meter.clone())),
                Some(before) if before != meter => steps.push(Action::UpdateMeter(meter.clone())),
                Some(_) => {}
            }
        }
        steps.extend(updated_late);
        steps.extend((statics != new.statics).then(|| Action::SetStatics(new.statics.clone())));
        steps.extend((mirrors != new.mirrors).then(|| Action::SetMirrors(new.mirrors.clone())));
        steps.extend((old.ageing != new.ageing).then_some(Action::SetAgeing(new.ageing)));
        steps.extend((roomy != Limits::of(new)).then(|| Limits::of(new).action()));
        steps
    }

    fn ports(&self, steps: &mut Vec<Action>) {
        let gone = self.old.ports.iter().filter(|p| !self.stays(&p.name));
        steps.extend(gone.map(|p| Action::DetachPort(p.name.clone())));
        let mut attached = Vec::new();
        for port in &self.new.ports {
            match self.old.ports.iter().find(|p| p.name == port.name) {
                None => attached.push(Action::AttachPort(port.clone())),
                Some(before) if before == port => {}
                // All but the kind is policy of the switch, which the attached thing never sees.
                Some(before) if before.kind == port.kind => steps.push(Action::UpdatePort(port.clone())),
                Some(_) => steps.push(Action::ReplacePort(port.clone())),
            }
        }
        steps.append(&mut attached);
    }

    /// Groups to remove, to update before ports and meters change, and to add or update after.
    fn groups(&self) -> [Vec<Action>; 3] {
        let [mut removed, mut early, mut late] = [const { Vec::new() }; 3];
        for before in &self.old.groups {
            let Some(group) = self.new.groups.iter().find(|g| g.name == before.name) else {
                removed.push(Action::RemoveGroup(before.name.clone()));
                continue;
            };
            let same_key = group.address == before.address && group.ingress == before.ingress;
            if group == before {
            } else if same_key && self.group_stays(group) {
                early.push(Action::UpdateGroup(group.clone()));
            } else if same_key && self.group_stays(before) {
                late.push(Action::UpdateGroup(group.clone()));
            } else {
                // Either the address moves, and another group may be about to take it, or the group
                // goes from ports that leave to ports that are yet to come.
                removed.push(Action::RemoveGroup(before.name.clone()));
                late.push(Action::AddGroup(group.clone()));
            }
        }
        let is_new = |g: &&Group| !self.old.groups.iter().any(|o| o.name == g.name);
        late.extend(self.new.groups.iter().filter(is_new).map(|g| Action::AddGroup(g.clone())));
        [removed, early, late]
    }

    fn stays(&self, port: &str) -> bool {
        self.ports.contains(port)
    }

    fn mirror_stays(&self, mirror: &Mirror) -> bool {
        self.stays(&mirror.to) && mirror.from.iter().all(|port| self.stays(port))
    }

    /// Whether all that a group refers to is there before and after.
    fn group_stays(&self, group: &Group) -> bool {
        group.buckets.iter().map(|b| &b.port).chain(&group.ingress).all(|port| self.stays(port))
            && group.meter.iter().all(|meter| self.meters.contains(meter.as_str()))
    }
}

#[derive(PartialEq)]
struct Limits {
    max_groups: usize,
    max_buckets: usize,
    memory_limit: u64,
}

impl Limits {
    fn of(s: &Switch) -> Self {
        Self { max_groups: s.max_groups, max_buckets: s.max_buckets, memory_limit: s.memory_limit }
    }

    /// The larger of each.
    fn max(&self, other: &Self) -> Self {
        Self {
            max_groups: self.max_groups.max(other.max_groups),
            max_buckets: self.max_buckets.max(other.max_buckets),
            memory_limit: self.memory_limit.max(other.memory_limit),
        }
    }

    fn action(&self) -> Action {
        let Self { max_groups, max_buckets, memory_limit } = *self;
        Action::SetLimits { max_groups, max_buckets, memory_limit }
    }
}
