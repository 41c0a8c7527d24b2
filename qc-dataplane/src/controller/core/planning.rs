//! From a transfer to trees that every switch on their way has room for.

use std::collections::{BTreeMap, BTreeSet};

use super::network::Network;
use super::site::{Site, buckets, takes_entry};
use super::tree::Installed;
use crate::control::TreeLimit;
use crate::graph::Node;
use crate::load::Load;
use crate::plan::{BadRequest, Plan, Planner, Scheme};
use crate::tree::Tree;

/// How often a plan is tried with full switches left out, before receivers are served in smaller groups.
const DETOURS: usize = 4;

/// One request to plan.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The sender's site.
    pub from: &'a str,
    /// The receivers' sites.
    pub to: &'a [String],
    /// Gbit of whole frames.
    pub volume: f64,
}

/// Receivers of a partition, and the trees that serve it together.
pub type Planned = (Vec<String>, Vec<Tree>);

/// Switches' tables, with what a plan at hand takes.
#[derive(Debug)]
struct Room<'a> {
    sites: &'a BTreeMap<String, Site>,
    taken: BTreeMap<String, u32>,
}

impl Room<'_> {
    /// Takes entries for a tree; else says which sites have no room, and takes none.
    fn take(&mut self, tree: &Installed) -> Result<(), BTreeMap<String, String>> {
        let mut full = BTreeMap::new();
        let mut takes = Vec::new();
        for (name, here) in tree.parts() {
            let Some(site) = self.sites.get(name) else { continue };
            if buckets(&here) > site.max_buckets {
                let why = format!(
                    "{name}: a group would need {} buckets, its switch allows {}",
                    buckets(&here),
                    site.max_buckets
                );
                full.insert(name.to_owned(), why);
            } else if takes_entry(&here) {
                let taken = site.entries + self.taken.get(name).copied().unwrap_or(0);
                if taken >= site.max_groups {
                    let why =
                        format!("{name}: all {} group entries of its switch are taken", site.max_groups);
                    full.insert(name.to_owned(), why);
                }
                takes.push(name.to_owned());
            }
        }
        if !full.is_empty() {
            return Err(full);
        }
        for name in takes {
            *self.taken.entry(name).or_default() += 1;
        }
        Ok(())
    }
}

/// A tree as it would be installed, for what it takes.
fn draft(network: &Network, from: &str, receivers: &[String], tree: &Tree) -> Installed {
    Installed {
        tree: 0,
        transfer: 0,
        partition: 0,
        batch: 0,
        root: from.to_owned(),
        receivers: receivers.to_vec(),
        hops: network.hops_of(tree),
        in_force: false,
        pending: BTreeMap::new(),
        deadline: 0,
        limit: TreeLimit::default(),
        residual: 0,
    }
}

/// Plans `request` so that no switch gets more than it has room for: as the scheme says, but for trees of a partition
/// that it can do without; else with the full switches left out; else in smaller groups of receivers, each with one
/// tree, down to one by one.
///
/// # Errors
/// Why it cannot be now.
pub fn plan(
    network: &Network,
    planner: &mut Planner,
    sites: &BTreeMap<String, Site>,
    load: impl Fn(&Network) -> Load,
    request: Request<'_>,
    rebuild: impl Fn(&BTreeSet<String>) -> Option<Network>,
) -> Result<(Network, Vec<Planned>), String> {
    let mut avoid: BTreeSet<String> = BTreeSet::new();
    let mut detour: Option<Network> = None;
    let mut why;
    for _ in 0..DETOURS {
        let full = match &detour {
            None => attempt(network, planner, sites, &load(network), request),
            Some(other) => {
                let mut planner = Planner::new(&other.graph, planner.scheme().clone());
                attempt(other, &mut planner, sites, &load(other), request)
            }
        };
        match full {
            Ok(planned) => return Ok((detour.unwrap_or_else(|| network.clone()), planned)),
            Err(Full::Never(message)) if detour.is_none() => return Err(message),
            Err(Full::Never(_)) => break,
            Err(Full::Sites(full)) => {
                why = full;
                let before = avoid.len();
                let ends = |s: &String| s == request.from || request.to.contains(s);
                avoid.extend(why.keys().filter(|s| !ends(s)).cloned());
                if avoid.len() == before {
                    break;
                }
                let Some(next) = rebuild(&avoid) else { break };
                detour = Some(next);
            }
        }
    }
    let single =
        Scheme { partition: crate::plan::Partitioner::Single, parallel: 1, ..planner.scheme().clone() };
    let mut planner = Planner::new(&network.graph, single);
    let mut room = Room { sites, taken: BTreeMap::new() };
    let mut planned = Vec::new();
    let mut load = load(network);
    split(network, &mut planner, &mut room, &mut load, request, &mut planned)?;
    Ok((network.clone(), planned))
}

