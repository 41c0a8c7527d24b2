//! Plans: the paper's example, what every plan must be, and what no request may do.

use proptest::prelude::*;

use super::*;
use crate::graph::{Graph, Link};
use crate::load::Load;
use crate::rate::Policy;
use crate::tree::TreeAlgorithm;

/// Fig. 1: everything passes a link of 10 at the sender; t1 and t2 are behind a link of 1.
fn fig1() -> Graph {
    let names = ["S", "a", "b", "c", "t1", "t2", "t3", "t4"].map(String::from).to_vec();
    let lines =
        [(0, 1, 10.0), (1, 2, 1.0), (1, 3, 10.0), (2, 4, 10.0), (2, 5, 10.0), (3, 6, 10.0), (3, 7, 10.0)];
    let links = lines
        .iter()
        .flat_map(|&(a, b, capacity)| [Link { from: a, to: b, capacity }, Link { from: b, to: a, capacity }]);
    Graph::new(names, links.collect()).unwrap()
}

fn receivers(plan: &Plan) -> Vec<Vec<Node>> {
    plan.partitions.iter().map(|p| p.receivers.clone()).collect()
}

fn scheme(text: &str) -> Scheme {
    text.parse().unwrap()
}

/// When each partition is done on an empty network.
fn times(graph: &Graph, plan: &Plan, volume: f64, policy: Policy) -> Vec<f64> {
    predict(graph, &Load::new(graph), plan, volume, policy).unwrap().completion
}

fn near(got: &[f64], want: &[f64]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-9 * w)
}

#[test]
fn figure_1_is_exact() {
    let g = fig1();
    let to = [4, 5, 6, 7];
    let plan = |name: &str| Planner::new(&g, scheme(name)).plan(&Load::new(&g), 0, &to, 100.0).unwrap();
    let single = plan("single");
    assert_eq!(receivers(&single), [to]);
    assert!(near(&times(&g, &single, 100.0, Policy::Fair), &[100.0]));
    for name in ["paper", "quickcast2", "best"] {
        let two = plan(name);
        assert_eq!(receivers(&two), [[4, 5], [6, 7]], "{name}");
        let p = predict(&g, &Load::new(&g), &two, 100.0, Policy::Fair).unwrap();
        assert!(near(&p.rates.concat(), &[1.0, 9.0]), "{name}: {p:?}");
        assert!(near(&p.completion, &[100.0, 100.0 / 9.0]), "{name}: {p:?}");
        assert!((p.mean(&two) - 55.55).abs() < 0.01 && p.last() == p.completion[0]);
        assert_eq!(p.bandwidth, 800.0);
        // One after the other: the fast ones first.
        let mut serial = two.clone();
        serial.partitions.reverse();
        assert!(near(&times(&g, &serial, 100.0, Policy::Fcfs), &[10.0, 110.0]), "{name}");
    }
    assert_eq!(receivers(&plan("unicast")), [[4], [5], [6], [7]]);
    // Below one, the factor allows one partition only.
    assert_eq!(plan("paper,budget=0.9").partitions.len(), 1);
    assert_eq!(plan("paper,budget=100").partitions.len(), 4);
    assert_eq!(plan("paper,budget=100,most=3").partitions.len(), 3);
}

#[test]
fn later_trees_keep_off_the_earlier_ones() {
    // Two equal ways to each of two receivers: each tree takes its own.
    let line = |from, to| Link { from, to, capacity: 1.0 };
    let links = vec![line(0, 1), line(0, 2), line(1, 3), line(2, 3), line(1, 4), line(2, 4)];
    let g = Graph::numbered(5, links).unwrap();
    let load = Load::new(&g);
    let plan = Planner::new(&g, scheme("single,partition=each")).plan(&load, 0, &[3, 4], 1.0).unwrap();
    let [a, b] = &plan.partitions[..] else { panic!("{plan:?}") };
    assert!(a.trees[0].links.iter().all(|l| !b.trees[0].links.contains(l)), "{plan:?}");
    // And one partition may use both at once.
    let plan = Planner::new(&g, scheme("single,parallel=2")).plan(&load, 0, &[3, 4], 1.0).unwrap();
    let [a, b] = &plan.partitions[0].trees[..] else { panic!("{plan:?}") };
    assert!(a.links.iter().all(|l| !b.links.contains(l)), "{plan:?}");
    // A third has no way of its own left.
    let plan = Planner::new(&g, scheme("single,parallel=3")).plan(&load, 0, &[3, 4], 1.0).unwrap();
    assert_eq!(plan.partitions[0].trees.len(), 2);
}

