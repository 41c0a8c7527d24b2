//! The network: sites and directed links with capacities.
//!
//! Sites and links are numbered from 0 in the order in which they were given. The links that leave and enter a
//! site are slices into one array each, so walking the graph touches memory in order.

use std::collections::HashMap;

/// A site.
pub type Node = u32;
/// A directed link.
pub type LinkId = u32;

/// A directed link. A line that carries both ways is two of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Where it starts.
    pub from: Node,
    /// Where it ends.
    pub to: Node,
    /// What it carries: in Gbit/s where the topology has units, otherwise in the topology's own unit.
    pub capacity: f64,
}

/// Why links and names make no graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadGraph {
    /// More than the numbers hold.
    #[error("{count} {what}, at most {most} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        most: usize,
    },
    /// A link ends nowhere.
    #[error("link {link}: node {node} does not exist, there are {nodes}")]
    NoNode {
        /// The link, counted from 0.
        link: usize,
        /// The missing node.
        node: Node,
        /// Number of nodes.
        nodes: usize,
    },
    /// A link from a site to itself.
    #[error("link {link}: starts and ends at {node}")]
    Loop {
        /// The link, counted from 0.
        link: usize,
        /// Its only site.
        node: String,
    },
    /// A capacity that carries nothing or makes no sense.
    #[error("link {link} ({from} to {to}): capacity is {capacity}, must be from 1e-9 to 1e15")]
    Capacity {
        /// The link, counted from 0.
        link: usize,
        /// Where it starts.
        from: String,
        /// Where it ends.
        to: String,
        /// The capacity.
        capacity: f64,
    },
    /// Two sites with one name.
    #[error("two nodes are named \"{0}\"")]
    SameName(String),
}

/// Most sites and most links: numbers stay clear of the end of their type.
pub const MOST: usize = 1 << 28;

/// Compressed rows: the links at each site, one after the other.
#[derive(Clone, Debug, PartialEq)]
struct Rows {
    start: Vec<u32>,
    links: Vec<LinkId>,
}

impl Rows {
    /// Counting sort of the links by `at`; links of one site stay in order.
    fn new(nodes: usize, links: &[Link], at: impl Fn(&Link) -> Node) -> Self {
        let mut start = vec![0u32; nodes + 1];
        for l in links {
            start[at(l) as usize + 1] += 1;
        }
        for n in 0..nodes {
            start[n + 1] += start[n];
        }
        let mut next = start.clone();
        let mut rows = vec![0; links.len()];
        for (id, l) in (0..).zip(links) {
            let slot = &mut next[at(l) as usize];
            rows[*slot as usize] = id;
            *slot += 1;
        }
        Self { start, links: rows }
    }

    fn of(&self, node: Node) -> &[LinkId] {
        let n = node as usize;
        &self.links[self.start[n] as usize..self.start[n + 1] as usize]
    }
}

/// A network of sites and directed links. Parallel links are allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    names: Vec<String>,
    by_name: HashMap<String, Node>,
    links: Vec<Link>,
    out: Rows,
    into: Rows,
}

impl Graph {
    /// A graph of sites with these names and these links.
    ///
    /// # Errors
    /// When a link does not fit or two names are equal.
    pub fn new(names: Vec<String>, links: Vec<Link>) -> Result<Self, BadGraph> {
        for (what, count) in [("nodes", names.len()), ("links", links.len())] {
            if count > MOST {
                return Err(BadGraph::TooMany { what, count, most: MOST });
            }
        }
        let mut by_name = HashMap::with_capacity(names.len());
        for (node, name) in (0..).zip(&names) {
            if by_name.insert(name.clone(), node).is_some() {
                return Err(BadGraph::SameName(name.clone()));
            }
        }
        for (link, l) in links.iter().enumerate() {
            for node in [l.from, l.to] {
                if node as usize >= names.len() {
                    return Err(BadGraph::NoNode { link, node, nodes: names.len() });
                }
            }
            let name = |n: Node| names[n as usize].clone();
            if l.from == l.to {
                return Err(BadGraph::Loop { link, node: name(l.from) });
            }
            if !(1e-9..=1e15).contains(&l.capacity) {
                let (from, to, capacity) = (name(l.from), name(l.to), l.capacity);
                return Err(BadGraph::Capacity { link, from, to, capacity });
            }
        }
        let (out, into) =
            (Rows::new(names.len(), &links, |l| l.from), Rows::new(names.len(), &links, |l| l.to));
        Ok(Self { names, by_name, links, out, into })
    }

