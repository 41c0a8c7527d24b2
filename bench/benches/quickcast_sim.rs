//! QuickCast's rates and simulator by themselves: rates of 10,000 active trees on Kdl (754 nodes), and whole runs of
//! 200 transfers on GEANT. `cargo bench -p valecast-bench --bench quickcast_sim`.
#![allow(missing_docs)] // criterion's macros make items without docs

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use valecast_qc_dataplane::graph::Graph;
use valecast_qc_dataplane::load::Load;
use valecast_qc_dataplane::plan::{Planner, Scheme};
use valecast_qc_dataplane::rate::{Allocator, Demand, Policy};
use valecast_qc_dataplane::sim::Settings;
use valecast_qc_dataplane::sim::batch::one;
use valecast_qc_dataplane::topology::Topology;
use valecast_qc_dataplane::traffic::{Distribution, Traffic, Transfer, Volumes};
use valecast_qc_dataplane::tree::Tree;

fn network(name: &str) -> Graph {
    Topology::find(name, None).unwrap_or_else(|e| panic!("{name}: {e}")).graph.normalised()
}

fn transfers(graph: &Graph, count: usize, lambda: f64, receivers: usize) -> Vec<Transfer> {
    let volumes = Volumes::new(Distribution::Exponential, 20.0).unwrap_or_else(|e| panic!("{e}"));
    let traffic = Traffic { transfers: count, lambda, receivers, volumes };
    traffic.generate(graph.nodes(), 1).unwrap_or_else(|e| panic!("{e}"))
}

fn scheme(name: &str) -> Scheme {
    name.parse().unwrap_or_else(|e| panic!("{e}"))
}

/// Trees of 8 receivers each, with their volumes.
fn trees(graph: &Graph, count: usize) -> Vec<(Tree, f64)> {
    let mut planner = Planner::new(graph, scheme("min-edge"));
    let load = Load::new(graph);
    let plan = |t: Transfer| {
        let plan = planner.plan(&load, t.from, &t.receivers, t.volume).unwrap_or_else(|e| panic!("{e}"));
        plan.partitions
            .into_iter()
            .flat_map(|p| p.trees)
            .map(move |tree| (tree, t.volume))
            .collect::<Vec<_>>()
    };
    transfers(graph, count, f64::INFINITY, 8).into_iter().flat_map(plan).collect()
}

fn rates(c: &mut Criterion) {
    let graph = network("kdl");
    let capacity = graph.capacities();
    let trees = trees(&graph, 10_000);
    let mut group = c.benchmark_group("rates-kdl-10000-trees");
    group.sample_size(20);
    for policy in [Policy::Fair, Policy::Dispatch, Policy::Fcfs, Policy::Srpt, Policy::Weighted(1.0)] {
        let demands: Vec<Demand<'_>> = trees
            .iter()
            .enumerate()
            .map(|(i, (tree, volume))| Demand {
                links: &tree.links,
                limit: *volume,
                weight: policy.weight(8, *volume, *volume),
                rank: policy.rank(i, *volume),
            })
            .collect();
        let mut allocator = Allocator::new();
        group.bench_function(policy.to_string(), |b| {
            b.iter(|| allocator.allocate(policy, &capacity, &demands).map(<[f64]>::len));
        });
    }
    group.finish();
}

fn runs(c: &mut Criterion) {
    let graph = network("geant");
    let mut group = c.benchmark_group("run-geant-200-transfers");
    group.sample_size(20);
    for lambda in [0.001, 1.0] {
        let transfers = transfers(&graph, 200, lambda, 8);
        for name in ["paper", "best", "single", "dccast", "unicast"] {
            let scheme = scheme(name);
            let policy = scheme.rates.parse().unwrap_or_else(|e| panic!("{e}"));
            let settings = Settings { policy, ..Settings::default() };
            group.bench_function(BenchmarkId::new(name, lambda), |b| {
                b.iter(|| one(&graph, &transfers, scheme.clone(), &settings).map(|o| o.end));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, rates, runs);
criterion_main!(benches);