#[test]
fn predictions_count_the_load_and_parallel_trees() {
    let line = |from, to, capacity| Link { from, to, capacity };
    let g =
        Graph::numbered(4, vec![line(0, 1, 2.0), line(1, 3, 2.0), line(0, 2, 1.0), line(2, 3, 1.0)]).unwrap();
    let mut load = Load::new(&g);
    let one = Planner::new(&g, scheme("single")).plan(&load, 0, &[3], 12.0).unwrap();
    assert!(near(&times(&g, &one, 12.0, Policy::Fair), &[6.0]));
    // Two ways, half of it on each: the slow one takes as long as the fast one alone, so it is left out.
    let two = Planner::new(&g, scheme("single,parallel=2")).plan(&load, 0, &[3], 12.0).unwrap();
    assert_eq!(two.partitions[0].trees.len(), 1);
    // With 8 to send before, half of the link is free for 8; after that, all of it.
    load.add_to_link(0, 8.0);
    let p = predict(&g, &load, &one, 12.0, Policy::Fair).unwrap();
    assert!(near(&p.completion, &[10.0]) && near(&p.rates.concat(), &[1.0]), "{p:?}");
    let p = predict(&g, &load, &one, 12.0, Policy::Fcfs).unwrap();
    assert!(near(&p.completion, &[10.0]) && p.rates.concat() == [0.0], "{p:?}");
    // Now the way around is worth it.
    let two = Planner::new(&g, scheme("single,parallel=2,budget=3")).plan(&load, 0, &[3], 12.0).unwrap();
    assert_eq!(two.partitions[0].trees.len(), 2);
    let p = predict(&g, &load, &two, 12.0, Policy::Fair).unwrap();
    assert!(near(&p.rates.concat(), &[1.0, 1.0]), "{p:?}");
    assert!(near(&p.completion, &[6.0]) && p.bandwidth == 24.0, "{p:?}");
}

#[test]
fn bad_requests_are_named() {
    let g = fig1();
    let mut planner = Planner::new(&g, scheme("paper"));
    let load = Load::new(&g);
    let mut say = |to: &[Node], volume| planner.plan(&load, 0, to, volume).unwrap_err();
    for volume in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, 1e16, f64::MAX] {
        assert!(matches!(say(&[4], volume), BadRequest::Volume(_)), "{volume}");
    }
    assert_eq!(say(&[], 1.0), BadRequest::NoReceivers);
    assert_eq!(say(&[4, 0], 1.0).to_string(), "S is the sender and a receiver");
    assert_eq!(say(&[4, 5, 4], 1.0).to_string(), "t1 is a receiver twice");
    assert_eq!(say(&[8], 1.0).to_string(), "node 8 does not exist, there are 8");
    let one_way = Graph::numbered(3, vec![Link { from: 0, to: 1, capacity: 1.0 }]).unwrap();
    let e = planner.plan(&Load::new(&one_way), 0, &[4], 1.0).unwrap_err();
    assert_eq!(e, BadRequest::OtherLoad { load: 1, links: 14 });
    for (name, _) in Scheme::NAMES {
        let e = Planner::new(&one_way, scheme(name)).plan(&Load::new(&one_way), 0, &[1, 2], 1.0).unwrap_err();
        assert_eq!(e.to_string(), "no path leads from 0 to 2", "{name}");
    }
}

