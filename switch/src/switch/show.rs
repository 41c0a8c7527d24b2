//! What `ctl`, `top`, Prometheus and tests are shown: plain figures, taken without disturbing the workers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use valecast_config::{Mac, StaticEntry};

use super::Switch;
use crate::clock;
use crate::counters::Sums;
use crate::mac;

/// Figures and state of one port.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the words of `counters`
pub struct PortView {
    pub name: String,
    pub kind: String,
    /// `up`: frames can be delivered; `waiting`: for its client or peer; `down` or `gone`: its interface is.
    pub state: String,
    /// Which way frames take, of kinds that have several.
    pub mode: Option<String>,
    pub pid: Option<i32>,
    pub uid: Option<u32>,
    /// Seconds since it was attached.
    pub age_s: Option<f64>,
    pub memory: u64,
    /// How much of that lies in huge pages.
    #[serde(default)]
    pub huge_memory: u64,
    pub ring_resets: u64,
    pub in_frames: u64,
    pub in_bytes: u64,
    pub in_bursts: u64,
    pub forwarded: u64,
    pub copies: u64,
    pub in_drops: BTreeMap<String, u64>,
    pub out_frames: u64,
    pub out_bytes: u64,
    pub out_drops: BTreeMap<String, u64>,
    /// What its device counts, of ports that have one.
    #[serde(default)]
    pub device: BTreeMap<String, u64>,
    /// What the kernel dropped before the switch had it, or after; in none of the other figures.
    #[serde(default)]
    pub kernel_drops: BTreeMap<String, u64>,
    pub learn_refused: u64,
    /// By ring or queue.
    pub rings: Vec<crate::counters::RingSums>,
}

/// A switch's figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatsView {
    /// Switch.
    pub switch: String,
    /// Seconds since it was started.
    pub uptime_s: f64,
    /// Worker threads.
    pub workers: usize,
    /// Bytes of all rings, and the most allowed.
    pub memory: u64,
    /// As above.
    pub memory_limit: u64,
    /// Its ports.
    pub ports: Vec<PortView>,
    /// Sums of ports that were detached, so that the books stay balanced.
    pub retired: PortView,
    /// Addresses known.
    pub fdb_entries: usize,
    /// Addresses that gave way to others.
    pub fdb_evictions: u64,
    /// Addresses that changed ports.
    pub fdb_moves: u64,
}

/// A forwarding entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FdbView {
    /// Address.
    pub mac: String,
    /// VLAN, 0 for untagged.
    pub vlan: u16,
    /// Port.
    pub port: String,
    /// Seconds since it was seen; 0 for a static one.
    pub age_s: u32,
    /// Configured, not learned.
    #[serde(rename = "static")]
    pub is_static: bool,
}

/// A group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupView {
    /// As configured.
    #[serde(flatten)]
    pub group: valecast_config::Group,
    /// Frames that matched.
    pub frames: u64,
}

/// How full the table of groups is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRoom {
    /// Groups.
    pub groups: usize,
    /// Most of them.
    pub max_groups: usize,
    /// Most buckets of one.
    pub max_buckets: usize,
}

/// Groups and the table's limits.
#[derive(Clone, Debug, Serialize)]
pub struct GroupsView {
    /// The groups.
    pub groups: Vec<GroupView>,
    /// Most entries.
    pub max_groups: usize,
    /// Most buckets of one.
    pub max_buckets: usize,
}

fn fill(v: &mut PortView, s: &Sums) {
    let named = |d| Sums::named(d).into_iter().map(|(k, n)| (k.to_owned(), n)).collect();
    v.in_frames = s.in_frames;
    v.in_bytes = s.in_bytes;
    v.in_bursts = s.in_bursts;
    v.forwarded = s.forwarded;
    v.copies = s.copies;
    v.in_drops = named(&s.in_drops);
    v.out_frames = s.out_frames;
    v.out_bytes = s.out_bytes;
    v.out_drops = named(&s.out_drops);
    v.learn_refused = s.learn_refused;
}

impl Switch {
    /// Its ports.
    pub fn ports_view(&self) -> Vec<PortView> {
        let now = clock::now_ns();
        let view = |(name, p): (&String, &super::PortState)| {
            let a = p.attached.as_ref();
            let resets = a.and_then(|a| a.resets.as_ref()).map_or(0, |r| r.load(Ordering::Relaxed));
            let about = match &p.serving {
                Some(s) => s.port.about(),
                None => a.map(|a| a.egress.about()).unwrap_or_default(),
            };
            let state = about.state.unwrap_or(if a.is_some() { "up" } else { "waiting" });
            let mut device: BTreeMap<_, _> =
                about.counters.iter().map(|(what, n)| ((*what).to_owned(), *n)).collect();
            if let Some(line) = a.and_then(|a| a.line.as_ref()) {
                device.extend(line.counters().into_iter().map(|(what, n)| (what.to_owned(), n)));
            }
            let kernel_drops = about.kernel_drops.iter().filter(|(_, n)| *n > 0);
            let mut v = PortView {
                name: name.clone(),
                kind: p.cfg.kind.name().to_owned(),
                state: state.to_owned(),
                mode: a.and_then(|a| a.seat.as_ref().map(|_| "inline")).or(about.mode).map(str::to_owned),
                device,
                kernel_drops: kernel_drops.map(|(cause, n)| ((*cause).to_owned(), *n)).collect(),
                pid: a.and_then(|a| a.client).map(|c| c.pid),
                uid: a.and_then(|a| a.client).map(|c| c.uid),
                age_s: a.map(|a| now.saturating_sub(a.since) as f64 / 1e9),
                memory: a.map_or(0, |a| a.memory),
                huge_memory: about.huge_memory,
                ring_resets: p.ring_resets + resets,
                ..PortView::default()
            };
            fill(&mut v, &p.stats.sums());
            v.rings = p.stats.rings(a.map_or(1, |a| a.queues.max(1)));
            v
        };
        self.ports.iter().map(view).collect()
    }

