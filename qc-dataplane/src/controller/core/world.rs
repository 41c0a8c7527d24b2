//! A world for tests: sites, links and senders that do as a story says, around a controller whose every state is checked.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Saved;
use super::site::{buckets, takes_entry};
use super::tree::Installed;
use super::{Core, Now, Settings, scheme};
use crate::control::{
    Ended, LinkReport, NewTransfer, Progress, ReceiverProgress, ReceiverState, SitePlan, SiteReport,
    TransferState, TreeHere, TreeProgress,
};

/// A site as it would be.
#[derive(Clone, Debug)]
pub struct FakeSite {
    pub session: u64,
    pub alive: bool,
    pub refuses: bool,
    pub receives: bool,
    pub links: Vec<(String, u64)>,
    pub max_groups: u32,
    pub max_buckets: u32,
    pub plan: SitePlan,
    pub failed: BTreeMap<u32, String>,
    /// Trees that it has had in force.
    pub had: BTreeSet<u32>,
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub core: Core,
    pub saved: Saved,
    pub now: Now,
    pub sites: BTreeMap<String, FakeSite>,
    /// Links that carry nothing, either way.
    pub cut: BTreeSet<(String, String)>,
    pub silent: BTreeSet<u64>,
    /// The generation and the plan of each site when last looked at.
    seen: BTreeMap<String, SitePlan>,
}

fn settings(name: &str) -> Settings {
    Settings { lease: 5_000, max_transfers: 6, ..Settings::new(scheme(name).unwrap()) }
}

impl World {
    /// Sites with both directions of these links, each of a capacity in Mbit/s.
    pub fn new(links: &[(&str, &str, u64)], scheme: &str) -> Self {
        let mut sites: BTreeMap<String, FakeSite> = BTreeMap::new();
        for (a, b, capacity) in links {
            for (from, to) in [(a, b), (b, a)] {
                let site = sites.entry((*from).to_owned()).or_insert_with(|| FakeSite {
                    session: 1,
                    alive: true,
                    refuses: false,
                    receives: true,
                    links: Vec::new(),
                    max_groups: 100,
                    max_buckets: 32,
                    plan: SitePlan::default(),
                    failed: BTreeMap::new(),
                    had: BTreeSet::new(),
                });
                site.links.push(((*to).to_owned(), capacity * 1_000_000));
            }
        }
        let now = Now { ms: 1, unix_ms: 1_700_000_000_000 };
        let core = Core::new(settings(scheme), Saved::default(), now);
        let mut world = Self {
            core,
            saved: Saved::default(),
            now,
            sites,
            cut: BTreeSet::new(),
            silent: BTreeSet::new(),
            seen: BTreeMap::new(),
        };
        world.check();
        world
    }

    pub fn fig1() -> Self {
        let mut world = Self::new(
            &[
                ("S", "x", 1000),
                ("x", "y", 100),
                ("y", "t1", 1000),
                ("y", "t2", 1000),
                ("x", "t3", 1000),
                ("x", "t4", 1000),
            ],
            "quickcast",
        );
        world.settle();
        world
    }

    pub fn names(&self) -> Vec<String> {
        self.sites.keys().cloned().collect()
    }

    fn report(&self, name: &str) -> SiteReport {
        let site = &self.sites[name];
        let link = |(to, capacity): &(String, u64)| LinkReport {
            port: format!("to-{to}"),
            to: to.clone(),
            capacity: *capacity,
            up: self.sites[to].alive && !self.is_cut(name, to),
            bytes: 0,
            peer: None,
        };
        SiteReport {
            session: site.session,
            links: site.links.iter().map(link).collect(),
            max_groups: site.max_groups,
            max_buckets: site.max_buckets,
            generation: site.plan.generation,
            failed: site.failed.clone(),
            receives: site.receives,
            wait_ms: 1_000,
        }
    }

    fn is_cut(&self, a: &str, b: &str) -> bool {
        let has = |x: &str, y: &str| self.cut.contains(&(x.to_owned(), y.to_owned()));
        has(a, b) || has(b, a)
    }

    /// A site reports, and does as it is told.
    pub fn sync(&mut self, name: &str) {
        if !self.sites[name].alive {
            return;
        }
        let report = self.report(name);
        self.core.sync(self.now, name, &report).unwrap();
        self.check();
        let plan = self.core.site(name).unwrap().plan();
        let site = self.sites.get_mut(name).unwrap();
        site.failed.clear();
        for tree in &plan.trees {
            let fresh = !site.plan.trees.iter().any(|t| t.tree == tree.tree);
            if site.refuses && fresh {
                site.failed.insert(tree.tree, "the disk is on fire".into());
            } else {
                site.had.insert(tree.tree);
            }
        }
        site.plan = plan;
    }

