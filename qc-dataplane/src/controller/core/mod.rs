//! What the controller decides, as a state machine: what happens and when goes in, plans and states come out. It has no
//! sockets, no clock and no dice, so a test can lead it through any story.
//!
//! - [`site`]: what a site said and what it is to have; [`network`]: the graph that sites' links make
//! - [`transfer`]: what was asked for; `events` is what sites and senders say and what becomes of it
//! - `pump`: what waits is planned, `thin`: and what lost a tree gets another; [`planning`]: trees that switches have room for; `install` puts them into plans and takes
//!   them out, all or none
//! - [`rates`]: how fast each tree may send; `tick` is what time brings: silence, deadlines, the next timeslot; `quiet` gives
//!   up transfers that nobody sends
//! - [`record`]: what must outlive the process, and `restore` what it makes of that; [`view`]: what people are shown

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::control::{SitePlan, TransferState, TransferStatus};
use crate::plan::{Planner, Scheme};
use crate::rate::{Allocator, Policy};

mod events;
mod install;
pub mod network;
pub mod planning;
mod pump;
mod quiet;
pub mod rates;
pub mod record;
mod restore;
pub mod site;
mod thin;
mod tick;
pub mod transfer;
pub mod tree;
pub mod view;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use network::Network;
use record::{Numbers, Record, Saved, SavedSite};
use site::Site;
use transfer::Transfer;
use tree::Installed;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that only runs forward.
    pub ms: u64,
    /// Milliseconds since 1970, by the wall.
    pub unix_ms: u64,
}

/// How the controller works. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How transfers are planned that do not say.
    pub scheme: Scheme,
    /// Who gets how much of a link; none: as the scheme says.
    pub rates: Option<Policy>,
    /// How often rates are computed.
    pub timeslot: u64,
    /// The share of a link's capacity that trees may use; the rest is for reports, polls and repairs.
    pub headroom: f64,
    /// How long a silent site keeps its trees.
    pub lease: u64,
    /// How long a sender may be silent.
    pub sender_timeout: u64,
    /// How long a transfer is kept that nobody sends.
    pub forget_after: u64,
    /// How long sites may take to install a tree.
    pub install_timeout: u64,
    /// Most transfers that have trees at once.
    pub max_transfers: usize,
    /// Links that there should be, with their capacities in bit/s; none: whatever sites report.
    pub expected: Option<BTreeMap<(String, String), u64>>,
}

impl Settings {
    /// Those of a file that says nothing but the scheme.
    #[must_use]
    pub fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            rates: None,
            timeslot: 1_000,
            headroom: 0.98,
            lease: 30_000,
            sender_timeout: 10_000,
            forget_after: 86_400_000,
            install_timeout: 5_000,
            max_transfers: 1_000,
            expected: None,
        }
    }
}

/// The scheme of a name: those of [`Scheme::NAMES`], and `quickcast` for the paper's with as many partitions as the budget
/// allows.
#[must_use]
pub fn scheme(name: &str) -> Option<Scheme> {
    let found = Scheme::named(if name == "quickcast" { "paper" } else { name })?;
    Some(Scheme { name: name.to_owned(), ..found })
}

/// Why the controller refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It does not go with how things stand.
    #[error("{0}")]
    Conflict(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
}

/// Longest that an answer may wait for a change, in milliseconds.
pub const LONGEST_WAIT: u64 = 30_000;

/// Most sites.
const MOST_SITES: usize = 4_096;
/// Most transfers that are not over.
const MOST_OPEN: usize = 100_000;
/// Transfers that are over and still shown.
const KEEP: usize = 20_000;

/// What has changed since it was asked last.
#[derive(Debug, Default)]
pub struct Changes {
    /// To be on disk before anybody hears of the rest.
    pub records: Vec<Record>,
    /// Sites whose plan is another.
    pub sites: BTreeSet<String>,
    /// Transfers whose status is another.
    pub transfers: BTreeSet<u64>,
}

