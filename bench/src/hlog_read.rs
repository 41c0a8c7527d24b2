//! Reads an HdrHistogram interval log back: all its intervals as one histogram.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::hist::Latency;

/// Why a log was not understood.
#[derive(Debug, thiserror::Error)]
#[error("histogram log, interval {interval}: {what}")]
pub struct BadLog {
    /// Which one, from 1.
    pub interval: usize,
    /// What is wrong with it.
    pub what: String,
}

/// The sum of all intervals of `text`.
pub fn read(text: &str) -> Result<Latency, BadLog> {
    let mut all = Latency::new();
    let mut interval = 0;
    // The line of column names, which the tools of this family write, is no entry.
    let lines: String = text.lines().filter(|l| !l.starts_with('"')).flat_map(|l| [l, "\n"]).collect();
    for entry in IntervalLogIterator::new(lines.as_bytes()) {
        let bad = |what: String| BadLog { interval: interval + 1, what };
        let LogEntry::Interval(e) = entry.map_err(|e| bad(format!("{e:?}")))? else { continue };
        let bytes = STANDARD.decode(e.encoded_histogram()).map_err(|e| bad(e.to_string()))?;
        let h: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|e| bad(e.to_string()))?;
        all.merge(&Latency::from(h));
        interval += 1;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hist::Interval;
    use crate::hlog::HlogWriter;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn reads_what_was_written() {
        let mut out = Vec::new();
        let mut w = HlogWriter::new(&mut out, UNIX_EPOCH, "test").unwrap();
        let mut sum = Latency::new();
        for k in 1..=3u64 {
            let mut latency = Latency::new();
            (1..1000).for_each(|n| latency.record(n * k * 100));
            sum.merge(&latency);
            w.write(&Interval { start: Duration::from_secs(k), length: Duration::from_secs(1), latency })
                .unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(read(&text).unwrap().summary(), sum.summary());
        assert_eq!(read("0,1,2,!!\n").unwrap_err().interval, 1);
    }
}
