//! A topology as one daemon: a switch and site for each node, joined by patches of scaled capacity. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use valecast_qc_dataplane::topology::Topology;

/// Longest name of a site: that of a port towards it, `to-…`, has 15 bytes.
const LONGEST: usize = 12;

/// A network whose links carry what this machine can.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Names of the sites, by node.
    pub sites: Vec<String>,
    /// Capacities in bit/s, each direction by itself.
    pub links: BTreeMap<(usize, usize), u64>,
    /// Real rate over scaled rate.
    pub scale: f64,
}

impl Network {
    /// The network with its fastest link at `fastest` bit/s, and no link slower than `slowest`.
    pub fn new(topology: &Topology, fastest: u64, slowest: u64) -> Self {
        let graph = &topology.graph;
        let mut taken = BTreeSet::new();
        let sites = (0..graph.nodes()).map(|n| site_name(graph.names()[n].as_str(), &mut taken)).collect();
        let top = graph.links().iter().map(|l| l.capacity).fold(0.0, f64::max) * 1e9;
        let scale = if top > 0.0 { top / fastest as f64 } else { 1.0 };
        let mut links = BTreeMap::new();
        for l in graph.links() {
            let rate = ((l.capacity * 1e9 / scale).round() as u64).max(slowest);
            let (from, to) = (l.from as usize, l.to as usize);
            *links.entry((from, to)).or_insert(0) += rate;
        }
        // A patch has two directions: one that the topology lacks is as the other.
        for ((from, to), rate) in links.clone() {
            links.entry((to, from)).or_insert(rate);
        }
        Self { name: topology.name.clone(), sites, links, scale }
    }

    /// The node of a site.
    pub fn find(&self, site: &str) -> Option<usize> {
        self.sites.iter().position(|s| s == site)
    }

    /// The port of a site towards another.
    pub fn port(&self, to: usize) -> String {
        format!("to-{}", self.sites[to])
    }

    /// The configuration of a daemon that is this network.
    pub fn config(&self, run_dir: &Path) -> String {
        let patch =
            |node, to| format!("kind = \"patch\"\npeer = \"{}:{}\"\n", self.sites[to], self.port(node));
        format!("run_dir = {run_dir:?}\n") + &self.tables(patch)
    }

    /// The same with a network namespace for each site, and interfaces that lead from one to another.
    pub fn wan(&self) -> String {
        let interface = |node: usize, to: usize| {
            format!("kind = \"packet\"\ninterface = \"w{node}-{to}\"\nnetns = \"wan-{}\"\n", self.sites[node])
        };
        self.tables(interface)
    }

    fn tables(&self, kind: impl Fn(usize, usize) -> String) -> String {
        let mut text = String::new();
        for (node, site) in self.sites.iter().enumerate() {
            // Many switches share few CPUs: none may spin.
            let _ = write!(text, "\n[[switch]]\nname = {site:?}\nspin = \"2us\"\n");
            for (to, rate) in self.neighbours(node) {
                let _ = write!(
                    text,
                    "[[switch.port]]\nname = {:?}\n{}capacity = {rate}\nflood = false\nlearn = false\n",
                    self.port(to),
                    kind(node, to)
                );
            }
        }
        for (node, site) in self.sites.iter().enumerate() {
            let _ = write!(text, "\n[[qc.site]]\nswitch = {site:?}\n");
            for (to, _) in self.neighbours(node) {
                let _ =
                    write!(text, "[[qc.site.link]]\nport = {:?}\nto = {:?}\n", self.port(to), self.sites[to]);
            }
        }
        text
    }

    /// Where links lead from a node, and what they carry.
    pub fn neighbours(&self, node: usize) -> impl Iterator<Item = (usize, u64)> {
        self.links.range((node, 0)..(node + 1, 0)).map(|((_, to), rate)| (*to, *rate))
    }
}

/// A name that a switch can have, for a node that may be called anything.
fn site_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let known = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut plain: String = name.chars().filter(known).take(LONGEST).collect();
    if plain.is_empty() {
        plain.push('n');
    }
    let mut own = plain.clone();
    for i in 2.. {
        if taken.insert(own.clone()) {
            break;
        }
        let number = i.to_string();
        own = plain.chars().take(LONGEST - number.len()).collect::<String>() + &number;
    }
    own
}

#[cfg(test)]
mod tests {
    use valecast_config::Config;
    use valecast_qc_dataplane::topology::built_in;

    use super::*;

    #[test]
    fn every_built_in_network_is_a_configuration() {
        for name in ["geant", "ans", "gscale", "uninett"] {
            let topology = built_in(name).unwrap().unwrap();
            let network = Network::new(&topology, 400_000_000, 4_000_000);
            let text = network.config(Path::new("/tmp/x"));
            let config = Config::parse(name, &text).unwrap_or_else(|e| panic!("{e}"));
            let sites = config.qc.unwrap().sites;
            assert_eq!(sites.len(), topology.graph.nodes());
            let links: usize = sites.iter().map(|s| s.links.len()).sum();
            assert_eq!(links, network.links.len());
            let rates = || network.links.values();
            assert_eq!(rates().max(), Some(&400_000_000), "{name}");
            assert!(rates().all(|r| *r >= 4_000_000), "{name}");
        }
    }

    /// The example is what is printed for Fig. 1, below its own words.
    #[test]
    fn the_example_is_this_one() {
        let topology = Topology::read("fig1.toml", super::super::plan::FIG1.to_vec(), None).unwrap();
        let network = Network::new(&topology, 400_000_000, 4_000_000);
        let example = include_str!("../../../../examples/wan.toml");
        let tables: String =
            example.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        assert_eq!(tables.trim(), network.wan().trim());
        Config::parse("wan", example).unwrap();
    }

    #[test]
    fn names_are_made_to_fit() {
        let mut taken = BTreeSet::new();
        let names = ["São Paulo", "", "a very long name indeed", "a very long name, too", "x/y"];
        let made = names.map(|n| site_name(n, &mut taken));
        assert_eq!(made, ["SoPaulo", "n", "averylongnam", "averylongna2", "xy"]);
    }
}
