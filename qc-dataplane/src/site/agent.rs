//! What the agent of one site knows and does: how the site is, and what makes a plan be in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use valecast_config::{Controller, Keys, Site};
use valecast_switch::daemon::Daemon;
use valecast_switch::switch::{Edit, Switch};

use super::install::Installed;
use super::objects;
use super::probe::{self, Watch};
use crate::control::{Incoming, LinkReport, RECEIVE_PORT, SitePlan, SiteReport};

/// How long the controller may wait with an answer that is no news; so often links' bytes are reported.
const WAIT_MS: u64 = 1000;

/// What the parts of an agent share.
pub(super) struct Shared {
    pub site: Site,
    pub controller: Controller,
    pub keys: Option<Keys>,
    pub daemon: Daemon,
    /// What may arrive here.
    pub incoming: watch::Sender<Incoming>,
    pub figures: Figures,
    session: u64,
    links: BTreeSet<String>,
    state: Mutex<State>,
    /// Something is to be reported at once.
    pub news: Notify,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Trees that could not be installed.
    pub failed: AtomicU64,
    /// Conversations with the controller that failed.
    pub unanswered: AtomicU64,
}

pub(super) struct State {
    installed: Installed,
    /// What the site has in the switch whatever trees there are, once it is there.
    base: Vec<Edit>,
    /// The plan in force.
    generation: u64,
    failed: BTreeMap<u32, String>,
    /// As [`Site::links`].
    pub watches: Vec<Watch>,
    /// What each link carries in bit/s, as far as is known: in that order.
    pub capacities: Vec<u64>,
    /// What seals probes.
    pub probe_keys: probe::Keys,
    pub receives: bool,
    controller: Result<(), String>,
}