    /// As [`Graph::new`], the sites named by their numbers.
    ///
    /// # Errors
    /// When a link does not fit.
    pub fn numbered(nodes: usize, links: Vec<Link>) -> Result<Self, BadGraph> {
        if nodes > MOST {
            return Err(BadGraph::TooMany { what: "nodes", count: nodes, most: MOST });
        }
        Self::new((0..nodes).map(|n| n.to_string()).collect(), links)
    }

    /// Number of sites.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.names.len()
    }

    /// A site's name.
    #[must_use]
    pub fn name(&self, node: Node) -> &str {
        &self.names[node as usize]
    }

    /// All names, by site.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The site with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Node> {
        self.by_name.get(name).copied()
    }

    /// All links, by number.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// A link.
    #[must_use]
    pub fn link(&self, link: LinkId) -> Link {
        self.links[link as usize]
    }

    /// The links that start at a site.
    #[must_use]
    pub fn out_of(&self, node: Node) -> &[LinkId] {
        self.out.of(node)
    }

    /// The links that end at a site.
    #[must_use]
    pub fn in_to(&self, node: Node) -> &[LinkId] {
        self.into.of(node)
    }

    /// The capacities, by link: what [`crate::rate`] takes.
    #[must_use]
    pub fn capacities(&self) -> Vec<f64> {
        self.links.iter().map(|l| l.capacity).collect()
    }

    /// The same with all capacities divided by the largest (extended paper, section V).
    #[must_use]
    pub fn normalised(&self) -> Self {
        let most = self.links.iter().map(|l| l.capacity).fold(0.0, f64::max);
        let mut graph = self.clone();
        for l in &mut graph.links {
            l.capacity /= most;
        }
        graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: Node, to: Node, capacity: f64) -> Link {
        Link { from, to, capacity }
    }

    #[test]
    fn lists_links_by_site() {
        let g = Graph::numbered(3, vec![link(0, 1, 1.0), link(1, 0, 4.0), link(0, 2, 2.0), link(0, 1, 3.0)])
            .unwrap();
        assert_eq!((g.out_of(0), g.out_of(1), g.out_of(2)), (&[0, 2, 3][..], &[1][..], &[][..]));
        assert_eq!((g.in_to(0), g.in_to(1), g.in_to(2)), (&[1][..], &[0, 3][..], &[2][..]));
        assert_eq!((g.find("2"), g.find("3")), (Some(2), None));
        assert_eq!(g.normalised().capacities(), [0.25, 1.0, 0.5, 0.75]);
    }

    #[test]
    fn says_what_is_wrong() {
        let say = |links| Graph::numbered(2, links).unwrap_err().to_string();
        assert_eq!(say(vec![link(0, 2, 1.0)]), "link 0: node 2 does not exist, there are 2");
        assert_eq!(say(vec![link(1, 1, 1.0)]), "link 0: starts and ends at 1");
        for capacity in [0.0, -1.0, 1e-10, 1e16, f64::NAN, f64::INFINITY] {
            assert!(
                say(vec![link(0, 1, 1.0), link(1, 0, capacity)]).contains("link 1 (1 to 0): capacity is")
            );
        }
        let twice = Graph::new(vec!["a".into(), "a".into()], vec![]).unwrap_err().to_string();
        assert_eq!(twice, "two nodes are named \"a\"");
    }
}
