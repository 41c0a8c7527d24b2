//! A tree that is to be in force: its links with the ports at their ends, and what that is at each site.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::{TreeHere, TreeLimit, TreeStatus, sender_port};

/// Most receivers of a tree that single repairs can go to: each takes an entry in every switch on its way.
pub const MOST_UNICAST: usize = 32;

/// A link of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// Where it starts.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// The port it leaves by.
    pub out: String,
    /// The port at its other end, which reports leave by.
    pub back: String,
}

/// A tree. Several of one partition share its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its number.
    pub tree: u32,
    /// The transfer that it carries.
    pub transfer: u64,
    /// The partition.
    pub partition: u16,
    /// Trees of one batch come into force together.
    pub batch: u64,
    /// The sender's site.
    pub root: String,
    /// The receivers' sites; the first has number 1.
    pub receivers: Vec<String>,
    /// Its links, the one into a site before those out of it.
    pub hops: Vec<Hop>,
    /// Whether all of its batch has been in force.
    pub in_force: bool,
    /// Sites that have yet to say so, and the generation that they must have reached.
    #[serde(skip)]
    pub pending: BTreeMap<String, u64>,
    /// When that must be.
    #[serde(skip)]
    pub deadline: u64,
    /// How fast it may send.
    #[serde(skip)]
    pub limit: TreeLimit,
    /// Bytes of content that are still to be sent.
    #[serde(skip)]
    pub residual: u64,
}

impl Installed {
    /// The sites that it crosses, each once.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.root.as_str()).chain(self.hops.iter().map(|h| h.to.as_str()))
    }

    /// Whether receivers can be reached one by one.
    #[must_use]
    pub fn unicast(&self) -> bool {
        self.receivers.len() <= MOST_UNICAST
    }

    /// What it is at each site.
    #[must_use]
    pub fn parts(&self) -> BTreeMap<&str, TreeHere> {
        let new = |ingress| TreeHere {
            tree: self.tree,
            ingress,
            out: Vec::new(),
            receiver: None,
            towards: BTreeMap::new(),
            limit: None,
        };
        let mut parts: BTreeMap<&str, TreeHere> = BTreeMap::new();
        let mut root = new(None);
        root.limit = Some(self.limit);
        parts.insert(&self.root, root);
        let mut into: BTreeMap<&str, &Hop> = BTreeMap::new();
        for hop in &self.hops {
            if let Some(from) = parts.get_mut(hop.from.as_str()) {
                from.out.push(hop.out.clone());
            }
            parts.insert(&hop.to, new(Some(hop.back.clone())));
            into.insert(&hop.to, hop);
        }
        for (number, site) in (1..).zip(&self.receivers) {
            if let Some(here) = parts.get_mut(site.as_str()) {
                here.receiver = Some(number);
            }
            if self.unicast() {
                let mut at = site.as_str();
                while let Some(hop) = into.get(at) {
                    if let Some(from) = parts.get_mut(hop.from.as_str()) {
                        from.towards.insert(number, hop.out.clone());
                    }
                    at = &hop.from;
                }
            }
        }
        parts
    }

    /// What its sender has to know.
    #[must_use]
    pub fn status(&self) -> TreeStatus {
        let mut depth: BTreeMap<&str, u32> = BTreeMap::from([(self.root.as_str(), 0)]);
        for hop in &self.hops {
            let from = depth.get(hop.from.as_str()).copied().unwrap_or(0);
            depth.insert(&hop.to, from + 1);
        }
        TreeStatus {
            tree: self.tree,
            partition: self.partition,
            port: sender_port(self.tree),
            hops: self.receivers.iter().map(|r| depth.get(r.as_str()).copied().unwrap_or(0)).collect(),
            receivers: self.receivers.clone(),
            links: self.hops.iter().map(|h| (h.from.clone(), h.to.clone())).collect(),
            unicast_repairs: self.unicast(),
            rate: self.limit.rate,
        }
    }
}