/// Further trees for a partition that has some: as the scheme says, as far as switches have room for them.
///
/// # Errors
/// Why there can be none.
pub fn more(
    network: &Network,
    planner: &mut Planner,
    sites: &BTreeMap<String, Site>,
    load: &Load,
    request: Request<'_>,
    trees: &[Installed],
) -> Result<Vec<Tree>, String> {
    let (from, to) = nodes(network, request)?;
    let there: Vec<Tree> =
        trees.iter().map(|tree| Tree { root: from, links: network.links_of(tree) }).collect();
    let more = planner.more(load, &to, &there, request.volume).map_err(|e| said(&e))?;
    let mut room = Room { sites, taken: BTreeMap::new() };
    let fits = |tree: &Tree| room.take(&draft(network, request.from, request.to, tree)).is_ok();
    Ok(more.into_iter().filter(fits).collect())
}

/// Why an attempt failed.
enum Full {
    /// These have no room.
    Sites(BTreeMap<String, String>),
    /// There is no plan at all.
    Never(String),
}

fn nodes(network: &Network, request: Request<'_>) -> Result<(Node, Vec<Node>), String> {
    let find = |s: &str| network.graph.find(s).ok_or_else(|| format!("{s} cannot be reached"));
    Ok((find(request.from)?, request.to.iter().map(|s| find(s)).collect::<Result<_, _>>()?))
}

fn said(e: &BadRequest) -> String {
    e.to_string()
}

fn attempt(
    network: &Network,
    planner: &mut Planner,
    sites: &BTreeMap<String, Site>,
    load: &Load,
    request: Request<'_>,
) -> Result<Vec<Planned>, Full> {
    let (from, to) = nodes(network, request).map_err(Full::Never)?;
    let plan: Plan = planner.plan(load, from, &to, request.volume).map_err(|e| Full::Never(said(&e)))?;
    let mut room = Room { sites, taken: BTreeMap::new() };
    let mut planned = Vec::new();
    let mut full = BTreeMap::new();
    for partition in plan.partitions {
        let receivers: Vec<String> =
            partition.receivers.iter().map(|n| network.graph.name(*n).to_owned()).collect();
        if partition.trees.is_empty() {
            return Err(Full::Never("the plan has a partition without a tree".into()));
        }
        let mut trees = Vec::new();
        let mut without = BTreeMap::new();
        for tree in partition.trees {
            match room.take(&draft(network, request.from, &receivers, &tree)) {
                Ok(()) => trees.push(tree),
                Err(sites) => without.extend(sites),
            }
        }
        if trees.is_empty() {
            full.extend(without);
        } else {
            planned.push((receivers, trees));
        }
    }
    if full.is_empty() { Ok(planned) } else { Err(Full::Sites(full)) }
}

/// Serves receivers by one tree, or each half of them by its own.
fn split(
    network: &Network,
    planner: &mut Planner,
    room: &mut Room<'_>,
    load: &mut Load,
    request: Request<'_>,
    planned: &mut Vec<Planned>,
) -> Result<(), String> {
    let (from, to) = nodes(network, request)?;
    let plan = planner.plan(load, from, &to, request.volume).map_err(|e| said(&e))?;
    let tree = plan.partitions.into_iter().flat_map(|p| p.trees).next();
    let tree = tree.ok_or("the plan has no tree")?;
    match room.take(&draft(network, request.from, request.to, &tree)) {
        Ok(()) => {
            load.add(&tree, request.volume);
            planned.push((request.to.to_vec(), vec![tree]));
            Ok(())
        }
        Err(full) if request.to.len() == 1 => {
            Err(full.into_values().next().unwrap_or_else(|| "no switch has room".into()))
        }
        Err(_) => {
            let (a, b) = request.to.split_at(request.to.len() / 2);
            split(network, planner, room, load, Request { to: a, ..request }, planned)?;
            split(network, planner, room, load, Request { to: b, ..request }, planned)
        }
    }
}
