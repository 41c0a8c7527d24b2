use std::collections::VecDeque;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::graph::{Link, Node};
use crate::plan::Partition;
use crate::rate::{Allocator, Demand};
use crate::tree::Tree;

fn transfer(arrival: f64, from: Node, receivers: &[Node], volume: f64) -> Transfer {
    Transfer { arrival, from, receivers: receivers.to_vec(), volume }
}

fn settings(policy: Policy) -> Settings {
    Settings { policy, ..Settings::default() }
}

/// Fewest-hop tree to `receivers`; `turn` decides between links out of one node.
fn tree(graph: &Graph, root: Node, receivers: &[Node], turn: bool) -> Tree {
    let mut by = vec![None; graph.nodes()];
    let (mut order, mut queue) = (Vec::new(), VecDeque::from([root]));
    while let Some(node) = queue.pop_front() {
        let mut out = graph.out_of(node).to_vec();
        if turn {
            out.reverse();
        }
        for l in out {
            let to = graph.link(l).to;
            if to != root && by[to as usize].is_none() {
                by[to as usize] = Some(l);
                order.push(to);
                queue.push_back(to);
            }
        }
    }
    let mut used = vec![false; graph.nodes()];
    for r in receivers {
        let mut at = *r;
        while let Some(l) = by[at as usize].filter(|_| !std::mem::replace(&mut used[at as usize], true)) {
            at = graph.link(l).from;
        }
    }
    let links = order.iter().filter(|n| used[**n as usize]).filter_map(|n| by[*n as usize]).collect();
    Tree { root, links }
}

/// `split`: each receiver alone, with two trees; otherwise one tree.
fn plan(graph: &Graph, t: &Transfer, split: bool) -> Plan {
    let one = |receivers: &[Node], both: bool| Partition {
        receivers: receivers.to_vec(),
        trees: [false, true][..1 + usize::from(both)]
            .iter()
            .map(|b| tree(graph, t.from, receivers, *b))
            .collect(),
    };
    let partitions = match split {
        true => t.receivers.chunks(1).map(|r| one(r, true)).collect(),
        false => vec![one(&t.receivers, false)],
    };
    Plan { partitions }
}

/// Completion times and bandwidth by plain steps: every slot its own rates, nothing remembered but residuals.
fn step_by_step(graph: &Graph, transfers: &[Transfer], s: &Settings, split: &[bool]) -> (Vec<f64>, f64) {
    struct Part<'a> {
        t: &'a Transfer,
        number: usize,
        partition: Partition,
        residual: f64,
        from_slot: u64,
    }
    let capacity = graph.capacities();
    let starts: Vec<_> =
        transfers.iter().scan(0, |n, t| Some(std::mem::replace(n, *n + t.receivers.len()))).collect();
    let mut completion = vec![f64::INFINITY; transfers.iter().map(|t| t.receivers.len()).sum()];
    let (mut bandwidth, mut next, mut parts) = (0.0, 0, Vec::<Part<'_>>::new());
    for slot in 0u64.. {
        if next == transfers.len() && parts.is_empty() {
            break;
        }
        let mut load = Load::new(graph);
        parts.iter().flat_map(|p| &p.partition.trees).for_each(|t| load.add(t, 1.0));
        let policy = s.policy.at(load.crowding());
        let mut demands = Vec::new();
        for p in &parts {
            let trees = p.partition.trees.len() as f64;
            let weight = policy.weight(p.partition.receivers.len(), p.residual, p.t.volume) / trees;
            let rank = policy.rank(p.number, p.residual);
            for tree in &p.partition.trees {
                demands.push(Demand { links: &tree.links, limit: p.residual / s.delta, weight, rank });
            }
        }
        let rates = Allocator::new().allocate(policy, &capacity, &demands).unwrap().to_vec();
        let mut rates = rates.into_iter();
        for p in &mut parts {
            let own: Vec<f64> = rates.by_ref().take(p.partition.trees.len()).collect();
            let sum: f64 = own.iter().sum();
            let scale = if sum * s.delta > p.residual { p.residual / (sum * s.delta) } else { 1.0 };
            for (tree, rate) in p.partition.trees.iter().zip(&own) {
                bandwidth += rate * scale * s.delta * tree.links.len() as f64;
            }
            p.residual -= sum * scale * s.delta;
            if p.residual <= 1e-9 * p.t.volume {
                for r in &p.partition.receivers {
                    let at = p.t.receivers.iter().position(|n| n == r).unwrap();
                    completion[starts[p.number] + at] = (slot + 1 - p.from_slot) as f64 * s.delta;
                }
            }
        }
        parts.retain(|p| p.residual > 1e-9 * p.t.volume);
        while let Some(t) = transfers.get(next).filter(|t| t.arrival < (slot + 1) as f64 * s.delta) {
            for partition in plan(graph, t, split[next]).partitions {
                parts.push(Part { t, number: next, partition, residual: t.volume, from_slot: slot + 1 });
            }
            next += 1;
        }
    }
    (completion, bandwidth)
}