/// The controller.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    run: u64,
    key: Option<String>,
    counter: u64,
    numbers: Numbers,
    sites: BTreeMap<String, Site>,
    transfers: BTreeMap<u64, Transfer>,
    /// Transfers by the number with which they were asked for.
    requests: HashMap<u64, u64>,
    trees: BTreeMap<u32, Installed>,
    /// Transfers with receivers that no tree serves.
    wanting: BTreeSet<u64>,
    /// Transfers with partitions that have fewer trees than they had.
    thin: BTreeMap<u64, thin::Looked>,
    /// When they are looked at next.
    thin_at: u64,
    /// Transfers with trees.
    live: BTreeSet<u64>,
    /// Transfers that are over, the first that was first.
    over: std::collections::VecDeque<u64>,
    /// Rises with each change of the network or of what is installed: what could not be planned may now be.
    epoch: u64,
    /// Where the next pass over `wanting` starts.
    cursor: u64,
    usable: Option<Arc<Network>>,
    all: Option<Arc<Network>>,
    planners: HashMap<String, Planner>,
    allocator: Allocator,
    rates_at: u64,
    rates_due: bool,
    last_tick: u64,
    /// When transfers that nobody sends are looked for next.
    quiet_at: u64,
    changes: Changes,
}

impl Core {
    /// The controller, with what it knew when its process ended. Sites are asked again; those that do not come back are
    /// down, and trees stay until then.
    #[must_use]
    pub fn new(settings: Settings, saved: Saved, now: Now) -> Self {
        let mut core = Self {
            settings,
            run: saved.run + 1,
            key: saved.key.clone(),
            counter: 0,
            numbers: Numbers {
                transfer: saved.numbers.transfer.max(1),
                tree: saved.numbers.tree.max(1),
                batch: saved.numbers.batch,
            },
            sites: BTreeMap::new(),
            transfers: BTreeMap::new(),
            requests: HashMap::new(),
            trees: BTreeMap::new(),
            wanting: BTreeSet::new(),
            thin: BTreeMap::new(),
            thin_at: now.ms,
            live: BTreeSet::new(),
            over: std::collections::VecDeque::new(),
            epoch: 0,
            cursor: 0,
            usable: None,
            all: None,
            planners: HashMap::new(),
            allocator: Allocator::new(),
            rates_at: now.ms,
            rates_due: false,
            last_tick: now.ms,
            quiet_at: now.ms,
            changes: Changes::default(),
        };
        core.changes.records.push(Record::Run(core.run));
        core.changes.records.extend(core.key.clone().map(Record::Key));
        core.restore(saved, now);
        core
    }

