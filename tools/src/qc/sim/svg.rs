//! Charts as SVG, readable on light and dark pages: panels side by side, each with lines or bars over the same
//! kind of axis, and one legend.

use std::fmt::Write as _;

use valecast_bench::paint::{DASHES, PAINT, escape};
use valecast_qc_dataplane::sim::stats::Estimate;

const PANEL: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const PER_ROW: usize = 2;

const STYLE: &str = "text{font-size:12px}.dim{font-size:11px}.title{font-size:15px}.sub{font-weight:600}\
.err{stroke:#1f2933;stroke-opacity:.55}@media(prefers-color-scheme:dark){.err{stroke:#e6ebf0}}";

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// A line for each series.
    Lines,
    /// Groups of bars.
    Bars,
}

/// One pair of axes.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What the values are.
    pub y: String,
    /// What the groups are.
    pub x: String,
    /// Logarithmic values.
    pub log: bool,
    /// Lines or bars.
    pub marks: Marks,
    /// The groups along the axis.
    pub groups: Vec<String>,
    /// Name and values by group, NaN for none. The same series in each panel have the same place.
    pub series: Vec<(String, Vec<Estimate>)>,
}

/// The chart as a whole document.
pub fn chart(title: &str, panels: &[Panel]) -> String {
    let columns = panels.len().clamp(1, PER_ROW);
    let rows = panels.len().div_ceil(PER_ROW);
    let names: Vec<&str> = panels.first().map_or(vec![], |p| p.series.iter().map(|s| s.0.as_str()).collect());
    let legend_rows = names.len().div_ceil(columns * 2).max(1);
    let (width, head) = (PANEL * columns as f64, 44.0 + 18.0 * legend_rows as f64);
    let height = head + HEIGHT * rows as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{0}\">\n\
         <title>{0}</title>\n<style>{PAINT}{STYLE}</style>\n<rect class=\"bg\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"12\" y=\"24\">{0}</text>\n",
        escape(title)
    );
    for (i, name) in names.iter().enumerate() {
        let (x, y) =
            (14.0 + (i % (columns * 2)) as f64 * PANEL / 2.0, 44.0 + (i / (columns * 2)) as f64 * 18.0);
        let _ = writeln!(
            out,
            "<path class=\"s{}\" stroke-width=\"3\" stroke-dasharray=\"{}\" d=\"M{x} {y}h22\"/>\
             <text class=\"dim\" x=\"{}\" y=\"{}\">{}</text>",
            i % 8,
            DASHES[i % 4],
            x + 28.0,
            y + 4.0,
            escape(name)
        );
    }
    for (i, p) in panels.iter().enumerate() {
        let (x, y) = ((i % PER_ROW) as f64 * PANEL, head + (i / PER_ROW) as f64 * HEIGHT);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        panel(&mut out, p);
        out.push_str("</g>\n");
    }
    out + "</svg>\n"
}

/// Maps a value to the picture.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn of(p: &Panel) -> Self {
        let values = || p.series.iter().flat_map(|s| &s.1).map(|e| e.mean).filter(|v| v.is_finite());
        let high = values().fold(0.0, f64::max);
        let low = values().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        if p.log && high > 0.0 {
            let (low, high) = (low.log10().floor(), (high * 1.02).log10().ceil());
            return Self { low: 10f64.powf(low), high: 10f64.powf(high.max(low + 1.0)), log: true };
        }
        let step = step(high);
        Self { low: 0.0, high: ((high * 1.02) / step).ceil().max(1.0) * step, log: false }
    }

    fn y(&self, value: f64) -> f64 {
        let part = match self.log {
            true => (value.max(self.low).log10() - self.low.log10()) / (self.high.log10() - self.low.log10()),
            false => (value - self.low) / (self.high - self.low),
        };
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|d| self.low * 10f64.powi(d)).collect();
        }
        let step = step(self.high);
        (0..).map(|i| f64::from(i) * step).take_while(|t| *t <= self.high * 1.001).collect()
    }
}

/// A step of 1, 2 or 5 times a power of ten, about six to `high`.
fn step(high: f64) -> f64 {
    let rough = high.max(1e-12) / 5.0;
    let decade = 10f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * decade >= rough).unwrap_or(10.0);
    times * decade
}

