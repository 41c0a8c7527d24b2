//! Makes a switch be as a plan says, one tree after another, all of a tree or nothing.

use std::collections::{BTreeMap, BTreeSet};

use valecast_switch::switch::{Edit, Switch};

use crate::control::{SitePlan, TreeHere};
use crate::site::objects::Objects;

/// The trees in force at a site.
#[derive(Debug, Default)]
pub struct Installed {
    trees: BTreeMap<u32, (TreeHere, Objects)>,
    /// What could not be taken away when its tree went; tried again.
    left: Vec<Edit>,
    /// Why something could not be put back when last tried.
    trouble: Option<String>,
}

impl Installed {
    /// The numbers of the trees in force.
    pub fn trees(&self) -> impl Iterator<Item = u32> {
        self.trees.keys().copied()
    }

    /// Whether a tree is in force.
    #[must_use]
    pub fn has(&self, tree: u32) -> bool {
        self.trees.contains_key(&tree)
    }

    /// How many groups the trees have.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.trees.values().filter(|(_, o)| o.group.is_some()).count()
    }

    /// Makes `plan` be in force at a site with these links' ports. The trees that could not be installed, and why: of those
    /// there is nothing new in the switch. Tables are built anew twice, however many trees there are.
    pub fn follow(
        &mut self,
        switch: &mut Switch,
        links: &BTreeSet<String>,
        plan: &SitePlan,
    ) -> BTreeMap<u32, String> {
        let mut failed = BTreeMap::new();
        let mut wanted: BTreeMap<u32, Option<Objects>> = BTreeMap::new();
        for tree in &plan.trees {
            // Most are as they were: many transfers at once must not cost each one's tree again.
            let same = self.trees.get(&tree.tree).is_some_and(|(had, _)| had == tree);
            let objects = if same { Ok(None) } else { Objects::of(tree, links).map(Some) };
            match objects {
                Err(why) => drop(failed.insert(tree.tree, why)),
                Ok(objects) => {
                    if wanted.insert(tree.tree, objects).is_some() {
                        failed.insert(tree.tree, "the plan has it twice".to_owned());
                    }
                }
            }
        }
        wanted.retain(|tree, _| !failed.contains_key(tree));
        let gone = self.trees.keys().filter(|t| !wanted.contains_key(t) && !failed.contains_key(t));
        let gone: Vec<u32> = gone.copied().collect();
        self.take_away(switch, &gone);
        let nothing = Objects::default();
        let mut changes: Vec<(&TreeHere, Objects, Vec<Edit>)> = Vec::new();
        for tree in &plan.trees {
            let Some(Some(new)) = wanted.remove(&tree.tree) else { continue };
            let edits = self.trees.get(&tree.tree).map_or(&nothing, |(_, had)| had).change_to(&new);
            changes.push((tree, new, edits));
        }
        if changes.is_empty() {
            return failed;
        }
        let done = switch.edit(changes.iter().map(|(.., edits)| edits.as_slice()));
        for ((tree, new, _), done) in changes.into_iter().zip(done) {
            match done {
                Err(e) => drop(failed.insert(tree.tree, e.to_string())),
                Ok(()) => drop(self.trees.insert(tree.tree, (tree.clone(), new))),
            }
        }
        failed
    }

    /// Puts back what somebody else has taken away or changed since, of these further things and of the trees. What it was.
    pub fn mend(&mut self, switch: &mut Switch, base: &[Edit]) -> Vec<String> {
        let mut lacking: Vec<Vec<Edit>> = base.iter().filter_map(|e| put_back(switch, e)).collect();
        let nothing = Objects::default();
        for objects in self.trees.values().map(|(_, o)| o).filter(|o| !o.are_in(switch)) {
            lacking.extend(nothing.change_to(objects).iter().filter_map(|e| put_back(switch, e)));
        }
        if lacking.is_empty() {
            self.trouble = None;
            return Vec::new();
        }
        let done = switch.edit(lacking.iter().map(Vec::as_slice));
        let mut back = Vec::new();
        let mut trouble = None;
        for (edits, done) in lacking.iter().zip(done) {
            match done {
                Ok(()) => back.extend(edits.last().map(name)),
                Err(e) => trouble = Some(e.to_string()),
            }
        }
        if let Some(why) = trouble.as_ref().filter(|why| self.trouble.as_ref() != Some(*why)) {
            tracing::warn!(switch = switch.name(), "cannot be put back: {why}");
        }
        self.trouble = trouble;
        back
    }

    /// Takes trees away. Each thing by itself: what somebody holds fast must not keep the rest.
    fn take_away(&mut self, switch: &mut Switch, trees: &[u32]) {
        let mut edits = std::mem::take(&mut self.left);
        for tree in trees {
            let Some((_, old)) = self.trees.remove(tree) else { continue };
            edits.extend(old.change_to(&Objects::default()));
        }
        if edits.is_empty() {
            return;
        }
        let done = switch.edit(edits.iter().map(std::slice::from_ref));
        for (edit, done) in edits.iter().zip(done) {
            match done {
                Ok(()) | Err(valecast_switch::switch::SwitchError::Missing { .. }) => {}
                Err(e) => {
                    tracing::warn!(switch = switch.name(), "a tree's remains: {e}");
                    self.left.push(edit.clone());
                }
            }
        }
    }

    /// Takes all trees away.
    pub fn clear(&mut self, switch: &mut Switch) {
        let all: Vec<u32> = self.trees().collect();
        self.take_away(switch, &all);
    }
}

/// The changes after which it is as `wanted` has once made it, if it is not.
fn put_back(switch: &Switch, wanted: &Edit) -> Option<Vec<Edit>> {
    let again = || vec![wanted.clone()];
    match wanted {
        Edit::AttachPort(port) => (!switch.has_port(&port.name)).then(again),
        Edit::AddGroup(group) => match switch.group_config(&group.name) {
            None => Some(again()),
            Some(there) => (there != group).then(|| vec![Edit::UpdateGroup(group.clone())]),
        },
        Edit::AddStatic(entry) => match switch.static_port(entry.mac, entry.vlan) {
            None => Some(again()),
            Some(port) => {
                (port != entry.port).then(|| vec![Edit::RemoveStatic(entry.mac, entry.vlan), wanted.clone()])
            }
        },
        _ => None,
    }
}

fn name(edit: &Edit) -> String {
    match edit {
        Edit::AttachPort(port) => format!("port {:?}", port.name),
        Edit::AddGroup(group) | Edit::UpdateGroup(group) => format!("group {:?}", group.name),
        Edit::AddStatic(entry) => format!("static entry {}", entry.mac),
        other => format!("{other:?}"),
    }
}
