//! Figures for people.

/// `12,345,678`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.5 GiB`.
pub fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = n as f64;
    let mut unit = "B";
    for u in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, u);
    }
    if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") }
}

/// `14.2 M`, three digits and a power of 1000.
pub fn rate(n: f64) -> String {
    let mut value = if n.is_finite() { n.max(0.0) } else { 0.0 };
    let mut unit = "";
    for u in [" k", " M", " G", " T"] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, u);
    }
    match value {
        _ if unit.is_empty() => format!("{value:.0}"),
        v if v < 9.995 => format!("{v:.2}{unit}"),
        v if v < 99.95 => format!("{v:.1}{unit}"),
        v => format!("{v:.0}{unit}"),
    }
}

/// `3d 4h`, `5m 12s`, `7s`.
pub fn span(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86400, s % 86400 / 3600),
    }
}

/// `1 worker`, `4 workers`.
pub fn workers(n: usize) -> String {
    if n == 1 { "1 worker".to_owned() } else { format!("{n} workers") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(
            [count(0), count(999), count(1000), count(12_345_678)],
            ["0", "999", "1,000", "12,345,678"]
        );
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
        );
        assert_eq!(
            [rate(0.0), rate(999.4), rate(999.6), rate(14_234_567.0)],
            ["0", "999", "1.00 k", "14.2 M"]
        );
        assert_eq!([rate(9_996.0), rate(-1.0), rate(f64::NAN)], ["10.0 k", "0", "0"]);
        assert_eq!(
            [span(7.9), span(312.0), span(3_725.0), span(273_600.0)],
            ["7s", "5m 12s", "1h 2m", "3d 4h"]
        );
    }
}
