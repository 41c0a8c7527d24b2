//! A latency plot as SVG: percentiles on a logarithmic axis as HdrHistogram plots have it (each step is
//! a ten times rarer frame), latency on a logarithmic one. Readable on light and dark pages.

use std::fmt::Write;

use crate::hist::{Latency, show_ns};
use crate::paint::{DASHES, PAINT, escape};
use crate::picture::{after, show_edge};

const W: f64 = 880.0;
const H: f64 = 480.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 64.0;

/// One curve.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// What it shows.
    pub latency: &'a Latency,
}

/// Maps a percentile and a latency to the picture.
struct Axes {
    /// Powers of ten on the percentile axis: 3 ends at 99.9 %.
    nines: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn x(&self, quantile: f64) -> f64 {
        let nines = -(1.0 - quantile).max(1e-12).log10();
        LEFT + (W - LEFT - RIGHT) * (nines / self.nines).min(1.0)
    }

    fn y(&self, ns: f64) -> f64 {
        let part = (ns.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln());
        H - BOTTOM - (H - TOP - BOTTOM) * part
    }
}

/// The plot of up to four `series` as a whole SVG document. Empty ones are named, but have no curve.
pub fn svg(title: &str, series: &[Series<'_>]) -> String {
    let drawn: Vec<&Series<'_>> = series.iter().filter(|s| !s.latency.is_empty()).take(4).collect();
    let least = drawn.iter().map(|s| s.latency.summary().min).min().unwrap_or(1_000);
    let most = drawn.iter().map(|s| s.latency.summary().max).max().unwrap_or(1_000_000);
    let count = drawn.iter().map(|s| s.latency.count()).max().unwrap_or(1);
    let mut low = 1;
    while after(low) <= least {
        low = after(low);
    }
    let mut high = after(low);
    while high < most {
        high = after(high);
    }
    // As far right as one frame in all can be told from none.
    let nines = (count as f64).log10().clamp(1.0, 7.0).ceil();
    let axes = Axes { nines, low: low as f64, high: high as f64 };

    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {W} {H}\" role=\"img\" \
         aria-label=\"{0}\">\n<title>{0}</title>\n<style>{PAINT}</style>\n\
         <rect class=\"bg\" width=\"{W}\" height=\"{H}\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"28\">{0}</text>",
        escape(title)
    );
    grid(&mut out, &axes, low, high);
    for (i, s) in drawn.iter().enumerate() {
        curve(&mut out, &axes, i, s);
    }
    legend(&mut out, series);
    out.push_str("</svg>\n");
    out
}

fn grid(out: &mut String, axes: &Axes, low: u64, high: u64) {
    let (x0, x1, y0, y1) = (LEFT, W - RIGHT, H - BOTTOM, TOP);
    // Many decades: label only each first edge of one.
    let sparse = (high as f64 / low as f64).log10() > 4.0;
    let mut edge = low;
    while edge <= high {
        if !sparse || edge == after_decade(edge) {
            let y = axes.y(edge as f64);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{x0} {y:.1}H{x1}\"/>\
                 <text class=\"dim\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x0 - 8.0,
                y + 4.5,
                show_edge(edge)
            );
        }
        edge = after(edge);
    }
    for tick in ticks(axes.nines) {
        let x = axes.x(tick / 100.0);
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {y0}V{y1}\"/>\
             <text class=\"dim\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{tick}</text>",
            y0 + 20.0
        );
    }
    let _ = writeln!(
        out,
        "<path class=\"axis\" d=\"M{x0} {y1}V{y0}H{x1}\" fill=\"none\"/>\
         <text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">percentile (%), each step ten times rarer</text>\
         <text text-anchor=\"middle\" transform=\"translate(20 {:.1}) rotate(-90)\">latency (log scale)</text>",
        (x0 + x1) / 2.0,
        H - 18.0,
        (y0 + y1) / 2.0
    );
}

/// The first edge of `edge`'s decade.
fn after_decade(edge: u64) -> u64 {
    let mut decade = 1u64;
    while edge / decade >= 10 {
        decade *= 10;
    }
    decade
}

