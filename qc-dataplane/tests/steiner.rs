//! The tree algorithms on published instances.

use std::path::PathBuf;

use valecast_qc_dataplane::read::instance::{Instance, instances};
use valecast_qc_dataplane::read::text;
use valecast_qc_dataplane::tree::{Steiner, TreeAlgorithm};

fn data(name: &str) -> Vec<Instance> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/steiner").join(name);
    instances(name, &text(name, std::fs::read(path).unwrap()).unwrap()).unwrap()
}

/// GreedyFLAC returns the very trees that its authors' program returns.
#[test]
fn greedy_flac_agrees_with_the_published_program() {
    let golden = data("gflac-golden.tsv.gz");
    assert_eq!(golden.len(), 1114);
    for i in &golden {
        let mut steiner = Steiner::new(&i.graph);
        let tree = steiner.tree(TreeAlgorithm::GreedyFlac, &i.cost, i.root, &i.terminals).unwrap();
        tree.check(&i.graph, &i.terminals).unwrap();
        let mut known = i.tree.clone().unwrap();
        known.sort_unstable();
        assert_eq!(i.ends(&tree.links), known, "{}", i.name);
        let cost = tree.cost(&i.cost);
        assert!((cost - i.tree_cost.unwrap()).abs() < 1e-6 * cost, "{}: {cost}", i.name);
        // With the memory of another tree.
        assert_eq!(steiner.tree(TreeAlgorithm::GreedyFlac, &i.cost, i.root, &i.terminals).unwrap(), tree);
    }
}
