//! The chart: bars for the jobs that matter most, readable on light and dark pages.

use std::fmt::Write as _;

use valecast_bench::paint::escape;

use super::{Grid, OURS, Report};
use crate::job::Unit;
use crate::raw::probes::PROBES;
use crate::stats::three_digits;

/// Families that the chart shows, those that were measured, in this order.
const SHOWN: [&str; 5] =
    ["unicast 64 B", "unicast 1500 B", "replicate to 16 64 B", "RTT idle", "three processes 64 B"];
const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
/// Room for the figure behind the longest bar.
const RIGHT: f64 = 90.0;
const ROW: f64 = 20.0;
const BAR: f64 = 13.0;
const HEAD: f64 = 34.0;

/// Colours that keep their contrast on white and on near-black; the text follows the page.
const STYLE: &str = "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}\
.t{font-weight:600;font-size:13px;fill:#24292f}.o{fill:#d9730d}.p{fill:#4c8dd6}.r{fill:#8c959f}\
@media(prefers-color-scheme:dark){text{fill:#adbac7}.t{fill:#e6edf3}}";

impl Report {
    /// The chart.
    pub fn svg(&self) -> String {
        let grids = self.grids();
        let shown: Vec<&Grid> = SHOWN.iter().filter_map(|t| grids.iter().find(|g| g.title == *t)).collect();
        let rows: usize = shown.iter().map(|g| drawn(g).len()).sum();
        let height = rows as f64 * ROW + shown.len() as f64 * HEAD + 24.0;
        let mut s = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"Valecast beside other switches\">\n<style>{STYLE}</style>\n"
        );
        let mut y = 0.0;
        for g in shown {
            y = group(&mut s, g, y);
        }
        let _ = writeln!(
            s,
            "<text x=\"0\" y=\"{:.0}\">Medians; {}</text>",
            height - 6.0,
            escape(&self.machine.cpu)
        );
        s + "</svg>\n"
    }
}

/// Names and figures of the rows that have one. Probes are left out: what memory alone allows makes all bars short.
fn drawn(g: &Grid) -> Vec<(&'static str, f64)> {
    let contenders = g.rows.iter().filter(|r| PROBES.iter().all(|p| p.name != r.name));
    contenders.filter_map(|r| r.best.map(|b| (r.name, b))).collect()
}

fn group(s: &mut String, g: &Grid, top: f64) -> f64 {
    let rows = drawn(g);
    let best = if g.columns.iter().any(|c| c == "best") { ", each at its best burst" } else { "" };
    let (what, less) = match g.unit {
        Unit::Mpps => ("Mpps", ""),
        Unit::Gbits => ("Gbit/s", ""),
        Unit::Nanoseconds => ("p50 in ns", "; shorter is better"),
        u => (u.name(), "; shorter is better"),
    };
    let _ = writeln!(
        s,
        "<text class=\"t\" x=\"0\" y=\"{:.0}\">{}</text>",
        top + 22.0,
        escape(&format!("{}: {what}{best}{less}", g.title))
    );
    let most = rows.iter().map(|(_, v)| *v).fold(0.0, f64::max);
    let mut y = top + HEAD;
    for (name, value) in rows {
        let length = ((WIDTH - LEFT - RIGHT) * value / most).max(1.0);
        let class = match name {
            OURS => "o",
            n if n.starts_with("raw") => "r",
            _ => "p",
        };
        let _ = writeln!(
            s,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.0}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            LEFT - 8.0,
            y + 10.5,
            escape(name),
            y,
            LEFT + length + 6.0,
            y + 10.5,
            three_digits(value)
        );
        y += ROW;
    }
    y
}
