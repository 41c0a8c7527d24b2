//! The tree algorithms on published instances.

use std::path::PathBuf;

use proptest::prelude::*;
use valecast_qc_dataplane::graph::{Graph, Link, Node};
use valecast_qc_dataplane::read::instance::{Instance, instances};
use valecast_qc_dataplane::read::text;
use valecast_qc_dataplane::tree::{NoTree, Steiner, TreeAlgorithm};

fn data(name: &str) -> Vec<Instance> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/steiner").join(name);
    let text = text(name, std::fs::read(path).expect("a file")).expect("text");
    instances(name, &text).expect("instances")
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

/// SteinLib's group B: the exact algorithm finds the published optima, the others stay within reach of them.
#[test]
fn group_b_has_its_optima() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/steiner/steinlib-b/optima.txt");
    let optima = std::fs::read_to_string(path).unwrap();
    let mut exact = 0;
    for line in optima.lines() {
        let mut words = line.split_whitespace();
        let (name, optimum) = (words.next().unwrap(), words.next().unwrap().parse::<f64>().unwrap());
        let i = &data(&format!("steinlib-b/{name}.stp"))[0];
        let mut steiner = Steiner::new(&i.graph);
        let mut cost = |algorithm| {
            let tree = steiner.tree(algorithm, &i.cost, i.root, &i.terminals).unwrap();
            tree.check(&i.graph, &i.terminals).unwrap();
            tree.cost(&i.cost)
        };
        if i.terminals.len() <= 13 {
            assert_eq!(cost(TreeAlgorithm::Exact), optimum, "{name}");
            exact += 1;
        }
        let (gflac, tm) = (cost(TreeAlgorithm::GreedyFlac), cost(TreeAlgorithm::TakahashiMatsuyama));
        let improved = cost(TreeAlgorithm::Improved);
        assert!(improved >= optimum && improved <= gflac.min(tm), "{name}: {improved}, {gflac}, {tm}");
        assert!(gflac.max(tm) <= 1.25 * optimum, "{name}: {gflac}, {tm}, optimum {optimum}");
    }
    assert_eq!(exact, 6);
}

/// The exact algorithm agrees with another program's optimum on every instance that has one.
#[test]
fn exact_trees_cost_the_known_optimum() {
    let (mut seen, mut improved, mut least) = (0, 0.0, 0.0);
    for i in data("gflac-golden.tsv.gz").iter().filter(|i| i.terminals.len() <= 8) {
        let Some(optimum) = i.optimum else { continue };
        let mut steiner = Steiner::new(&i.graph);
        let tree = steiner.tree(TreeAlgorithm::Exact, &i.cost, i.root, &i.terminals).unwrap();
        tree.check(&i.graph, &i.terminals).unwrap();
        assert!((tree.cost(&i.cost) - optimum).abs() < 1e-6 * optimum, "{}: {}", i.name, tree.cost(&i.cost));
        let tree = steiner.tree(TreeAlgorithm::Improved, &i.cost, i.root, &i.terminals).unwrap();
        tree.check(&i.graph, &i.terminals).unwrap();
        assert!(tree.cost(&i.cost) >= optimum * (1.0 - 1e-9));
        improved += tree.cost(&i.cost);
        least += optimum;
        seen += 1;
    }
    assert!(seen > 500, "{seen}");
    assert!(improved < 1.01 * least, "{improved} against {least}");
}

/// The least cost of a tree, by trying all sets of links.
fn brute_force(g: &Graph, cost: &[f64], root: Node, terminals: &[Node]) -> f64 {
    let mut least = f64::INFINITY;
    for set in 0u32..1 << g.links().len() {
        let chosen = |l: usize| set >> l & 1 != 0;
        let sum: f64 = (0..cost.len()).filter(|l| chosen(*l)).map(|l| cost[l]).sum();
        let mut reached = 1u32 << root;
        for _ in 0..g.nodes() {
            for (l, link) in g.links().iter().enumerate() {
                if chosen(l) && reached >> link.from & 1 != 0 {
                    reached |= 1 << link.to;
                }
            }
        }
        if terminals.iter().all(|t| reached >> t & 1 != 0) {
            least = least.min(sum);
        }
    }
    least
}

proptest! {
    /// On small networks with parallel links, links that cost nothing and links that must not be used, every
    /// algorithm returns a tree, none beats the exact one, and that one costs what trying everything finds.
    #[test]
    fn trees_of_small_networks(
        links in proptest::collection::vec((0u32..6, 1u32..6, prop_oneof![Just(0.0), Just(1.0), 0.0f64..9.0, Just(f64::INFINITY)]), 1..13),
        root in 0u32..6,
        terminals in proptest::collection::vec(0u32..6, 0..5),
    ) {
        let cost: Vec<f64> = links.iter().map(|l| l.2).collect();
        let link = |&(from, step, _): &(u32, u32, f64)| Link { from, to: (from + step) % 6, capacity: 1.0 };
        let g = Graph::numbered(6, links.iter().map(link).collect()).unwrap();
        let mut steiner = Steiner::new(&g);
        let least = brute_force(&g, &cost, root, &terminals);
        for algorithm in TreeAlgorithm::ALL {
            match steiner.tree(algorithm, &cost, root, &terminals) {
                Ok(tree) => {
                    prop_assert_eq!(tree.check(&g, &terminals), Ok(()), "{:?}", algorithm);
                    let c = tree.cost(&cost);
                    prop_assert!(c >= least - 1e-9, "{:?}: {} below {}", algorithm, c, least);
                    let most = match algorithm {
                        TreeAlgorithm::Exact => least,
                        TreeAlgorithm::GreedyFlac | TreeAlgorithm::TakahashiMatsuyama | TreeAlgorithm::Improved => {
                            least * terminals.len().max(1) as f64
                        }
                        _ => f64::MAX,
                    };
                    prop_assert!(c <= most + 1e-9, "{:?}: {} above {}", algorithm, c, most);
                }
                Err(e) => {
                    prop_assert!(matches!(e, NoTree::Unreachable { .. }), "{:?}: {}", algorithm, e);
                    prop_assert!(least.is_infinite());
                }
            }
        }
    }
}

#[test]
fn bad_costs_are_named() {
    let g = Graph::numbered(2, vec![Link { from: 0, to: 1, capacity: 1.0 }]).unwrap();
    let mut steiner = Steiner::new(&g);
    let mut say =
        |algorithm, cost: &[f64], to| steiner.tree(algorithm, cost, 0, &[to]).unwrap_err().to_string();
    for algorithm in TreeAlgorithm::ALL {
        assert!(say(algorithm, &[-1.0], 1).starts_with("link 0: cost is -1"), "{algorithm:?}");
        assert!(say(algorithm, &[f64::NAN], 1).starts_with("link 0: cost is NaN"));
        assert_eq!(say(algorithm, &[], 1), "0 costs for 1 links");
        assert_eq!(say(algorithm, &[1.0], 2), "node 2 does not exist, there are 2");
        assert_eq!(say(algorithm, &[f64::INFINITY], 1), "no usable path leads from node 0 to node 1");
    }
    let g = Graph::numbered(60, (1..60).map(|to| Link { from: 0, to, capacity: 1.0 }).collect()).unwrap();
    let all: Vec<Node> = (0..60).collect();
    let e = Steiner::new(&g).tree(TreeAlgorithm::Exact, &[1.0; 59], 0, &all).unwrap_err();
    assert!(matches!(e, NoTree::TooMany { terminals: 59, .. }), "{e}");
}
