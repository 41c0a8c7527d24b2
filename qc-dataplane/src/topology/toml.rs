//! Valecast's own format: `[[node]]` and `[[link]]` tables.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use valecast_config::{ConfigErrors, Diagnostic, nearest};

use super::{Builder, Place, Topology, stem};
use crate::graph::Node;
use crate::read::words::Source;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the topology is called.
    name: Option<String>,
    /// Capacity of links that have none of their own.
    capacity: Option<Spanned<String>>,
    #[serde(default)]
    node: Vec<NodeTable>,
    #[serde(default)]
    link: Vec<Spanned<LinkTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    name: Spanned<String>,
    longitude: Option<f64>,
    latitude: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkTable {
    a: Spanned<String>,
    b: Spanned<String>,
    /// From a to b; the other way too, unless `back` is there or the link is directed.
    capacity: Option<Spanned<String>>,
    back: Option<Spanned<String>>,
    #[serde(default)]
    directed: bool,
}

struct Reader<'a> {
    builder: Builder<'a>,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let source = self.builder.source;
        self.found.push(Diagnostic::at(source.file, source.text, span, message, help));
    }

    /// A capacity in Gbit/s.
    fn rate(&mut self, text: &Spanned<String>) -> Option<f64> {
        match valecast_config::units::parse_rate(text.get_ref()) {
            Ok(0) => self.wrong(text.span(), "a capacity of 0", "remove the link, or write what it carries"),
            Ok(bits) => return Some(bits as f64 / 1e9),
            Err(e) => self.wrong(text.span(), e.message, e.help),
        }
        None
    }

    fn end(&mut self, name: &Spanned<String>) -> Option<Node> {
        let found = self.builder.find(name.get_ref());
        if found.is_none() {
            let names = self.builder.names.iter().map(String::as_str);
            let help = nearest(name.get_ref(), names).map(|n| format!("did you mean \"{n}\"?"));
            let help = help.unwrap_or_else(|| "every node has a [[node]] table with its name".into());
            self.wrong(name.span(), format!("there is no node \"{}\"", name.get_ref()), help);
        }
        found
    }

    fn link(&mut self, link: &Spanned<LinkTable>, default: Option<f64>) {
        let l = link.get_ref();
        let (a, b) = (self.end(&l.a), self.end(&l.b));
        let there = match (&l.capacity, default) {
            (Some(text), _) => self.rate(text),
            (None, Some(capacity)) => Some(capacity),
            (None, None) => {
                let message = format!("the link from {} to {} has no capacity", l.a.get_ref(), l.b.get_ref());
                self.wrong(
                    l.a.span(),
                    message,
                    "add `capacity = \"10Gbit/s\"`, here or for all at the top of the file",
                );
                None
            }
        };
        if let (Some(back), true) = (&l.back, l.directed) {
            self.wrong(back.span(), "a directed link has no way back", "remove `back` or `directed`");
        }
        let back = l.back.as_ref().map_or(there, |text| self.rate(text));
        let (Some(a), Some(b), Some(there), Some(back)) = (a, b, there, back) else { return };
        self.builder.link(a, b, there, l.a.span());
        if !l.directed {
            self.builder.link(b, a, back, l.a.span());
        }
    }
}

pub(super) fn read(source: Source<'_>, default: Option<f64>) -> Result<Topology, ConfigErrors> {
    let file: File = toml::from_str(source.text).map_err(|e| {
        let help = "a topology has [[node]] tables with a name, and [[link]] tables with a, b and capacity";
        source.wrong_at(e.span().unwrap_or(0..0), e.message().to_owned(), help)
    })?;
    let mut reader = Reader { builder: Builder::new(source), found: Vec::new() };
    for n in &file.node {
        let place = n.longitude.zip(n.latitude).filter(|(x, y)| x.is_finite() && y.is_finite());
        let place = place.map(|(longitude, latitude)| Place { longitude, latitude });
        let name = n.name.get_ref();
        if name.trim().is_empty() {
            reader.wrong(n.name.span(), "a node without a name", "give it one");
        } else if reader.builder.node(name, place).is_none() {
            reader.wrong(
                n.name.span(),
                format!("two nodes are named \"{name}\""),
                "give each a name of its own",
            );
        }
    }
    let common = file.capacity.as_ref().and_then(|text| reader.rate(text));
    for link in &file.link {
        reader.link(link, common.or(default));
    }
    if reader.found.is_empty() {
        reader.builder.finish(file.name.unwrap_or_else(|| stem(source.file)))
    } else {
        reader.found.sort_by_key(|d| d.span.start);
        Err(ConfigErrors { diagnostics: reader.found })
    }
}
