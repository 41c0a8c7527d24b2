//! Max-min fair rates of trees that share links (QuickCast, section IV-C): progressive filling.
//!
//! A tree sends at one rate over all of its links. All rates grow together until a link is full; the trees on
//! it are then fixed, and the others go on.

/// A tree as the allocation sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// The links it uses, as indices into the capacities. A link named twice counts once.
    pub links: Vec<usize>,
    /// Most it can use, in the unit of the capacities; infinite for "as much as there is".
    pub limit: f64,
    /// Its share relative to others; 1 for plain fairness.
    pub weight: f64,
}

/// Why there is no allocation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadDemand {
    /// A tree names a link that is not there.
    #[error("tree {tree}: link {link} does not exist, there are {links}")]
    NoLink {
        /// The tree.
        tree: usize,
        /// The link.
        link: usize,
        /// Number of links.
        links: usize,
    },
    /// A number that makes no sense.
    #[error("tree {tree}: {what} is {value}, must be {must}")]
    Number {
        /// The tree.
        tree: usize,
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        must: &'static str,
    },
    /// A capacity that makes no sense.
    #[error("link {link}: capacity is {value}, must be finite and not negative")]
    Capacity {
        /// The link.
        link: usize,
        /// Its value.
        value: f64,
    },
    /// Nothing bounds a tree.
    #[error("tree {tree}: no links and no limit, so its rate would be infinite")]
    Unbounded {
        /// The tree.
        tree: usize,
    },
}

fn check(capacity: &[f64], trees: &[Demand]) -> Result<(), BadDemand> {
    if let Some((link, value)) = capacity.iter().enumerate().find(|(_, c)| !c.is_finite() || **c < 0.0) {
        return Err(BadDemand::Capacity { link, value: *value });
    }
    for (tree, d) in trees.iter().enumerate() {
        if let Some(&link) = d.links.iter().find(|l| **l >= capacity.len()) {
            return Err(BadDemand::NoLink { tree, link, links: capacity.len() });
        }
        if !(d.weight > 0.0 && d.weight.is_finite()) {
            let must = "finite and above 0";
            return Err(BadDemand::Number { tree, what: "weight", value: d.weight, must });
        }
        if d.limit.is_nan() || d.limit < 0.0 {
            return Err(BadDemand::Number { tree, what: "limit", value: d.limit, must: "at least 0" });
        }
        if d.links.is_empty() && d.limit.is_infinite() {
            return Err(BadDemand::Unbounded { tree });
        }
    }
    Ok(())
}

/// The rate of each tree, in the unit of `capacity`: weighted max-min fair.
///
/// # Errors
/// When a demand refers to nothing or a number makes no sense.
pub fn max_min(capacity: &[f64], trees: &[Demand]) -> Result<Vec<f64>, BadDemand> {
    check(capacity, trees)?;
    let on = |link: usize, d: &Demand| d.links.contains(&link);
    let mut rates = vec![0.0; trees.len()];
    let mut open: Vec<usize> = (0..trees.len()).collect();
    let mut left = capacity.to_vec();
    // The level that all open trees have reached, per weight.
    let mut level = 0.0;
    while !open.is_empty() {
        let of_link = |link: usize| {
            let weight: f64 = open.iter().filter(|t| on(link, &trees[**t])).map(|t| trees[*t].weight).sum();
            (weight > 0.0).then(|| level + left[link].max(0.0) / weight)
        };
        let by_link = (0..capacity.len()).filter_map(of_link).fold(f64::INFINITY, f64::min);
        let by_limit = open.iter().map(|t| trees[*t].limit / trees[*t].weight).fold(f64::INFINITY, f64::min);
        let next = by_link.min(by_limit).max(level);
        for (link, room) in left.iter_mut().enumerate() {
            let weight: f64 = open.iter().filter(|t| on(link, &trees[**t])).map(|t| trees[*t].weight).sum();
            *room -= (next - level) * weight;
        }
        level = next;
        // Rounding leaves crumbs; a link with less than this is full.
        let full = |link: usize| left[link] <= 1e-9 * capacity[link].max(1e-300);
        let before = open.len();
        open.retain(|&t| {
            let d = &trees[t];
            rates[t] = (level * d.weight).min(d.limit);
            let done = level * d.weight >= d.limit || d.links.iter().any(|l| full(*l));
            !done
        });
        if open.len() == before {
            // Nothing was fixed: the level cannot rise for want of precision.
            break;
        }
    }
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(links: &[usize]) -> Demand {
        Demand { links: links.to_vec(), limit: f64::INFINITY, weight: 1.0 }
    }

    #[test]
    fn shares_a_bottleneck() {
        // Two trees on a link of 10, one of them also on a link of 2: the other gets what it leaves.
        let r = max_min(&[10.0, 2.0], &[tree(&[0, 1]), tree(&[0])]).unwrap();
        assert_eq!(r, [2.0, 8.0]);
        let limited = Demand { limit: 1.0, ..tree(&[0]) };
        assert_eq!(max_min(&[10.0], &[limited, tree(&[0])]).unwrap(), [1.0, 9.0]);
        let heavy = Demand { weight: 3.0, ..tree(&[0]) };
        assert_eq!(max_min(&[8.0], &[heavy, tree(&[0])]).unwrap(), [6.0, 2.0]);
    }

    #[test]
    fn says_what_is_wrong() {
        let e = max_min(&[1.0], &[tree(&[3])]).unwrap_err().to_string();
        assert_eq!(e, "tree 0: link 3 does not exist, there are 1");
        assert!(max_min(&[-1.0], &[]).unwrap_err().to_string().contains("capacity is -1"));
        assert!(max_min(&[], &[tree(&[])]).unwrap_err().to_string().contains("infinite"));
    }

    proptest! {
        /// No link is overfull, and each tree has a full link on which nobody with its weight gets more:
        /// the definition of max-min fairness.
        #[test]
        fn is_max_min_fair(
            capacity in proptest::collection::vec(0.5f64..10.0, 1..6),
            picks in proptest::collection::vec((proptest::collection::btree_set(0usize..6, 1..4), 0.5f64..4.0), 1..8),
        ) {
            let trees: Vec<_> = picks
                .iter()
                .map(|(set, w)| {
                    let links: std::collections::BTreeSet<_> = set.iter().map(|l| l % capacity.len()).collect();
                    Demand { links: links.into_iter().collect(), limit: f64::INFINITY, weight: *w }
                })
                .collect();
            let rates = max_min(&capacity, &trees).unwrap();
            let load = |link: usize| -> f64 {
                trees.iter().zip(&rates).filter(|(t, _)| t.links.contains(&link)).map(|(_, r)| r).sum()
            };
            for (link, c) in capacity.iter().enumerate() {
                prop_assert!(load(link) <= c * (1.0 + 1e-6));
            }
            for (t, r) in trees.iter().zip(&rates) {
                let bottleneck = t.links.iter().any(|&l| {
                    let full = load(l) >= capacity[l] * (1.0 - 1e-6);
                    let most = trees.iter().zip(&rates).filter(|(o, _)| o.links.contains(&l));
                    full && most.map(|(o, q)| q / o.weight).fold(0.0, f64::max) <= r / t.weight * (1.0 + 1e-6)
                });
                prop_assert!(bottleneck, "{t:?} at {r}");
            }
        }
    }
}