#[test]
fn schemes_have_names_and_parts() {
    for (name, _) in Scheme::NAMES {
        let s = scheme(name);
        assert_eq!(s.name, name);
        let toml = toml::to_string(&s).unwrap();
        assert_eq!(toml::from_str::<Scheme>(&toml).unwrap(), s);
    }
    let s = scheme("paper, weight=5, tree=tm, budget=1.2, most=3, parallel=2, rates=srpt");
    let text = (s.weight.number(), s.tree, s.budget, s.most, s.parallel, s.rates.as_str());
    assert_eq!(text, (5, TreeAlgorithm::TakahashiMatsuyama, 1.2, Some(3), 2, "srpt"));
    let s = scheme("best,ceiling=1.05,polish=no");
    assert_eq!((s.ceiling, s.polish), (Some(1.05), false));
    assert_eq!(scheme("best,ceiling=none"), Scheme { name: "best,ceiling=none".into(), ..scheme("fastest") });
    let e = |text: &str| text.parse::<Scheme>().unwrap_err().to_string();
    assert!(e("papr").contains("there is no algorithm \"papr\": use best, fastest, paper"));
    assert!(e("paper,weight=11").contains("weight 11 does not exist"));
    assert!(e("paper,budget=NaN").contains("budget: \"NaN\" is not"));
    assert!(e("paper,most=0").contains("most: \"0\" is not"));
    assert!(e("best,ceiling=-1").contains("ceiling: \"-1\" is not"));
    assert!(e("best,polish=1").contains("polish: \"1\" is not yes or no"));
    assert!(e("paper,x").contains("is not key=value"));
    assert!(e("paper,x=1").contains("a scheme has no \"x\""));
}

fn graphs() -> impl Strategy<Value = Graph> {
    (2usize..12).prop_flat_map(|n| {
        let link = (0..n as Node, 1..n as Node, 0.01f64..10.0);
        proptest::collection::vec(link, 1..40).prop_map(move |links| {
            let link = |(from, step, capacity)| Link { from, to: (from + step) % n as Node, capacity };
            Graph::numbered(n, links.into_iter().map(link).collect()).unwrap()
        })
    })
}

fn schemes() -> impl Strategy<Value = Scheme> {
    let parts = (1u8..=10, 0usize..6, 0.8f64..3.0, 1usize..4);
    let name = proptest::sample::select(Scheme::NAMES.map(|n| n.0).to_vec());
    (parts, name).prop_map(|((weight, tree, budget, parallel), name)| {
        let mut s = Scheme::named(name).unwrap();
        s.weight = weight.try_into().unwrap();
        s.tree = TreeAlgorithm::ALL[tree];
        (s.budget, s.parallel) = (budget, parallel);
        s
    })
}

#[test]
fn the_ceiling_keeps_bandwidth_down() {
    // Two ways from 0 to 3 of two links each, and nothing to divide: the second tree takes as many links as the
    // first. A link more on one way and it would take more.
    let link = |from, to| Link { from, to, capacity: 1.0 };
    let mut links = vec![link(0, 1), link(1, 3), link(0, 2), link(2, 3)];
    let trees = |links: &[Link], name: &str| {
        let g = Graph::numbered(5, links.to_vec()).unwrap();
        let plan = Planner::new(&g, scheme(name)).plan(&Load::new(&g), 0, &[3], 1.0).unwrap();
        (plan.partitions[0].trees.len(), plan.links())
    };
    assert_eq!(trees(&links, "best"), (2, 2.0));
    links[3] = link(2, 4);
    links.push(link(4, 3));
    assert_eq!(trees(&links, "best,budget=1.5"), (1, 2.0));
    assert_eq!(trees(&links, "fastest,budget=1.5"), (2, 2.5));
    assert_eq!(trees(&links, "best,budget=1.5,ceiling=1.25"), (2, 2.5));
}

