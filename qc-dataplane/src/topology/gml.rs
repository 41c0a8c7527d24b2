//! GML as the Internet Topology Zoo writes it: `graph [ node [ id, label, place ] edge [ source, target, speed ] ]`.
//!
//! A capacity is what `LinkSpeedRaw` says (bit/s), else what the edge's label names. Sites go by their labels; where
//! several have one label, each gets its number besides.

use std::collections::HashMap;
use std::ops::Range;

use valecast_config::ConfigErrors;

use super::{Builder, Place, Topology, label, stem};
use crate::graph::Node;
use crate::read::words::Source;

/// A word of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Open,
    Close,
    Word(&'a str),
    Text(&'a str),
}

/// Words one after the other, with their places.
struct Tokens<'a> {
    source: Source<'a>,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Result<Option<(Token<'a>, Range<usize>)>, ConfigErrors> {
        let text = self.source.text;
        loop {
            let rest = &text[self.at..];
            let Some(c) = rest.chars().next() else { return Ok(None) };
            let start = self.at;
            let (token, end) = match c {
                c if c.is_whitespace() => {
                    self.at += c.len_utf8();
                    continue;
                }
                '#' => {
                    self.at += rest.find('\n').unwrap_or(rest.len());
                    continue;
                }
                '[' => (Token::Open, start + 1),
                ']' => (Token::Close, start + 1),
                '"' => {
                    let Some(length) = rest[1..].find('"') else {
                        let help = "a text ends with a quotation mark";
                        return Err(self.source.wrong_at(start..start + 1, "this text does not end", help));
                    };
                    (Token::Text(&rest[1..=length]), start + length + 2)
                }
                _ => {
                    let stop = |c: char| c.is_whitespace() || matches!(c, '[' | ']' | '"');
                    let length = rest.find(stop).unwrap_or(rest.len());
                    (Token::Word(&rest[..length]), start + length)
                }
            };
            self.at = end;
            return Ok(Some((token, start..end)));
        }
    }
}

#[derive(Default)]
struct NodeParts {
    id: Option<i64>,
    label: Option<String>,
    longitude: Option<f64>,
    latitude: Option<f64>,
}

#[derive(Default)]
struct EdgeParts {
    source: Option<i64>,
    target: Option<i64>,
    speed: Option<f64>,
    label: Option<String>,
}

/// What a bracket is of.
enum Part {
    Graph,
    Node(NodeParts, Range<usize>),
    Edge(EdgeParts, Range<usize>),
    Other,
}

/// `&amp;` and the like.
fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|e| *e <= 8);
        let decoded = end.and_then(|end| {
            let name = &rest[1..end];
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => char::from_u32(name.strip_prefix('#')?.parse().ok()?)?,
            };
            Some((c, end + 1))
        });
        let (c, length) = decoded.unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

#[derive(Default)]
struct File {
    name: Option<String>,
    directed: bool,
    nodes: Vec<(NodeParts, Range<usize>)>,
    edges: Vec<(EdgeParts, Range<usize>)>,
}

fn parse(source: Source<'_>) -> Result<File, ConfigErrors> {
    let mut tokens = Tokens { source, at: 0 };
    let mut file = File::default();
    let mut open: Vec<(Part, Range<usize>)> = Vec::new();
    while let Some((token, at)) = tokens.next()? {
        let key = match token {
            Token::Word(key) => key,
            Token::Close => {
                match open.pop() {
                    Some((Part::Node(parts, at), _)) => file.nodes.push((parts, at)),
                    Some((Part::Edge(parts, at), _)) => file.edges.push((parts, at)),
                    Some(_) => {}
                    None => return Err(source.wrong_at(at, "nothing is open here", "remove the bracket")),
                }
                continue;
            }
            Token::Open | Token::Text(_) => {
                return Err(source.wrong_at(at, "a key must stand here", "GML is made of keys and values"));
            }
        };
        let Some((value, place)) = tokens.next()? else {
            return Err(source.wrong_at(
                at,
                format!("{key} has no value"),
                "is the rest of the file missing?",
            ));
        };
        if value == Token::Open {
            let part = match (open.last().map(|o| &o.0), key) {
                (None, "graph") => Part::Graph,
                (Some(Part::Graph), "node") => Part::Node(NodeParts::default(), at.clone()),
                (Some(Part::Graph), "edge") => Part::Edge(EdgeParts::default(), at.clone()),
                _ => Part::Other,
            };
            open.push((part, at));
            continue;
        }
        let word = match value {
            Token::Word(w) | Token::Text(w) => w,
            Token::Open | Token::Close => {
                return Err(source.wrong_at(
                    place,
                    format!("{key} has no value"),
                    "write one in front of the bracket",
                ));
            }
        };
        let whole = || source.number::<i64>(word, "a whole number").map(Some);
        // A place or speed that is no number is as good as none.
        let number = || word.parse::<f64>().ok().filter(|n| n.is_finite());
        match (open.last_mut().map(|o| &mut o.0), key) {
            (Some(Part::Graph), "label" | "Network") if file.name.is_none() || key == "label" => {
                file.name = Some(decode(word));
            }
            (Some(Part::Graph), "directed") => file.directed = word == "1",
            (Some(Part::Node(n, _)), "id") => n.id = whole()?,
            (Some(Part::Node(n, _)), "label") => n.label = Some(decode(word)),
            (Some(Part::Node(n, _)), "Longitude") => n.longitude = number(),
            (Some(Part::Node(n, _)), "Latitude") => n.latitude = number(),
            (Some(Part::Edge(e, _)), "source") => e.source = whole()?,
            (Some(Part::Edge(e, _)), "target") => e.target = whole()?,
            (Some(Part::Edge(e, _)), "LinkSpeedRaw") => e.speed = number(),
            (Some(Part::Edge(e, _)), "LinkLabel" | "label") => e.label = Some(decode(word)),
            _ => {}
        }
    }
    match open.last() {
        None => Ok(file),
        Some((_, at)) => {
            Err(source.wrong_at(at.clone(), "this bracket is not closed", "is the rest of the file missing?"))
        }
    }
}

