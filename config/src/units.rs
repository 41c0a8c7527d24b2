//! Notations for time, size and rate: `"50us"`, `"64KiB"`, `"1Gbit/s"`.
//!
//! Numbers may have a fraction (`"1.5Gbit/s"`) as long as the result is a whole number of the smallest
//! unit, so nothing is rounded behind the user's back.

use std::time::Duration;

/// Why a text is not a duration, size, rate or address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {help}")]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl UnitError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

const KI: u64 = 1 << 10;
const NANOS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
const BYTES: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", KI),
    ("mib", KI * KI),
    ("gib", KI * KI * KI),
    ("tib", KI * KI * KI * KI),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];
const BITS: [(&str, u64); 5] =
    [("", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000), ("t", 1_000_000_000_000)];

/// Reads a duration: a number and one of `ns`, `us`, `ms`, `s`, `m` (or `min`), `h`; `"0"` needs no unit.
///
/// # Errors
/// When the text is not such a number, the unit is missing or unknown, or the value is finer than 1 ns.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let help = "a duration is a number and ns, us, ms, s, m or h, like \"50us\"";
    let (number, unit) = Number::split(text, help)?;
    if unit.is_empty() && number.digits == 0 {
        return Ok(Duration::ZERO);
    }
    if unit.is_empty() {
        return Err(UnitError::new(format!("`{text}` has no unit"), help));
    }
    let factor = find(&NANOS, unit).ok_or_else(|| UnitError::new(format!("unknown unit `{unit}`"), help))?;
    number.times(factor).map(Duration::from_nanos).ok_or_else(|| unfit(text, "nanoseconds"))
}

/// Reads a size in bytes: a number and nothing, `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or
/// `kB`, `MB`, `GB`, `TB` (powers of 1000); case does not matter.
///
/// # Errors
/// When the text is not such a number, the unit is unknown, or the value is no whole number of bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let help = "a size is a number of bytes, or a number and KiB, MiB, GiB (1024) or kB, MB, GB (1000)";
    let (number, unit) = Number::split(text, help)?;
    let factor = find(&BYTES, &unit.to_ascii_lowercase())
        .ok_or_else(|| UnitError::new(format!("unknown unit `{unit}`"), help))?;
    number.times(factor).ok_or_else(|| unfit(text, "bytes"))
}

/// Reads a rate in bits per second: a number, optionally `k`, `M`, `G` or `T` (powers of 1000), and
/// `bit/s`, `bps` or `bit`; a bare number is bits per second.
///
/// # Errors
/// When the text is not such a number, the unit is unknown (bytes per second are refused rather than
/// guessed at), or the value is no whole number of bits.
pub fn parse_rate(text: &str) -> Result<u64, UnitError> {
    let help = "a rate is a number and bit/s, kbit/s, Mbit/s or Gbit/s, like \"1Gbit/s\"";
    let (number, unit) = Number::split(text, help)?;
    let prefix = match unit {
        "" => Some(""),
        _ => ["bit/s", "bps", "bit"].iter().find_map(|end| unit.strip_suffix(end)),
    };
    let factor = prefix.and_then(|p| find(&BITS, &p.to_ascii_lowercase()));
    match factor {
        Some(factor) => number.times(factor).ok_or_else(|| unfit(text, "bits per second")),
        None if unit.contains('B') => Err(UnitError::new(
            format!("`{unit}` counts bytes"),
            "rates are in bits: multiply by 8 and write bit/s",
        )),
        None => Err(UnitError::new(format!("unknown unit `{unit}`"), help)),
    }
}

/// Writes a duration so that [`parse_duration`] reads it back exactly: `50us`, `300s`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (unit, factor) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
        if nanos.is_multiple_of(factor) {
            return format!("{}{unit}", nanos / factor);
        }
    }
    format!("{nanos}ns")
}

