//! Links as lines `from,to,capacity[,capacity back]`: both ways, with the same capacity unless a fourth field
//! says otherwise. Capacities are in Gbit/s, or have a unit. `#` starts a comment.

use valecast_config::ConfigErrors;

use super::{Builder, Topology, capacity, stem};
use crate::read::words::Source;

pub(super) fn read(source: Source<'_>, default: Option<f64>) -> Result<Topology, ConfigErrors> {
    let mut rows = Vec::new();
    for line in source.text.lines() {
        let line = line.split('#').next().unwrap_or(line);
        if line.trim().is_empty() {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let (from, to, there, back) = match fields[..] {
            [from, to] => (from, to, "", ""),
            [from, to, there] => (from, to, there, ""),
            [from, to, there, back] => (from, to, there, back),
            _ => {
                let message = format!("{} fields, must be 2 to 4", fields.len());
                return Err(source.wrong(line.trim(), message, "write from,to,capacity"));
            }
        };
        // A heading.
        if rows.is_empty() && there.to_ascii_lowercase().starts_with("capacity") {
            continue;
        }
        if from.is_empty() || to.is_empty() {
            return Err(source.wrong(line, "a node without a name", "write from,to,capacity"));
        }
        let there = match (there, default) {
            ("", Some(capacity)) => capacity,
            ("", None) => {
                let help = "write it as third field, or give a capacity for such links";
                return Err(source.wrong(line.trim(), format!("no capacity from {from} to {to}"), help));
            }
            (word, _) => capacity(source, word)?,
        };
        let back = if back.is_empty() { there } else { capacity(source, back)? };
        rows.push((from, to, there, back));
    }
    let mut builder = Builder::new(source);
    // Numbered nodes keep the order of their numbers, so that files agree however their lines are ordered.
    let mut names: Vec<&str> = rows.iter().flat_map(|r| [r.0, r.1]).collect();
    let numbers: Option<Vec<u64>> = names.iter().map(|n| n.parse().ok()).collect();
    if numbers.is_some() {
        names.sort_by_key(|n| n.parse::<u64>().unwrap_or_default());
    }
    for name in names {
        builder.find_or_add(name);
    }
    for (from, to, there, back) in rows {
        let start = (from.as_ptr() as usize).saturating_sub(source.text.as_ptr() as usize);
        let at = start..start + from.len();
        let (a, b) = (builder.find_or_add(from), builder.find_or_add(to));
        builder.link(a, b, there, at.clone());
        builder.link(b, a, back, at);
    }
    builder.finish(stem(source.file))
}