proptest! {
    /// On top of the same load, `best` predicts partitions within the links of algorithm 2's plan: where no tree
    /// depends on another one (a single receiver), that is what it installs.
    #[test]
    fn best_takes_no_more_links_for_one_receiver(
        g in graphs(),
        from: proptest::sample::Index,
        step: proptest::sample::Index,
        volume in 0.1f64..1000.0,
        loads in proptest::collection::vec(0.0f64..100.0, 40),
    ) {
        let nodes = g.nodes();
        let from = from.index(nodes) as Node;
        let to = (from + 1 + step.index(nodes - 1) as Node) % nodes as Node;
        let mut load = Load::new(&g);
        for (l, v) in (0..g.links().len() as u32).zip(&loads) {
            load.add_to_link(l, *v);
        }
        let links = |name: &str| Planner::new(&g, scheme(name)).plan(&load, from, &[to], volume).map(|p| p.links());
        if let (Ok(paper), Ok(best)) = (links("paper"), links("best")) {
            prop_assert!(best <= paper + 1e-6, "{} links, algorithm 2 takes {}", best, paper);
        }
    }

    /// Any request on any network is refused, or planned so that each receiver is served by one partition, whose
    /// trees are trees to exactly its receivers. The load changes nothing but the trees.
    #[test]
    fn plans_serve_everybody_once(
        g in graphs(),
        scheme in schemes(),
        from: proptest::sample::Index,
        to in proptest::collection::vec(any::<proptest::sample::Index>(), 1..7),
        wild in proptest::option::weighted(0.1, (0u32..14, any::<f64>())),
        volume in 0.1f64..1000.0,
        loads in proptest::collection::vec(prop_oneof![Just(0.0), 0.0f64..100.0], 40),
    ) {
        let nodes = g.nodes();
        let from = from.index(nodes) as Node;
        let mut to: Vec<Node> = to.iter().map(|t| (from + 1 + t.index(nodes - 1) as Node) % nodes as Node).collect();
        to.sort_unstable();
        to.dedup();
        to.reverse();
        let volume = wild.map_or(volume, |w| w.1);
        to.extend(wild.map(|w| w.0));
        let mut load = Load::new(&g);
        for (l, v) in (0..g.links().len() as u32).zip(&loads) {
            load.add_to_link(l, *v);
            load.set_rate()[l as usize] = v / 10.0;
        }
        let mut planner = Planner::new(&g, scheme.clone());
        let first = planner.plan(&load, from, &to, volume);
        prop_assert_eq!(&planner.plan(&load, from, &to, volume), &first);
        let plan = match first {
            Ok(plan) => plan,
            // What is refused for its paths has none; the other reasons need a wild part.
            Err(BadRequest::Unreachable { .. }) => {
                prop_assert!(to.iter().any(|t| !reaches(&g, from, *t)));
                return Ok(());
            }
            Err(e) => {
                prop_assert!(wild.is_some(), "{}", e);
                return Ok(());
            }
        };
        let mut all: Vec<Node> = plan.partitions.iter().flat_map(|p| p.receivers.clone()).collect();
        all.sort_unstable();
        let mut wanted = to.clone();
        wanted.sort_unstable();
        prop_assert_eq!(all, wanted);
        prop_assert!(plan.partitions.len() <= scheme.most.unwrap_or(usize::MAX) || scheme.name == "unicast");
        for p in &plan.partitions {
            prop_assert!((1..=scheme.parallel).contains(&p.trees.len()));
            for t in &p.trees {
                prop_assert_eq!(t.root, from);
                prop_assert_eq!(t.check(&g, &p.receivers), Ok(()));
            }
        }
    }
}

/// Whether a path leads from one site to another.
fn reaches(g: &Graph, from: Node, to: Node) -> bool {
    let (mut seen, mut open) = (vec![false; g.nodes()], vec![from]);
    while let Some(v) = open.pop() {
        if !std::mem::replace(&mut seen[v as usize], true) {
            open.extend(g.out_of(v).iter().map(|l| g.link(*l).to));
        }
    }
    seen[to as usize]
}