    pub fn sync_all(&mut self) {
        for name in self.names() {
            self.sync(&name);
        }
    }

    /// Everybody hears of everything.
    pub fn settle(&mut self) {
        for _ in 0..6 {
            self.sync_all();
        }
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = Now { ms: self.now.ms + ms, unix_ms: self.now.unix_ms + ms };
        self.core.tick(self.now);
        self.check();
    }

    /// As [`Self::pass`], while sites report as they should and senders say that they are there.
    pub fn live(&mut self, ms: u64) {
        for _ in 0..ms / 500 {
            self.settle();
            let running: Vec<u64> =
                self.core.transfers().values().filter(|t| !t.state.is_over()).map(|t| t.id).collect();
            for id in running.into_iter().filter(|id| !self.silent.contains(id)).collect::<Vec<_>>() {
                if self.core.transfers()[&id].session.is_some()
                    || self.core.status(id).unwrap().state == TransferState::Running
                {
                    self.progress(id, 0, None);
                }
            }
            self.pass(500);
        }
    }

    pub fn submit(&mut self, from: &str, to: &[&str], bytes: u64) -> u64 {
        let new = NewTransfer {
            from: Some(from.to_owned()),
            to: to.iter().map(|s| (*s).to_owned()).collect(),
            bytes,
            name: "file".into(),
            overhead: 1.05,
            scheme: None,
            path: None,
            request: None,
        };
        let id = self.core.submit(self.now, new).unwrap().id;
        self.check();
        id
    }

    /// The sender says how it is: `percent` of the content is at each receiver of each tree.
    pub fn progress(&mut self, id: u64, percent: u64, ended: Option<Ended>) {
        let status = self.core.status(id).unwrap();
        let have = status.bytes / 100 * percent;
        let tree = |t: &crate::control::TreeStatus| TreeProgress {
            tree: t.tree,
            residual: status.bytes - have,
            receivers: t
                .receivers
                .iter()
                .map(|_| ReceiverProgress {
                    have,
                    rate: 1,
                    state: if percent == 100 { ReceiverState::Verified } else { ReceiverState::Receiving },
                    why: None,
                })
                .collect(),
        };
        let progress =
            Progress { session: 7, trees: status.trees.iter().map(tree).collect(), verified: vec![], ended };
        let _ = self.core.progress(self.now, id, &progress);
        self.check();
    }

    pub fn state(&self, id: u64) -> TransferState {
        self.core.status(id).unwrap().state
    }

    pub fn why(&self, id: u64) -> String {
        self.core.status(id).unwrap().why.unwrap_or_default()
    }

    /// The controller is killed, and started on what was on the disk.
    pub fn restart(&mut self) {
        let before: BTreeMap<String, Vec<TreeHere>> =
            self.core.sites().iter().map(|(n, s)| (n.clone(), s.plan().trees)).collect();
        self.core = Core::new(self.core.settings().clone(), self.saved.clone(), self.now);
        let plain = |trees: &[TreeHere]| -> Vec<TreeHere> {
            trees.iter().cloned().map(|t| TreeHere { limit: None, ..t }).collect()
        };
        for (name, trees) in before {
            let now = self.core.site(&name).unwrap().plan().trees;
            assert_eq!(plain(&now), plain(&trees), "{name} after a restart");
        }
        self.check();
    }

