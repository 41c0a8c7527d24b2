//! What a link costs a new tree: the ten weights of Table IV (extended paper).

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::load::Load;

/// A weight, by its number in Table IV. `U` is the part of the link in use, `L` its load (residual volume
/// over capacity), `V` the volume of the new transfer, `C` the link's capacity; sums run over all links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Weight {
    /// 1: every link costs 1.
    One = 1,
    /// 2: exp U.
    ExpUse,
    /// 3: exp L.
    ExpLoad,
    /// 4: U.
    Use,
    /// 5: L.
    Load,
    /// 6: L + V/C, the one that QuickCast uses.
    LoadAndVolume,
    /// 7: 1 + exp U / sum exp U.
    OneExpUse,
    /// 8: 1 + exp L / sum exp L.
    OneExpLoad,
    /// 9: 1 + U / sum U.
    OneUse,
    /// 10: 1 + L / sum L.
    OneLoad,
}

impl Weight {
    /// All ten, in order.
    pub const ALL: [Self; 10] = [
        Self::One,
        Self::ExpUse,
        Self::ExpLoad,
        Self::Use,
        Self::Load,
        Self::LoadAndVolume,
        Self::OneExpUse,
        Self::OneExpLoad,
        Self::OneUse,
        Self::OneLoad,
    ];

    /// Its number in Table IV.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// No such weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("weight {0} does not exist, there are 1 to 10")]
pub struct NoWeight(u8);

impl TryFrom<u8> for Weight {
    type Error = NoWeight;

    fn try_from(number: u8) -> Result<Self, NoWeight> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied().ok_or(NoWeight(number))
    }
}

impl From<Weight> for u8 {
    fn from(weight: Weight) -> Self {
        weight.number()
    }
}

/// `1 + x / sum x`; without anything to share, 1.
fn share(out: &mut [f64]) {
    let sum: f64 = out.iter().sum();
    for x in out {
        *x = if sum > 0.0 { 1.0 + *x / sum } else { 1.0 };
    }
}

/// exp(x - max x): the trees are those of exp x, whose scale does not matter to them, and nothing overflows.
/// What underflows stays above 0, so that a link never costs nothing.
fn exp(out: &mut [f64]) {
    let most = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for x in out {
        *x = (*x - most).exp().max(1e-290);
    }
}

/// Writes what each link costs to `out`. Weights 2 and 3 are divided by the largest, which changes no tree.
pub fn weigh(weight: Weight, graph: &Graph, load: &Load, volume: f64, out: &mut Vec<f64>) {
    out.clear();
    let links = graph.links();
    let in_use = || links.iter().zip(load.rate()).map(|(l, r)| (r / l.capacity).clamp(0.0, 1.0));
    let loads = || links.iter().zip(load.volume()).map(|(l, v)| v / l.capacity);
    match weight {
        Weight::One => out.resize(links.len(), 1.0),
        Weight::ExpUse | Weight::Use | Weight::OneExpUse | Weight::OneUse => out.extend(in_use()),
        Weight::ExpLoad | Weight::Load | Weight::OneExpLoad | Weight::OneLoad => out.extend(loads()),
        Weight::LoadAndVolume => {
            out.extend(links.iter().zip(load.volume()).map(|(l, v)| (v + volume) / l.capacity));
        }
    }
    match weight {
        Weight::ExpUse | Weight::ExpLoad => exp(out),
        Weight::OneExpUse | Weight::OneExpLoad => {
            exp(out);
            share(out);
        }
        Weight::OneUse | Weight::OneLoad => share(out),
        Weight::One | Weight::Use | Weight::Load | Weight::LoadAndVolume => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Link;

    /// Links of capacity 1, 2 and 4 with loads of 3, 1 and 0.5, half, a quarter and nothing of them in use.
    fn loaded() -> (Graph, Load) {
        let link = |to, capacity| Link { from: 0, to, capacity };
        let g = Graph::numbered(4, vec![link(1, 1.0), link(2, 2.0), link(3, 4.0)]).unwrap();
        let mut load = Load::new(&g);
        for (l, v) in [3.0, 2.0, 2.0].into_iter().enumerate() {
            load.add_to_link(l as u32, v);
        }
        load.set_rate().copy_from_slice(&[0.5, 0.5, 0.0]);
        (g, load)
    }

    #[test]
    fn table_iv_by_number() {
        let (g, load) = loaded();
        let e = |x: f64| x.exp();
        let (eu, el) = (e(0.5) + e(0.25) + 1.0, e(3.0) + e(1.0) + e(0.5));
        let want = [
            [1.0, 1.0, 1.0],
            // The scale of 2 and 3 is free: here the largest is 1.
            [1.0, e(-0.25), e(-0.5)],
            [1.0, e(-2.0), e(-2.5)],
            [0.5, 0.25, 0.0],
            [3.0, 1.0, 0.5],
            [11.0, 5.0, 2.5],
            [1.0 + e(0.5) / eu, 1.0 + e(0.25) / eu, 1.0 + 1.0 / eu],
            [1.0 + e(3.0) / el, 1.0 + e(1.0) / el, 1.0 + e(0.5) / el],
            [1.0 + 0.5 / 0.75, 1.0 + 0.25 / 0.75, 1.0],
            [1.0 + 3.0 / 4.5, 1.0 + 1.0 / 4.5, 1.0 + 0.5 / 4.5],
        ];
        let mut out = Vec::new();
        for (number, want) in (1..).zip(want) {
            weigh(Weight::try_from(number).unwrap(), &g, &load, 8.0, &mut out);
            assert!(
                out.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12),
                "{number}: {out:?}, not {want:?}"
            );
        }
        assert!(Weight::try_from(0).is_err() && Weight::try_from(11).is_err());
    }

    #[test]
    fn extremes_stay_finite() {
        let (g, mut load) = loaded();
        let mut out = Vec::new();
        for volume in [0.0, 1e15] {
            load.add_to_link(0, volume);
            for weight in Weight::ALL {
                weigh(weight, &g, &load, 1e15, &mut out);
                assert!(out.iter().all(|w| w.is_finite() && *w >= 0.0), "{weight:?}: {out:?}");
                weigh(weight, &g, &Load::new(&g), 1.0, &mut out);
                let floor = if matches!(weight, Weight::Use | Weight::Load) { 0.0 } else { 1e-300 };
                assert!(out.iter().all(|w| w.is_finite() && *w >= floor), "{weight:?}: {out:?}");
            }
        }
    }
}
