//! The networks that experiments run on, with capacities divided by the largest.

use valecast_qc_dataplane::graph::{Graph, Link};

const FILES: [(&str, &str); 6] = [
    ("geant", include_str!("../../../../qc-dataplane/data/topologies/authors_GEANT2009.csv")),
    ("uninett", include_str!("../../../../qc-dataplane/data/topologies/authors_UNINETT2011.csv")),
    ("ans", include_str!("../../../../qc-dataplane/data/topologies/authors_ANS.csv")),
    ("gscale", include_str!("../../../../qc-dataplane/data/topologies/authors_GSCALE.csv")),
    ("cogent", include_str!("../../../../qc-dataplane/data/topologies/authors_COGENT.csv")),
    ("random50", include_str!("../../../../qc-dataplane/data/topologies/synth_RANDOM50.csv")),
];

/// The network that goes by a name or is in a file.
pub fn network(name: &str) -> Result<Graph, String> {
    let found = FILES.iter().find(|f| f.0.eq_ignore_ascii_case(name));
    let text = found.ok_or_else(|| format!("there is no topology \"{name}\""))?.1;
    let mut links = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<f64> = line.split(',').filter_map(|f| f.trim().parse().ok()).collect();
        if let [a, b, capacity] = fields[..] {
            links.push(Link { from: a as u32, to: b as u32, capacity });
            links.push(Link { from: b as u32, to: a as u32, capacity });
        }
    }
    let nodes = links.iter().map(|l| l.from + 1).max().unwrap_or(0);
    Ok(Graph::numbered(nodes as usize, links).map_err(|e| e.to_string())?.normalised())
}