/// Percentiles worth a label, up to so many nines.
fn ticks(nines: f64) -> Vec<f64> {
    let all = [0.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999, 99.99999];
    all.into_iter().filter(|t| -(1.0 - t / 100.0f64).log10() <= nines + 1e-9).collect()
}

fn curve(out: &mut String, axes: &Axes, i: usize, s: &Series<'_>) {
    let mut path = String::new();
    let mut from = 0.0;
    for v in s.latency.inner().iter_recorded() {
        // A step: so many frames were at most this long.
        let (x0, x1) = (axes.x(from), axes.x(v.quantile()));
        let y = axes.y(v.value_iterated_to() as f64);
        // Below half a pixel two steps look like one, and long runs would make huge files.
        if path.is_empty() {
            let _ = write!(path, "M{x0:.1} {y:.1}H{x1:.1}");
        } else if x1 - x0 >= 0.5 || v.quantile() >= 1.0 {
            let _ = write!(path, "V{y:.1}H{x1:.1}");
        } else {
            continue;
        }
        from = v.quantile();
    }
    let dash = DASHES[i % 4];
    let _ = writeln!(out, "<path class=\"line s{i}\" stroke-dasharray=\"{dash}\" d=\"{path}\"/>");
    for q in [0.5, 0.99, 0.999] {
        if -(1.0f64 - q).log10() > axes.nines {
            continue;
        }
        let (x, y) = (axes.x(q), axes.y(s.latency.quantile(q) as f64));
        let label = if i == 0 { show_ns(s.latency.quantile(q)) } else { String::new() };
        let _ = writeln!(
            out,
            "<circle class=\"f{i}\" r=\"3.5\" cx=\"{x:.1}\" cy=\"{y:.1}\"/>\
             <text text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            x - 6.0,
            y - 8.0
        );
    }
}

fn legend(out: &mut String, series: &[Series<'_>]) {
    let mut colour = 0;
    for (row, s) in series.iter().take(4).enumerate() {
        let x = LEFT + row as f64 * 380.0;
        let sum = s.latency.summary();
        let text = match sum.count {
            0 => format!("{}: no samples", s.name),
            n => format!("{}: {n} samples, max {}", s.name, show_ns(sum.max)),
        };
        let _ = writeln!(out, "<text class=\"dim\" x=\"{:.1}\" y=\"50\">{}</text>", x + 26.0, escape(&text));
        if sum.count > 0 {
            let dash = DASHES[colour % 4];
            let _ = writeln!(
                out,
                "<path class=\"line s{colour}\" stroke-dasharray=\"{dash}\" d=\"M{x} 46h20\"/>"
            );
            colour += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u64) -> Latency {
        let mut l = Latency::new();
        (1..=n).for_each(|k| l.record(2_000 + k * k % 90_000));
        l
    }

    #[test]
    fn is_well_formed_and_names_its_axes() {
        let (a, b) = (sample(100_000), Latency::new());
        let text = svg(
            "ping <vale0:a> & \"b\"",
            &[Series { name: "from intended", latency: &a }, Series { name: "from sent", latency: &b }],
        );
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(text.contains("&lt;vale0:a&gt; &amp; &quot;b&quot;"));
        for label in [">99.9<", ">99.999<", "µs<", "prefers-color-scheme:dark", "no samples"] {
            assert!(text.contains(label), "{label}");
        }
        let (mut open, mut rest) = (0i32, &text[..]);
        while let Some(at) = rest.find('<') {
            let end = at + rest[at..].find('>').unwrap();
            let tag = &rest[at + 1..end];
            open += if tag.starts_with('/') { -1 } else { i32::from(!tag.ends_with('/')) };
            rest = &rest[end + 1..];
        }
        assert_eq!(open, 0, "every element is closed");
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }

    #[test]
    fn stays_small_and_draws_little_things() {
        assert!(svg("x", &[Series { name: "a", latency: &sample(1_000_000) }]).len() < 60_000);
        let mut one = Latency::new();
        one.record(1);
        for l in [one, Latency::new()] {
            let text = svg("x", &[Series { name: "a", latency: &l }]);
            assert!(!text.contains("NaN"), "{text}");
        }
    }
}
