//! Values of options: numbers, rates, times.

use std::ops::RangeInclusive;
use std::time::Duration;

use valecast_bench::pace::Rate;
use valecast_ring::client::AttachOptions;

use super::getopt::Given;

/// A whole number in `range`.
pub fn number(g: &Given, range: RangeInclusive<u64>) -> Result<u64, String> {
    g.value.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
        format!("{} {}: a number from {} to {}", g.shown(), g.value, range.start(), range.end())
    })
}

/// A number of frames, with K, M or G if wanted.
pub fn count(g: &Given) -> Result<u64, String> {
    let (digits, unit) = match g.value.as_bytes().last() {
        Some(b'k' | b'K') => (&g.value[..g.value.len() - 1], 1_000),
        Some(b'm' | b'M') => (&g.value[..g.value.len() - 1], 1_000_000),
        Some(b'g' | b'G') => (&g.value[..g.value.len() - 1], 1_000_000_000),
        _ => (&g.value[..], 1),
    };
    let n = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    n.ok_or_else(|| format!("{} {}: a number such as 1000, 10k or 5M", g.shown(), g.value))
}

/// Frames per second; 0 is "as fast as possible".
pub fn rate(g: &Given) -> Result<Option<Rate>, String> {
    if g.value == "0" {
        return Ok(None);
    }
    g.value.parse().map(Some).map_err(|e| format!("{}: {e}", g.shown()))
}

/// Seconds, with decimals.
pub fn seconds(g: &Given) -> Result<Duration, String> {
    let plain = g.value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = g.value.parse::<f64>().ok().filter(|s| plain && *s <= 1e9);
    let value = value.ok_or_else(|| format!("{} {}: seconds, such as 10 or 0.5", g.shown(), g.value))?;
    Ok(Duration::from_secs_f64(value))
}

/// `-C tx_slots[,rx_slots[,tx_rings[,rx_rings]]]`, 0 or nothing for the port's own. One number of rings is for both
/// directions. Both directions have the same number of slots: the larger one.
pub fn attach_options(g: &Given) -> Result<AttachOptions, String> {
    let wrong = || format!("-C {}: TX_SLOTS[,RX_SLOTS[,TX_RINGS[,RX_RINGS]]]", g.value);
    let mut n = [0u32; 4];
    let parts: Vec<&str> = g.value.split(',').collect();
    if parts.len() > n.len() {
        return Err(wrong());
    }
    for (n, part) in n.iter_mut().zip(&parts) {
        *n = if part.is_empty() { 0 } else { part.parse().map_err(|_| wrong())? };
    }
    let rings = |n: u32| u16::try_from(n).map(|n| Some(n).filter(|n| *n > 0)).map_err(|_| wrong());
    let rx_rings = if parts.len() < 4 { n[2] } else { n[3] };
    Ok(AttachOptions {
        tx_rings: rings(n[2])?,
        rx_rings: rings(rx_rings)?,
        slots: Some(n[0].max(n[1])).filter(|n| *n > 0),
        buf_size: None,
    })
}
