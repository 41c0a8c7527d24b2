//! What the demo draws: trees with their rates, links' use, and how far each receiver is. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use valecast_qc_dataplane::control::{ReceiverState, TransferStatus, TreeStatus};

/// Cells of a bar.
const BAR: usize = 40;

/// What carries how much now, in bit/s: from, to; what it may carry.
pub type Use = BTreeMap<(String, String), (u64, u64)>;

/// The picture at one moment, `seconds` after the transfer was asked for.
pub fn picture(status: &TransferStatus, links: &Use, seconds: f64) -> String {
    let mut out = String::new();
    let state = format!("{:?}", status.state).to_lowercase();
    let _ = writeln!(
        out,
        "{} from {} by scheme {}: {state}, {seconds:.1} s",
        status.name, status.from, status.scheme
    );
    if let Some(why) = &status.why {
        let _ = writeln!(out, "  {why}");
    }
    for tree in &status.trees {
        let to = tree.receivers.join(", ");
        let _ = writeln!(out, "\ntree {} to {to} at {}", tree.tree, rate(tree.rate));
        out += &drawn(tree, &status.from, links);
    }
    out.push('\n');
    let width = status.receivers.iter().map(|r| r.site.len()).max().unwrap_or(0);
    for r in &status.receivers {
        let share = if status.bytes == 0 { 1.0 } else { r.have as f64 / status.bytes as f64 };
        let end = match (r.state, r.seconds) {
            (ReceiverState::Verified, Some(s)) => format!("verified after {s:.2} s"),
            (ReceiverState::Receiving, _) => rate(r.rate.saturating_mul(8)),
            (state, _) => format!("{state:?}").to_lowercase(),
        };
        let _ = writeln!(out, "{:width$} {} {:3.0}%  {end}", r.site, bar(share), share.min(1.0) * 100.0);
    }
    out
}

fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64) as usize;
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

/// A tree, each site below the one that it gets its frames from.
fn drawn(tree: &TreeStatus, from: &str, links: &Use) -> String {
    let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (a, b) in &tree.links {
        below.entry(a).or_default().push(b);
    }
    let mut out = String::new();
    let (mut seen, mut way) = (BTreeSet::from([from]), vec![(from, None, 0)]);
    while let Some((site, parent, depth)) = way.pop() {
        match parent {
            None => out += &format!("  {site}\n"),
            Some(parent) => {
                let lead = format!("{}`- ", " ".repeat(3 * depth - 1));
                out += &row(&lead, parent, site, tree, links);
            }
        }
        let next = below.get(site).into_iter().flatten().copied().filter(|b| seen.insert(b));
        let next: Vec<&str> = next.collect();
        way.extend(next.into_iter().rev().map(|b| (b, Some(site), depth + 1)));
    }
    out
}

fn row(lead: &str, from: &str, to: &str, tree: &TreeStatus, links: &Use) -> String {
    let name = if tree.receivers.iter().any(|r| r == to) { format!("({to})") } else { to.to_owned() };
    let used = links.get(&(from.to_owned(), to.to_owned()));
    let used = used.map(|(now, most)| format!("{} of {}", rate(*now), rate(*most))).unwrap_or_default();
    format!("{:30} {used}\n", format!("{lead}{name}"))
}

/// A rate for people.
pub fn rate(bits: u64) -> String {
    let (n, unit) = match bits {
        0..1_000_000 => (bits as f64 / 1e3, "kbit/s"),
        1_000_000..1_000_000_000 => (bits as f64 / 1e6, "Mbit/s"),
        _ => (bits as f64 / 1e9, "Gbit/s"),
    };
    format!("{n:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use valecast_qc_dataplane::control::{ReceiverStatus, TransferState};

    use super::*;

    fn pairs(links: &[(&str, &str)]) -> Vec<(String, String)> {
        links.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_tree_and_its_receivers() {
        let tree = TreeStatus {
            tree: 3,
            partition: 0,
            port: "qc-3".into(),
            receivers: vec!["t1".into(), "t2".into()],
            hops: vec![3, 3],
            links: pairs(&[("S", "a"), ("a", "b"), ("b", "t1"), ("b", "t2"), ("a", "t3")]),
            unicast_repairs: true,
            rate: 48_000_000,
        };
        let receiver = |site: &str, have, state| ReceiverStatus {
            site: site.into(),
            have,
            rate: 1_000_000,
            state,
            why: None,
            seconds: Some(1.5).filter(|_| state == ReceiverState::Verified),
        };
        let status = TransferStatus {
            id: 1,
            version: 1,
            state: TransferState::Running,
            why: None,
            from: "S".into(),
            name: "file".into(),
            bytes: 100,
            scheme: "single".into(),
            path: None,
            receivers: vec![
                receiver("t1", 50, ReceiverState::Receiving),
                receiver("t2", 100, ReceiverState::Verified),
            ],
            trees: vec![tree],
            created_ms: 0,
            ended_ms: None,
        };
        let links = Use::from([(("a".to_owned(), "b".to_owned()), (47_000_000, 50_000_000))]);
        let want = "\
file from S by scheme single: running, 2.0 s

tree 3 to t1, t2 at 48.0 Mbit/s
  S
  `- a                         
     `- b                      47.0 Mbit/s of 50.0 Mbit/s
        `- (t1)                
        `- (t2)                
     `- t3                     

t1 [####################....................]  50%  8.0 Mbit/s
t2 [########################################] 100%  verified after 1.50 s
";
        let got = picture(&status, &links, 2.0);
        let trim = |s: &str| s.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(trim(&got), trim(want));
    }

    #[test]
    fn a_circle_is_drawn_once() {
        let tree = TreeStatus {
            tree: 1,
            partition: 0,
            port: String::new(),
            receivers: vec![],
            hops: vec![],
            links: pairs(&[("S", "a"), ("a", "S"), ("a", "a")]),
            unicast_repairs: false,
            rate: 0,
        };
        assert_eq!(drawn(&tree, "S", &Use::new()).lines().count(), 2);
    }
}
