//! Numbers and lines as pkt-gen writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use valecast_bench::Report;
use valecast_bench::hist::Latency;
use valecast_bench::run::Counts;

/// Bits that each frame takes on a wire beside its bytes: CRC, preamble, gap.
const FRAMING_BITS: u64 = 24 * 8;
/// Reports that the average is taken over.
const WINDOW: usize = 15;

/// How numbers look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// With K, M, G.
    pub normalize: bool,
    /// With framing in bits per second.
    pub framing: bool,
}

impl Style {
    /// `n` with three decimals and K, M, G or T, or plain: `29.966 M`, to be followed by a unit.
    pub fn norm(self, n: f64) -> String {
        if !self.normalize {
            return format!("{n:.0} ");
        }
        let mut value = n;
        let mut units = ["", "K", "M", "G", "T"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        while value >= 999.9995 {
            let Some(next) = units.next() else { break };
            (value, unit) = (value / 1000.0, next);
        }
        format!("{value:.3} {unit}")
    }

    fn framing_bits(self) -> u64 {
        if self.framing { FRAMING_BITS } else { 0 }
    }
}

/// pkt-gen's prefix of lines on standard error: `sss.uuuuuu function [line] `.
pub fn prefix(function: &str, line: u32) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:03}.{:06} {function} [{line}] ", now.as_secs() % 1000, now.subsec_micros())
}

/// The rate over time, line by line.
#[derive(Debug)]
pub struct Live {
    style: Style,
    statistics: bool,
    before: Counts,
    rates: Vec<f64>,
}

impl Live {
    /// Nothing yet. `statistics`: with average and deviation.
    pub fn new(style: Style, statistics: bool) -> Self {
        Self { style, statistics, before: Counts::default(), rates: Vec::new() }
    }

    /// The line for what happened in the last `took`, at the end of which the counts are `now`.
    pub fn line(&mut self, now: Counts, took: Duration) -> String {
        let usec = took.as_micros().max(1) as f64;
        let packets = now.packets - self.before.packets;
        let bits = (now.bytes - self.before.bytes) * 8 + packets * self.style.framing_bits();
        let bursts = now.bursts - self.before.bursts;
        self.before = now;
        let pps = (packets as f64 * 1e6 / usec).round();
        let batch = if bursts > 0 { packets as f64 / bursts as f64 } else { 0.0 };
        let s = self.style;
        format!(
            "{}pps {}({}pkts {}bps in {usec} usec) {batch:.2} avg_batch {} min_space",
            s.norm(pps),
            self.deviation(pps),
            s.norm(packets as f64),
            s.norm(bits as f64 * 1e6 / usec),
            now.min_space.unwrap_or(0),
        )
    }

    fn deviation(&mut self, pps: f64) -> String {
        if !self.statistics {
            return String::new();
        }
        self.rates.push(pps);
        if self.rates.len() > WINDOW {
            self.rates.remove(0);
        }
        let n = self.rates.len() as f64;
        let average = self.rates.iter().sum::<f64>() / n;
        let variance = self.rates.iter().map(|r| (r - average).powi(2)).sum::<f64>() / n;
        format!("[avg/std {}/{}pps] ", self.style.norm(average), self.style.norm(variance.sqrt()))
    }
}

/// The counts of all threads together.
pub fn sum(counts: impl Iterator<Item = Counts>) -> Counts {
    counts.fold(Counts::default(), |a, b| Counts {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
        bursts: a.bursts + b.bursts,
        min_space: match (a.min_space, b.min_space) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        },
    })
}

