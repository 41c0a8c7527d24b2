use proptest::prelude::*;

use super::*;

fn tree(links: &[LinkId]) -> Demand<'_> {
    Demand { links, limit: f64::INFINITY, weight: 1.0, rank: 0.0 }
}

fn rates(policy: Policy, capacity: &[f64], trees: &[Demand<'_>]) -> Vec<f64> {
    Allocator::new().allocate(policy, capacity, trees).unwrap().to_vec()
}

#[test]
fn shares_a_bottleneck() {
    // Two trees on a link of 10, one of them also on a link of 2: the other gets what it leaves.
    for policy in [Policy::Fair, Policy::Dispatch, Policy::Weighted(1.0)] {
        assert_eq!(rates(policy, &[10.0, 2.0], &[tree(&[0, 1]), tree(&[0])]), [2.0, 8.0]);
        let limited = Demand { limit: 1.0, ..tree(&[0]) };
        assert_eq!(rates(policy, &[10.0], &[limited, tree(&[0])]), [1.0, 9.0]);
    }
    let heavy = Demand { weight: 3.0, ..tree(&[0]) };
    assert_eq!(rates(Policy::Weighted(1.0), &[8.0], &[heavy, tree(&[0])]), [6.0, 2.0]);
    assert_eq!(rates(Policy::Fair, &[8.0], &[heavy, tree(&[0])]), [4.0, 4.0]);
}

#[test]
fn serves_by_rank_and_wastes_nothing() {
    let ahead = Demand { rank: 1.0, ..tree(&[0, 1]) };
    let behind = [Demand { rank: 2.0, ..tree(&[0]) }, Demand { rank: 3.0, ..tree(&[1, 2]) }];
    let all = [behind[0], ahead, behind[1], Demand { rank: 4.0, ..tree(&[2]) }];
    // The last one runs although two before it stand still.
    assert_eq!(rates(Policy::Srpt, &[1.0, 1.0, 5.0], &all), [0.0, 1.0, 0.0, 5.0]);
    assert_eq!((Policy::Srpt.rank(7, 3.5), Policy::Fcfs.rank(7, 3.5)), (3.5, 7.0));
    // The same sum, added up in two ways.
    assert_ne!(0.1 + 0.2, 0.3);
    assert_eq!(Policy::Srpt.rank(0, 0.1 + 0.2).to_bits(), Policy::Srpt.rank(1, 0.3).to_bits());
}

#[test]
fn dispatch_differs_from_max_min_where_demand_is_short() {
    // Both have a share of 1.5; the one that comes first gets it before the other leaves most of its own.
    let short = Demand { limit: 0.1, ..tree(&[0]) };
    assert_eq!(rates(Policy::Dispatch, &[3.0], &[tree(&[0]), short]), [1.5, 0.1]);
    assert_eq!(rates(Policy::Dispatch, &[3.0], &[short, tree(&[0])]), [0.1, 2.9]);
    assert_eq!(rates(Policy::Fair, &[3.0], &[tree(&[0]), short]), [2.9, 0.1]);
}

#[test]
fn weights_change_at_halvings() {
    let w1 = Policy::Weighted(1.0);
    assert_eq!(w1.weight(4, 8.0, 8.0), 0.5);
    assert_eq!(w1.weight(4, 5.0, 8.0), 0.5);
    assert_eq!(w1.weight_holds_to(5.0, 8.0), 4.0);
    assert_eq!(w1.weight(4, 4.0, 8.0), 1.0);
    assert_eq!(w1.weight_holds_to(4.0, 8.0), 2.0);
    assert_eq!(w1.weight(4, 0.0, 8.0), 16.0);
    assert_eq!(w1.weight_holds_to(0.1, 8.0), 0.0);
    assert_eq!((Policy::Fair.weight(4, 1.0, 8.0), Policy::Fair.weight_holds_to(5.0, 8.0)), (1.0, 0.0));
    assert_eq!(Policy::Weighted(0.5).weight(4, 8.0, 16.0), 0.5f64.sqrt());
}

#[test]
fn names_go_both_ways() {
    for name in ["fair", "dispatch", "fcfs", "srpt", "w1", "w0.5"] {
        assert_eq!(name.parse::<Policy>().unwrap().to_string(), name);
    }
    for name in ["", "w", "wx", "w-1", "wNaN", "winf", "w9", "Fair"] {
        assert_eq!("weighted".parse(), Ok(Policy::Weighted(1.0)));
        let e = name.parse::<Policy>().unwrap_err().to_string();
        assert!(e.starts_with(&format!("rate policy \"{name}\" is none of fair,")), "{e}");
    }
}

#[test]
fn says_what_is_wrong() {
    let say = |capacity: &[f64], t: Demand<'_>| {
        Allocator::new().allocate(Policy::Fair, capacity, &[t]).unwrap_err().to_string()
    };
    assert_eq!(say(&[1.0], tree(&[3])), "tree 0: link 3 does not exist, there are 1");
    assert!(say(&[-1.0], tree(&[0])).contains("capacity is -1"));
    assert!(say(&[], tree(&[])).contains("infinite"));
    assert!(say(&[1.0], Demand { weight: f64::NAN, ..tree(&[0]) }).contains("weight is NaN"));
    assert!(say(&[1.0], Demand { limit: -1.0, ..tree(&[0]) }).contains("limit is -1"));
    assert!(say(&[1.0], Demand { rank: f64::NAN, ..tree(&[0]) }).contains("rank is NaN"));
}

