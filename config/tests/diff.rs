//! Applying a diff to a strict model turns the old switch into the new one.

mod common;

use proptest::prelude::*;
use valecast_config::{Action, Config, ConfigAction, Group, Mirror, Switch, diff, diff_config};

/// A switch that refuses whatever a real one would refuse.
struct Model(Switch);

impl Model {
    fn apply(&mut self, action: &Action) {
        let s = &mut self.0;
        match action.clone() {
            Action::AttachPort(port) => {
                assert!(!s.ports.iter().any(|p| p.name == port.name), "attached twice");
                s.ports.push(port);
            }
            Action::DetachPort(name) => remove(&mut s.ports, |p| p.name == name),
            Action::ReplacePort(port) => {
                let old = replace(&mut s.ports, |p| p.name == port.name, port.clone());
                assert_ne!(old.kind, port.kind, "re-attached for nothing");
            }
            Action::UpdatePort(port) => {
                let old = replace(&mut s.ports, |p| p.name == port.name, port.clone());
                assert_eq!(old.kind, port.kind, "needs a re-attach");
            }
            Action::AddMeter(meter) => {
                assert!(!s.meters.iter().any(|m| m.name == meter.name), "meter added twice");
                s.meters.push(meter);
            }
            Action::RemoveMeter(name) => remove(&mut s.meters, |m| m.name == name),
            Action::UpdateMeter(meter) => {
                replace(&mut s.meters, |m| m.name == meter.name, meter.clone());
            }
            Action::AddGroup(group) => {
                assert!(!s.groups.iter().any(|g| g.name == group.name), "group added twice");
                s.groups.push(group);
            }
            Action::RemoveGroup(name) => remove(&mut s.groups, |g| g.name == name),
            Action::UpdateGroup(group) => {
                replace(&mut s.groups, |g| g.name == group.name, group.clone());
            }
            Action::SetStatics(statics) => s.statics = statics,
            Action::SetMirrors(mirrors) => s.mirrors = mirrors,
            Action::SetAgeing(ageing) => s.ageing = ageing,
            Action::SetLimits { max_groups, max_buckets, memory_limit } => {
                (s.max_groups, s.max_buckets, s.memory_limit) = (max_groups, max_buckets, memory_limit);
            }
        }
        self.check();
    }

    /// What must hold at every moment: nothing refers to what is missing, nothing is over its limit.
    fn check(&self) {
        let s = &self.0;
        let port = |name: &String| assert!(s.ports.iter().any(|p| p.name == *name), "no port {name}");
        s.statics.iter().for_each(|entry| port(&entry.port));
        s.mirrors.iter().for_each(|Mirror { from, to, .. }| from.iter().chain([to]).for_each(port));
        assert!(s.groups.len() <= s.max_groups);
        for (i, group) in s.groups.iter().enumerate() {
            group.buckets.iter().map(|b| &b.port).chain(&group.ingress).for_each(port);
            assert!(group.meter.iter().all(|name| s.meters.iter().any(|m| m.name == *name)), "no meter");
            assert!(group.buckets.len() <= s.max_buckets);
            let same = |other: &Group| other.address == group.address && other.ingress == group.ingress;
            assert!(!s.groups[..i].iter().any(same), "two groups for one address");
        }
    }
}

fn remove<T>(list: &mut Vec<T>, is: impl FnMut(&T) -> bool) {
    let at = list.iter().position(is).expect("something to remove");
    list.remove(at);
}

fn replace<T: PartialEq>(list: &mut [T], is: impl FnMut(&T) -> bool, new: T) -> T {
    let at = list.iter().position(is).expect("something to change");
    assert!(list[at] != new, "changed for nothing");
    std::mem::replace(&mut list[at], new)
}

/// The order of ports, meters and groups means nothing.
fn sorted(mut s: Switch) -> Switch {
    s.ports.sort_by(|a, b| a.name.cmp(&b.name));
    s.meters.sort_by(|a, b| a.name.cmp(&b.name));
    s.groups.sort_by(|a, b| a.name.cmp(&b.name));
    s
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn old_becomes_new(old in common::switch(), new in common::switch()) {
        let mut model = Model(old.clone());
        for action in diff(&old, &new).unwrap() {
            model.apply(&action);
        }
        prop_assert_eq!(sorted(model.0), sorted(new));
    }

    #[test]
    fn nothing_changes_into_itself(switch in common::switch()) {
        prop_assert_eq!(diff(&switch, &switch), Ok(vec![]));
    }
}

fn config(text: &str) -> Config {
    Config::parse("test", text).expect(text)
}

#[test]
fn what_needs_a_restart_is_named() {
    let old = config("[[switch]]\nname = \"v\"");
    let new = config(
        "run_dir = \"/x\"\n[[switch]]\nname = \"v\"\nworkers = 2\ninline = 1\nspin = \"1us\"\nageing = \"1s\"",
    );
    let error = diff_config(&old, &new).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`run_dir`, `workers` of switch v, `inline` of switch v, `spin` of switch v changed, which needs a restart"
    );
}

#[test]
fn switches_come_and_go() {
    let old =
        config("[[switch]]\nname = \"gone\"\n[[switch]]\nname = \"stays\"\n[[switch]]\nname = \"same\"");
    let new = config(
        "[[switch]]\nname = \"new\"\n[[switch]]\nname = \"stays\"\nageing = 0\n[[switch]]\nname = \"same\"",
    );
    let actions = diff_config(&old, &new).unwrap();
    let [
        ConfigAction::RemoveSwitch(gone),
        ConfigAction::Change(stays, steps),
        ConfigAction::AddSwitch(added),
    ] = actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert_eq!((gone.as_str(), stays.as_str(), added.name.as_str()), ("gone", "stays", "new"));
    assert_eq!(steps, &[Action::SetAgeing(std::time::Duration::ZERO)]);
    assert_eq!(diff_config(&new, &new), Ok(vec![]));
}

#[test]
fn sites_change_by_themselves() {
    let v = "[[switch]]\nname = \"v\"\n";
    let (old, new) = (config(v), config(&format!("{v}[[qc.site]]\nswitch = \"v\"\n")));
    assert_eq!(diff_config(&old, &new), Ok(vec![ConfigAction::ChangeSites(new.qc.clone())]));
    assert_eq!(diff_config(&new, &old), Ok(vec![ConfigAction::ChangeSites(None)]));
    assert_eq!(diff_config(&new, &new), Ok(vec![]));
}
