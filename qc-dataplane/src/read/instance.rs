//! Steiner tree instances: SteinLib's STP files, and tables with one instance per line.

use valecast_config::ConfigErrors;

use super::words::Source;
use crate::graph::{Graph, Link, LinkId, Node};

/// A network with costs, where a tree starts and what it must reach; and what is known of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// What the file calls it.
    pub name: String,
    /// The network. Capacities are 1.
    pub graph: Graph,
    /// Costs, by link.
    pub cost: Vec<f64>,
    /// Where the tree starts.
    pub root: Node,
    /// What it must reach.
    pub terminals: Vec<Node>,
    /// A tree that is known, as its links' ends.
    pub tree: Option<Vec<(Node, Node)>>,
    /// What that tree costs.
    pub tree_cost: Option<f64>,
    /// What the cheapest tree costs.
    pub optimum: Option<f64>,
}

/// Most nodes of an instance: they are made before any line speaks of them.
const MOST_NODES: usize = 1_000_000;

/// Reads a file of instances: STP when it starts like one, a table otherwise.
///
/// # Errors
/// What is wrong, with its line.
pub fn instances(file: &str, text: &str) -> Result<Vec<Instance>, ConfigErrors> {
    let stp = text.trim_start().get(..8).is_some_and(|magic| magic.eq_ignore_ascii_case("33d32945"));
    if stp { Ok(vec![stp_file(Source { file, text })?]) } else { table(Source { file, text }) }
}

/// What has been read of one instance.
#[derive(Default)]
struct Parts {
    nodes: usize,
    links: Vec<Link>,
    cost: Vec<f64>,
}

impl Parts {
    fn link(&mut self, from: Node, to: Node, cost: f64) {
        // A link from a node to itself is in no tree.
        if from != to {
            self.links.push(Link { from, to, capacity: 1.0 });
            self.cost.push(cost);
        }
    }

    fn cost(source: Source<'_>, word: &str) -> Result<f64, ConfigErrors> {
        let cost: f64 = source.number(word, "a cost")?;
        if cost >= 0.0 && cost.is_finite() {
            return Ok(cost);
        }
        Err(source.wrong(word, format!("cost {word} makes no sense"), "costs are finite and at least 0"))
    }
}

fn nodes(source: Source<'_>, word: &str) -> Result<usize, ConfigErrors> {
    let n = source.number(word, "a number of nodes")?;
    let most = format!("at most {MOST_NODES}");
    if n <= MOST_NODES { Ok(n) } else { Err(source.wrong(word, format!("{n} nodes are too many"), most)) }
}

/// A node of an instance that counts from `first`.
fn node(source: Source<'_>, word: &str, first: usize, nodes: usize) -> Result<Node, ConfigErrors> {
    let n: usize = source.number(word, "a node's number")?;
    match n.checked_sub(first).filter(|i| *i < nodes) {
        Some(i) => Ok(i as Node),
        None => {
            let last = (nodes + first).saturating_sub(1);
            let help = format!("there are {nodes} nodes, {first} to {last}");
            Err(source.wrong(word, format!("node {n} does not exist"), help))
        }
    }
}

/// The network, its nodes named by their numbers from `first` on.
fn graph(source: Source<'_>, parts: Parts, first: usize) -> Result<(Graph, Vec<f64>), ConfigErrors> {
    let names = (first..first + parts.nodes).map(|n| n.to_string()).collect();
    let graph = Graph::new(names, parts.links).map_err(|e| source.wrong_file(e.to_string(), ""))?;
    Ok((graph, parts.cost))
}

/// SteinLib's format, version 1.0. Undirected instances are rooted at their first terminal.
fn stp_file(source: Source<'_>) -> Result<Instance, ConfigErrors> {
    let mut parts = Parts::default();
    let (mut name, mut root, mut terminals) = (String::new(), None, Vec::new());
    let mut section = String::new();
    for line in source.text.lines().skip(1) {
        let line = line.trim();
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let lower = key.to_ascii_lowercase();
        match (section.as_str(), lower.as_str()) {
            (_, "eof") => break,
            (_, "section") => section = words.next().unwrap_or_default().to_ascii_lowercase(),
            (_, "end") => section.clear(),
            ("comment", "name") => {
                name = line[key.len()..].trim().trim_matches('"').to_owned();
            }
            ("graph", "nodes") => {
                parts.nodes = nodes(source, source.fields::<1>(line, words, "Nodes N")?[0])?;
            }
            ("graph", "e" | "a") => {
                let [u, v, c] = source.fields(line, words, "E NODE NODE COST, or A for one direction")?;
                let (u, v) = (node(source, u, 1, parts.nodes)?, node(source, v, 1, parts.nodes)?);
                let c = Parts::cost(source, c)?;
                parts.link(u, v, c);
                if lower == "e" {
                    parts.link(v, u, c);
                }
            }
            ("terminals", "t") => {
                let [t] = source.fields(line, words, "T NODE")?;
                terminals.push(node(source, t, 1, parts.nodes)?);
            }
            ("terminals", "root" | "rootp") => {
                let [r] = source.fields(line, words, "Root NODE")?;
                root = Some(node(source, r, 1, parts.nodes)?);
            }
            ("graph", "edges" | "arcs") | ("terminals", "terminals") => {}
            ("graph" | "terminals", _) => {
                return Err(source.wrong(key, format!("unknown key \"{key}\" in section {section}"), ""));
            }
            // Other sections (coordinates, presolve) say nothing about the tree.
            _ => {}
        }
    }
    let Some(root) = root.or(terminals.first().copied()) else {
        return Err(source.wrong_file("no terminals", "add a SECTION Terminals with lines T NODE"));
    };
    let (graph, cost) = graph(source, parts, 1)?;
    Ok(Instance { name, graph, cost, root, terminals, tree: None, tree_cost: None, optimum: None })
}

