//! The network that is emulated: a topology, its capacities scaled to the machine.

use valecast_bench::child::Trouble;
use valecast_qc_dataplane::graph::{Graph, Link, Node};
use valecast_qc_dataplane::topology::Topology;

/// Sites and links.
#[derive(Clone, Debug)]
pub struct Net {
    /// What it is called.
    pub name: String,
    /// Sites, and links with capacities in Gbit/s, scaled.
    pub graph: Graph,
    /// The link back, by link.
    back: Vec<usize>,
}

impl Net {
    /// The topology of a name or a file, scaled. Every link must go both ways: reports come back.
    pub fn find(topology: &str, scale: f64) -> Result<Self, Trouble> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(format!("--scale: {scale} is no factor above 0").into());
        }
        let found = Topology::find(topology, None)?;
        let names = found.graph.names().to_vec();
        let scaled = |l: &Link| Link { capacity: l.capacity * scale, ..*l };
        let links: Vec<Link> = found.graph.links().iter().map(scaled).collect();
        let back = (0..links.len()).map(|i| back(&links, i)).collect::<Option<Vec<_>>>();
        let back = back.ok_or("a link of this topology goes one way only, and reports have to come back")?;
        Ok(Self { name: found.name, graph: Graph::new(names, links)?, back })
    }

    /// The same with sites and links in the order in which a controller has them: sites by name, links as each site lists
    /// its own. Where trees cost the same, the first that is found is taken.
    pub fn as_controllers_see_it(&self) -> Result<Self, Trouble> {
        let mut order: Vec<Node> = (0..self.graph.nodes() as Node).collect();
        order.sort_by_key(|n| self.graph.name(*n));
        let mut number = vec![0; order.len()];
        (0..).zip(&order).for_each(|(new, old)| number[*old as usize] = new);
        let out = order.iter().flat_map(|n| self.graph.out_of(*n)).map(|l| *l as usize);
        let renamed = |l: &Link| Link { from: number[l.from as usize], to: number[l.to as usize], ..*l };
        let links: Vec<Link> = out.map(|l| renamed(&self.graph.links()[l])).collect();
        let names = order.iter().map(|n| self.graph.name(*n).to_owned()).collect();
        let back = (0..links.len()).map(|i| back(&links, i)).collect::<Option<Vec<_>>>();
        let back = back.ok_or("a link has no way back")?;
        Ok(Self { name: self.name.clone(), graph: Graph::new(names, links)?, back })
    }

    /// `S`, `hub`, and so many receivers beyond it, all joined by links of so many Gbit/s.
    pub fn star(receivers: usize, capacity: f64) -> Result<Self, Trouble> {
        let names =
            ["S".to_owned(), "hub".to_owned()].into_iter().chain((1..=receivers).map(|i| format!("r{i}")));
        let both = |a: Node, b: Node| [(a, b), (b, a)].map(|(from, to)| Link { from, to, capacity });
        let links: Vec<Link> =
            both(0, 1).into_iter().chain((2..2 + receivers as Node).flat_map(|r| both(1, r))).collect();
        // Each pair is there and back.
        let back = (0..links.len()).map(|i| i ^ 1).collect();
        Ok(Self { name: "star".to_owned(), graph: Graph::new(names.collect(), links)?, back })
    }

    /// The same with a share of each link's capacity.
    pub fn with_headroom(&self, share: f64) -> Result<Self, Trouble> {
        let scaled = |l: &Link| Link { capacity: l.capacity * share, ..*l };
        let links = self.graph.links().iter().map(scaled).collect();
        Ok(Self { graph: Graph::new(self.graph.names().to_vec(), links)?, ..self.clone() })
    }

    /// A site by its name.
    pub fn site(&self, name: &str) -> Result<Node, Trouble> {
        let known = || self.graph.names().join(", ");
        Ok(self
            .graph
            .find(name)
            .ok_or_else(|| format!("{} has no site `{name}`: use {}", self.name, known()))?)
    }

    /// The link in the other direction.
    pub fn back(&self, link: usize) -> usize {
        self.back[link]
    }

    /// A link's capacity in bit/s.
    pub fn bits(&self, link: usize) -> u64 {
        (self.graph.links()[link].capacity * 1e9).round() as u64
    }

    /// The interface by which a site sends on a link.
    pub fn interface(link: usize) -> String {
        format!("w{link}")
    }

    /// The lowest capacity of all links, in bit/s: what everybody in one group has to keep to.
    pub fn bottleneck(&self) -> u64 {
        (0..self.back.len()).map(|l| self.bits(l)).min().unwrap_or(0)
    }

    /// Whether bridges may join all links: there is one way only from each site to each other.
    pub fn is_tree(&self) -> bool {
        self.graph.links().len() == 2 * (self.graph.nodes() - 1)
    }
}

/// The n-th of parallel links from a to b goes with the n-th from b to a.
fn back(links: &[Link], i: usize) -> Option<usize> {
    let like = |a: &Link, b: &Link| (a.from, a.to) == (b.from, b.to);
    let before = links[..i].iter().filter(|l| like(l, &links[i])).count();
    let backwards = Link { from: links[i].to, to: links[i].from, ..links[i] };
    links.iter().enumerate().filter(|(_, l)| like(l, &backwards)).nth(before).map(|(j, _)| j)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_know_their_way_back() {
        let net = Net::find("geant", 0.01).unwrap();
        for l in 0..net.graph.links().len() {
            let (there, back) = (net.graph.links()[l], net.graph.links()[net.back(l)]);
            assert_eq!((there.from, there.to), (back.to, back.from));
            assert_eq!(net.back(net.back(l)), l);
        }
        assert!(!net.is_tree());
    }

    #[test]
    fn controllers_have_sites_by_name() {
        let net = Net::find("geant", 0.01).unwrap();
        let sorted = net.as_controllers_see_it().unwrap();
        assert!(sorted.graph.names().is_sorted());
        assert!(sorted.graph.links().is_sorted_by_key(|l| l.from));
        let named = |net: &Net| {
            let name = |n| net.graph.name(n).to_owned();
            let mut links: Vec<_> =
                net.graph.links().iter().map(|l| (name(l.from), name(l.to), l.capacity)).collect();
            links.sort_by(|a, b| a.partial_cmp(b).unwrap());
            links
        };
        assert_eq!(named(&net), named(&sorted));
        assert_ne!(net.graph.names(), sorted.graph.names());
    }

    #[test]
    fn capacities_are_scaled() {
        let net = Net::find("../examples/fig1-topology.toml", 0.1).unwrap();
        assert!(net.is_tree());
        assert_eq!(net.bottleneck(), 100_000_000);
        assert!(Net::find("geant", 0.0).is_err());
        assert!(net.site("t9").unwrap_err().to_string().contains("t4"));
    }
}
