//! A site as the controller sees it: what it said, what it is to have in force, and what it has.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::{IncomingTree, LinkReport, SitePlan, TreeHere};

/// Silence beyond what was agreed before a site counts as down, in milliseconds.
pub const SILENCE: u64 = 3_000;
/// How long links' use is averaged for, in milliseconds.
const USE: u64 = 400;

/// What a link has carried lately.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    bytes: u64,
    at: u64,
    rate: f64,
}

/// A site.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Of its run; none if nothing was heard since the controller started.
    pub session: Option<u64>,
    /// Its links.
    pub links: Vec<LinkReport>,
    /// Group entries that trees may have.
    pub max_groups: u32,
    /// Buckets that a group may have.
    pub max_buckets: u32,
    /// Whether somebody receives there.
    pub receives: bool,
    /// The generation that it says is in force.
    pub reported: u64,
    /// When it was heard last.
    pub heard: u64,
    /// When it will have been silent for too long.
    pub due: u64,
    /// Whether it was silent when last looked at.
    pub down: bool,
    /// Not to be used before then: it could not install something.
    pub avoid_until: u64,
    /// Why not.
    pub trouble: Option<String>,
    /// Requests of it that wait for a change.
    pub waiting: u32,
    /// Rises with each change of the plan.
    pub generation: u64,
    /// The plan's trees.
    pub trees: BTreeMap<u32, TreeHere>,
    /// The plan's trees that end here.
    pub incoming: BTreeMap<u32, IncomingTree>,
    /// The plan's trees that it has not said to be in force.
    pub unconfirmed: BTreeSet<u32>,
    /// Group entries that the plan takes.
    pub entries: u32,
    /// What its links carried, by port.
    used: BTreeMap<String, Meter>,
}

/// Buckets of a tree's group at a site: where copies go.
#[must_use]
pub fn buckets(here: &TreeHere) -> u32 {
    here.out.len() as u32 + u32::from(here.receiver.is_some())
}

/// Whether a tree takes a group entry: where it is replicated or delivered. Else a fixed entry serves.
#[must_use]
pub fn takes_entry(here: &TreeHere) -> bool {
    here.receiver.is_some() || here.out.len() > 1
}

impl Site {
    /// One that is to have nothing but a generation.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Whether it can be planned with.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.session.is_some() && !self.down
    }

    /// All that is to be in force, but for what is the same for all sites.
    #[must_use]
    pub fn plan(&self) -> SitePlan {
        SitePlan {
            generation: self.generation,
            trees: self.trees.values().cloned().collect(),
            incoming: self.incoming.values().cloned().collect(),
            key: None,
        }
    }

    /// Puts a tree into the plan.
    pub fn add(&mut self, here: TreeHere, incoming: Option<IncomingTree>) {
        self.entries += u32::from(takes_entry(&here));
        if let Some(incoming) = incoming {
            self.incoming.insert(here.tree, incoming);
        }
        self.unconfirmed.insert(here.tree);
        self.trees.insert(here.tree, here);
    }

    /// Takes a tree out of the plan; false if it is not in it.
    pub fn remove(&mut self, tree: u32) -> bool {
        let Some(here) = self.trees.remove(&tree) else { return false };
        self.entries -= u32::from(takes_entry(&here));
        self.incoming.remove(&tree);
        self.unconfirmed.remove(&tree);
        true
    }

    /// Takes in what its links have carried.
    pub fn measure(&mut self, now: u64) {
        for link in &self.links {
            let m = self.used.entry(link.port.clone()).or_default();
            if m.at == 0 || link.bytes < m.bytes {
                *m = Meter { bytes: link.bytes, at: now, rate: 0.0 };
            } else if now >= m.at + USE {
                let rate = (link.bytes - m.bytes) as f64 * 8e3 / (now - m.at) as f64;
                *m = Meter { bytes: link.bytes, at: now, rate };
            }
        }
        let links = &self.links;
        self.used.retain(|port, _| links.iter().any(|l| l.port == *port));
    }

    /// What a link carried when it was last measured, in bit/s.
    #[must_use]
    pub fn used(&self, port: &str) -> f64 {
        self.used.get(port).map_or(0.0, |m| m.rate)
    }
}
