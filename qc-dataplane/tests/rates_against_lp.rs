//! Max-min fair rates against linear programmes: raise the least share as far as it goes, fix those that cannot
//! have more, and again with the others. Slow and plain, and nothing in common with progressive filling.

use good_lp::{Expression, Solution, SolverModel, constraint, microlp, variable, variables};
use proptest::prelude::*;
use valecast_qc_dataplane::rate::{Allocator, Demand, Policy};

#[derive(Clone, Debug)]
struct Tree {
    links: Vec<u32>,
    limit: f64,
    weight: f64,
}

/// The largest value of `objective`'s tree (or of the common share if none) when fixed trees have their rate and
/// open ones at least `least` of theirs, both less a crumb, as the solver rounds too.
fn solve(capacity: &[f64], trees: &[Tree], fixed: &[Option<f64>], one: Option<(usize, f64)>) -> f64 {
    let mut vars = variables!();
    let rates: Vec<_> = trees.iter().map(|t| vars.add(variable().min(0.0).max(t.limit.min(1e3)))).collect();
    let share = vars.add(variable().min(0.0).max(1e6));
    let goal: Expression = one.map_or_else(|| share.into(), |(tree, _)| rates[tree].into());
    let mut model = vars.maximise(goal).using(microlp);
    for (link, c) in (0..).zip(capacity) {
        let on = trees.iter().zip(&rates).filter(|(t, _)| t.links.contains(&link));
        let load: Expression = on.map(|(_, r)| Expression::from(*r)).sum();
        model = model.with(constraint!(load <= *c));
    }
    for ((t, r), f) in trees.iter().zip(&rates).zip(fixed) {
        model = match (f, one) {
            (Some(rate), _) => model.with(constraint!(*r >= rate * (1.0 - 1e-6))),
            (None, None) => model.with(constraint!(*r >= t.weight * share)),
            (None, Some((_, least))) => model.with(constraint!(*r >= t.weight * least * (1.0 - 1e-6))),
        };
    }
    let solution = model.solve().expect("a solution");
    match one {
        None => solution.value(share),
        Some((tree, _)) => solution.value(rates[tree]),
    }
}

fn max_min_by_lp(capacity: &[f64], trees: &[Tree]) -> Vec<f64> {
    let mut fixed = vec![None; trees.len()];
    while fixed.iter().any(Option::is_none) {
        let share = solve(capacity, trees, &fixed, None);
        let open: Vec<_> = (0..trees.len()).filter(|t| fixed[*t].is_none()).collect();
        let before = open.len();
        for &t in &open {
            let most = solve(capacity, trees, &fixed, Some((t, share)));
            if most <= trees[t].weight * share * (1.0 + 1e-5) + 1e-6 {
                fixed[t] = Some(trees[t].weight * share);
            }
        }
        assert!(fixed.iter().filter(|f| f.is_none()).count() < before, "the programme got stuck");
    }
    fixed.into_iter().flatten().collect()
}

fn case() -> impl Strategy<Value = (Vec<f64>, Vec<Tree>)> {
    let tree = (
        proptest::collection::btree_set(0u32..6, 1..4),
        prop_oneof![3 => Just(f64::INFINITY), 1 => 0.1f64..3.0],
        0.5f64..4.0,
    );
    let trees = proptest::collection::vec(tree, 1..9);
    (proptest::collection::vec(0.5f64..10.0, 6), trees).prop_map(|(capacity, trees)| {
        let tree = |(links, limit, weight): (std::collections::BTreeSet<u32>, f64, f64)| Tree {
            links: links.into_iter().collect(),
            limit,
            weight,
        };
        (capacity, trees.into_iter().map(tree).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn weighted_and_plain((capacity, trees) in case()) {
        let plain: Vec<_> = trees.iter().map(|t| Tree { weight: 1.0, ..t.clone() }).collect();
        for (policy, trees) in [(Policy::Weighted(1.0), &trees), (Policy::Fair, &plain)] {
            let demands: Vec<_> = trees
                .iter()
                .map(|t| Demand { links: &t.links, limit: t.limit, weight: t.weight, rank: 0.0 })
                .collect();
            let ours = Allocator::new().allocate(policy, &capacity, &demands).unwrap().to_vec();
            let theirs = max_min_by_lp(&capacity, trees);
            for (a, b) in ours.iter().zip(&theirs) {
                prop_assert!((a - b).abs() <= 1e-4 * b.max(1.0), "{policy}: {ours:?}, by programme {theirs:?}");
            }
        }
    }
}