    /// What must hold at any time.
    pub fn check(&mut self) {
        let changes = self.core.take_changes();
        // As it comes back from the disk.
        let text = serde_json::to_string(&changes.records).unwrap();
        let records: Vec<super::record::Record> = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&records).unwrap(), text);
        records.into_iter().for_each(|r| self.saved.apply(r));
        let core = &self.core;
        assert_eq!(
            self.saved.transfers.keys().collect::<Vec<_>>(),
            core.transfers().keys().collect::<Vec<_>>()
        );
        let durable = |t: &Installed| {
            (t.tree, t.transfer, t.partition, t.receivers.clone(), t.hops.clone(), t.in_force)
        };
        let (a, b) = (self.saved.trees.values().map(durable), core.trees().values().map(durable));
        assert_eq!(a.collect::<Vec<_>>(), b.collect::<Vec<_>>());
        self.check_plans();
        self.check_trees();
        self.check_rates();
    }

    fn check_plans(&mut self) {
        let mut want: BTreeMap<&str, Vec<TreeHere>> = BTreeMap::new();
        let parts: Vec<_> = self.core.trees().values().map(|t| (t, t.parts())).collect();
        for (_, parts) in &parts {
            for (site, here) in parts {
                want.entry(site).or_default().push(here.clone());
            }
        }
        for (name, site) in self.core.sites() {
            let plan = site.plan();
            assert_eq!(plan.trees, want.remove(name.as_str()).unwrap_or_default(), "the plan of {name}");
            let ends: Vec<u32> = plan.trees.iter().filter(|t| t.receiver.is_some()).map(|t| t.tree).collect();
            assert_eq!(plan.incoming.iter().map(|t| t.tree).collect::<Vec<_>>(), ends);
            let entries = plan.trees.iter().filter(|t| takes_entry(t)).count() as u32;
            assert_eq!(entries, site.entries, "{name}");
            if site.session.is_some() {
                assert!(entries <= site.max_groups, "{name} has {entries} of {} entries", site.max_groups);
                assert!(plan.trees.iter().all(|t| buckets(t) <= site.max_buckets), "{name}");
            }
            if let Some(before) = self.seen.get(name) {
                assert!(plan.generation >= before.generation, "the generation of {name} fell");
                if plan.generation == before.generation {
                    assert_eq!(plan, *before, "{name} changed within a generation");
                }
            }
            self.seen.insert(name.clone(), plan);
        }
        assert!(want.is_empty(), "trees cross sites that do not exist: {want:?}");
    }

    fn check_trees(&self) {
        for tree in self.core.trees().values() {
            let t = &self.core.transfers()[&tree.transfer];
            assert!(!t.state.is_over() && t.state != TransferState::Stalled, "tree {} outlives", tree.tree);
            assert!(t.trees.contains(&tree.tree));
            let mut reached = BTreeSet::from([t.from.as_str()]);
            for hop in &tree.hops {
                assert!(reached.contains(hop.from.as_str()), "{tree:?}");
                assert!(reached.insert(&hop.to), "{tree:?} reaches {} twice", hop.to);
                assert_eq!(
                    (hop.out.as_str(), hop.back.as_str()),
                    (&*format!("to-{}", hop.to), &*format!("to-{}", hop.from))
                );
            }
            assert!(!tree.receivers.is_empty());
            assert!(tree.receivers.iter().all(|r| reached.contains(r.as_str())), "{tree:?}");
            if tree.in_force {
                assert!(
                    tree.sites().all(|s| self.sites[s].had.contains(&tree.tree)),
                    "{tree:?} was not everywhere"
                );
            }
        }
        for t in self.core.transfers().values() {
            let mut served: BTreeMap<&String, (u16, &Vec<String>)> = BTreeMap::new();
            for tree in t.trees.iter().map(|n| &self.core.trees()[n]) {
                for r in &tree.receivers {
                    // By several trees only where they share a partition.
                    let by = *served.entry(r).or_insert((tree.partition, &tree.receivers));
                    assert_eq!(by, (tree.partition, &tree.receivers), "{r} is served twice in {}", t.id);
                    assert!(t.receivers.iter().any(|o| o.site == *r));
                }
            }
            let shown = self.core.status(t.id).unwrap();
            assert_eq!(shown.state == TransferState::Running, !shown.trees.is_empty(), "{shown:?}");
        }
    }

    fn check_rates(&self) {
        let mut carried: BTreeMap<(&str, &str), (u64, u64, u64)> = BTreeMap::new();
        for tree in self.core.trees().values() {
            for hop in &tree.hops {
                let (rate, burst, trees) = carried.entry((&hop.from, &hop.to)).or_default();
                (*rate, *burst, *trees) = (*rate + tree.limit.rate, *burst + tree.limit.burst, *trees + 1);
            }
        }
        for ((from, to), (rate, burst, trees)) in carried {
            let capacity = self.sites[from].links.iter().find(|l| l.0 == to).unwrap().1 as f64;
            // Rates that differ by less than 1 % are left alone.
            assert!(rate as f64 <= capacity * 0.98 * 1.011, "{from} to {to}: {rate} of {capacity}");
            // The link's probes wait behind what all send at once.
            let seconds = (burst - 64 * trees) as f64 * 8.0 / capacity;
            assert!(seconds < 0.15, "{from} to {to}: {trees} trees may send {seconds} s at once");
        }
    }
}