impl Shared {
    pub fn new(site: Site, controller: Controller, keys: Option<Keys>, daemon: Daemon) -> Self {
        let state = std::collections::hash_map::RandomState::new();
        let random = std::hash::BuildHasher::hash_one(&state, &site.name);
        // Endpoints that outlive this site must see that the next one's is another. Not by the clock, which may jump.
        let version = std::hash::BuildHasher::hash_one(&state, "incoming") >> 12;
        let state = State {
            installed: Installed::default(),
            base: Vec::new(),
            generation: 0,
            failed: BTreeMap::new(),
            watches: vec![Watch::default(); site.links.len()],
            capacities: Vec::new(),
            probe_keys: probe::Keys::default(),
            receives: false,
            controller: Err("it was not asked yet".to_owned()),
        };
        Self {
            links: site.links.iter().map(|l| l.port.clone()).collect(),
            incoming: watch::Sender::new(Incoming { version, trees: Vec::new() }),
            figures: Figures::default(),
            session: random >> 11,
            state: Mutex::new(state),
            news: Notify::new(),
            site,
            controller,
            keys,
            daemon,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attach socket of its switch.
    pub fn attach_socket(&self) -> PathBuf {
        Daemon::ring_socket(self.daemon.run_dir(), &self.site.switch)
    }

    /// Whether the controller has answered lately; else why not.
    pub fn controller_state(&self) -> Result<(), String> {
        self.lock().controller.clone()
    }

    /// How many trees are in force, and how each link is.
    pub fn view(&self) -> (usize, Vec<Watch>) {
        let state = self.lock();
        (state.installed.trees().count(), state.watches.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Switch) -> T) -> Result<T, String> {
        self.daemon.with(&self.site.switch, f).map_err(|e| e.to_string())
    }

    /// Takes the site's own ports and groups into the switch.
    pub fn set_up(&self) -> Result<(), String> {
        let edits = objects::base(&self.ports()).map_err(|e| e.to_string())?;
        let done = self.with(|s| s.edit([edits.as_slice()]))?;
        done.into_iter().collect::<Result<(), _>>().map_err(|e| e.to_string())?;
        self.lock().base = edits;
        Ok(())
    }

    /// Looks after what is in the switch: puts back what somebody took away, and says whether somebody receives.
    pub(super) fn look_after(&self) -> Result<bool, String> {
        let (back, receives) = self.with(|s| {
            let State { installed, base, capacities, .. } = &mut *self.lock();
            *capacities = self.site.links.iter().map(|l| capacity(s, &l.port)).collect();
            let back = installed.mend(s, base);
            (back, s.port_state(RECEIVE_PORT).is_some_and(|(_, client)| client.is_some()))
        })?;
        if !back.is_empty() {
            let site = &self.site.name;
            tracing::warn!(site, "somebody has taken away or changed {}: put back", back.join(", "));
        }
        Ok(receives)
    }

    /// What a port of the switch is here, and what makes it free.
    pub fn needs(&self, port: &str) -> Option<String> {
        let (site, link) = (&self.site.name, self.site.links.iter().find(|l| l.port == port)?);
        Some(format!(
            "site {site:?}, whose link to {:?} it is: take that [[qc.site.link]] out of the configuration and reload; \
             trees go around it then",
            link.to
        ))
    }

    /// Takes all of the site out of the switch.
    pub fn tear_down(&self) {
        let edits = objects::without_base(&self.ports());
        // A switch that is gone took everything along.
        let _ = self.with(|s| {
            self.lock().installed.clear(s);
            s.edit(edits.iter().map(std::slice::from_ref));
        });
    }

    fn ports(&self) -> Vec<String> {
        self.site.links.iter().map(|l| l.port.clone()).collect()
    }

    pub(super) fn report(&self) -> Result<SiteReport, String> {
        self.with(|s| {
            let state = self.lock();
            let link = |(l, w): (&valecast_config::SiteLink, &Watch)| LinkReport {
                port: l.port.clone(),
                to: l.to.clone(),
                capacity: capacity(s, &l.port),
                up: w.is_up(),
                bytes: s.out_bytes(&l.port).unwrap_or(0),
                peer: w.peer().map(str::to_owned),
            };
            let room = s.group_room();
            let others = room.groups.saturating_sub(state.installed.groups());
            let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            SiteReport {
                session: self.session,
                links: self.site.links.iter().zip(&state.watches).map(link).collect(),
                max_groups: small(room.max_groups.saturating_sub(others)),
                max_buckets: small(room.max_buckets),
                generation: state.generation,
                failed: state.failed.clone(),
                receives: state.receives,
                wait_ms: WAIT_MS,
            }
        })
    }

    /// Makes a plan be in force.
    pub(super) fn follow(&self, plan: &SitePlan) -> Result<(), String> {
        if let Some(key) = &plan.key {
            self.lock().probe_keys.learn(key)?;
        }
        let news = self.with(|s| {
            let mut state = self.lock();
            let failed = state.installed.follow(s, &self.links, plan);
            for (tree, why) in failed.iter().filter(|(tree, _)| !state.failed.contains_key(tree)) {
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(site = self.site.name, tree, "not installed: {why}");
            }
            state.failed = failed;
            state.generation = plan.generation;
            let here = |t: &&crate::control::IncomingTree| state.installed.has(t.tree);
            plan.incoming.iter().filter(here).cloned().collect::<Vec<_>>()
        })?;
        self.incoming.send_if_modified(|now| {
            let changed = now.trees != news;
            if changed {
                now.version += 1;
                now.trees = news;
            }
            changed
        });
        Ok(())
    }

    pub(super) fn heard_of_controller(&self, heard: Result<(), String>) {
        let mut state = self.lock();
        if state.controller.is_ok() != heard.is_ok() {
            match &heard {
                Ok(()) => {
                    tracing::info!(site = self.site.name, "the controller answers: {}", self.controller);
                }
                Err(why) => {
                    tracing::warn!(site = self.site.name, "no controller; trees stay as they are: {why}");
                }
            }
        }
        state.controller = heard;
    }
}

/// What a link carries, in bit/s.
fn capacity(s: &Switch, port: &str) -> u64 {
    s.port_state(port).and_then(|(port, _)| port.capacity).unwrap_or(0)
}
