//! HdrHistogram's interval log, format 1.3 with V2 compressed histograms: what HdrHistogramVisualizer,
//! HistogramLogProcessor and the other tools of that family read.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use crate::hist::Interval;

/// Maximums in the log are for people and in milliseconds, as the Java tools write them.
const MAX_DIVISOR: f64 = 1e6;

/// Writes intervals as they come, so that a run cut short leaves a usable log.
pub struct HlogWriter<W: Write> {
    out: W,
    serializer: V2DeflateSerializer,
    begun: SystemTime,
}

impl<W: Write> HlogWriter<W> {
    /// Writes the head of the log. `begun` is when the run began; `about` is a comment, for people.
    pub fn new(mut out: W, begun: SystemTime, about: &str) -> io::Result<Self> {
        let mut serializer = V2DeflateSerializer::new();
        let mut head = IntervalLogWriterBuilder::new();
        head.add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!("[Logged by Valecast: {about}; latencies in nanoseconds]"))
            .with_start_time(begun)
            .with_base_time(begun)
            .with_max_value_divisor(MAX_DIVISOR);
        head.begin_log_with(&mut out, &mut serializer)?;
        out.write_all(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        )?;
        out.flush()?;
        Ok(Self { out, serializer, begun })
    }

    /// Appends one interval.
    pub fn write(&mut self, interval: &Interval) -> io::Result<()> {
        // A second builder would write its head again; into a sink, so that only the line itself remains.
        let mut line = Vec::new();
        {
            let mut builder = IntervalLogWriterBuilder::new();
            builder.with_max_value_divisor(MAX_DIVISOR);
            let mut log = builder.begin_log_with(&mut line, &mut self.serializer)?;
            log.write_histogram(interval.latency.inner(), interval.start, interval.length, None).map_err(
                |e| match e {
                    IntervalLogWriterError::IoError(e) => e,
                    other => io::Error::other(format!("histogram cannot be written: {other}")),
                },
            )?;
        }
        let text = line.split_inclusive(|b| *b == b'\n').filter(|l| !l.starts_with(b"#"));
        for part in text {
            self.out.write_all(part)?;
        }
        self.out.flush()
    }

    /// When the run began, in seconds since 1970, as the log's head says.
    pub fn begun(&self) -> Duration {
        self.begun.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hist::Latency;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn others_can_read_it() {
        let mut out = Vec::new();
        let begun = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut w = HlogWriter::new(&mut out, begun, "ping vale0:a").unwrap();
        assert_eq!(w.begun().as_secs(), 1_700_000_000);
        for i in 0..3u64 {
            let mut latency = Latency::new();
            (1..=1000).for_each(|k| latency.record(k * 1000 * (i + 1)));
            w.write(&Interval { start: Duration::from_secs(i), length: Duration::from_secs(1), latency })
                .unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{text}");
        assert_eq!(text.matches("#[StartTime:").count(), 1);
        assert_eq!(text.matches("\"StartTimestamp\"").count(), 1);
        assert_eq!(text.lines().filter(|l| l.contains("HISTFAAAA")).count(), 3);

        // The Rust reader knows no legend line.
        let bare: String = text.lines().filter(|l| !l.starts_with('"')).map(|l| format!("{l}\n")).collect();
        let mut counts = Vec::new();
        for entry in IntervalLogIterator::new(bare.as_bytes()) {
            if let LogEntry::Interval(i) = entry.unwrap() {
                let bytes = base64(i.encoded_histogram());
                let h = Deserializer::new().deserialize::<u64, _>(&mut &bytes[..]).unwrap();
                counts.push((i.start_timestamp().as_secs(), h.len(), h.value_at_quantile(0.5) / 1000));
            }
        }
        assert_eq!(counts.len(), 3);
        for (i, (at, n, p50)) in (0u64..).zip(counts) {
            assert_eq!((at, n), (i, 1000));
            assert!(p50.abs_diff(500 * (i + 1)) <= i + 1);
        }
    }

    fn base64(s: &str) -> Vec<u8> {
        let value = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let bits: Vec<u8> = s.bytes().filter(|c| *c != b'=').map(value).collect();
        bits.chunks(4)
            .flat_map(|c| {
                let n = c.iter().fold(0u32, |n, v| n << 6 | u32::from(*v)) << (6 * (4 - c.len()));
                n.to_be_bytes()[1..c.len()].to_vec()
            })
            .collect()
    }
}
