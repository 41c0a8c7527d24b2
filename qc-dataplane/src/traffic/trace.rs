//! Transfers as a file: comma-separated `arrival,from,to,volume`, receivers separated by spaces.
//!
//! ```text
//! # time in slots, volume in capacity times slots
//! arrival,from,to,volume
//! 0,Oslo,Bergen Tromso,20
//! 3.5,Bergen,Oslo,2.75
//! ```

use std::fmt::Write as _;

use super::Transfer;
use crate::graph::{Graph, Node};

/// A line that makes no transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadTrace {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

/// The transfers in `text`, by arrival. Sites are named as in `graph`.
///
/// # Errors
/// The first line that is wrong.
pub fn read(graph: &Graph, text: &str) -> Result<Vec<Transfer>, BadTrace> {
    let mut transfers = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        let header = line.split(',').map(str::trim).eq(["arrival", "from", "to", "volume"]);
        if line.is_empty() || line.starts_with('#') || header {
            continue;
        }
        transfers.push(transfer(graph, line).map_err(|what| BadTrace { line: i + 1, what })?);
    }
    transfers.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    Ok(transfers)
}

fn transfer(graph: &Graph, line: &str) -> Result<Transfer, String> {
    let fields: Vec<_> = line.split(',').map(str::trim).collect();
    let [arrival, from, to, volume] = fields[..] else {
        return Err(format!("{} fields, must be 4: arrival,from,to,volume", fields.len()));
    };
    let node = |name: &str| -> Result<Node, String> {
        graph.find(name).ok_or_else(|| format!("the topology has no node \"{name}\""))
    };
    let number = |key: &str, text: &str, least: f64| {
        let number = text.parse().ok().filter(|n: &f64| *n >= least && *n < 1e15);
        number.ok_or_else(|| {
            format!("{key} is \"{text}\", must be a number of at least {least} and below 1e15")
        })
    };
    let from_node = node(from)?;
    let mut receivers = Vec::new();
    for name in to.split_whitespace() {
        let receiver = node(name)?;
        if receiver == from_node {
            return Err(format!("\"{name}\" is to send to itself"));
        }
        if receivers.contains(&receiver) {
            return Err(format!("receiver \"{name}\" is named twice"));
        }
        receivers.push(receiver);
    }
    if receivers.is_empty() {
        return Err("to is empty, must name at least one receiver".into());
    }
    let (arrival, volume) = (number("arrival", arrival, 0.0)?, number("volume", volume, 1e-9)?);
    Ok(Transfer { arrival, from: from_node, receivers, volume })
}

/// As a file that [`read`] takes.
#[must_use]
pub fn write(graph: &Graph, transfers: &[Transfer]) -> String {
    let mut out = String::from("arrival,from,to,volume\n");
    for t in transfers {
        let to: Vec<_> = t.receivers.iter().map(|r| graph.name(*r)).collect();
        let _ = writeln!(out, "{},{},{},{}", t.arrival, graph.name(t.from), to.join(" "), t.volume);
    }
    out
}
