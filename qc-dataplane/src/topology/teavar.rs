//! TEAVAR's form: a heading `to_node from_node capacity ...`, then one line per direction, fields between blanks.
//! Capacities are in kbit/s.

use valecast_config::ConfigErrors;

use super::{Builder, Topology, stem};
use crate::read::words::Source;

pub(super) fn read(source: Source<'_>) -> Result<Topology, ConfigErrors> {
    let mut lines = source.text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let heading = lines.next().unwrap_or_default();
    let columns: Vec<&str> = heading.split_whitespace().collect();
    let column = |name: &str| {
        let help = "the first line names the columns: to_node from_node capacity";
        let missing = || match heading {
            "" => source.wrong_file("no lines", help),
            _ => source.wrong(heading, format!("no column {name}"), help),
        };
        columns.iter().position(|c| *c == name).ok_or_else(missing)
    };
    let (to, from, capacity) = (column("to_node")?, column("from_node")?, column("capacity")?);
    let mut rows = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(to), Some(from), Some(word)) = (fields.get(to), fields.get(from), fields.get(capacity))
        else {
            let message = format!("{} fields, must be {}", fields.len(), columns.len());
            return Err(source.wrong(line, message, heading));
        };
        let kbit: f64 = source.number(word, "a capacity in kbit/s")?;
        if !(kbit > 0.0 && kbit.is_finite()) {
            return Err(source.wrong(word, format!("a capacity of {word} kbit/s"), "it must be above 0"));
        }
        rows.push((*from, *to, kbit / 1e6));
    }
    let mut builder = Builder::new(source);
    let mut names: Vec<&str> = rows.iter().flat_map(|r| [r.0, r.1]).collect();
    if names.iter().all(|n| n.parse::<u64>().is_ok()) {
        names.sort_by_key(|n| n.parse::<u64>().unwrap_or_default());
    }
    for name in names {
        builder.find_or_add(name);
    }
    for (from, to, capacity) in rows {
        let start = (from.as_ptr() as usize).saturating_sub(source.text.as_ptr() as usize);
        let (a, b) = (builder.find_or_add(from), builder.find_or_add(to));
        builder.link(a, b, capacity, start..start + from.len());
    }
    builder.finish(stem(source.file))
}
