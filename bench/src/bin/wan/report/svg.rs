//! The chart: for each contender a bar per receiver until it had the file, shorter is better. The axis is logarithmic,
//! since a ninth is what it is about.

use std::fmt::Write as _;

use valecast_bench::paint::{PAINT, escape};
use valecast_bench::stats::three_digits;

use super::Report;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 64.0;
const BAR: f64 = 9.0;
const GAP: f64 = 12.0;

impl Report {
    /// The chart.
    pub fn svg(&self) -> String {
        let figures = self.figures();
        let group = BAR * self.receivers.len() as f64 + GAP;
        let height = TOP + group * figures.len() as f64 + 34.0;
        let all = || figures.iter().flat_map(|f| f.seconds.values()).map(|s| s.median);
        let least = 10f64.powf(all().fold(f64::INFINITY, f64::min).log10().floor());
        let most = all().fold(0.0, f64::max).max(least * 2.0);
        let x =
            |s: f64| LEFT + (WIDTH - LEFT - RIGHT) * (s / least).log10().max(0.0) / (most / least).log10();
        let title = format!("{}: seconds until each receiver had it", self.task);
        let mut s = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\">\n\
             <title>{0}</title><style>{PAINT}</style>\n<rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"12\" y=\"26\">{0}</text>\n",
            escape(&title)
        );
        let mut at = 12.0;
        for (i, site) in self.receivers.iter().enumerate() {
            let _ = writeln!(
                s,
                "<rect class=\"f{}\" x=\"{at:.0}\" y=\"38\" width=\"11\" height=\"11\"/><text x=\"{:.0}\" y=\"48\">{}</text>",
                i % 8,
                at + 16.0,
                escape(site)
            );
            at += 40.0 + 8.0 * site.len() as f64;
        }
        let mut tick = least;
        while tick <= most * 1.001 {
            let at = x(tick);
            let _ = writeln!(
                s,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.0}\" y2=\"{:.0}\"/>\
                 <text class=\"dim\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{:.0}\">{} s</text>",
                TOP - 4.0,
                height - 28.0,
                height - 12.0,
                three_digits(tick).trim_end_matches(".00")
            );
            tick *= 10.0;
        }
        for (row, f) in figures.iter().enumerate() {
            let y = TOP + group * row as f64;
            let middle = y + BAR * self.receivers.len() as f64 / 2.0 + 4.0;
            let _ = writeln!(
                s,
                "<text text-anchor=\"end\" x=\"{:.0}\" y=\"{middle:.0}\">{}</text>",
                LEFT - 8.0,
                escape(f.name)
            );
            for (i, site) in self.receivers.iter().enumerate() {
                let Some(summary) = f.seconds.get(site) else { continue };
                let (top, end) = (y + BAR * i as f64, x(summary.median));
                let _ = writeln!(
                    s,
                    "<rect class=\"f{}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
                     <text class=\"dim\" style=\"font-size:9px\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    i % 8,
                    (end - LEFT).max(1.0),
                    BAR - 1.5,
                    end + 4.0,
                    top + 7.5,
                    three_digits(summary.median)
                );
            }
        }
        s + "</svg>\n"
    }
}