/// Writes a size so that [`parse_size`] reads it back exactly: `64KiB`, `1500B`.
pub fn format_size(bytes: u64) -> String {
    largest(bytes, &[("TiB", KI.pow(4)), ("GiB", KI.pow(3)), ("MiB", KI.pow(2)), ("KiB", KI)], "B")
}

/// Writes a rate so that [`parse_rate`] reads it back exactly: `1Gbit/s`.
pub fn format_rate(bits_per_second: u64) -> String {
    let units =
        [("Tbit/s", 1_000_000_000_000), ("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)];
    largest(bits_per_second, &units, "bit/s")
}

fn largest(value: u64, units: &[(&str, u64)], one: &str) -> String {
    let fits = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    fits.map_or_else(|| format!("{value}{one}"), |(unit, factor)| format!("{}{unit}", value / factor))
}

fn find(units: &[(&str, u64)], wanted: &str) -> Option<u64> {
    units.iter().find(|(unit, _)| *unit == wanted).map(|(_, factor)| *factor)
}

fn unfit(text: &str, unit: &str) -> UnitError {
    UnitError::new(
        format!("`{text}` does not fit"),
        format!("it must be a whole number of {unit} below 2^64"),
    )
}

/// A decimal number: `digits / 10^fraction`.
struct Number {
    digits: u128,
    fraction: u32,
}

impl Number {
    /// Splits `"1.5 Gbit/s"` into its number and its unit.
    fn split<'t>(text: &'t str, help: &str) -> Result<(Self, &'t str), UnitError> {
        let wrong = || UnitError::new(format!("`{text}` does not start with a number"), help);
        let text = text.trim();
        let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let fraction = fraction.trim_end_matches('0');
        // The `u128` parse refuses a second dot; here only what it would let pass is looked at.
        if !whole.starts_with(|c: char| c.is_ascii_digit()) || (number.ends_with(['.', '_'])) {
            return Err(wrong());
        }
        let digits = format!("{whole}{fraction}").replace('_', "").parse().map_err(|_| wrong())?;
        let fraction = u32::try_from(fraction.replace('_', "").len()).map_err(|_| wrong())?;
        Ok((Self { digits, fraction }, unit.trim_start()))
    }

    /// The number in the unit's base, when that is whole and fits.
    fn times(&self, factor: u64) -> Option<u64> {
        let product = self.digits.checked_mul(u128::from(factor))?;
        let divisor = 10_u128.checked_pow(self.fraction)?;
        if product % divisor == 0 { u64::try_from(product / divisor).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_notation() {
        assert_eq!(parse_duration("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(parse_duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse_duration("5 m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_size("2048"), Ok(2048));
        assert_eq!(parse_size("64KiB"), Ok(65536));
        assert_eq!(parse_size("10MB"), Ok(10_000_000));
        assert_eq!(parse_size("1_000.5kB"), Ok(1_000_500));
        assert_eq!(parse_rate("1Gbit/s"), Ok(1_000_000_000));
        assert_eq!(parse_rate("2.5Gbps"), Ok(2_500_000_000));
        assert_eq!(parse_rate("10kbit/s"), Ok(10_000));
        assert_eq!(parse_rate("500mbit"), Ok(500_000_000));
        assert_eq!(parse_rate("9600"), Ok(9600));
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        for text in ["", "us", "50", "50 parsecs", "-1s", "1.s", "1..5s", "0.5ns", "1.5.5s", "_1s", ".5s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["64K", "0.3", "99999999TiB", "1e3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_rate("1GB/s").unwrap_err().help.contains("multiply by 8"));
        assert!(parse_rate("1MBps").unwrap_err().message.contains("bytes"));
        assert!(parse_rate("fast").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(n: u64, text in "\\PC*") {
            prop_assert_eq!(parse_duration(&format_duration(Duration::from_nanos(n))), Ok(Duration::from_nanos(n)));
            prop_assert_eq!(parse_size(&format_size(n)), Ok(n));
            prop_assert_eq!(parse_rate(&format_rate(n)), Ok(n));
            let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text));
        }
    }
}