/// Lines of `name, nodes, root, terminals (comma), arcs (u v cost;), cost of a tree, tree (u>v,), optimum`,
/// separated by tabs, nodes from 0; -1 for a number that is not known.
fn table(source: Source<'_>) -> Result<Vec<Instance>, ConfigErrors> {
    let mut found = Vec::new();
    for line in source.text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        let want = "name, nodes, root, terminals, arcs, cost, tree, optimum, separated by tabs";
        let [name, n, root, terminals, arcs, tree_cost, tree, optimum] =
            source.fields(line, line.split('\t'), want)?;
        let mut parts = Parts { nodes: nodes(source, n)?, ..Parts::default() };
        let node = |word: &str| node(source, word, 0, parts.nodes);
        let root = node(root)?;
        let terminals = terminals.split(',').filter(|t| !t.is_empty()).map(node).collect::<Result<_, _>>()?;
        let pair = |link: &str| match link.split_once('>') {
            Some((u, v)) => Ok((node(u)?, node(v)?)),
            None => Err(source.wrong(link, "no link of a tree", "write FROM>TO")),
        };
        let tree: Vec<_> = tree.split(',').filter(|l| !l.is_empty()).map(pair).collect::<Result<_, _>>()?;
        let mut links = Vec::new();
        for arc in arcs.split(';').filter(|a| !a.trim().is_empty()) {
            let [u, v, c] = source.fields(arc, arc.split_whitespace(), "FROM TO COST")?;
            links.push((node(u)?, node(v)?, Parts::cost(source, c)?));
        }
        for (u, v, c) in links {
            parts.link(u, v, c);
        }
        let known = |word: &str| -> Result<Option<f64>, ConfigErrors> {
            let n: f64 = source.number(word, "a cost, or -1")?;
            Ok((n >= 0.0).then_some(n))
        };
        let (tree_cost, optimum) = (known(tree_cost)?, known(optimum)?);
        let (graph, cost) = graph(source, parts, 0)?;
        let tree = (!tree.is_empty()).then_some(tree);
        found.push(Instance { name: name.into(), graph, cost, root, terminals, tree, tree_cost, optimum });
    }
    if found.is_empty() {
        return Err(source
            .wrong_file("no instances", "a SteinLib file starts with 33D32945, a table has a line each"));
    }
    Ok(found)
}

impl Instance {
    /// The ends of links, in order: what [`Instance::tree`] is compared with.
    #[must_use]
    pub fn ends(&self, links: &[LinkId]) -> Vec<(Node, Node)> {
        let mut ends: Vec<_> = links.iter().map(|l| self.graph.link(*l)).map(|l| (l.from, l.to)).collect();
        ends.sort_unstable();
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STP: &str = "33D32945 STP File, STP Format Version 1.0\n\nSECTION Comment\nName \"B01\"\nEND\n\
        SECTION Graph\nNodes 3\nEdges 2\nE 1 2 8\nA 2 3 1.5\nEND\nSECTION Terminals\nTerminals 2\nT 1\nT 3\nEND\nEOF\n";

    #[test]
    fn reads_both_formats() {
        let stp = &instances("b.stp", STP).unwrap()[0];
        assert_eq!((stp.name.as_str(), stp.root, &stp.terminals[..]), ("B01", 0, &[0, 2][..]));
        assert_eq!(stp.cost, [8.0, 8.0, 1.5]);
        let table = &instances("t", "# c\na/b\t3\t0\t2\t0 1 8;1 0 8;1 2 1.5\t9.5\t0>1,1>2\t-1\n").unwrap()[0];
        assert_eq!((table.graph.links(), &table.cost), (stp.graph.links(), &stp.cost));
        assert_eq!((stp.graph.name(0), table.graph.name(0)), ("1", "0"));
        assert_eq!(
            (table.tree.clone(), table.tree_cost, table.optimum),
            (Some(vec![(0, 1), (1, 2)]), Some(9.5), None)
        );
    }

    #[test]
    fn names_line_and_mistake() {
        let say = |text: &str| instances("f", text).unwrap_err().to_string();
        assert!(
            say(&STP.replace("E 1 2 8", "E 1 4 8")).contains("f:9:5"),
            "{}",
            say(&STP.replace("E 1 2 8", "E 1 4 8"))
        );
        assert!(say(&STP.replace("E 1 2 8", "E 1 2")).contains("2 fields, must be 3"));
        assert!(say(&STP.replace("E 1 2 8", "E 1 2 -8")).contains("cost -8 makes no sense"));
        assert!(say(&STP.replace("Nodes 3", "Nodes 99999999999")).contains("too many"));
        assert!(say(&STP.replace("T ", "X ")).contains("unknown key"));
        assert!(say("").contains("no instances"));
        assert!(say("a\t3\t0").contains("3 fields, must be 8"));
        assert!(say("a\t3\t3\t1\t\t-1\t\t-1").contains("node 3 does not exist"));
    }
}