    /// All its figures.
    pub fn stats_view(&self) -> StatsView {
        let now = clock::now_ns();
        let mut retired = PortView { name: "(detached)".into(), ..PortView::default() };
        fill(&mut retired, &self.retired);
        StatsView {
            switch: self.cfg.name.clone(),
            uptime_s: now.saturating_sub(self.started) as f64 / 1e9,
            workers: self.cfg.workers,
            memory: self.memory(),
            memory_limit: self.cfg.memory_limit,
            ports: self.ports_view(),
            retired,
            fdb_entries: self.fdb.entries(clock::secs(now)).len(),
            fdb_evictions: self.fdb.evictions(),
            fdb_moves: self.fdb.moves(),
        }
    }

    /// The forwarding table.
    pub fn fdb_view(&self) -> Vec<FdbView> {
        let now = clock::secs(clock::now_ns());
        let mut all: Vec<_> = self
            .fdb
            .entries(now)
            .into_iter()
            .map(|e| FdbView {
                mac: mac::to_mac(e.mac).to_string(),
                vlan: e.vlan,
                port: self.ids.get(usize::from(e.port)).cloned().flatten().unwrap_or_else(|| "?".into()),
                age_s: if e.is_static { 0 } else { now.saturating_sub(e.seen) },
                is_static: e.is_static,
            })
            .collect();
        all.sort_by(|a, b| (a.vlan, &a.mac).cmp(&(b.vlan, &b.mac)));
        all
    }

    /// The groups.
    pub fn groups_view(&self) -> GroupsView {
        let groups = self
            .groups
            .values()
            .map(|g| GroupView { group: g.cfg.clone(), frames: g.hits.iter().map(|h| h.get()).sum() });
        GroupsView {
            groups: groups.collect(),
            max_groups: self.cfg.max_groups,
            max_buckets: self.cfg.max_buckets,
        }
    }

    /// The meters.
    pub fn meters_view(&self) -> Vec<valecast_config::Meter> {
        self.meters.values().map(|m| m.cfg.clone()).collect()
    }

    /// Bytes that left by a port; none if there is no such port.
    pub fn out_bytes(&self, port: &str) -> Option<u64> {
        Some(self.ports.get(port)?.stats.sums().out_bytes)
    }

    /// How often the data path got new tables.
    pub fn tables_built(&self) -> u64 {
        self.versions.load(Ordering::Relaxed)
    }

    /// How many groups there are and may be, and how many buckets each may have.
    pub fn group_room(&self) -> GroupRoom {
        GroupRoom {
            groups: self.groups.len(),
            max_groups: self.cfg.max_groups,
            max_buckets: self.cfg.max_buckets,
        }
    }

    /// Whether there is a port of this name.
    #[must_use]
    pub fn has_port(&self, name: &str) -> bool {
        self.ports.contains_key(name)
    }

    /// A group, as it was configured.
    #[must_use]
    pub fn group_config(&self, name: &str) -> Option<&valecast_config::Group> {
        self.groups.get(name).map(|g| &g.cfg)
    }

    /// The port of the static entry for an address in a VLAN.
    #[must_use]
    pub fn static_port(&self, mac: Mac, vlan: u16) -> Option<&str> {
        self.statics.get(&(mac, vlan)).map(String::as_str)
    }

    /// The static entries, by address.
    pub(crate) fn statics(&self) -> Vec<StaticEntry> {
        let entry = |((mac, vlan), port): (&(Mac, u16), &String)| StaticEntry {
            mac: *mac,
            port: port.clone(),
            vlan: *vlan,
        };
        self.statics.iter().map(entry).collect()
    }

    /// The configuration as it is now.
    pub fn config_view(&self) -> valecast_config::Switch {
        valecast_config::Switch {
            ports: self.ports.values().map(|p| p.cfg.clone()).collect(),
            meters: self.meters_view(),
            groups: self.groups.values().map(|g| g.cfg.clone()).collect(),
            statics: self.statics(),
            mirrors: self.mirrors.clone(),
            ..self.cfg.clone()
        }
    }
}