/// pkt-gen's last lines; `verb` is `Sent` or `Received`.
pub fn totals(r: &Report, verb: &str, style: Style) -> String {
    if r.packets == 0 {
        return format!("{verb} nothing.\n");
    }
    let raw = r.bps + r.pps * style.framing_bits() as f64;
    format!(
        "{verb} {} packets {} bytes {} events {} bytes each in {:.2} seconds.\n\
         Speed: {}pps Bandwidth: {}bps (raw {}bps). Average batch: {:.2} pkts\n",
        r.packets,
        r.bytes,
        r.bursts,
        r.bytes / r.packets,
        r.seconds,
        style.norm(r.pps),
        style.norm(r.bps),
        style.norm(raw),
        r.packets as f64 / r.bursts.max(1) as f64,
    )
}

/// pkt-gen's two lines about the round trips of the last interval: a summary, and a histogram by powers of two
/// of nanoseconds. The percentiles are ours.
pub fn round_trips(l: &Latency) -> [String; 2] {
    let s = l.summary();
    let (low, high) = (s.min.max(1).ilog2(), s.max.max(1).ilog2());
    // A cell of the histogram may reach a little beyond the power of two that it began at.
    let bins: String = (low..=high)
        .map(|k| l.count_in(1 << k, 1u64.checked_shl(k + 1).unwrap_or(u64::MAX)))
        .map(|n| format!(" {n:5}"))
        .collect();
    [
        format!(
            "count {} RTT: min {} av {} ns, p50 {} p99 {} p99.9 {} max {} ns",
            s.count, s.min, s.mean, s.p50, s.p99, s.p999, s.max
        ),
        format!("k: {} .. {}\n\t{bins}", 1u64 << low, 1u64 << high),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { normalize: true, framing: false };

    #[test]
    fn units_as_pkt_gen() {
        assert_eq!(STYLE.norm(0.0), "0.000 ");
        assert_eq!(STYLE.norm(999.0), "999.000 ");
        assert_eq!(STYLE.norm(29_966_000.0), "29.966 M");
        assert_eq!(STYLE.norm(999_999_999.9), "1.000 G");
        assert_eq!(Style { normalize: false, framing: false }.norm(29_966_000.0), "29966000 ");
    }

    #[test]
    fn the_line_of_an_interval() {
        let mut live = Live::new(STYLE, true);
        let c =
            |packets, min_space| Counts { packets, bytes: packets * 60, bursts: packets / 512, min_space };
        live.line(c(512_000, None), Duration::from_secs(1));
        let line = live.line(c(1_536_000, Some(7)), Duration::from_millis(2000));
        let want = "512.000 Kpps [avg/std 512.000 K/0.000 pps] (1.024 Mpkts 245.760 Mbps in 2000000 usec) \
                    512.00 avg_batch 7 min_space";
        assert_eq!(line, want);
    }

    #[test]
    fn the_totals() {
        use valecast_bench::{End, Outcome, TxReport};
        let t = TxReport {
            packets: 1_000_000,
            bytes: 60_000_000,
            bursts: 2000,
            probes: 0,
            skipped: 0,
            stalls: 0,
            start: 0,
            end: 500_000_000,
            why: End::Count,
        };
        let r = Outcome::of_tx("tx", &[t]).report;
        let text = totals(&r, "Sent", Style { framing: true, ..STYLE });
        assert_eq!(
            text,
            "Sent 1000000 packets 60000000 bytes 2000 events 60 bytes each in 0.50 seconds.\n\
             Speed: 2.000 Mpps Bandwidth: 960.000 Mbps (raw 1.344 Gbps). Average batch: 500.00 pkts\n"
        );
        assert_eq!(totals(&Outcome::of_tx("tx", &[]).report, "Sent", STYLE), "Sent nothing.\n");
    }

    #[test]
    fn round_trips_by_powers_of_two() {
        let mut l = Latency::new();
        [300, 1100, 1100].iter().for_each(|v| l.record(*v));
        let [first, second] = round_trips(&l);
        assert!(first.starts_with("count 3 RTT: min 300 av 833 ns, p50 1100 "), "{first}");
        assert_eq!(second, "k: 256 .. 1024\n\t     1     0     2");
    }
}
