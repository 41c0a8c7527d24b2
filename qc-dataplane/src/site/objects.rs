//! What a tree needs in a site's switch, and the changes that lead from one plan to the next. Pure.
//!
//! All forwarding is exact: a group where a frame is copied or received, else a static entry. The sender's rate is the
//! limit of its ring port, in mode `shape`, so that repairs to single receivers are paced with the rest.

use std::collections::{BTreeMap, BTreeSet};

use valecast_config::{Bucket, ConfigErrors, Group, Mac, Port, StaticEntry, parse_port};
use valecast_switch::switch::{Edit, Switch};

use crate::address::{receiver_address, sender_address, tree_address};
use crate::control::{RECEIVE_PORT, TreeHere, TreeLimit, sender_port};
use crate::site::probe;

/// Slots of a sender's port in each direction.
const SENDER_SLOTS: u32 = 1024;
/// Slots of the receivers' port; all trees that end here share it.
const RECEIVE_SLOTS: u32 = 8192;
/// Bytes of a buffer: a frame with a chunk of the default size, and more than Ethernet's usual 1514.
const BUFFER: u32 = 2048;

/// What a tree has in a switch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// The sender's port.
    pub port: Option<Port>,
    /// Where its frames are copied or received.
    pub group: Option<Group>,
    /// Ports of static entries.
    pub statics: BTreeMap<Mac, String>,
}

impl Objects {
    /// Those of a tree at a site with these links' ports.
    ///
    /// # Errors
    /// When the tree is none that could be installed here.
    pub fn of(tree: &TreeHere, links: &BTreeSet<String>) -> Result<Self, String> {
        let number = tree.tree;
        if number >= probe::TREE {
            return Err(format!("trees have numbers below {}, {number} was given", probe::TREE));
        }
        let link = |port: &String| match links.contains(port) {
            true => Ok(port.clone()),
            false => Err(format!("port {port:?} is no link of this site")),
        };
        let (port, from) = match &tree.ingress {
            Some(port) => (None, link(port)?),
            None => {
                let port = sender(number, tree.limit).map_err(|e| e.to_string())?;
                (Some(port), sender_port(number))
            }
        };
        let mut out = tree.out.iter().map(link).collect::<Result<Vec<_>, _>>()?;
        if let Some(twice) = out.iter().enumerate().find(|(i, p)| out[..*i].contains(p)).map(|(_, p)| p) {
            return Err(format!("the tree leaves by port {twice:?} twice"));
        }
        if out.contains(&from) {
            return Err(format!("the tree leaves by port {from:?}, where it comes from"));
        }
        out.extend(tree.receiver.map(|_| RECEIVE_PORT.to_owned()));
        let mut statics = BTreeMap::from([(sender_address(number), from.clone())]);
        for (receiver, port) in &tree.towards {
            statics.insert(receiver_address(number, *receiver), link(port)?);
        }
        if let Some(n) = tree.receiver {
            statics.insert(receiver_address(number, n), RECEIVE_PORT.to_owned());
        }
        if tree.receiver == Some(0) || tree.towards.contains_key(&0) {
            return Err("receivers have numbers from 1".to_owned());
        }
        let group = match out.as_slice() {
            [] => return Err("the tree ends here, and nobody receives it".to_owned()),
            [one] if tree.receiver.is_none() => {
                statics.insert(tree_address(number), one.clone());
                None
            }
            _ => Some(Group {
                name: sender_port(number),
                address: tree_address(number),
                ingress: Some(from),
                meter: None,
                buckets: out.into_iter().map(|port| Bucket { port, set_dst: None }).collect(),
            }),
        };
        Ok(Self { port, group, statics })
    }

    /// Whether all of it is in a switch.
    #[must_use]
    pub fn are_in(&self, switch: &Switch) -> bool {
        self.port.as_ref().is_none_or(|p| switch.has_port(&p.name))
            && self.group.as_ref().is_none_or(|g| switch.group_config(&g.name) == Some(g))
            && self.statics.iter().all(|(mac, port)| switch.static_port(*mac, 0) == Some(port.as_str()))
    }