fn panel(out: &mut String, p: &Panel) {
    let axis = Axis::of(p);
    let (x0, x1, y0) = (LEFT, PANEL - RIGHT, HEIGHT - BOTTOM);
    let _ = writeln!(out, "<text class=\"sub\" x=\"{x0}\" y=\"20\">{}</text>", escape(&p.title));
    for tick in axis.ticks() {
        let y = axis.y(tick);
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{x0} {y:.1}H{x1}\"/><text class=\"dim\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            x0 - 6.0,
            y + 4.0,
            short(tick)
        );
    }
    let wide = (x1 - x0) / p.groups.len().max(1) as f64;
    // Labels that would touch are left out but for every so many.
    let longest = p.groups.iter().map(|g| g.chars().count()).max().unwrap_or(0) as f64 * 6.5;
    let every = (longest / wide.max(1.0)).ceil().max(1.0) as usize;
    for (g, group) in p.groups.iter().enumerate().filter(|(g, _)| g % every == 0) {
        let _ = writeln!(
            out,
            "<text class=\"dim\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x0 + (g as f64 + 0.5) * wide,
            y0 + 16.0,
            escape(group)
        );
    }
    let _ = writeln!(
        out,
        "<path class=\"axis\" fill=\"none\" d=\"M{x0} {TOP}V{y0}H{x1}\"/>\
         <text class=\"dim\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"dim\" text-anchor=\"middle\" transform=\"translate(12 {:.1}) rotate(-90)\">{}</text>",
        (x0 + x1) / 2.0,
        y0 + 34.0,
        escape(&p.x),
        (TOP + y0) / 2.0,
        escape(&p.y)
    );
    for (i, (_, values)) in p.series.iter().enumerate() {
        let mut path = String::new();
        for (g, e) in values.iter().enumerate().filter(|(_, e)| e.mean.is_finite()) {
            let middle = x0 + (g as f64 + 0.5) * wide;
            let bar = wide * 0.8 / p.series.len() as f64;
            let x = match p.marks {
                Marks::Lines => middle,
                Marks::Bars => middle - wide * 0.4 + (i as f64 + 0.5) * bar,
            };
            let y = axis.y(e.mean);
            match p.marks {
                Marks::Lines => {
                    let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
                }
                Marks::Bars => {
                    let _ = writeln!(
                        out,
                        "<rect class=\"f{}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                        i % 8,
                        x - bar / 2.0,
                        (bar - 1.0).max(1.0),
                        (y0 - y).max(0.5)
                    );
                }
            }
            if e.half.is_finite() && e.half > 0.0 {
                let (a, b) = (axis.y(e.mean - e.half), axis.y(e.mean + e.half));
                let _ = writeln!(out, "<path class=\"err\" d=\"M{x:.1} {a:.1}V{b:.1}\"/>");
            }
        }
        if !path.is_empty() {
            let _ = writeln!(
                out,
                "<path class=\"line s{}\" stroke-dasharray=\"{}\" d=\"{path}\"/>",
                i % 8,
                DASHES[i % 4]
            );
        }
    }
}

/// A number with few characters.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", value / 1e6),
        v if v >= 1e4 => format!("{}k", value / 1e3),
        v if v >= 1.0 || v == 0.0 => format!("{}", (value * 100.0).round() / 100.0),
        _ => format!("{}", (value * 1e4).round() / 1e4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panels(marks: Marks, log: bool) -> Vec<Panel> {
        let at = |mean| Estimate { mean, half: mean / 10.0 };
        let series = vec![
            ("a & b".to_owned(), vec![at(1.0), at(250.0), at(f64::NAN)]),
            ("<c>".to_owned(), vec![at(0.03), at(2.0), Estimate { mean: 7.0, half: f64::INFINITY }]),
        ];
        let groups = ["2", "4", "8"].map(String::from).to_vec();
        let p = Panel { title: "T".into(), y: "times".into(), x: "k".into(), log, marks, groups, series };
        vec![p.clone(), p.clone(), p]
    }

    #[test]
    fn is_well_formed() {
        for (marks, log) in
            [(Marks::Lines, false), (Marks::Lines, true), (Marks::Bars, false), (Marks::Bars, true)]
        {
            let text = chart("x < \"y\"", &panels(marks, log));
            assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert!(
                text.contains("a &amp; b")
                    && text.contains("&lt;c&gt;")
                    && text.contains("x &lt; &quot;y&quot;")
            );
            let (mut open, mut rest) = (0i32, &text[..]);
            while let Some(at) = rest.find('<') {
                let end = at + rest[at..].find('>').unwrap();
                let tag = &rest[at + 1..end];
                open += if tag.starts_with('/') { -1 } else { i32::from(!tag.ends_with('/')) };
                rest = &rest[end + 1..];
            }
            assert_eq!(open, 0, "every element is closed");
        }
        assert!(chart("nothing", &[]).contains("</svg>"));
    }

    #[test]
    fn axes_have_round_steps() {
        assert_eq!((step(10.0), step(3.0), step(0.7)), (2.0, 1.0, 0.2));
        let log = Axis { low: 0.1, high: 100.0, log: true };
        assert_eq!(log.ticks().len(), 4);
        assert!((log.y(100.0) - TOP).abs() < 1e-9 && (log.y(0.1) - (HEIGHT - BOTTOM)).abs() < 1e-9);
    }
}
