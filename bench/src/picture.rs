//! A histogram for the terminal: one row per bucket, buckets spaced 1-2-5 per decade, bars to scale.

use std::fmt::Write;

use crate::hist::{Latency, show_ns};

const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Draws `latency` with bars of at most `width` characters; empty when nothing was recorded.
///
/// Bars show each bucket's share of all frames. The buckets are wider to the bottom (each spans a factor of 2 or
/// 2.5), which the labels tell: the lower bound is part of the bucket, the upper is not.
pub fn picture(latency: &Latency, width: usize) -> String {
    let s = latency.summary();
    if s.count == 0 {
        return String::new();
    }
    let mut edges = vec![edge_at_or_below(s.min)];
    while edges.last().is_none_or(|e| *e <= s.max) {
        let next = edges.last().map_or(1, |e| after(*e));
        edges.push(next);
    }
    let mut rows: Vec<(u64, u64, u64)> =
        edges.windows(2).map(|w| (w[0], w[1], latency.count_in(w[0], w[1]))).collect();
    // A value read back is the greatest that its histogram cell stands for: an edge may swallow it.
    while rows.last().is_some_and(|r| r.2 == 0) {
        rows.pop();
    }
    let most = rows.iter().map(|r| r.2).max().unwrap_or(1).max(1);
    let mut out = String::new();
    for (lo, hi, n) in rows {
        let share = 100.0 * n as f64 / s.count as f64;
        let bar = bar(n, most, width);
        let _ = writeln!(out, "{:>7} ‥ {:<7} ▕{bar}▏{share:6.2} % {n:>10}", show_edge(lo), show_edge(hi));
    }
    out
}

fn bar(n: u64, most: u64, width: usize) -> String {
    let eighths = (u128::from(n) * width as u128 * 8).div_ceil(u128::from(most)) as usize;
    let (whole, part) = (eighths / 8, eighths % 8);
    let mut bar = "█".repeat(whole);
    if part > 0 {
        bar.push(EIGHTHS[part]);
    }
    let used = whole + usize::from(part > 0);
    bar + &" ".repeat(width.saturating_sub(used))
}

/// Edges are 1, 2, 5, 10, 20, 50 …
fn edge_at_or_below(ns: u64) -> u64 {
    let mut edge = 1;
    while after(edge) <= ns {
        edge = after(edge);
    }
    edge
}

/// The edge after `edge`.
pub(crate) fn after(edge: u64) -> u64 {
    let mut decade = 1u64;
    while edge / decade >= 10 {
        decade *= 10;
    }
    decade.saturating_mul(match edge / decade {
        1 => 2,
        2 => 5,
        _ => 10,
    })
}

/// An edge, which has but one digit that counts: `500 ns`, `20 µs`.
pub(crate) fn show_edge(ns: u64) -> String {
    match ns {
        0..=999 => format!("{ns} ns"),
        1_000..=999_999 => format!("{} µs", ns / 1_000),
        1_000_000..=999_999_999 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}

/// The percentiles in one line.
pub fn one_line(latency: &Latency) -> String {
    let s = latency.summary();
    let show = |ns| show_ns(ns);
    format!(
        "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}  ({} samples)",
        show(s.p50),
        show(s.p90),
        show(s.p99),
        show(s.p999),
        show(s.max),
        s.count
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_go_one_two_five() {
        let mut e = 1;
        let seen: Vec<u64> = (0..7).map(|_| (e, e = after(e)).0).collect();
        assert_eq!(seen, [1, 2, 5, 10, 20, 50, 100]);
        assert_eq!((edge_at_or_below(1), edge_at_or_below(499), edge_at_or_below(500)), (1, 200, 500));
    }

    #[test]
    fn every_frame_is_in_a_row_and_bars_are_to_scale() {
        let mut l = Latency::new();
        (0..75).for_each(|_| l.record(1_500));
        (0..25).for_each(|_| l.record(30_000));
        let rows: Vec<String> = picture(&l, 20).lines().map(str::to_owned).collect();
        assert_eq!(rows.len(), 5, "{rows:#?}");
        assert!(rows[0].starts_with("   1 µs ‥ 2 µs"));
        assert!(rows[0].contains(&"█".repeat(20)) && rows[0].contains("75.00 %"));
        assert!(rows[4].contains("20 µs ‥ 50 µs") && rows[4].contains(&("█".repeat(6) + "▊")));
        assert!(rows.iter().all(|r| r.chars().count() == rows[0].chars().count()));
    }

    #[test]
    fn a_lone_value_is_drawn() {
        for ns in [1, 7, 999, 1_000, 1_000_000, 4_999_999_999] {
            let mut l = Latency::new();
            l.record(ns);
            let p = picture(&l, 10);
            assert!(p.contains("100.00 %"), "{ns}: {p}");
        }
        assert_eq!(picture(&Latency::new(), 10), "");
    }
}
