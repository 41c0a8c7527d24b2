//! A picture of the 64-byte rates, ours beside the paper's. The axis is logarithmic.

use std::fmt::Write as _;

use valecast_bench::paint::{PAINT, escape};

use super::cells::{BATCH, Mode, SHORT, Way};
use super::table::Row;

/// The paper's figures (kpps): Figure 1, guest to guest over VALE, UDP8 and (last) pkt-gen received.
const PAPER: [(Mode, u32, f64); 5] = [
    (Mode::Base, 1, 111.0),
    (Mode::Itr, 1, 110.0),
    (Mode::Sc, 1, 540.0),
    (Mode::Csb, 1, 629.0),
    (Mode::Csb, BATCH, 4700.0),
];
const WIDTH: f64 = 760.0;
const LEFT: f64 = 170.0;
const ROW: f64 = 46.0;
/// Decades of the axis, in kpps: from 1 to 100 000.
const DECADES: f64 = 5.0;

fn x(kpps: f64) -> f64 {
    LEFT + (WIDTH - LEFT - 90.0) * (kpps.max(1.0).log10() / DECADES)
}

/// The picture.
pub fn svg(rows: &[Row]) -> String {
    let height = 60.0 + ROW * PAPER.len() as f64;
    let mut s = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Guest to guest, 64-byte frames\"><style>{PAINT}</style>\n<rect class=\"bg\" width=\"{WIDTH}\" \
         height=\"{height}\"/>\n<text class=\"title\" x=\"12\" y=\"24\">Guest to guest, 64-byte frames received, kpps \
         (logarithmic)</text>\n"
    );
    for d in 0..=DECADES as i32 {
        let at = x(10f64.powi(d));
        let _ = writeln!(
            s,
            "<line class=\"grid\" x1=\"{at:.0}\" x2=\"{at:.0}\" y1=\"36\" y2=\"{:.0}\"/><text class=\"dim\" x=\"{at:.0}\" \
             y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            height - 20.0,
            height - 6.0,
            10f64.powi(d)
        );
    }
    for (i, (mode, batch, paper)) in PAPER.iter().enumerate() {
        let y = 42.0 + ROW * i as f64;
        let name = if *batch == 1 { mode.name().to_owned() } else { format!("{}, pkt-gen", mode.name()) };
        let _ = writeln!(s, "<text x=\"12\" y=\"{:.0}\">{}</text>", y + 20.0, escape(&name));
        let ours = rows.iter().find(|r| {
            (r.cell.way, r.cell.mode, r.cell.len, r.cell.batch) == (Way::GuestGuest, *mode, SHORT, *batch)
        });
        let bars = [("f0", "Valecast", ours.map(|r| r.median.received / 1e3)), ("f7", "paper", Some(*paper))];
        for (k, (class, who, v)) in bars.into_iter().enumerate() {
            let Some(v) = v else { continue };
            let top = y + 17.0 * k as f64;
            let _ = writeln!(
                s,
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.0}\" width=\"{:.0}\" height=\"14\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\">{v:.0} {who}</text>",
                x(v) - LEFT,
                x(v) + 6.0,
                top + 12.0
            );
        }
    }
    s + "</svg>\n"
}