#[derive(Clone, Debug)]
struct Case {
    graph: Graph,
    transfers: Vec<Transfer>,
    split: Vec<bool>,
    delta: f64,
}

fn case() -> impl Strategy<Value = Case> {
    let capacity = prop_oneof![Just(1.0), 0.05f64..1.0];
    let chords = proptest::collection::vec((0u32..7, 0u32..7, capacity.clone()), 0..8);
    let one =
        (0.0f64..40.0, 0u32..7, proptest::collection::btree_set(0u32..7, 2..5), 0.01f64..60.0, any::<bool>());
    let transfers = proptest::collection::vec(one, 1..14);
    let delta = prop_oneof![Just(1.0), Just(0.5), 0.3f64..2.0];
    (proptest::collection::vec(capacity, 14), chords, transfers, delta).prop_map(
        |(ring, chords, drawn, delta)| {
            let ring = (0..14u32).map(|i| match i < 7 {
                true => (i, (i + 1) % 7, ring[i as usize]),
                false => ((i + 1) % 7, i % 7, ring[i as usize]),
            });
            let links = ring.chain(chords).filter(|l| l.0 != l.1);
            let links = links.map(|(from, to, capacity)| Link { from, to, capacity }).collect();
            let mut drawn = drawn;
            drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
            let split = drawn.iter().map(|d| d.4).collect();
            let transfers = drawn.into_iter().map(|(arrival, from, to, volume, _)| {
                let to: Vec<_> = to.into_iter().filter(|n| *n != from).collect();
                transfer(arrival, from, &to, volume)
            });
            Case { graph: Graph::numbered(7, links).unwrap(), transfers: transfers.collect(), split, delta }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Passing many slots in one go gives what slot after slot gives.
    #[test]
    fn skipping_is_stepping(c in case()) {
        let w1 = Policy::Weighted(1.0);
        for policy in [Policy::Fair, Policy::Dispatch, Policy::Fcfs, Policy::Srpt, w1, Policy::Adaptive] {
            let s = Settings { delta: c.delta, ..settings(policy) };
            let mut split = c.split.iter();
            let ours = run(&c.graph, &c.transfers, &s, |_, t| {
                Ok::<_, Infallible>(plan(&c.graph, t, *split.next().unwrap()))
            });
            let ours = ours.unwrap();
            let (completion, bandwidth) = step_by_step(&c.graph, &c.transfers, &s, &c.split);
            prop_assert_eq!(&ours.completion, &completion, "{}", policy);
            prop_assert!((ours.bandwidth - bandwidth).abs() <= 1e-6 * bandwidth, "{} {bandwidth}", ours.bandwidth);
        }
    }

    /// What a plan is told of the load is what the trees have yet to send, and no more volume is carried than there is.
    #[test]
    fn the_load_is_the_residual(c in case()) {
        let mut split = c.split.iter();
        let mut installed = vec![0.0; c.graph.links().len()];
        let s = settings(Policy::Fair);
        let result = run(&c.graph, &c.transfers, &s, |load, t| {
            let plan = plan(&c.graph, t, *split.next().unwrap());
            for (l, most) in load.volume().iter().zip(&installed) {
                assert!(*l >= 0.0 && *l <= most + 1e-6);
            }
            for (rate, c) in load.rate().iter().zip(c.graph.capacities()) {
                assert!(*rate <= c * (1.0 + 1e-9));
            }
            for p in &plan.partitions {
                for tree in &p.trees {
                    tree.links.iter().for_each(|l| installed[*l as usize] += t.volume / p.trees.len() as f64);
                }
            }
            Ok::<_, Infallible>(plan)
        });
        let result = result.unwrap();
        prop_assert!(result.completion.iter().all(|t| *t >= s.delta && t.is_finite()));
        // All that was installed was carried, unless trees of one partition shared it unevenly.
        let all: f64 = installed.iter().sum();
        if c.split.iter().all(|s| !s) {
            prop_assert!((result.bandwidth - all).abs() <= 1e-6 * all);
        }
    }
}

#[test]
fn figure_one() {
    // Extended paper, Fig. 1 (claim C0): 100 units behind links of 10, then 1 (t1, t2) and 10 (t3, t4).
    let link = |from, to, capacity| Link { from, to, capacity };
    let links = vec![
        link(0, 1, 10.0),
        link(1, 2, 1.0),
        link(1, 3, 10.0),
        link(2, 4, 1.0),
        link(2, 5, 1.0),
        link(3, 6, 10.0),
        link(3, 7, 10.0),
    ];
    let g = Graph::numbered(8, links).unwrap();
    let all = [transfer(0.0, 0, &[4, 5, 6, 7], 100.0)];
    let part = |receivers: &[Node], links: &[u32]| Partition {
        receivers: receivers.to_vec(),
        trees: vec![Tree { root: 0, links: links.to_vec() }],
    };
    let single = Plan { partitions: vec![part(&[4, 5, 6, 7], &[0, 1, 2, 3, 4, 5, 6])] };
    let slow = part(&[4, 5], &[0, 1, 3, 4]);
    let two = Plan { partitions: vec![slow.clone(), part(&[6, 7], &[0, 2, 5, 6])] };
    let go = |policy, plan: &Plan, delta| {
        let s = Settings { delta, ..settings(policy) };
        run(&g, &all, &s, |_, _| Ok::<_, Infallible>(plan.clone())).unwrap()
    };
    assert_eq!(go(Policy::Fair, &single, 1.0).completion, [100.0; 4]);
    // 100/9 time units are whole slots of a ninth.
    let fair = go(Policy::Fair, &two, 1.0 / 9.0);
    for (time, want) in fair.completion.iter().zip([100.0, 100.0, 100.0 / 9.0, 100.0 / 9.0]) {
        assert!((time - want).abs() < 1e-6, "{time}");
    }
    assert!((fair.summary().mean - 500.0 / 9.0).abs() < 1e-6);
    // The fast receivers first, the others when those are done.
    let serial = Plan { partitions: two.partitions.into_iter().rev().collect() };
    assert_eq!(go(Policy::Fcfs, &serial, 1.0).completion, [110.0, 110.0, 10.0, 10.0]);
}

#[test]
fn infocom_figure_four() {
    // Claim I1: four transfers of 10 to 13 units, a slot apart, each two of which share a link of capacity 1.
    let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    let links = (1..=6).map(|to| Link { from: 0, to, capacity: 1.0 }).collect();
    let g = Graph::numbered(7, links).unwrap();
    let of = |i: usize| -> Vec<u32> {
        (0..6).filter(|p| pairs[*p as usize].0 == i || pairs[*p as usize].1 == i).collect()
    };
    let transfers: Vec<_> = (0..4)
        .map(|i| {
            let receivers: Vec<_> = of(i).iter().map(|l| l + 1).collect();
            transfer(i as f64, 0, &receivers, 10.0 + i as f64)
        })
        .collect();
    for (policy, want, mean) in [
        (Policy::Fcfs, [10.0, 21.0, 33.0, 46.0], 27.5),
        (Policy::Srpt, [10.0, 21.0, 33.0, 46.0], 27.5),
        (Policy::Fair, [19.0, 23.0, 26.0, 27.5], 23.875),
        (Policy::Dispatch, [19.0, 23.0, 26.0, 27.5], 23.875),
    ] {
        // Half slots, as the last one is done in the middle of one; times count from the first transfer's start.
        let s = Settings { delta: 0.5, ..settings(policy) };
        let mut next = 0..4;
        let out = run(&g, &transfers, &s, |_, t| {
            let links = of(next.next().unwrap());
            let trees = vec![Tree { root: 0, links }];
            Ok::<_, Infallible>(Plan {
                partitions: vec![Partition { receivers: t.receivers.clone(), trees }],
            })
        });
        let out = out.unwrap();
        let times: Vec<f64> = (0..4).map(|i| out.of(i)[0] + i as f64).collect();
        assert_eq!(times, want, "{policy}");
        assert_eq!(stats::mean(&times), mean);
    }
}

fn line() -> Graph {
    let link = |from, to| Link { from, to, capacity: 1.0 };
    Graph::numbered(3, vec![link(0, 1), link(1, 2), link(1, 0), link(2, 1)]).unwrap()
}

#[test]
fn measures() {
    let g = line();
    let transfers =
        [transfer(0.5, 0, &[1, 2], 2.0), transfer(100.0, 2, &[1], 3.5), transfer(100.0, 0, &[1], 1.0)];
    let out =
        run(&g, &transfers, &settings(Policy::Fair), |_, t| Ok::<_, Infallible>(plan(&g, t, false))).unwrap();
    assert_eq!(out.completion, [2.0, 2.0, 4.0, 1.0]);
    assert_eq!((out.of(0), out.of(1)), (&[2.0, 2.0][..], &[4.0][..]));
    assert!((out.bandwidth - (4.0 + 3.5 + 1.0)).abs() < 1e-9);
    assert_eq!(out.by_rank(), [(2.0 + 4.0 + 1.0) / 3.0, 2.0]);
    // Node 1 delivers and forwards during the two slots of the first transfer, of 101 up to the last arrival's.
    assert_eq!((out.groups.most, out.groups.buckets), (1, 2));
    assert!((out.groups.mean_of_most() - 2.0 / 101.0).abs() < 1e-12);
    let s = out.summary();
    assert_eq!((s.mean, s.median, s.max, s.end, s.partitions), (2.25, 2.0, 4.0, 105.0, 1.0));
    assert!((s.throughput - (4.0 + 3.5 + 1.0) / 105.0).abs() < 1e-12);
    // 3, 2 and 1 slots differ; idle ones cost nothing.
    assert!(out.allocations <= 5, "{}", out.allocations);
}

#[test]
fn ends_at_the_horizon() {
    let g = line();
    let transfers = [transfer(0.0, 0, &[1], 2.0), transfer(0.0, 1, &[2], 20.0)];
    let s = Settings { horizon: Some(5), ..settings(Policy::Fair) };
    let out = run(&g, &transfers, &s, |_, t| Ok::<_, Infallible>(plan(&g, t, false))).unwrap();
    assert_eq!(out.completion, [2.0, f64::INFINITY]);
    assert!((out.bandwidth - 6.0).abs() < 1e-9 && out.end == 5.0);
}

#[test]
fn says_what_is_wrong() {
    let g = line();
    let say = |t: Transfer, plan: Plan| {
        run(&g, &[t], &Settings::default(), |_, _| Ok::<_, Infallible>(plan.clone())).unwrap_err().to_string()
    };
    let none = Plan { partitions: vec![] };
    assert_eq!(say(transfer(0.0, 0, &[1], 1.0), none.clone()), "transfer 0: the plan leaves a receiver out");
    assert!(say(transfer(f64::NAN, 0, &[1], 1.0), none.clone()).contains("arrives at NaN"));
    assert!(say(transfer(0.0, 0, &[1], f64::INFINITY), none.clone()).contains("volume is inf"));
    assert!(say(transfer(0.0, 0, &[9], 1.0), none.clone()).contains("node 9 does not exist"));
    assert!(say(transfer(0.0, 0, &[], 1.0), none.clone()).contains("has no receiver"));
    let twice = plan(&g, &transfer(0.0, 0, &[1], 1.0), false).partitions[0].clone();
    let twice = Plan { partitions: vec![twice.clone(), twice] };
    assert!(say(transfer(0.0, 0, &[1], 1.0), twice).contains("serves a receiver twice"));
    let slot = Settings { delta: 0.0, ..Settings::default() };
    let e = run(&g, &[], &slot, |_, _| Err("never")).unwrap_err().to_string();
    assert_eq!(e, "a slot of 0: must be above 0 and below 1e9");
    let e = run(&g, &[transfer(0.0, 0, &[1], 1.0)], &Settings::default(), |_, _| Err("no way")).unwrap_err();
    assert_eq!(e.to_string(), "transfer 0: no way");
}