    /// The changes that make `new` of this. Whatever is referred to is there at each step.
    pub fn change_to(&self, new: &Self) -> Vec<Edit> {
        let mut edits = Vec::new();
        let stays =
            |statics: &BTreeMap<Mac, String>, mac: &Mac, port: &String| statics.get(mac) == Some(port);
        let gone = self.statics.iter().filter(|(mac, port)| !stays(&new.statics, mac, port));
        edits.extend(gone.map(|(mac, _)| Edit::RemoveStatic(*mac, 0)));
        match (&self.port, &new.port) {
            (None, Some(port)) => edits.push(Edit::AttachPort(port.clone())),
            (Some(old), Some(port)) if old != port => edits.push(Edit::UpdatePort(port.clone())),
            _ => {}
        }
        match (&self.group, &new.group) {
            (None, Some(group)) => edits.push(Edit::AddGroup(group.clone())),
            (Some(old), None) => edits.push(Edit::RemoveGroup(old.name.clone())),
            (Some(old), Some(group)) if old != group => edits.push(Edit::UpdateGroup(group.clone())),
            _ => {}
        }
        if let (Some(port), None) = (&self.port, &new.port) {
            edits.push(Edit::DetachPort(port.name.clone()));
        }
        let added = new.statics.iter().filter(|(mac, port)| !stays(&self.statics, mac, port));
        edits.extend(
            added.map(|(mac, port)| Edit::AddStatic(StaticEntry { mac: *mac, port: port.clone(), vlan: 0 })),
        );
        edits
    }
}

fn ring(name: &str, slots: u32, more: &str) -> Result<Port, ConfigErrors> {
    let keys = "learn = false\nflood = false";
    parse_port(
        "QuickCast",
        &format!("name = {name:?}\nkind = \"ring\"\nslots = {slots}\nbuf_size = {BUFFER}\n{keys}\n{more}"),
    )
}

/// The port of a tree's sender.
fn sender(tree: u32, limit: Option<TreeLimit>) -> Result<Port, ConfigErrors> {
    let limit = limit.map(TreeLimit::at_least).map(|TreeLimit { rate, burst }| {
        format!("rate = {rate}\nrate_burst = {burst}\nrate_mode = \"shape\"")
    });
    ring(&sender_port(tree), SENDER_SLOTS, &limit.unwrap_or_default())
}

/// What a site has in its switch while it is there: the receivers' port, and what probes its links.
///
/// # Errors
/// None with the constants above.
pub fn base(links: &[String]) -> Result<Vec<Edit>, ConfigErrors> {
    let sink = format!("name = {:?}\nkind = \"null\"\nlearn = false\nflood = false", probe::SINK);
    let mut edits = vec![
        Edit::AttachPort(ring(RECEIVE_PORT, RECEIVE_SLOTS, "")?),
        Edit::AttachPort(ring(probe::PORT, probe::SLOTS, "")?),
        Edit::AttachPort(parse_port("QuickCast", &sink)?),
        // All sites' probes come from this address: it must not be learned on the links. What somebody sends there must
        // not fill the ring of those that count.
        Edit::AddStatic(StaticEntry { mac: probe::FROM, port: probe::SINK.to_owned(), vlan: 0 }),
    ];
    let mut group = |name: String, address: Mac, ingress: &str, port: &str, to: Mac| {
        edits.push(Edit::AddGroup(Group {
            name,
            address,
            ingress: Some(ingress.to_owned()),
            meter: None,
            buckets: vec![Bucket { port: port.to_owned(), set_dst: Some(to) }],
        }));
    };
    for (number, port) in (0..).zip(links) {
        group(format!("qc-out-{number}"), probe::leaving(number), probe::PORT, port, probe::TO);
        // What comes in bears the link's number then.
        group(format!("qc-link-{number}"), probe::TO, port, probe::PORT, probe::arrived(number));
    }
    Ok(edits)
}

/// What takes [`base`] away again.
pub fn without_base(links: &[String]) -> Vec<Edit> {
    let both = |n| ["qc-out", "qc-link"].map(|of| Edit::RemoveGroup(format!("{of}-{n}")));
    let mut edits: Vec<_> = (0..links.len()).flat_map(both).collect();
    edits.push(Edit::RemoveStatic(probe::FROM, 0));
    edits.extend([probe::SINK, probe::PORT, RECEIVE_PORT].map(|port| Edit::DetachPort(port.to_owned())));
    edits
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
