//! The network that can be planned with: sites that answer, and links that are up at both ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::site::Site;
use super::tree::{Hop, Installed};
use crate::control::LinkReport;
use crate::graph::{Graph, Link, LinkId};
use crate::load::Load;
use crate::tree::Tree;

/// Bits in the unit of capacities (Gbit/s) and volumes (Gbit).
pub const UNIT: f64 = 1e9;

/// A graph of sites, and the ports of its links.
#[derive(Clone, Debug)]
pub struct Network {
    /// Links that carry trees, capacities in Gbit/s, as far as trees may use them.
    pub graph: Graph,
    /// The ends of each link.
    pub hops: Vec<Hop>,
    by_ports: HashMap<(String, String), LinkId>,
}

/// A link with the link back, which the site at its other end has.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Ports and sites.
    pub hop: Hop,
    /// Its capacity in bit/s.
    pub capacity: u64,
    /// Whether frames get through both ways.
    pub up: bool,
}

/// The links that have a way back. Of several between two sites, those belong together whose ends have heard one another;
/// as long as ends have heard nothing, the first at one belongs to the first at the other.
#[must_use]
pub fn pairs(sites: &BTreeMap<String, Site>) -> Vec<Pair> {
    let mut out = Vec::new();
    for (from, site) in sites {
        for link in &site.links {
            let Some(back) = sites.get(&link.to).and_then(|s| way_back(from, site, link, s)) else {
                continue;
            };
            let hop = Hop {
                from: from.clone(),
                to: link.to.clone(),
                out: link.port.clone(),
                back: back.port.clone(),
            };
            out.push(Pair { hop, capacity: link.capacity, up: link.up && back.up });
        }
    }
    out
}

fn way_back<'s>(from: &str, site: &Site, link: &LinkReport, other: &'s Site) -> Option<&'s LinkReport> {
    let names = |l: &LinkReport, port: &str| l.peer.as_deref().is_none_or(|p| p == port);
    let mut back = other.links.iter().filter(|l| l.to == from);
    if let Some(peer) = &link.peer {
        return back.find(|l| l.port == *peer && names(l, &link.port));
    }
    if let Some(heard) = back.clone().find(|l| l.peer.as_ref() == Some(&link.port)) {
        return Some(heard);
    }
    let deaf = |l: &&LinkReport| l.to == link.to && l.peer.is_none();
    let claimed =
        |l: &&LinkReport| other.links.iter().any(|o| o.to == from && o.peer.as_ref() == Some(&l.port));
    let at = site.links.iter().filter(deaf).filter(|l| !claimed(l)).position(|l| l.port == link.port)?;
    let wanted =
        |l: &&LinkReport| site.links.iter().any(|o| o.to == link.to && o.peer.as_ref() == Some(&l.port));
    back.filter(|l| l.peer.is_none() && !wanted(l)).nth(at)
}

impl Network {
    /// The network of the sites that `usable` takes; `headroom` is the share of a link's capacity that trees may use.
    /// None if it cannot be numbered.
    #[must_use]
    pub fn new(
        sites: &BTreeMap<String, Site>,
        headroom: f64,
        usable: impl Fn(&str, &Site) -> bool,
        allowed: impl Fn(&Pair) -> bool,
    ) -> Option<Self> {
        let names: Vec<String> =
            sites.iter().filter(|(name, s)| usable(name, s)).map(|(name, _)| name.clone()).collect();
        let number: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
        let (mut links, mut hops) = (Vec::new(), Vec::new());
        for pair in pairs(sites).into_iter().filter(|p| p.capacity > 0 && allowed(p)) {
            let ends = number.get(pair.hop.from.as_str()).zip(number.get(pair.hop.to.as_str()));
            let Some((from, to)) = ends else { continue };
            let capacity = (pair.capacity as f64 / UNIT * headroom).clamp(1e-9, 1e15);
            links.push(Link { from: *from, to: *to, capacity });
            hops.push(pair.hop);
        }
        let by_ports = (0..).zip(&hops).map(|(id, h)| ((h.from.clone(), h.out.clone()), id)).collect();
        let graph = Graph::new(names.clone(), links).ok()?;
        Some(Self { graph, hops, by_ports })
    }