#[test]
fn figure_one() {
    // Extended paper, Fig. 1: S over a link of 10 to a fork; t1, t2 behind 1, t3, t4 behind 10; 100 units.
    let capacity = [10.0, 1.0, 10.0, 1.0, 1.0, 10.0, 10.0];
    let one = [tree(&[0, 1, 2, 3, 4, 5, 6])];
    assert_eq!(rates(Policy::Fair, &capacity, &one), [1.0]);
    let two = [tree(&[0, 1, 3, 4]), tree(&[0, 2, 5, 6])];
    assert_eq!(rates(Policy::Fair, &capacity, &two), [1.0, 9.0]);
    // One after the other: the fast tree first.
    let serial = [Demand { rank: 2.0, ..two[0] }, Demand { rank: 1.0, ..two[1] }];
    assert_eq!(rates(Policy::Srpt, &capacity, &serial), [0.0, 10.0]);
}

#[derive(Clone, Debug)]
struct Case {
    capacity: Vec<f64>,
    trees: Vec<(Vec<LinkId>, f64, f64, f64)>,
}

impl Case {
    fn demands(&self) -> Vec<Demand<'_>> {
        self.trees
            .iter()
            .map(|(links, limit, weight, rank)| Demand { links, limit: *limit, weight: *weight, rank: *rank })
            .collect()
    }
}

fn case() -> impl Strategy<Value = Case> {
    let links = proptest::collection::btree_set(0u32..8, 1..5);
    let limit = prop_oneof![Just(f64::INFINITY), 0.0f64..4.0];
    let weight = prop_oneof![0.5f64..4.0, 1e-6f64..1e6];
    let trees = proptest::collection::vec((links, limit, weight, 0.0f64..9.0), 0..14);
    (proptest::collection::vec(0.5f64..10.0, 1..9), trees).prop_map(|(capacity, trees)| {
        let tree = |(set, limit, weight, rank): (std::collections::BTreeSet<u32>, f64, f64, f64)| {
            let links: std::collections::BTreeSet<_> =
                set.iter().map(|l| l % capacity.len() as u32).collect();
            (links.into_iter().collect(), limit, weight, rank)
        };
        let trees = trees.into_iter().map(tree).collect();
        Case { capacity, trees }
    })
}

