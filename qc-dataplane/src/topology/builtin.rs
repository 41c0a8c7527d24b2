//! The networks of the papers. `data/README.md` says where each comes from.

use valecast_config::ConfigErrors;

use super::Topology;

/// The built-in networks: name, and what it is.
pub const BUILT_IN: [(&str, &str); 8] = [
    ("ans", "ANS, 18 sites, 25 lines of 45 Mbit/s"),
    ("geant", "GEANT 2009, 34 sites, 52 lines of 45 Mbit/s to 10 Gbit/s"),
    ("uninett", "UNINETT 2011, 69 sites, 96 lines of 34 Mbit/s to 11 Gbit/s"),
    ("gscale", "Google's GScale, 12 sites, 19 equal lines"),
    ("cogent", "Cogent, 197 sites, 243 equal lines"),
    ("random50", "a random network, 50 sites, 150 equal lines"),
    ("b4", "Google's B4, 12 sites, 19 lines of 5 Gbit/s"),
    ("kdl", "KentuckyDataLink, 754 sites, 899 equal lines"),
];

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/topologies/", $name)).to_vec()
    };
}

/// A network by its name; none if it is no built-in one.
#[must_use]
pub fn built_in(name: &str) -> Option<Result<Topology, ConfigErrors>> {
    // Of networks without capacities, each line counts as this.
    let one = Some(1.0);
    Some(match name {
        "ans" => Topology::read("ans.csv", data!("authors_ANS.csv"), None)
            .and_then(|t| scaled(t, 0.045, Topology::read("Ans.gml.gz", data!("zoo/Ans.gml.gz"), one))),
        "geant" => Topology::read("geant.csv", data!("authors_GEANT2009.csv"), None).and_then(|t| {
            scaled(t, 10.0, Topology::read("Geant2009.gml.gz", data!("zoo/Geant2009.gml.gz"), one))
        }),
        "uninett" => Topology::read("uninett.csv", data!("authors_UNINETT2011.csv"), None).and_then(|t| {
            scaled(t, 11.0, Topology::read("Uninett2011.gml.gz", data!("zoo/Uninett2011.gml.gz"), one))
        }),
        "cogent" => Topology::read("cogent.csv", data!("authors_COGENT.csv"), None).and_then(|t| {
            scaled(t, 1.0, Topology::read("Cogentco.gml.gz", data!("zoo/Cogentco.gml.gz"), one))
        }),
        "gscale" => Topology::read("gscale.csv", data!("authors_GSCALE.csv"), None),
        "random50" => Topology::read("random50.csv", data!("synth_RANDOM50.csv"), None),
        "b4" => Topology::read("b4.txt", data!("teavar_B4.txt"), None),
        "kdl" => Topology::read("Kdl.gml.gz", data!("zoo/Kdl.gml.gz"), one),
        _ => return None,
    })
}

/// Capacities that were divided by the largest, `largest` in Gbit/s, to whole Mbit/s again; names and places from
/// the same network's map.
fn scaled(
    topology: Topology,
    largest: f64,
    map: Result<Topology, ConfigErrors>,
) -> Result<Topology, ConfigErrors> {
    let map = map?;
    let mut links = topology.graph.links().to_vec();
    for l in &mut links {
        l.capacity = (l.capacity * largest * 1e3).round() / 1e3;
    }
    let names = map.graph.names().to_vec();
    let fits = names.len() == topology.graph.nodes();
    let (names, places) =
        if fits { (names, map.places) } else { (topology.graph.names().to_vec(), topology.places) };
    let graph = crate::graph::Graph::new(names, links).map_err(|e| {
        let found = valecast_config::Diagnostic::without_place(&topology.name, e.to_string(), String::new());
        ConfigErrors { diagnostics: vec![found] }
    })?;
    Ok(Topology { name: topology.name, graph, places })
}
