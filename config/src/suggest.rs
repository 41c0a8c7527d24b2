//! "did you mean": the known word nearest to a mistyped one.

/// The candidate nearest to `word`, if one is near enough to be what was meant.
///
/// A part of a candidate counts too (`rngs` finds `tx_rings` through `rings`), one step further away.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Names are short; a mistyped essay needs no quadratic comparison.
    if word.len() > 64 {
        return None;
    }
    let limit = match word.chars().count() {
        0..=1 => 0,
        2..=3 => 1,
        4..=8 => 2,
        n => n / 3,
    };
    let word = word.to_lowercase().replace('-', "_");
    let far = |candidate: &str| {
        let parts = candidate.split('_').filter(|part| part.len() > 2 && *part != candidate);
        let part = parts.map(|part| distance(&word, part) + 1).min();
        distance(&word, candidate).min(part.unwrap_or(usize::MAX))
    };
    candidates
        .into_iter()
        .map(|c| (far(c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b` (the "optimal
/// string alignment" distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["name", "workers", "tx_rings", "slots", "vlan_access"];
        assert_eq!(nearest("workrs", keys), Some("workers"));
        assert_eq!(nearest("rngs", keys), Some("tx_rings"));
        assert_eq!(nearest("vlan-access", keys), Some("vlan_access"));
        assert_eq!(nearest("Slots", keys), Some("slots"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("mut", ["mac", "mtu"]), Some("mtu"));
        assert_eq!(nearest("b", ["a"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
