//! One run in numbers: the object that `--json` prints, whatever the mode.

use serde::Serialize;

use crate::clock::SECOND;
use crate::hist::{Latency, Summary};
use crate::ping::PingReport;
use crate::run::End;
use crate::rx::RxReport;
use crate::seq::SeqCounts;
use crate::tx::TxReport;

/// The numbers of a run, all threads together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `tx`, `rx`, `ping`, `pong`, `txseq` or `rxseq`.
    pub mode: &'static str,
    /// Frames sent or received; pings sent.
    pub packets: u64,
    /// Bytes in them, without CRC.
    pub bytes: u64,
    /// From the first frame to the last.
    pub seconds: f64,
    /// Frames per second.
    pub pps: f64,
    /// Bits per second, without CRC, preamble and gap.
    pub bps: f64,
    /// Frames known to be lost, by their numbers; 0 where frames are not numbered.
    pub drops: u64,
    /// Round trips (ping) or one-way times of probes (rx) in ns, from the intended time of sending where there
    /// is a rate.
    pub latency_ns: Summary,
    /// The same, from the actual time of sending.
    pub latency_sent_ns: Summary,
    /// Numbered frames that never came.
    pub lost: u64,
    /// Numbered frames that came after a later one.
    pub reordered: u64,
    /// Numbered frames that came again.
    pub duplicates: u64,
    /// Threads.
    pub threads: usize,
    /// Bursts that were not empty.
    pub bursts: u64,
    /// Answers (ping) or numbered frames (rx) received.
    pub received: u64,
    /// Probes among the frames.
    pub probes: u64,
    /// Background frames sent beside pings.
    pub load: u64,
    /// Due frames given up by a sender that had no room for too long.
    pub skipped: u64,
    /// Why the run ended.
    pub ended: End,
}

/// A report and its whole histograms.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The numbers.
    pub report: Report,
    /// Latencies behind [`Report::latency_ns`].
    pub latency: Latency,
    /// Latencies behind [`Report::latency_sent_ns`].
    pub latency_sent: Latency,
}

#[derive(Default)]
struct Sum {
    packets: u64,
    bytes: u64,
    bursts: u64,
    probes: u64,
    skipped: u64,
    load: u64,
    seq: SeqCounts,
    span: Option<(u64, u64)>,
    ended: Option<End>,
    threads: usize,
    latency: Latency,
    latency_sent: Latency,
}

impl Sum {
    fn thread(&mut self, (packets, bytes, bursts): (u64, u64, u64), span: (u64, u64), why: &End) {
        self.threads += 1;
        self.packets += packets;
        self.bytes += bytes;
        self.bursts += bursts;
        // A thread that did nothing has nothing to say about time.
        if packets > 0 {
            let (start, end) = self.span.unwrap_or(span);
            self.span = Some((start.min(span.0), end.max(span.1)));
        }
        if self.ended.is_none() || matches!(why, End::Gone(_)) {
            self.ended = Some(why.clone());
        }
    }

    fn outcome(self, mode: &'static str) -> Outcome {
        let (start, end) = self.span.unwrap_or_default();
        let seconds = end.saturating_sub(start) as f64 / SECOND as f64;
        // All frames in one burst: no time in which a rate could be measured.
        let rate = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        let report = Report {
            mode,
            packets: self.packets,
            bytes: self.bytes,
            seconds,
            pps: rate(self.packets),
            bps: rate(self.bytes) * 8.0,
            drops: self.seq.lost,
            latency_ns: self.latency.summary(),
            latency_sent_ns: self.latency_sent.summary(),
            lost: self.seq.lost,
            reordered: self.seq.reordered,
            duplicates: self.seq.duplicates,
            threads: self.threads,
            bursts: self.bursts,
            received: self.seq.received,
            probes: self.probes,
            load: self.load,
            skipped: self.skipped,
            ended: self.ended.unwrap_or(End::Stopped),
        };
        Outcome { report, latency: self.latency, latency_sent: self.latency_sent }
    }
}

impl Outcome {
    /// Of senders (and pongs).
    pub fn of_tx(mode: &'static str, threads: &[TxReport]) -> Self {
        let mut sum = Sum::default();
        for t in threads {
            sum.thread((t.packets, t.bytes, t.bursts), (t.start, t.end), &t.why);
            sum.probes += t.probes;
            sum.skipped += t.skipped;
        }
        sum.outcome(mode)
    }

    /// Of receivers; `taken` is what a watcher took while they ran.
    pub fn of_rx(mode: &'static str, threads: &[RxReport], taken: &Latency) -> Self {
        let mut sum = Sum { latency: taken.clone(), ..Sum::default() };
        for t in threads {
            sum.thread((t.packets, t.bytes, t.bursts), (t.start, t.end), &t.why);
            sum.probes += t.probes;
            sum.seq.add(&t.seq);
            sum.latency.merge(&t.latency);
            sum.latency_sent.merge(&t.latency_sent);
        }
        sum.outcome(mode)
    }

    /// Of a pinger; `taken` is what a watcher took while it ran.
    pub fn of_ping(r: &PingReport, taken: &Latency) -> Self {
        let mut sum = Sum { latency: taken.clone(), ..Sum::default() };
        sum.thread((r.packets, r.bytes, r.bursts), (r.start, r.end), &r.why);
        sum.load = r.load;
        sum.seq = r.seq;
        sum.latency.merge(&r.latency);
        sum.latency_sent.merge(&r.latency_sent);
        sum.outcome("ping")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tx(packets: u64, start: u64, end: u64) -> TxReport {
        TxReport {
            packets,
            bytes: packets * 60,
            bursts: 1,
            probes: 0,
            skipped: 0,
            stalls: 0,
            start,
            end,
            why: End::Count,
        }
    }

    #[test]
    fn threads_add_up_over_their_common_time() {
        let r = Outcome::of_tx("tx", &[tx(10, SECOND, 2 * SECOND), tx(30, SECOND, 3 * SECOND), tx(0, 0, 0)]);
        assert_eq!((r.report.packets, r.report.threads), (40, 3));
        assert_eq!((r.report.seconds, r.report.pps, r.report.bps), (2.0, 20.0, 9600.0));
        let json = serde_json::to_value(&r.report).unwrap();
        assert_eq!(json["latency_ns"]["p999"], 0);
        assert_eq!(json["drops"], 0);
        assert_eq!(json["ended"], "count");
    }

    #[test]
    fn nothing_sent_divides_by_nothing() {
        let r = Outcome::of_tx("tx", &[]).report;
        assert_eq!((r.packets, r.pps, r.seconds), (0, 0.0, 0.0));
    }
}