    /// Takes what has changed.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// A site, if it ever reported.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.get(name)
    }

    /// What a site is to have in force, with the key of links.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<SitePlan> {
        Some(SitePlan { key: self.key.clone(), ..self.site(name)?.plan() })
    }

    /// All sites, by name.
    #[must_use]
    pub fn sites(&self) -> &BTreeMap<String, Site> {
        &self.sites
    }

    /// All trees that sites are to have, by number.
    #[must_use]
    pub fn trees(&self) -> &BTreeMap<u32, Installed> {
        &self.trees
    }

    /// All transfers, by number.
    #[must_use]
    pub fn transfers(&self) -> &BTreeMap<u64, Transfer> {
        &self.transfers
    }

    /// How it works.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The state that the records so far lead to.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let site = |(name, s): (&String, &Site)| {
            let (name, links) = (name.clone(), s.links.clone());
            let saved = SavedSite { name, links, max_groups: s.max_groups, max_buckets: s.max_buckets };
            (saved.name.clone(), saved)
        };
        Saved {
            run: self.run,
            key: self.key.clone(),
            numbers: self.numbers,
            sites: self.sites.iter().map(site).collect(),
            transfers: self.transfers.clone(),
            trees: self.trees.clone(),
        }
    }

    /// How a transfer stands.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn status(&self, id: u64) -> Result<TransferStatus, Refusal> {
        Ok(self.show(self.transfer(id)?))
    }

    /// Transfers by number, of one sender or of all: all that are not over, and unless these alone are wanted the last
    /// `most` of the others.
    #[must_use]
    pub fn list(&self, from: Option<&str>, open: bool, most: usize) -> Vec<TransferStatus> {
        let mut left = if open { 0 } else { most };
        let mut list = Vec::new();
        for t in self.transfers.values().rev().filter(|t| from.is_none_or(|f| f == t.from)) {
            if t.state.is_over() {
                if left == 0 {
                    continue;
                }
                left -= 1;
            }
            list.push(self.show(t));
        }
        list.reverse();
        list
    }

    fn show(&self, t: &Transfer) -> TransferStatus {
        let trees = t.trees.iter().filter_map(|n| self.trees.get(n)).filter(|tree| tree.in_force);
        let trees = match t.state {
            TransferState::Running => trees.map(Installed::status).collect(),
            _ => Vec::new(),
        };
        TransferStatus {
            id: t.id,
            version: t.version,
            state: t.state,
            why: t.shown_why(),
            from: t.from.clone(),
            name: t.name.clone(),
            bytes: t.bytes,
            scheme: t.scheme.clone().unwrap_or_else(|| self.settings.scheme.name.clone()),
            path: t.path.clone(),
            receivers: t.receivers.clone(),
            trees,
            created_ms: t.created_ms,
            ended_ms: t.ended_ms,
        }
    }

    fn transfer(&self, id: u64) -> Result<&Transfer, Refusal> {
        self.transfers.get(&id).ok_or_else(|| Refusal::Missing(format!("there is no transfer {id}")))
    }

    /// Something about a transfer is another, and who waits for that hears of it.
    fn touch(&mut self, id: u64) {
        if let Some(t) = self.transfers.get_mut(&id) {
            t.version += 1;
            self.changes.transfers.insert(id);
        }
    }

    /// As [`Self::touch`], for what must outlive the process.
    fn save(&mut self, id: u64) {
        self.touch(id);
        if let Some(t) = self.transfers.get(&id) {
            self.changes.records.push(Record::Transfer(Box::new(t.clone())));
        }
    }

    /// A generation that no plan had before.
    fn generation(&mut self) -> u64 {
        self.counter += 1;
        (self.run << 32) | self.counter
    }

    /// A site's plan is another.
    fn replan_site(&mut self, name: &str) {
        let generation = self.generation();
        if let Some(site) = self.sites.get_mut(name) {
            site.generation = generation;
            self.changes.sites.insert(name.to_owned());
        }
    }

    /// The network is another.
    fn network_changed(&mut self) {
        self.usable = None;
        self.all = None;
        self.planners.clear();
        self.epoch += 1;
        self.rates_due = true;
    }

    /// The network that new trees may use.
    fn usable(&mut self, now: Now) -> Option<Arc<Network>> {
        if self.usable.is_none() {
            self.usable = self.network_without(now, &BTreeSet::new()).map(Arc::new);
        }
        self.usable.clone()
    }

    fn network_without(&self, now: Now, avoid: &BTreeSet<String>) -> Option<Network> {
        let expected = self.settings.expected.as_ref();
        Network::new(
            &self.sites,
            self.settings.headroom,
            |name, site| site.is_up() && site.avoid_until <= now.ms && !avoid.contains(name),
            |pair| {
                let ends = (pair.hop.from.clone(), pair.hop.to.clone());
                pair.up && expected.is_none_or(|e| e.contains_key(&ends))
            },
        )
    }

    /// The network of all sites and links there are, up or not: trees that are there share it.
    fn all(&mut self) -> Option<Arc<Network>> {
        if self.all.is_none() {
            self.all = Network::new(&self.sites, self.settings.headroom, |_, _| true, |_| true).map(Arc::new);
        }
        self.all.clone()
    }
}