/// Names of sites: their labels, with the number where that alone is not one.
fn names(nodes: &[(NodeParts, Range<usize>)]) -> Vec<String> {
    let mut uses: HashMap<&str, u32> = HashMap::new();
    for label in nodes.iter().filter_map(|(n, _)| n.label.as_deref()) {
        *uses.entry(label).or_default() += 1;
    }
    let name = |(n, _): &(NodeParts, Range<usize>)| {
        let id = n.id.unwrap_or_default();
        match n.label.as_deref() {
            Some(label) if !label.trim().is_empty() && uses.get(label) == Some(&1) => label.to_owned(),
            Some(label) if !label.trim().is_empty() => format!("{label} {id}"),
            _ => id.to_string(),
        }
    };
    nodes.iter().map(name).collect()
}

pub(super) fn read(source: Source<'_>, default: Option<f64>) -> Result<Topology, ConfigErrors> {
    let mut file = parse(source)?;
    // By number, as other files of the same network number them.
    file.nodes.sort_by_key(|(n, _)| n.id);
    let mut builder = Builder::new(source);
    let mut by_id: HashMap<i64, Node> = HashMap::new();
    for ((n, at), name) in file.nodes.iter().zip(names(&file.nodes)) {
        let wrong = |message: String, help: &str| source.wrong_at(at.clone(), message, help);
        let Some(id) = n.id else { return Err(wrong("this node has no id".into(), "write id and a number")) };
        let place = n.longitude.zip(n.latitude).map(|(longitude, latitude)| Place { longitude, latitude });
        let Some(node) = builder.node(&name, place) else {
            return Err(wrong(format!("two nodes are named \"{name}\""), "give each a label of its own"));
        };
        if by_id.insert(id, node).is_some() {
            return Err(wrong(format!("two nodes have the id {id}"), "give each an id of its own"));
        }
    }
    for (e, at) in &file.edges {
        let wrong = |message: String, help: &str| source.wrong_at(at.clone(), message, help);
        let end = |id: Option<i64>, key: &str| {
            let id = id.ok_or_else(|| wrong(format!("this edge has no {key}"), "write the id of a node"))?;
            let missing = || wrong(format!("{key} {id} is no node"), "there is no node with this id");
            by_id.get(&id).copied().ok_or_else(missing)
        };
        let (a, b) = (end(e.source, "source")?, end(e.target, "target")?);
        let speed = e.speed.map(|bits| bits / 1e9).filter(|c| *c > 0.0);
        let named = || e.label.as_deref().and_then(label::capacity);
        let Some(capacity) = speed.or_else(named).or(default) else {
            let (a, b) = (&builder.names[a as usize], &builder.names[b as usize]);
            let help = "write LinkSpeedRaw (bit/s) or a LinkLabel like \"10 Gbit/s\", or give a capacity for such links";
            return Err(wrong(format!("no capacity from {a} to {b}"), help));
        };
        builder.link(a, b, capacity, at.clone());
        if !file.directed {
            builder.link(b, a, capacity, at.clone());
        }
    }
    builder.finish(file.name.unwrap_or_else(|| stem(source.file)))
}
