//! QuickCast's planning by itself: trees, partitions, exact trees, and how a tree's cost grows with the network.
//! `cargo xtask bench qc`.
#![allow(missing_docs)] // criterion's macros make items without docs

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use valecast_qc_dataplane::graph::{Graph, Link, Node};
use valecast_qc_dataplane::load::Load;
use valecast_qc_dataplane::plan::{Planner, Scheme};
use valecast_qc_dataplane::topology::built_in;
use valecast_qc_dataplane::tree::{Steiner, TreeAlgorithm};
use valecast_qc_dataplane::weight::{Weight, weigh};

/// A sequence that is the same every time (Steele, Lea and Flood's splitmix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// A sender and so many receivers.
    fn transfer(&mut self, nodes: usize, receivers: usize) -> (Node, Vec<Node>) {
        let mut all: Vec<Node> = (0..nodes as Node).collect();
        for i in 0..=receivers {
            let with = i + self.below(nodes - i);
            all.swap(i, with);
        }
        (all[0], all[1..=receivers].to_vec())
    }
}

fn network(name: &str) -> Graph {
    let found = built_in(name).and_then(Result::ok);
    found.expect("a built-in network").graph.normalised()
}

/// What 200 transfers of 20 to 8 receivers each leave to send, and transfers to come.
fn loaded(graph: &Graph, receivers: usize) -> (Load, Vec<(Node, Vec<Node>)>) {
    let (mut rng, mut load) = (Rng(1), Load::new(graph));
    let mut planner = Planner::new(graph, Scheme::named("paper").expect("a scheme"));
    for _ in 0..200 {
        let (from, to) = rng.transfer(graph.nodes(), 8);
        let plan = planner.plan(&load, from, &to, 20.0).expect("a plan");
        for tree in plan.partitions.iter().flat_map(|p| &p.trees) {
            load.add(tree, 20.0);
        }
    }
    (load, (0..64).map(|_| rng.transfer(graph.nodes(), receivers)).collect())
}

/// Algorithms 1 and 2 as published, and the search, one transfer after the other with 8 receivers at load.
fn plans(c: &mut Criterion) {
    let mut g = c.benchmark_group("plan, 8 receivers, at load");
    for name in ["ans", "geant", "uninett", "cogent"] {
        let graph = network(name);
        let (load, transfers) = loaded(&graph, 8);
        for (algorithm, scheme) in [("algorithm 1", "single"), ("algorithm 2", "paper"), ("search", "best")] {
            let mut planner = Planner::new(&graph, Scheme::named(scheme).expect("a scheme"));
            let mut next = transfers.iter().cycle();
            g.bench_function(BenchmarkId::new(algorithm, name), |b| {
                b.iter(|| {
                    let (from, to) = next.next().expect("it goes round");
                    planner.plan(&load, *from, to, 20.0).expect("a plan")
                });
            });
        }
    }
    g.finish();
}

/// Exact trees and heuristics for the same terminals.
fn trees(c: &mut Criterion) {
    let mut g = c.benchmark_group("tree on geant, at load");
    let graph = network("geant");
    for receivers in [4, 8, 10] {
        let (load, transfers) = loaded(&graph, receivers);
        let mut cost = Vec::new();
        weigh(Weight::LoadAndVolume, &graph, &load, 20.0, &mut cost);
        for algorithm in TreeAlgorithm::ALL {
            let mut steiner = Steiner::new(&graph);
            let mut next = transfers.iter().cycle();
            g.bench_function(BenchmarkId::new(algorithm.name(), receivers), |b| {
                b.iter(|| {
                    let (from, to) = next.next().expect("it goes round");
                    steiner.tree(algorithm, &cost, *from, to).expect("a tree")
                });
            });
        }
    }
    g.finish();
}

/// A torus of so many sites, each with a line to four neighbours, and random costs.
fn torus(side: usize, rng: &mut Rng) -> (Graph, Vec<f64>) {
    let site = |x: usize, y: usize| (x % side * side + y % side) as Node;
    let mut links = Vec::new();
    for (x, y) in (0..side * side).map(|n| (n / side, n % side)) {
        for to in [site(x + 1, y), site(x, y + 1)] {
            links.push(Link { from: site(x, y), to, capacity: 1.0 });
            links.push(Link { from: to, to: site(x, y), capacity: 1.0 });
        }
    }
    let cost = links.iter().map(|_| 1.0 + rng.below(1000) as f64 / 500.0).collect();
    (Graph::numbered(side * side, links).expect("a graph"), cost)
}

/// A GreedyFLAC tree to 8 receivers against the number of links, which is the throughput's unit; terminals are in
/// a part of the network that grows with it.
fn scaling(c: &mut Criterion) {
    let mut g = c.benchmark_group("gflac, 8 receivers, links");
    let mut rng = Rng(2);
    for side in [8, 16, 32, 64] {
        let (graph, cost) = torus(side, &mut rng);
        let mut steiner = Steiner::new(&graph);
        let transfers: Vec<_> = (0..64).map(|_| rng.transfer(graph.nodes(), 8)).collect();
        let mut next = transfers.iter().cycle();
        g.throughput(Throughput::Elements(graph.links().len() as u64));
        g.bench_function(BenchmarkId::from_parameter(graph.links().len()), |b| {
            b.iter(|| {
                let (from, to) = next.next().expect("it goes round");
                steiner.tree(TreeAlgorithm::GreedyFlac, &cost, *from, to).expect("a tree")
            });
        });
    }
    g.finish();
}

criterion_group!(benches, plans, trees, scaling);
criterion_main!(benches);
