//! What people and the page are shown: sites, links with their use, and what is wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::network::pairs;
use super::{Core, Now};
use crate::control::TransferState;

/// All at one moment: `GET /v1/overview`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// How often the controller was started.
    pub run: u64,
    /// The scheme of transfers that do not say.
    pub scheme: String,
    /// The sites.
    pub sites: Vec<SiteView>,
    /// The links, each direction by itself.
    pub links: Vec<LinkView>,
    /// The trees that sites are to have.
    pub trees: Vec<TreeView>,
    /// Transfers in each state.
    pub transfers: BTreeMap<String, u64>,
    /// What is wrong, in words.
    pub wrong: Vec<String>,
}

/// How a site stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteView {
    /// Its name.
    pub name: String,
    /// `up`, `down`, or `unknown` if it was not heard since the controller was started.
    pub state: String,
    /// Milliseconds since it was heard.
    pub silent_ms: u64,
    /// Whether somebody receives there.
    pub receives: bool,
    /// Trees that cross it.
    pub trees: u32,
    /// Group entries that they take.
    pub groups: u32,
    /// Group entries that they may take.
    pub max_groups: u32,
    /// The generation that is to be in force.
    pub generation: u64,
    /// The generation that is.
    pub in_force: u64,
}

/// How a link stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// Where it starts.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// The port it leaves by.
    pub port: String,
    /// What it carries, in bit/s.
    pub capacity: u64,
    /// Whether frames get through both ways.
    pub up: bool,
    /// What it carried lately, in bit/s.
    pub used: u64,
    /// What trees may send over it, in bit/s.
    pub planned: u64,
}

/// A tree, as it is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeView {
    /// Its number.
    pub tree: u32,
    /// The transfer that it carries.
    pub transfer: u64,
    /// Whether it is in force everywhere.
    pub in_force: bool,
    /// Its rate in bit/s.
    pub rate: u64,
    /// The receivers' sites.
    pub receivers: Vec<String>,
    /// Its links, from and to.
    pub links: Vec<(String, String)>,
}

/// A state's name, as JSON has it.
#[must_use]
pub fn state_name(state: TransferState) -> &'static str {
    match state {
        TransferState::Planning => "planning",
        TransferState::Waiting => "waiting",
        TransferState::Running => "running",
        TransferState::Stalled => "stalled",
        TransferState::Done => "done",
        TransferState::Partial => "partial",
        TransferState::Cancelled => "cancelled",
    }
}

/// All states.
pub const STATES: [TransferState; 7] = [
    TransferState::Planning,
    TransferState::Waiting,
    TransferState::Running,
    TransferState::Stalled,
    TransferState::Done,
    TransferState::Partial,
    TransferState::Cancelled,
];

impl Core {
    /// How everything stands.
    #[must_use]
    pub fn overview(&self, now: Now) -> Overview {
        let mut wrong = Vec::new();
        let sites = self.sites.iter().map(|(name, s)| SiteView {
            name: name.clone(),
            state: if s.is_up() {
                "up"
            } else if s.down {
                "down"
            } else {
                "unknown"
            }
            .to_owned(),
            silent_ms: if s.waiting > 0 { 0 } else { now.ms.saturating_sub(s.heard) },
            receives: s.receives,
            trees: s.trees.len() as u32,
            groups: s.entries,
            max_groups: s.max_groups,
            generation: s.generation,
            in_force: s.reported,
        });
        let sites: Vec<SiteView> = sites.collect();
        for (name, s) in &self.sites {
            if s.down {
                wrong.push(format!(
                    "site {name} has been silent for {} s",
                    now.ms.saturating_sub(s.heard) / 1000
                ));
            } else if s.session.is_none() {
                wrong.push(format!("site {name} has not come back since the controller was started"));
            }
            if s.avoid_until > now.ms
                && let Some(why) = &s.trouble
            {
                wrong.push(why.clone());
            }
        }
        let mut planned: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for tree in self.trees.values() {
            for hop in &tree.hops {
                *planned.entry((&hop.from, &hop.out)).or_default() += tree.limit.rate;
            }
        }
        let both: BTreeMap<(String, String), bool> =
            pairs(&self.sites).into_iter().map(|p| ((p.hop.from, p.hop.out), p.up)).collect();
        let mut links = Vec::new();
        for (from, s) in &self.sites {
            for l in &s.links {
                let pair = both.get(&(from.clone(), l.port.clone()));
                if pair.is_none() {
                    wrong.push(format!("link {from} to {} ({}): {} has no link back", l.to, l.port, l.to));
                } else if !l.up {
                    wrong.push(format!(
                        "link {from} to {} ({}) is down: {from} hears nothing from there",
                        l.to, l.port
                    ));
                }
                self.compare(from, &l.to, l.capacity, &mut wrong);
                links.push(LinkView {
                    from: from.clone(),
                    to: l.to.clone(),
                    port: l.port.clone(),
                    capacity: l.capacity,
                    up: pair.copied().unwrap_or(false) && s.is_up(),
                    used: s.used(&l.port) as u64,
                    planned: planned.get(&(from.as_str(), l.port.as_str())).copied().unwrap_or(0),
                });
            }
        }
        if let Some(expected) = &self.settings.expected {
            for (from, to) in expected.keys() {
                if !links.iter().any(|l| l.from == *from && l.to == *to) {
                    wrong.push(format!("link {from} to {to} is in the topology and was not reported"));
                }
            }
        }
        let trees = self.trees.values().map(|t| TreeView {
            tree: t.tree,
            transfer: t.transfer,
            in_force: t.in_force,
            rate: t.limit.rate,
            receivers: t.receivers.clone(),
            links: t.hops.iter().map(|h| (h.from.clone(), h.to.clone())).collect(),
        });
        let trees = trees.collect();
        let mut transfers = BTreeMap::new();
        for t in self.transfers.values() {
            *transfers.entry(state_name(t.state).to_owned()).or_default() += 1;
        }
        for t in self.wanting.iter().filter_map(|id| self.transfers.get(id)).take(100) {
            if let Some(why) = &t.why {
                wrong.push(format!("transfer {}: {why}", t.id));
            }
        }
        let stalled = self.transfers.values().filter(|t| t.state == TransferState::Stalled).take(100);
        wrong.extend(stalled.map(|t| {
            format!("transfer {} is stalled: {}", t.id, t.why.as_deref().unwrap_or("its sender is silent"))
        }));
        let scheme = self.settings.scheme.name.clone();
        Overview { run: self.run, scheme, sites, links, trees, transfers, wrong }
    }

    fn compare(&self, from: &str, to: &str, capacity: u64, wrong: &mut Vec<String>) {
        let Some(expected) = &self.settings.expected else { return };
        match expected.get(&(from.to_owned(), to.to_owned())) {
            None => wrong.push(format!("link {from} to {to} is not in the topology, so it is not used")),
            Some(should) if *should != capacity => {
                let (is, should) = (
                    valecast_config::units::format_rate(capacity),
                    valecast_config::units::format_rate(*should),
                );
                wrong.push(format!("link {from} to {to} carries {is}, the topology says {should}"));
            }
            Some(_) => {}
        }
    }
}
