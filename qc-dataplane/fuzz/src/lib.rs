//! What the fuzz targets of `valecast-qc-dataplane` do with a case. Also compiled into `tests/fuzz.rs`, which
//! feeds it seeded cases on a stable compiler.
#![allow(missing_docs)]

mod transport;

pub use transport::*;

use valecast_qc_dataplane::load::Load;
use valecast_qc_dataplane::plan::{BadRequest, Planner, Scheme};
use valecast_qc_dataplane::read;
use valecast_qc_dataplane::topology::Topology;
use valecast_qc_dataplane::tree::{NoTree, Steiner, TreeAlgorithm};

/// Names that choose the readers of topologies.
pub const FILES: [&str; 5] = ["f.gml", "f.csv", "f.toml", "f.txt", "f.gml.gz"];

/// A file through one of the readers. The case: which, then the file. Checks that a refusal has a place in the text,
/// that what is read is a network, and that plans and trees of it are what they must be.
pub fn topology_reader(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    let at = usize::from(which) % (FILES.len() + 2);
    if let Some(file) = FILES.get(at) {
        match Topology::read(file, bytes.to_vec(), (which & 128 != 0).then_some(1.0)) {
            Ok(topology) => planned(&topology),
            Err(e) => {
                assert!(!e.diagnostics.is_empty());
                for d in &e.diagnostics {
                    // Of a compressed file, places are those in the text.
                    let plain = !bytes.starts_with(&[0x1f, 0x8b]);
                    assert!(!plain || d.span.end <= bytes.len(), "{d}");
                    assert!(!d.message.is_empty());
                }
                assert!(e.to_string().contains(file), "{e}");
            }
        }
        return;
    }
    let Ok(text) = read::text("f", bytes.to_vec()) else { return };
    if at == FILES.len() {
        instances(&text);
    } else {
        let graph = Topology::find("gscale", None).expect("a built-in network").graph;
        if let Ok(load) = read::load::load("f", &text, &graph) {
            assert!(load.volume().iter().all(|v| v.is_finite() && *v >= 0.0));
        }
    }
}

fn planned(topology: &Topology) {
    let graph = &topology.graph;
    assert_eq!(topology.places.len(), graph.nodes());
    for l in graph.links() {
        assert!(l.capacity.is_finite() && l.capacity > 0.0 && l.from != l.to);
        assert!((l.from as usize) < graph.nodes() && (l.to as usize) < graph.nodes());
    }
    assert!(graph.names().iter().enumerate().all(|(n, name)| graph.find(name) == Some(n as u32)));
    let receivers: Vec<u32> = (1..graph.nodes().min(5) as u32).collect();
    for name in ["paper", "best"] {
        let Some(scheme) = Scheme::named(name) else { continue };
        match Planner::new(graph, scheme).plan(&Load::new(graph), 0, &receivers, 1.0) {
            Ok(plan) => {
                for p in &plan.partitions {
                    for tree in &p.trees {
                        tree.check(graph, &p.receivers).expect("a tree");
                    }
                }
            }
            Err(BadRequest::Unreachable { .. } | BadRequest::NoReceivers) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

fn instances(text: &str) {
    let Ok(found) = read::instance::instances("f", text) else { return };
    for i in found.iter().take(4).filter(|i| i.graph.nodes() < 10_000) {
        let mut steiner = Steiner::new(&i.graph);
        for algorithm in [TreeAlgorithm::GreedyFlac, TreeAlgorithm::TakahashiMatsuyama] {
            match steiner.tree(algorithm, &i.cost, i.root, &i.terminals) {
                Ok(tree) => tree.check(&i.graph, &i.terminals).expect("a tree"),
                Err(NoTree::Unreachable { .. }) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
}