#[test]
fn the_adaptive_power_follows_crowding() {
    let at = |crowding| Policy::Adaptive.at(crowding);
    for (crowding, power) in
        [(0.0, 0.5), (5.0, 0.5), (10.0, 1.5), (20.0, 2.5), (1e6, 3.0), (f64::INFINITY, 3.0)]
    {
        assert_eq!(at(crowding), Policy::Weighted(power), "{crowding}");
    }
    assert_eq!((Policy::Fair.at(1e6), Policy::Weighted(1.0).at(1e6)), (Policy::Fair, Policy::Weighted(1.0)));
    assert_eq!(
        ("adaptive".parse(), Policy::Adaptive.to_string()),
        (Ok(Policy::Adaptive), "adaptive".to_owned())
    );
}

const ALL: [Policy; 5] = [Policy::Fair, Policy::Dispatch, Policy::Fcfs, Policy::Srpt, Policy::Weighted(1.0)];

proptest! {
    /// Whatever the policy: no link is overfull, nobody gets more than it can use, and who gets less has a full link.
    #[test]
    fn respects_capacity_and_wastes_nothing(case in case()) {
        let trees = case.demands();
        let mut allocator = Allocator::new();
        for policy in ALL {
            let rates = allocator.allocate(policy, &case.capacity, &trees).unwrap().to_vec();
            let load = |link: u32| -> f64 {
                trees.iter().zip(&rates).filter(|(t, _)| t.links.contains(&link)).map(|(_, r)| r).sum()
            };
            let full = |link: u32| load(link) >= case.capacity[link as usize] * (1.0 - 1e-9);
            for (link, c) in (0..).zip(&case.capacity) {
                prop_assert!(load(link) <= c * (1.0 + 1e-9), "{policy}: link {link} has {}", load(link));
            }
            for (t, r) in trees.iter().zip(&rates) {
                prop_assert!(*r >= 0.0 && *r <= t.limit);
                // The published order gives trees their share before those with less demand leave some of theirs.
                if policy != Policy::Dispatch {
                    prop_assert!(*r >= t.limit || t.links.iter().any(|l| full(*l)), "{policy}: {t:?} at {r}");
                }
            }
        }
    }

    /// The definition of weighted max-min fairness: who gets less than it can use has a full link on which nobody
    /// has more for its weight.
    #[test]
    fn is_max_min_fair(case in case()) {
        let trees = case.demands();
        for policy in [Policy::Fair, Policy::Weighted(1.0)] {
            let rates = rates(policy, &case.capacity, &trees);
            let share = |t: &Demand<'_>, r: f64| if policy == Policy::Fair { r } else { r / t.weight };
            for (t, r) in trees.iter().zip(&rates).filter(|(t, r)| **r < t.limit) {
                let bottleneck = t.links.iter().any(|&l| {
                    let on = || trees.iter().zip(&rates).filter(|(o, _)| o.links.contains(&l));
                    let load: f64 = on().map(|(_, q)| q).sum();
                    let most = on().map(|(o, q)| share(o, *q)).fold(0.0, f64::max);
                    load >= case.capacity[l as usize] * (1.0 - 1e-9) && most <= share(t, *r) * (1.0 + 1e-6)
                });
                prop_assert!(bottleneck, "{policy}: {t:?} at {r}");
            }
        }
    }

    /// Without limits that matter the published order is max-min fair.
    #[test]
    fn dispatch_is_fair_without_limits(case in case()) {
        let trees: Vec<_> = case.demands().into_iter().map(|t| Demand { limit: f64::INFINITY, ..t }).collect();
        let (a, b) = (rates(Policy::Fair, &case.capacity, &trees), rates(Policy::Dispatch, &case.capacity, &trees));
        for (a, b) in a.iter().zip(&b) {
            prop_assert!((a - b).abs() <= 1e-9 * a.max(1e-9), "{a} {b}");
        }
    }

    /// What was allocated before leaves no trace.
    #[test]
    fn memory_is_no_state(first in case(), second in case()) {
        let mut allocator = Allocator::new();
        for policy in ALL {
            allocator.allocate(policy, &first.capacity, &first.demands()).unwrap();
            let again = allocator.allocate(policy, &second.capacity, &second.demands()).unwrap().to_vec();
            prop_assert_eq!(again, rates(policy, &second.capacity, &second.demands()));
        }
    }
}