    /// A link by the site it leaves and the port there.
    #[must_use]
    pub fn link(&self, hop: &Hop) -> Option<LinkId> {
        self.by_ports.get(&(hop.from.clone(), hop.out.clone())).copied()
    }

    /// The links of an installed tree that are in this network.
    #[must_use]
    pub fn links_of(&self, tree: &Installed) -> Vec<LinkId> {
        tree.hops.iter().filter_map(|h| self.link(h)).collect()
    }

    /// The ports of a planned tree.
    #[must_use]
    pub fn hops_of(&self, tree: &Tree) -> Vec<Hop> {
        tree.links.iter().map(|l| self.hops[*l as usize].clone()).collect()
    }

    /// What the links have to carry for these trees; `volume` in Gbit of whole frames.
    pub fn load<'t>(&self, trees: impl Iterator<Item = (&'t Installed, f64)>) -> Load {
        let mut load = Load::new(&self.graph);
        let mut carried = vec![0.0; self.graph.links().len()];
        for (installed, volume) in trees {
            let links = self.links_of(installed);
            for l in &links {
                carried[*l as usize] += installed.limit.rate as f64 / UNIT;
            }
            load.add(&Tree { root: 0, links }, volume);
        }
        load.set_rate().copy_from_slice(&carried);
        load
    }

    /// The sites that a site can reach.
    #[must_use]
    pub fn reach(&self, from: u32) -> BTreeSet<u32> {
        let mut seen = BTreeSet::from([from]);
        let mut queue = vec![from];
        while let Some(n) = queue.pop() {
            for l in self.graph.out_of(n) {
                let to = self.graph.link(*l).to;
                if seen.insert(to) {
                    queue.push(to);
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(links: &[(&str, &str, Option<&str>)]) -> Site {
        let link = |(port, to, peer): &(&str, &str, Option<&str>)| LinkReport {
            port: (*port).into(),
            to: (*to).into(),
            capacity: 1,
            up: true,
            bytes: 0,
            peer: peer.map(str::to_owned),
        };
        let mut site = Site::new(1);
        site.links = links.iter().map(link).collect();
        site
    }

    fn joined(a: &[(&str, &str, Option<&str>)], b: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let sites = BTreeMap::from([("a".to_owned(), site(a)), ("b".to_owned(), site(b))]);
        pairs(&sites)
            .iter()
            .map(|p| format!("{}:{}-{}:{}", p.hop.from, p.hop.out, p.hop.to, p.hop.back))
            .collect()
    }

    #[test]
    fn links_between_two_sites_are_paired_by_what_their_ends_hear() {
        let plain = [("1", "b", None), ("2", "b", None)];
        let back = [("x", "a", None), ("y", "a", None)];
        assert_eq!(joined(&plain, &back), ["a:1-b:x", "a:2-b:y", "b:x-a:1", "b:y-a:2"]);
        // Crossed, and known at both ends, at one, or of one link only.
        let crossed = ["a:1-b:y", "a:2-b:x", "b:x-a:2", "b:y-a:1"];
        let (a, b) =
            ([("1", "b", Some("y")), ("2", "b", Some("x"))], [("x", "a", Some("2")), ("y", "a", Some("1"))]);
        for (a, b) in [(&a, &b), (&plain, &b), (&a, &back)] {
            assert_eq!(joined(a, b), crossed);
        }
        assert_eq!(joined(&plain, &[("x", "a", None), ("y", "a", Some("1"))]), crossed);
        assert_eq!(joined(&[("1", "b", None), ("2", "b", Some("x"))], &back), crossed);
        // Whose ends contradict one another have no way back; others do.
        let odd = joined(
            &[("1", "b", Some("x")), ("2", "b", Some("y"))],
            &[("x", "a", Some("2")), ("y", "a", Some("2"))],
        );
        assert_eq!(odd, ["a:2-b:y", "b:y-a:2"]);
        assert_eq!(joined(&plain, &[("x", "a", None)]), ["a:1-b:x", "b:x-a:1"]);
        assert_eq!(joined(&[("1", "b", Some("gone"))], &back), [""; 0]);
    }
}
