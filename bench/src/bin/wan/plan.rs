//! What the planner says of a transfer: when each receiver has it, and what the links carry for it.

use std::collections::BTreeMap;

use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_qc_dataplane::graph::Node;
use valecast_qc_dataplane::load::Load;
use valecast_qc_dataplane::plan::{Planner, Scheme, predict};
use valecast_qc_dataplane::rate::Policy;

use crate::net::Net;

/// A plan's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Planned {
    /// Until each receiver is done, at the rates that are allocated.
    pub seconds: BTreeMap<String, f64>,
    /// Bytes on each link, by `from>to`.
    pub links: BTreeMap<String, f64>,
}

/// The plan of a scheme for `bytes` of frames on an empty network.
pub fn planned(net: &Net, scheme: &str, from: Node, to: &[Node], bytes: f64) -> Result<Planned, Trouble> {
    let scheme: Scheme = scheme.parse()?;
    let policy: Policy = scheme.rates.parse()?;
    let (graph, load) = (&net.graph, Load::new(&net.graph));
    // Capacities are in Gbit/s, so volumes are in Gbit.
    let volume = bytes * 8.0 / 1e9;
    let plan = Planner::new(graph, scheme).plan(&load, from, to, volume)?;
    let prediction = predict(graph, &load, &plan, volume, policy)?;
    let mut out = Planned::default();
    for (partition, seconds) in plan.partitions.iter().zip(&prediction.completion) {
        for &r in &partition.receivers {
            out.seconds.insert(graph.name(r).to_owned(), *seconds);
        }
        for &l in partition.trees.iter().flat_map(|t| &t.links) {
            let link = graph.link(l);
            let name = format!("{}>{}", graph.name(link.from), graph.name(link.to));
            *out.links.entry(name).or_default() += bytes / partition.trees.len() as f64;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_papers_example() {
        let net = Net::find("../examples/fig1-topology.toml", 1.0).unwrap();
        let site = |n: &str| net.site(n).unwrap();
        let to = ["t1", "t2", "t3", "t4"].map(site);
        let single = planned(&net, "single", site("S"), &to, 12.5e9).unwrap();
        let two = planned(&net, "quickcast2", site("S"), &to, 12.5e9).unwrap();
        for (name, ratio) in [("t1", 1.0), ("t2", 1.0), ("t3", 9.0), ("t4", 9.0)] {
            assert!((single.seconds[name] / two.seconds[name] - ratio).abs() < 1e-6, "{name}: {two:?}");
        }
        assert_eq!(single.links["S>a"], 12.5e9);
        assert_eq!(two.links["S>a"], 25e9);
        assert_eq!(two.links.len(), 7);
    }
}
