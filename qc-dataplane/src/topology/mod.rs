//! Topologies: networks with names, places and capacities, from files and built in.
//!
//! - `gml`: the Internet Topology Zoo's format; `label`: capacities in what its maps say of a line;
//! - `csv`: one line per link; `teavar`: the same with the directions apart;
//! - `toml`: Valecast's own format;
//! - `builtin`: the networks of the papers, by name.
//!
//! All of it takes text that anybody may have written; what is wrong is said with file, line and column.

mod builtin;
mod csv;
mod gml;
mod label;
mod teavar;
mod toml;

#[cfg(test)]
mod tests;

pub use builtin::{BUILT_IN, built_in};

use std::collections::HashMap;
use std::ops::Range;

use valecast_config::{ConfigErrors, Diagnostic};

use crate::graph::{Graph, Link, Node};
use crate::read::text;
use crate::read::words::Source;

/// Where a site is on the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Degrees east.
    pub longitude: f64,
    /// Degrees north.
    pub latitude: f64,
}

/// A network with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// What it is called.
    pub name: String,
    /// Its sites and links; capacities in Gbit/s. Numbers without a unit count as such.
    pub graph: Graph,
    /// Where its sites are, by site; nowhere if the file does not say.
    pub places: Vec<Option<Place>>,
}

/// The formats, by the end of a file's name; each may end in `.gz` besides.
const FORMATS: &str = ".gml (Topology Zoo), .csv (from,to,capacity), .toml or .txt (TEAVAR)";

impl Topology {
    /// Reads a topology file, of the format that the end of its name says. Links without a capacity get `default`
    /// (Gbit/s), if there is one.
    ///
    /// # Errors
    /// Every mistake that can be told from the others, with its place.
    pub fn read(file: &str, bytes: Vec<u8>, default: Option<f64>) -> Result<Self, ConfigErrors> {
        let text = text(file, bytes)?;
        let source = Source { file, text: &text };
        let lower = file.to_ascii_lowercase();
        let plain = lower.strip_suffix(".gz").unwrap_or(&lower);
        match plain.rsplit_once('.').map(|(_, end)| end) {
            Some("gml") => gml::read(source, default),
            Some("csv") => csv::read(source, default),
            Some("toml") => toml::read(source, default),
            Some("txt") => teavar::read(source),
            _ => {
                Err(source
                    .wrong_file("cannot tell the format of this topology", format!("name it {FORMATS}")))
            }
        }
    }

    /// The built-in network of a name, otherwise the file of that name.
    ///
    /// # Errors
    /// As [`Topology::read`], and when there is neither.
    pub fn find(name: &str, default: Option<f64>) -> Result<Self, ConfigErrors> {
        if let Some(found) = built_in(name) {
            return found;
        }
        let bytes = std::fs::read(name).map_err(|e| {
            let names: Vec<&str> = BUILT_IN.iter().map(|b| b.0).collect();
            let help = format!("give a file ({FORMATS}) or a built-in network: {}", names.join(", "));
            let found = Diagnostic::without_place(name, format!("cannot read: {e}"), help);
            ConfigErrors { diagnostics: vec![found] }
        })?;
        Self::read(name, bytes, default)
    }
}

/// The name of a topology when its file gives none: that of the file.
fn stem(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let base = base.strip_suffix(".gz").unwrap_or(base);
    base.rsplit_once('.').map_or(base, |(stem, _)| stem).to_owned()
}

/// A graph being put together from a text, its mistakes at their places.
struct Builder<'a> {
    source: Source<'a>,
    names: Vec<String>,
    by_name: HashMap<String, Node>,
    places: Vec<Option<Place>>,
    links: Vec<Link>,
    /// Where each link stands.
    at: Vec<Range<usize>>,
}

impl<'a> Builder<'a> {
    fn new(source: Source<'a>) -> Self {
        let (names, by_name, places) = (Vec::new(), HashMap::new(), Vec::new());
        Self { source, names, by_name, places, links: Vec::new(), at: Vec::new() }
    }

    fn find(&self, name: &str) -> Option<Node> {
        self.by_name.get(name).copied()
    }

    /// Adds a site; none if there is one of its name.
    fn node(&mut self, name: &str, place: Option<Place>) -> Option<Node> {
        let node = self.names.len() as Node;
        match self.by_name.entry(name.to_owned()) {
            std::collections::hash_map::Entry::Occupied(_) => None,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(node);
                self.names.push(name.to_owned());
                self.places.push(place);
                Some(node)
            }
        }
    }

    fn find_or_add(&mut self, name: &str) -> Node {
        self.find(name).or_else(|| self.node(name, None)).unwrap_or_default()
    }

    /// Adds a link in one direction; `at` is where it stands.
    fn link(&mut self, from: Node, to: Node, capacity: f64, at: Range<usize>) {
        self.links.push(Link { from, to, capacity });
        self.at.push(at);
    }

    fn finish(self, name: String) -> Result<Topology, ConfigErrors> {
        let Self { source, names, places, links, at, .. } = self;
        if links.is_empty() {
            return Err(source.wrong_file("no links", "a topology has at least one link between two nodes"));
        }
        let graph = Graph::new(names, links).map_err(|e| {
            use crate::graph::BadGraph as B;
            let message = e.to_string();
            match e {
                B::Loop { link, node } => source.wrong_at(
                    at[link].clone(),
                    format!("this link starts and ends at {node}"),
                    "remove it",
                ),
                B::Capacity { link, from, to, capacity } => source.wrong_at(
                    at[link].clone(),
                    format!("the capacity from {from} to {to} is {capacity} Gbit/s"),
                    "it must be from 1 bit/s to 1e15 Gbit/s",
                ),
                B::TooMany { .. } | B::NoNode { .. } | B::SameName(_) => source.wrong_file(message, ""),
            }
        })?;
        Ok(Topology { name, graph, places })
    }
}

/// A capacity in Gbit/s: a plain number, or one with a unit like `10Gbit/s`.
fn capacity(source: Source<'_>, word: &str) -> Result<f64, ConfigErrors> {
    if let Ok(number) = word.parse::<f64>() {
        if (1e-9..=1e15).contains(&number) {
            return Ok(number);
        }
        return Err(source.wrong(
            word,
            format!("a capacity of {word} Gbit/s"),
            "write one from 1e-9 to 1e15",
        ));
    }
    match valecast_config::units::parse_rate(word) {
        Ok(0) => Err(source.wrong(word, "a capacity of 0", "remove the link, or write what it carries")),
        Ok(bits) => Ok(bits as f64 / 1e9),
        Err(e) => Err(source.wrong(word, e.message, e.help)),
    }
}
