//! Two readings of the counters -> rates.

use std::collections::BTreeMap;
use std::fmt;

use valecast_switch::switch::show::{PortView, StatsView};

use crate::ctl::number::{bytes, count, rate, span, workers};

/// A switch's rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Its name.
    pub switch: String,
    /// Seconds it has been running.
    pub uptime_s: f64,
    /// Its threads.
    pub workers: usize,
    /// Bytes of all rings, and the most allowed.
    pub memory: (u64, u64),
    /// Addresses known.
    pub fdb_entries: usize,
    /// Its ports.
    pub ports: Vec<PortRates>,
}

/// A port's rates, per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortRates {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// `up` or `waiting`.
    pub state: String,
    /// Frames in.
    pub in_pps: f64,
    /// Bits in.
    pub in_bps: f64,
    /// Frames out.
    pub out_pps: f64,
    /// Bits out.
    pub out_bps: f64,
    /// Drops by cause, the most frequent first; only those that happen.
    pub drops: Vec<(String, f64)>,
}

impl Rates {
    /// The rates between two readings that are `seconds` apart.
    pub fn between(before: &StatsView, now: &StatsView, seconds: f64) -> Self {
        let ports = now.ports.iter().map(|p| {
            let old = before.ports.iter().find(|o| o.name == p.name);
            PortRates::between(old, p, seconds)
        });
        Self {
            switch: now.switch.clone(),
            uptime_s: now.uptime_s,
            workers: now.workers,
            memory: (now.memory, now.memory_limit),
            fdb_entries: now.fdb_entries,
            ports: ports.collect(),
        }
    }

    /// Frames that enter the switch.
    pub fn total_pps(&self) -> f64 {
        self.ports.iter().map(|p| p.in_pps).sum()
    }

    /// One line on the switch.
    pub fn headline(&self) -> String {
        let (used, most) = self.memory;
        format!(
            "{}  up {}  {}  fdb {}  ring memory {} of {}",
            self.switch,
            span(self.uptime_s),
            workers(self.workers),
            count(self.fdb_entries as u64),
            bytes(used),
            bytes(most)
        )
    }
}

impl PortRates {
    fn between(before: Option<&PortView>, now: &PortView, seconds: f64) -> Self {
        // A port that is new, or was made anew under the same name, has no rates yet.
        let same = before
            .filter(|b| b.in_frames <= now.in_frames && b.out_frames <= now.out_frames && b.kind == now.kind);
        let per_second = |f: &dyn Fn(&PortView) -> u64| match same {
            Some(old) if seconds > 0.0 => f(now).saturating_sub(f(old)) as f64 / seconds,
            _ => 0.0,
        };
        let mut causes: BTreeMap<&str, f64> = BTreeMap::new();
        for (cause, _) in now.in_drops.iter().chain(&now.out_drops) {
            let both = |p: &PortView| {
                let of = |map: &BTreeMap<String, u64>| map.get(cause).copied().unwrap_or(0);
                of(&p.in_drops) + of(&p.out_drops)
            };
            causes.insert(cause, per_second(&both));
        }
        let mut drops: Vec<_> =
            causes.into_iter().filter(|(_, n)| *n > 0.0).map(|(c, n)| (c.to_owned(), n)).collect();
        drops.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self {
            name: now.name.clone(),
            kind: now.kind.clone(),
            state: now.state.clone(),
            in_pps: per_second(&|p| p.in_frames),
            in_bps: per_second(&|p| p.in_bytes) * 8.0,
            out_pps: per_second(&|p| p.out_frames),
            out_bps: per_second(&|p| p.out_bytes) * 8.0,
            drops,
        }
    }

    /// The drops in a few words.
    pub fn drops_text(&self) -> String {
        let each: Vec<_> = self.drops.iter().map(|(cause, n)| format!("{cause} {}", rate(*n))).collect();
        if each.is_empty() { "-".to_owned() } else { each.join(", ") }
    }

    /// The figures of its line: frames and bits in, frames and bits out.
    pub fn figures(&self) -> [String; 4] {
        let bits = |n: f64| format!("{:.3}", n / 1e9);
        [rate(self.in_pps), bits(self.in_bps), rate(self.out_pps), bits(self.out_bps)]
    }
}

/// As text, for those without a terminal.
impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        writeln!(
            f,
            "{:<15} {:<7} {:<7} {:>8} {:>9} {:>8} {:>9}  DROPS/s",
            "PORT", "KIND", "STATE", "IN pps", "IN Gbit/s", "OUT pps", "OUT Gbit/s"
        )?;
        for p in &self.ports {
            let [in_pps, in_bits, out_pps, out_bits] = p.figures();
            writeln!(
                f,
                "{:<15} {:<7} {:<7} {in_pps:>8} {in_bits:>9} {out_pps:>8} {out_bits:>10}  {}",
                p.name,
                p.kind,
                p.state,
                p.drops_text()
            )?;
        }
        writeln!(f, "{} frames/s into the switch", rate(self.total_pps()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(in_frames: u64, full: u64) -> StatsView {
        let port = PortView {
            name: "a".into(),
            kind: "ring".into(),
            state: "up".into(),
            in_frames,
            in_bytes: in_frames * 1000,
            out_drops: [("ring_full".to_owned(), full)].into(),
            ..PortView::default()
        };
        StatsView { switch: "vale0".into(), workers: 1, ports: vec![port], ..StatsView::default() }
    }

    #[test]
    fn rates_between_readings() {
        let rates = Rates::between(&reading(1_000, 0), &reading(3_001_000, 50), 2.0);
        let p = &rates.ports[0];
        assert_eq!((p.in_pps, p.in_bps, p.out_pps), (1.5e6, 1.2e10, 0.0));
        assert_eq!(p.drops, [("ring_full".to_owned(), 25.0)]);
        assert_eq!(rates.total_pps(), 1.5e6);
        let text = rates.to_string();
        assert!(text.contains("1.50 M    12.000") && text.contains("ring_full 25"), "{text}");
    }

    #[test]
    fn no_rates_without_a_past() {
        let now = reading(1_000, 7);
        let fresh = Rates::between(&StatsView::default(), &now, 1.0);
        assert_eq!((fresh.ports[0].in_pps, fresh.ports[0].drops.len()), (0.0, 0));
        let anew = Rates::between(&reading(5_000, 9), &now, 1.0);
        assert_eq!((anew.ports[0].in_pps, anew.ports[0].drops.len()), (0.0, 0));
        assert_eq!(Rates::between(&now, &now, 0.0).ports[0].in_pps, 0.0);
    }
}
