//! What came out, as Markdown.

use std::fmt::Write as _;

use serde::Serialize;

use super::cells::{BATCH, Cell, FULL, LONG, Mode, PKT_GEN, SHORT, Way};
use super::rig::Figures;

/// A cell and its medians.
#[derive(Serialize)]
pub struct Row {
    /// What.
    pub cell: Cell,
    /// Medians of the rounds.
    pub median: Figures,
    /// All rounds.
    pub runs: Vec<Figures>,
}

fn find(rows: &[Row], way: Way, mode: Mode, len: u32, batch: u32) -> Option<&Row> {
    rows.iter().find(|r| r.cell == Cell { way, mode, len, batch })
}

/// Frames per second in thousands.
fn kpps(v: f64) -> String {
    if v < 9_950.0 { format!("{:.1}", v / 1e3) } else { format!("{:.0}", v / 1e3) }
}

/// Counts per frame.
fn per(v: f64) -> String {
    if v == 0.0 {
        "0".to_owned()
    } else if v < 0.000_005 {
        "<0.00001".to_owned()
    } else if v < 0.1 {
        format!("{v:.5}")
    } else {
        format!("{v:.2}")
    }
}

/// Mbit/s of frames, without FCS and gaps.
fn mbits(pps: f64, len: u32) -> f64 {
    pps * f64::from(len) * 8.0 / 1e6
}

/// All tables.
pub fn markdown(rows: &[Row]) -> String {
    let mut s = String::new();
    for way in [Way::GuestHost, Way::HostGuest, Way::GuestGuest] {
        if !rows.iter().any(|r| r.cell.way == way) {
            continue;
        }
        let _ = writeln!(
            s,
            "### {}\n\n| driver | 64 B sent, kpps | received, kpps | TX kicks / frame | TX irq / frame | RX irq / frame | RX kicks / frame | 1502 B received, kpps | Mbit/s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|",
            capital(way.name())
        );
        for mode in Mode::ALL {
            let Some(short) = find(rows, way, mode, SHORT, 1) else { continue };
            line(&mut s, mode.name(), short, find(rows, way, mode, LONG, 1));
        }
        for mode in PKT_GEN {
            let Some(short) = find(rows, way, mode, SHORT, BATCH) else { continue };
            let name = format!("{}, pkt-gen ({BATCH} at once, {FULL} B)", mode.name());
            line(&mut s, &name, short, find(rows, way, mode, FULL, BATCH));
        }
        s.push('\n');
    }
    let trips: Vec<_> = rows.iter().filter(|r| r.cell.way == Way::RoundTrip).collect();
    if !trips.is_empty() {
        s +=
            "### Round trips, guest to guest\n\n| driver | thousands per second | us each |\n|---|--:|--:|\n";
        for r in trips {
            let v = r.median.received;
            let _ = writeln!(s, "| {} | {:.2} | {:.0} |", r.cell.mode.name(), v / 1e3, 1e6 / v.max(1e-9));
        }
    }
    s
}

/// Pkt-gen's rows of ports that lose frames.
pub fn lossy(rows: &[Row]) -> String {
    let mut s = format!(
        "### Frames lost where a receiver is full, as in VALE\n\n\
         | way | driver | 64 B sent, kpps | received, kpps | TX kicks / frame | TX irq / frame | RX irq / frame | RX kicks / frame \
         | {FULL} B received, kpps | Mbit/s |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for way in [Way::GuestHost, Way::GuestGuest] {
        for mode in PKT_GEN {
            let Some(short) = find(rows, way, mode, SHORT, BATCH) else { continue };
            let name = format!("{} | {}", capital(way.name()), mode.name());
            line(&mut s, &name, short, find(rows, way, mode, FULL, BATCH));
        }
    }
    s
}

/// The drivers without virtual machines.
pub fn no_guests(rates: &[(Mode, [f64; 2])]) -> String {
    let mut s = format!(
        "### Without guests: both drivers on one thread, the switch on another\n\n\
         | driver | 64 B, kpps | {FULL} B, kpps | Mbit/s |\n|---|--:|--:|--:|\n"
    );
    for (mode, [short, long]) in rates {
        let name = if *mode == Mode::Csb { "CSB" } else { mode.name() };
        let _ = writeln!(
            s,
            "| {name}, {BATCH} at once | {} | {} | {:.0} |",
            kpps(*short),
            kpps(*long),
            mbits(*long, FULL)
        );
    }
    s
}

fn line(s: &mut String, name: &str, short: &Row, long: Option<&Row>) {
    let m = short.median;
    let (long_kpps, long_mbits) = long.map_or(("-".to_owned(), "-".to_owned()), |r| {
        (kpps(r.median.received), format!("{:.0}", mbits(r.median.received, r.cell.len)))
    });
    let _ = writeln!(
        s,
        "| {name} | {} | {} | {} | {} | {} | {} | {long_kpps} | {long_mbits} |",
        kpps(m.sent),
        kpps(m.received),
        per(m.tx_kicks),
        per(m.tx_interrupts),
        per(m.rx_interrupts),
        per(m.rx_kicks),
    );
}

fn capital(text: &str) -> String {
    let mut c = text.chars();
    c.next().map(|f| f.to_ascii_uppercase().to_string() + c.as_str()).unwrap_or_default()
}
